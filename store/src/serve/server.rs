//! `nix-store --serve`: the end that has the store.

use super::{
    ADD, BUILD_DERIVATION, BUILD_PATHS, CLIENT_MAGIC, DUMP, EXPORT, IMPORT, OLDEST, QUERY_CLOSURE,
    QUERY_INFOS, QUERY_VALID, SERVER_MAGIC, VERSION, read_address, read_hash, write_info,
};
use crate::build::{BuildOptions, Wanted};
use crate::daemon::derived_path::DerivedPath;
use crate::daemon::operations::{read_basic_derivation, status_of};
use crate::daemon::wire::{Answer, read_bool, read_number, read_text, read_texts, send};
use crate::error::{Error, Result};
use crate::open::Store;
use crate::realisation::Realisation;
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::time::Duration;

impl Store {
    /// Answers the requests of one client until it is gone. Without `write` it may only ask. Who gets here is trusted: the
    /// login is the guard.
    pub fn serve(
        &self,
        write: bool,
        options: &BuildOptions,
        mut input: impl Read,
        mut output: impl Write,
    ) -> Result<()> {
        if read_number(&mut input)? != CLIENT_MAGIC {
            return Err(Error::Invalid("this is no client of nix-store --serve".to_owned()));
        }
        send(&mut output, &Answer::default().number(SERVER_MAGIC).number(VERSION).0)?;
        let version = read_number(&mut input)?.min(VERSION);
        if version < OLDEST {
            return Err(Error::Invalid("the client's protocol is older than 2.5 (Nix 2.4)".to_owned()));
        }
        let mut server = Server { store: self, write, options, version, output: &mut output };
        loop {
            let mut number = [0; 8];
            // Between requests the client may go.
            match input.read(&mut number[..1]) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::file("listening to", "the client")(error)),
            }
            input.read_exact(&mut number[1..]).map_err(Error::file("listening to", "the client"))?;
            server.perform(u64::from_le_bytes(number), &mut input)?;
        }
    }
}

struct Server<'a> {
    store: &'a Store,
    write: bool,
    options: &'a BuildOptions,
    version: u64,
    output: &'a mut dyn Write,
}

impl Server<'_> {
    fn path(&self, input: &mut dyn Read) -> Result<StorePath> {
        Ok(self.store.dir().parse(&read_text(input)?)?)
    }

    fn paths(&self, input: &mut dyn Read) -> Result<BTreeSet<StorePath>> {
        read_texts(input)?.iter().map(|text| Ok(self.store.dir().parse(text)?)).collect()
    }

    fn answer(&mut self, answer: &Answer) -> Result<()> {
        send(self.output, &answer.0)
    }

    fn answer_paths(&mut self, paths: &BTreeSet<StorePath>) -> Result<()> {
        let texts: Vec<String> = paths.iter().map(|path| self.store.dir().print(path)).collect();
        let mut answer = Answer::default();
        answer.texts(texts.iter());
        self.answer(&answer)
    }

    fn perform(&mut self, operation: u64, input: &mut dyn Read) -> Result<()> {
        if !self.write && matches!(operation, IMPORT | BUILD_PATHS | BUILD_DERIVATION | ADD) {
            return Err(Error::Invalid(format!(
                "request {operation} changes the store; serve it with --write"
            )));
        }
        match operation {
            QUERY_VALID => self.query_valid(input),
            QUERY_INFOS => self.query_infos(input),
            DUMP => {
                let path = self.path(input)?;
                self.store.path_info(&path)?;
                let mut output = io::BufWriter::with_capacity(64 * 1024, &mut *self.output);
                self.store.archive(&path, &mut output)?;
                output.flush().map_err(Error::file("sending", path.base_name()))
            }
            IMPORT => {
                self.store.import_paths(input)?;
                self.answer(Answer::default().number(1))
            }
            EXPORT => {
                read_number(input)?; // a signature, in old days
                let paths = self.paths(input)?;
                self.store.export_paths(&paths, self.output)?;
                self.output.flush().map_err(Error::file("sending", "paths"))
            }
            BUILD_PATHS => self.build_paths(input),
            QUERY_CLOSURE => {
                let with_outputs = read_bool(input)?;
                let closure = self.store.closure(self.paths(input)?)?;
                let closure = if with_outputs { self.with_outputs(closure)? } else { closure };
                self.answer_paths(&closure)
            }
            BUILD_DERIVATION => self.build_derivation(input),
            ADD => self.add(input),
            other => Err(Error::Invalid(format!("nobody knows request {other}"))),
        }
    }

    /// Adds what the derivations among the paths have built, with all that it needs.
    fn with_outputs(&self, mut closure: BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>> {
        let mut outputs = BTreeSet::new();
        for path in closure.iter().filter(|path| path.is_derivation()) {
            outputs.extend(self.store.derivation_outputs(path)?.into_values());
        }
        for output in outputs {
            if self.store.is_valid(&output)? {
                closure.extend(self.store.closure([output])?);
            }
        }
        Ok(closure)
    }

    fn query_valid(&mut self, input: &mut dyn Read) -> Result<()> {
        let lock = read_bool(input)?;
        let substitute = read_bool(input)?;
        let paths = self.paths(input)?;
        let (mut valid, mut absent) = (BTreeSet::new(), BTreeSet::new());
        for path in paths {
            if lock && self.write {
                self.store.add_temp_root(&path)?;
            }
            if self.store.is_valid(&path)? {
                valid.insert(path)
            } else {
                absent.insert(path)
            };
        }
        if substitute && self.write && !absent.is_empty() {
            let (_, unknown) = self.store.missing_paths(&absent)?;
            let offered: BTreeSet<StorePath> = absent.difference(&unknown).cloned().collect();
            match self.store.substitute(&offered, self.options) {
                Ok(()) => valid.extend(offered),
                Err(error) => log::warn!("{error}"),
            }
        }
        self.answer_paths(&valid)
    }

    fn query_infos(&mut self, input: &mut dyn Read) -> Result<()> {
        let mut answer = Answer::default();
        for path in self.paths(input)? {
            if let Some(info) = self.store.query_path_info(&path)? {
                answer.text(&self.store.dir().print(&path));
                write_info(&mut answer, self.store.dir(), &info);
            }
        }
        answer.text("");
        self.answer(&answer)
    }

    /// The limits that a client sets for a build.
    fn settings(&self, input: &mut dyn Read) -> Result<BuildOptions> {
        let mut options = self.options.clone();
        let mut limit =
            || -> Result<Option<u64>> { Ok(Some(read_number(input)?).filter(|limit| *limit > 0)) };
        options.max_silent = limit()?.map(Duration::from_secs);
        options.timeout = limit()?.map(Duration::from_secs);
        options.max_log_size = limit()?;
        read_number(input)?; // how often to build
        read_number(input)?; // and whether it must give the same
        if self.version >= 0x207 {
            options.keep_failed = read_bool(input)?;
        }
        Ok(options)
    }

    fn build_paths(&mut self, input: &mut dyn Read) -> Result<()> {
        let texts = read_texts(input)?;
        let options = self.settings(input)?;
        let (mut requests, mut plain): (Vec<(StorePath, Wanted)>, _) = (Vec::new(), BTreeSet::new());
        for text in &texts {
            match DerivedPath::parse(self.store, text)? {
                DerivedPath::Built(path, wanted) => requests.push((path, wanted)),
                DerivedPath::Opaque(path) if path.is_derivation() => requests.push((path, Wanted::All)),
                DerivedPath::Opaque(path) => drop(plain.insert(path)),
            }
        }
        let built = self
            .store
            .substitute(&plain, &options)
            .and_then(|()| self.store.build(&requests, &options).map(drop));
        let mut answer = Answer::default();
        match built {
            Ok(()) => drop(answer.number(0)),
            Err(Error::Build(failed)) => {
                let status = failed.failures.first().map_or(9, |failure| status_of(&failure.kind));
                answer.number(status).text(&failed.to_string());
            }
            Err(error) => drop(answer.number(9).text(&error.to_string())),
        }
        self.answer(&answer)
    }

    fn build_derivation(&mut self, input: &mut dyn Read) -> Result<()> {
        let text = read_text(input)?;
        let derivation = read_basic_derivation(self.store.dir(), &text, input)?;
        let options = self.settings(input)?;
        let built = derivation.and_then(|derivation| {
            let path = self.store.dir().parse(&text)?;
            self.store.build_given(&path, derivation, &options)
        });
        let (status, message, outputs) = match built {
            Ok(outputs) => (0, String::new(), outputs),
            Err(Error::Build(failed)) => {
                let status = failed.failures.first().map_or(9, |failure| status_of(&failure.kind));
                (status, failed.to_string(), BTreeMap::new())
            }
            Err(error) => (9, error.to_string(), BTreeMap::new()),
        };
        let mut answer = Answer::default();
        answer.number(status).text(&message);
        answer.number(1).number(0).number(0).number(0);
        if self.version >= 0x206 {
            answer.number(outputs.len() as u64);
            for (id, path) in outputs {
                answer.text(&id).text(&Realisation::new(id.clone(), path).to_json().to_string());
            }
        }
        self.answer(&answer)
    }

    fn add(&mut self, input: &mut dyn Read) -> Result<()> {
        let path = self.path(input)?;
        let deriver = read_text(input)?;
        let hash = read_hash(input)?;
        let mut info = PathInfo::new(path, hash, 0);
        info.deriver = if deriver.is_empty() { None } else { Some(self.store.dir().parse(&deriver)?) };
        info.references = self.paths(input)?;
        info.registration_time = read_number(input)? as i64;
        info.nar_size = read_number(input)?;
        info.ultimate = read_bool(input)?;
        info.signatures = read_texts(input)?.into_iter().collect();
        read_address(input, &mut info)?;
        // The archive comes whether it is wanted or not.
        let mut archive = input.take(info.nar_size);
        self.store.add_nar(&info, &mut archive)?;
        io::copy(&mut archive, &mut io::sink()).map_err(Error::file("receiving", info.path.base_name()))?;
        self.answer(Answer::default().number(1))
    }
}
