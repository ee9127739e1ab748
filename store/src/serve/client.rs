//! A store at the other end of `nix-store --serve`.

use super::{
    ADD, BUILD_DERIVATION, BUILD_PATHS, CLIENT_MAGIC, DUMP, OLDEST, QUERY_CLOSURE, QUERY_INFOS, QUERY_VALID,
    SERVER_MAGIC, VERSION, read_info,
};
use crate::add::TextObject;
use crate::build::{BuildError, BuildOptions, BuildReport, Failure, FailureKind, Missing, Wanted};
use crate::daemon::wire::{Answer, read_number, read_text, read_texts, send};
use crate::error::{Error, Result};
use crate::keeper::Keeper;
use crate::realisation::Realisation;
use crate::remote::{built_or_failed, copy_archive, write_basic_derivation};
use crate::tree;
use formats::content_address::{ContentAddress, Method};
use formats::derivation::Derivation;
use formats::hash::{Algorithm, Hash};
use formats::path_info::PathInfo;
use formats::store_path::{StoreDir, StorePath};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine {
    name: String,
    dir: StoreDir,
    version: u64,
    ends: Mutex<Ends>,
}

#[derive(Debug)]
struct Ends {
    child: Child,
    input: BufReader<ChildStdout>,
    /// Gone when the conversation is over.
    output: Option<ChildStdin>,
}

impl Ends {
    fn send(&mut self, request: &Answer) -> Result<()> {
        match &mut self.output {
            Some(output) => send(output, &request.0),
            None => Err(Error::Invalid("the conversation is over".to_owned())),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let mut ends = self.ends();
        ends.output = None;
        if let Err(error) = ends.child.wait() {
            log::debug!("{}: {error}", self.name);
        }
    }
}

impl Machine {
    /// Greets the program that was started with pipes.
    pub(crate) fn greet(name: String, mut child: Child, dir: &StoreDir) -> Result<Self> {
        let (Some(input), Some(output)) = (child.stdout.take(), child.stdin.take()) else {
            return Err(Error::Invalid(format!("{name} was started without pipes")));
        };
        let mut ends = Ends { child, input: BufReader::new(input), output: Some(output) };
        let unreachable =
            |_| Error::Invalid(format!("{name} does not answer: is it reachable, and Nix there?"));
        ends.send(Answer::default().number(CLIENT_MAGIC).number(VERSION)).map_err(unreachable)?;
        if read_number(&mut ends.input).map_err(unreachable)? != SERVER_MAGIC {
            return Err(Error::Invalid(format!("{name} does not speak the protocol of nix-store --serve")));
        }
        let theirs = read_number(&mut ends.input)?;
        if theirs < OLDEST || theirs >> 8 != VERSION >> 8 {
            let text = format!("{name} speaks version {}.{} of its protocol", theirs >> 8, theirs & 0xff);
            return Err(Error::Invalid(format!("{text}; 2.5 (Nix 2.4) or newer is needed")));
        }
        Ok(Self { name, dir: dir.clone(), version: theirs.min(VERSION), ends: Mutex::new(ends) })
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a request; what the answer means is `read`'s.
    fn ask<T>(
        &self,
        operation: u64,
        request: &Answer,
        read: impl FnOnce(&mut dyn Read) -> Result<T>,
    ) -> Result<T> {
        let mut ends = self.ends();
        let mut message = Answer::default();
        message.number(operation);
        message.0.extend(&request.0);
        let told = ends.send(&message).and_then(|()| read(&mut ends.input));
        told.map_err(|error| match error {
            // It says why on standard error.
            Error::File { source, .. } => {
                Error::Invalid(format!("the conversation with {} broke off: {source}", self.name))
            }
            other => other,
        })
    }

    fn texts<'a>(&self, paths: impl IntoIterator<Item = &'a StorePath>) -> Vec<String> {
        paths.into_iter().map(|path| self.dir.print(path)).collect()
    }

    fn paths(&self, input: &mut dyn Read) -> Result<BTreeSet<StorePath>> {
        read_texts(input)?.iter().map(|text| Ok(self.dir.parse(text)?)).collect()
    }

    /// What a build may use.
    fn limits(&self, request: &mut Answer, options: &BuildOptions) {
        let seconds = |limit: Option<std::time::Duration>| limit.map_or(0, |limit| limit.as_secs());
        request
            .number(seconds(options.max_silent))
            .number(seconds(options.timeout))
            .number(options.max_log_size.unwrap_or(0))
            .number(0)
            .number(0);
        if self.version >= 0x207 {
            request.number(options.keep_failed.into());
        }
    }

    /// Sends a path with its archive.
    fn send_path(&self, info: &PathInfo, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        if self.is_valid(&info.path)? {
            return Ok(());
        }
        let mut request = Answer::default();
        request
            .number(ADD)
            .text(&self.dir.print(&info.path))
            .text(&info.deriver.as_ref().map(|path| self.dir.print(path)).unwrap_or_default())
            .text(&info.nar_hash.digits16())
            .texts(self.texts(&info.references).iter())
            .number(info.registration_time as u64)
            .number(info.nar_size)
            .number(info.ultimate.into())
            .texts(info.signatures.iter())
            .text(&info.content_address.map(|address| address.to_string()).unwrap_or_default());
        let mut ends = self.ends();
        ends.send(&request)?;
        if let Some(output) = &mut ends.output {
            let mut buffered = io::BufWriter::with_capacity(64 * 1024, output);
            write(&mut buffered)?;
            buffered.flush().map_err(Error::file("talking to", &self.name))?;
        }
        match read_number(&mut ends.input) {
            Ok(1) => Ok(()),
            _ => Err(Error::Invalid(format!("{} did not take `{}`", self.name, self.dir.print(&info.path)))),
        }
    }
}

impl Keeper for Machine {
    fn what(&self) -> String {
        self.name.clone()
    }

    fn info(&self, path: &StorePath) -> Result<Option<PathInfo>> {
        let mut request = Answer::default();
        request.texts(self.texts([path]).iter());
        self.ask(QUERY_INFOS, &request, |input| {
            let name = read_text(input)?;
            if name.is_empty() {
                return Ok(None);
            }
            let info = read_info(input, &self.dir, self.dir.parse(&name)?)?;
            if info.path != *path || !read_text(input)?.is_empty() {
                return Err(Error::Invalid(format!("{} answers what nobody asked", self.name)));
            }
            Ok(Some(info))
        })
    }

    fn is_valid(&self, path: &StorePath) -> Result<bool> {
        let mut request = Answer::default();
        request.number(0).number(0).texts(self.texts([path]).iter());
        self.ask(QUERY_VALID, &request, |input| Ok(self.paths(input)?.contains(path)))
    }

    fn add_texts(&self, texts: &[TextObject]) -> Result<Vec<StorePath>> {
        let mut paths = Vec::new();
        for text in texts {
            let path = self.dir.make_text_path(&text.name, &text.contents, &text.references)?;
            let archive = tree::archive_of(&text.name, &text.contents)?;
            let hash = Hash::of(Algorithm::Sha256, &archive);
            let mut info = PathInfo::new(path.clone(), hash, archive.len() as u64);
            info.references.clone_from(&text.references);
            let hash = Hash::of(Algorithm::Sha256, &text.contents);
            info.content_address = Some(ContentAddress { method: Method::Text, hash });
            self.send_path(&info, |output| {
                output.write_all(&archive).map_err(Error::file("talking to", &self.name))
            })?;
            paths.push(path);
        }
        Ok(paths)
    }

    fn add_path(&self, source: &Path, name: &str, method: Method, algorithm: Algorithm) -> Result<StorePath> {
        let info = tree::describe(&self.dir, source, name, method, algorithm)?;
        self.send_path(&info, |output| tree::dump_by(method, source, output))?;
        Ok(info.path)
    }

    fn add_nar(&self, info: &PathInfo, archive: &mut dyn Read, _: bool) -> Result<()> {
        self.send_path(info, |output| {
            io::copy(&mut archive.take(info.nar_size), output)
                .map(drop)
                .map_err(Error::file("sending the archive of", info.path.base_name()))
        })
    }

    fn archive(&self, path: &StorePath, output: &mut dyn Write) -> Result<()> {
        let mut request = Answer::default();
        request.text(&self.dir.print(path));
        self.ask(DUMP, &request, |input| copy_archive(path, input, output))
    }

    fn build(&self, requests: &[(StorePath, Wanted)], options: &BuildOptions) -> Result<BuildReport> {
        let texts: Vec<String> = requests
            .iter()
            .map(|(path, wanted)| match wanted {
                Wanted::All => format!("{}!*", self.dir.print(path)),
                Wanted::Outputs(outputs) => {
                    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
                    format!("{}!{}", self.dir.print(path), outputs.join(","))
                }
            })
            .collect();
        let mut request = Answer::default();
        request.texts(texts.iter());
        self.limits(&mut request, options);
        let failed = self.ask(BUILD_PATHS, &request, |input| match read_number(input)? {
            0 => Ok(None),
            status => Ok(Some((status, read_text(input)?))),
        })?;
        let Some((status, message)) = failed else { return Ok(BuildReport::default()) };
        let kind = FailureKind::Daemon { status, message: message.into() };
        let derivation = requests.first().map(|(path, _)| path.clone());
        let failures = derivation
            .map(|derivation| Failure { derivation, kind, tail: Vec::new(), log: None, kept: None })
            .into_iter()
            .collect();
        Err(Error::Build(Box::new(BuildError { failures, dependents: Vec::new() })))
    }

    fn build_given(
        &self,
        path: &StorePath,
        derivation: &Derivation,
        options: &BuildOptions,
    ) -> Result<BTreeMap<String, StorePath>> {
        let mut request = Answer::default();
        write_basic_derivation(&mut request, &self.dir, path, derivation)?;
        self.limits(&mut request, options);
        let (status, message, outputs) = self.ask(BUILD_DERIVATION, &request, |input| {
            let (status, message) = (read_number(input)?, read_text(input)?);
            for _ in 0..4 {
                read_number(input)?; // how often it was built, whether that differed, when it began and ended
            }
            let mut outputs = BTreeMap::new();
            if self.version >= 0x206 {
                for _ in 0..read_number(input)? {
                    let id = read_text(input)?;
                    outputs.insert(id, Realisation::from_json(&read_text(input)?)?.path);
                }
            }
            Ok((status, message, outputs))
        })?;
        built_or_failed(path, status, message)?;
        Ok(outputs)
    }

    fn missing(&self, _: &[(StorePath, Wanted)]) -> Result<Missing> {
        Ok(Missing::default()) // it cannot be asked
    }

    fn closure(&self, paths: &BTreeSet<StorePath>) -> Result<Option<BTreeSet<StorePath>>> {
        let mut request = Answer::default();
        request.number(0).texts(self.texts(paths).iter());
        self.ask(QUERY_CLOSURE, &request, |input| self.paths(input).map(Some))
    }
}
