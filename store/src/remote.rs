//! A store that a daemon keeps: its files are read where they lie, everything else is asked of the daemon. The methods of
//! [`crate::Store`] come here when the store was opened with [`crate::Store::connect`]; what the protocol has no request for is refused.

use crate::add::TextObject;
use crate::build::{BuildError, BuildOptions, BuildReport, Event, Failure, FailureKind, Missing, Wanted};
use crate::daemon::client::{Connection, Told, plain, texts};
use crate::daemon::wire::{Answer, read_bool, read_number, read_text};
use crate::error::{Error, Result};
use crate::garbage::{CollectOptions, Collected};
use crate::keeper::Keeper;
use crate::realisation::Realisation;
use crate::root::Root;
use formats::content_address::Method;
use formats::derivation::Derivation;
use formats::hash::{Algorithm, Hash};
use formats::path_info::PathInfo;
use formats::store_path::{StoreDir, StorePath};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

/// Activities that are builds, and what comes of them.
const BUILD: u64 = 105;
const LOG_LINE: u64 = 101;
const PHASE: u64 = 104;
const HOOK_LINE: u64 = 107;

/// See the module.
#[derive(Debug)]
pub(crate) struct Remote {
    connection: Connection,
    /// Whether its files lie where ours would.
    has_files: bool,
    dir: StoreDir,
    /// Settings that the user gave, which the daemon hears before it works.
    settings: Vec<(String, String)>,
    /// What was said last, so that it is not said again.
    said: Mutex<Vec<u8>>,
}

impl Remote {
    /// Connects to the daemon of a store.
    pub(crate) fn open(socket: &Path, dir: &StoreDir, settings: Vec<(String, String)>) -> Result<Self> {
        Ok(Self {
            connection: Connection::open(socket)?,
            has_files: true,
            dir: dir.clone(),
            settings,
            said: Mutex::default(),
        })
    }

    /// Talks to a daemon behind pipes, on another machine: its files are not here.
    pub(crate) fn behind(connection: Connection, dir: &StoreDir, settings: Vec<(String, String)>) -> Self {
        Self { connection, has_files: false, dir: dir.clone(), settings, said: Mutex::default() }
    }

    fn ask<T>(
        &self,
        operation: u64,
        request: &Answer,
        read: impl FnOnce(&mut dyn Read) -> Result<T>,
    ) -> Result<T> {
        self.connection.ask(operation, request, &mut |told| say(&told), read)
    }

    fn about<T>(
        &self,
        operation: u64,
        path: &StorePath,
        read: impl FnOnce(&mut dyn Read) -> Result<T>,
    ) -> Result<T> {
        self.ask(operation, Answer::default().text(&self.dir.print(path)), read)
    }

    fn paths(&self, input: &mut dyn Read) -> Result<BTreeSet<StorePath>> {
        texts(input)?.iter().map(|text| Ok(self.dir.parse(text)?)).collect()
    }

    fn path(&self, text: &str) -> Result<Option<StorePath>> {
        if text.is_empty() { Ok(None) } else { Ok(Some(self.dir.parse(text)?)) }
    }

    /// A description without its path.
    fn read_info(&self, path: StorePath, input: &mut dyn Read) -> Result<PathInfo> {
        let deriver = self.path(&read_text(input)?)?;
        let hash = read_text(input)?;
        let hash = Hash::parse_as(&hash, Algorithm::Sha256)
            .map_err(|error| Error::Invalid(format!("the daemon sent a bad hash: {error}")))?;
        let mut info = PathInfo::new(path, hash, 0);
        info.deriver = deriver;
        info.references = self.paths(input)?;
        info.registration_time = read_number(input)? as i64;
        info.nar_size = read_number(input)?;
        info.ultimate = read_bool(input)?;
        info.signatures = texts(input)?.into_iter().collect();
        let address = read_text(input)?;
        if !address.is_empty() {
            let parsed = address.parse();
            info.content_address =
                Some(parsed.map_err(|error| Error::Invalid(format!("the daemon sent: {error}")))?);
        }
        Ok(info)
    }

    /// Adds something that `write` writes: a NAR, or a file's contents.
    pub(crate) fn add(
        &self,
        name: &str,
        method: &str,
        references: &BTreeSet<StorePath>,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<StorePath> {
        let mut request = Answer::default();
        let references: Vec<String> = references.iter().map(|path| self.dir.print(path)).collect();
        request.text(name).text(method).texts(references.iter()).number(0);
        self.connection.ask_with_stream(7, &request, write, |input| {
            let path = self.dir.parse(&read_text(input)?)?;
            self.read_info(path.clone(), input)?;
            Ok(path)
        })
    }

    /// Tells the daemon how it is to work, if it does not know yet.
    fn tell_options(&self, options: &BuildOptions) -> Result<()> {
        let mut request = Answer::default();
        request
            .number(options.keep_failed.into())
            .number(options.keep_going.into())
            .number(options.fallback.into())
            .number(3)
            .number(options.max_jobs as u64)
            .number(options.max_silent.map_or(0, |limit| limit.as_secs()))
            .number(1)
            .number(0)
            .number(0)
            .number(0)
            .number(options.cores as u64)
            .number(options.substitute.into())
            .number(self.settings.len() as u64);
        for (name, value) in &self.settings {
            request.text(name).text(value);
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if *said != request.0 {
            self.ask(19, &request, |_| Ok(()))?;
            *said = request.0;
        }
        Ok(())
    }

    fn derived(&self, requests: &[(StorePath, Wanted)]) -> Vec<String> {
        let text = |(path, wanted): &(StorePath, Wanted)| match wanted {
            Wanted::All => format!("{}!*", self.dir.print(path)),
            Wanted::Outputs(outputs) => {
                let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
                format!("{}!{}", self.dir.print(path), outputs.join(","))
            }
        };
        requests.iter().map(text).collect()
    }

    /// What became of one request: a status, a message, outputs by name.
    fn read_result(&self, input: &mut dyn Read) -> Result<(u64, String, BTreeMap<String, StorePath>)> {
        let version = self.connection.version();
        let (status, message) = (read_number(input)?, plain(&read_text(input)?));
        if version >= 29 {
            for _ in 0..4 {
                read_number(input)?; // how often it was built, whether that differed, when it began and ended
            }
        }
        let mut outputs = BTreeMap::new();
        if version >= 28 {
            for _ in 0..read_number(input)? {
                let (id, text) = (read_text(input)?, read_text(input)?);
                let realisation = Realisation::from_json(&text)?;
                if let Some((_, output)) = id.split_once('!') {
                    outputs.insert(output.to_owned(), realisation.path);
                }
            }
        }
        Ok((status, message, outputs))
    }
}

impl Keeper for Remote {
    fn what(&self) -> String {
        self.connection.name().to_owned()
    }

    fn has_files(&self) -> bool {
        self.has_files
    }

    fn has_roots(&self) -> bool {
        self.has_files
    }

    fn archive(&self, path: &StorePath, output: &mut dyn Write) -> Result<()> {
        self.about(38, path, |input| copy_archive(path, input, output))
    }

    fn add_build_log(&self, derivation: &StorePath, content: &mut dyn Read) -> Result<()> {
        let mut request = Answer::default();
        request.text(&self.dir.print(derivation));
        let write = |output: &mut dyn Write| {
            std::io::copy(content, output).map(drop).map_err(Error::file("sending", "a build log"))
        };
        self.connection.ask_with_stream(45, &request, write, |input| read_number(input).map(drop))
    }

    fn is_valid(&self, path: &StorePath) -> Result<bool> {
        self.about(1, path, |input| read_bool(input))
    }

    fn info(&self, path: &StorePath) -> Result<Option<PathInfo>> {
        self.about(26, path, |input| {
            if read_bool(input)? { self.read_info(path.clone(), input).map(Some) } else { Ok(None) }
        })
    }

    fn referrers(&self, path: &StorePath) -> Result<BTreeSet<StorePath>> {
        self.about(6, path, |input| self.paths(input))
    }

    fn valid_derivers(&self, path: &StorePath) -> Result<BTreeSet<StorePath>> {
        self.about(33, path, |input| self.paths(input))
    }

    fn derivation_outputs(&self, path: &StorePath) -> Result<BTreeMap<String, StorePath>> {
        self.about(41, path, |input| {
            let mut outputs = BTreeMap::new();
            for _ in 0..read_number(input)? {
                let (output, path) = (read_text(input)?, read_text(input)?);
                outputs.extend(self.path(&path)?.map(|path| (output, path)));
            }
            Ok(outputs)
        })
    }

    fn by_hash_part(&self, hash_part: &str) -> Result<Option<StorePath>> {
        self.ask(29, Answer::default().text(hash_part), |input| self.path(&read_text(input)?))
    }

    fn all_valid(&self) -> Result<BTreeSet<StorePath>> {
        self.ask(23, &Answer::default(), |input| self.paths(input))
    }

    fn add_temp_root(&self, path: &StorePath) -> Result<()> {
        self.about(11, path, |input| read_number(input).map(drop))
    }

    fn add_indirect_root(&self, link: &Path) -> Result<()> {
        let link = link.to_string_lossy().into_owned();
        self.ask(12, Answer::default().text(&link), |input| read_number(input).map(drop))
    }

    fn find_roots(&self) -> Result<BTreeSet<Root>> {
        self.ask(14, &Answer::default(), |input| {
            let mut roots = BTreeSet::new();
            for _ in 0..read_number(input)? {
                let link = PathBuf::from(read_text(input)?);
                roots.insert(Root { link, target: self.dir.parse(&read_text(input)?)? });
            }
            Ok(roots)
        })
    }

    /// Adds texts, those that others refer to first.
    fn add_texts(&self, given: &[TextObject]) -> Result<Vec<StorePath>> {
        let mut paths = Vec::new();
        let mut waiting: BTreeMap<StorePath, &TextObject> = BTreeMap::new();
        for text in given {
            let path = self.dir.make_text_path(&text.name, &text.contents, &text.references)?;
            waiting.insert(path.clone(), text);
            paths.push(path);
        }
        for start in &paths {
            let mut stack = vec![(start.clone(), false)];
            while let Some((path, leaving)) = stack.pop() {
                let Some(text) = waiting.get(&path) else { continue };
                if leaving {
                    let (name, references, contents) = (&text.name, &text.references, &text.contents);
                    self.add(name, "text:sha256", references, |output| {
                        output.write_all(contents).map_err(Error::file("sending", "a text"))
                    })?;
                    waiting.remove(&path);
                } else {
                    let needed: Vec<_> = text
                        .references
                        .iter()
                        .filter(|needed| **needed != path && waiting.contains_key(*needed))
                        .cloned()
                        .collect();
                    stack.push((path, true));
                    stack.extend(needed.into_iter().map(|path| (path, false)));
                }
            }
        }
        Ok(paths)
    }

    fn add_path(&self, source: &Path, name: &str, method: Method, algorithm: Algorithm) -> Result<StorePath> {
        let kind = format!("fixed:{}{algorithm}", method.prefix());
        self.add(name, &kind, &BTreeSet::new(), |output| match method {
            Method::Flat => {
                let mut file = std::fs::File::open(source).map_err(Error::file("opening", source))?;
                std::io::copy(&mut file, output).map(drop).map_err(Error::file("sending", source))
            }
            _ => crate::tree::dump(source, output).map(drop),
        })
    }

    fn add_nar(&self, info: &PathInfo, archive: &mut dyn Read, check: bool) -> Result<()> {
        let print = |path: &StorePath| self.dir.print(path);
        let mut request = Answer::default();
        let references: Vec<String> = info.references.iter().map(print).collect();
        request
            .text(&print(&info.path))
            .text(&info.deriver.as_ref().map(print).unwrap_or_default())
            .text(&info.nar_hash.digits16())
            .texts(references.iter())
            .number(info.registration_time as u64)
            .number(info.nar_size)
            .number(info.ultimate.into())
            .texts(info.signatures.iter())
            .text(&info.content_address.map(|address| address.to_string()).unwrap_or_default())
            .number(0)
            .number((!check).into());
        let size = info.nar_size;
        self.connection.ask_with_stream(
            39,
            &request,
            |output| {
                std::io::copy(&mut archive.take(size), output)
                    .map(drop)
                    .map_err(Error::file("sending the archive of", info.path.base_name()))
            },
            |_| Ok(()),
        )
    }

    fn add_signatures(&self, path: &StorePath, signatures: &[String]) -> Result<()> {
        let mut request = Answer::default();
        request.text(&self.dir.print(path)).texts(signatures.iter());
        self.ask(37, &request, |input| read_number(input).map(drop))
    }

    fn realisation(&self, id: &str) -> Result<Option<Realisation>> {
        self.ask(43, Answer::default().text(id), |input| {
            let found = texts(input)?;
            found.first().map(|text| Realisation::from_json(text)).transpose()
        })
    }

    fn register_realisation(&self, realisation: &Realisation) -> Result<()> {
        self.ask(42, Answer::default().text(&realisation.to_json().to_string()), |_| Ok(()))
    }

    fn optimise(&self) -> Result<()> {
        self.ask(34, &Answer::default(), |input| read_number(input).map(drop))
    }

    /// Errors are told one by one, and that there are some is an error.
    fn verify(&self, contents: bool, repair: bool) -> Result<()> {
        let mut request = Answer::default();
        request.number(contents.into()).number(repair.into());
        if self.ask(35, &request, |input| read_bool(input))? {
            return Err(Error::Daemon(
                "the daemon found what is wrong in the store and is not mended".to_owned(),
            ));
        }
        Ok(())
    }

    fn collect_garbage(
        &self,
        options: &CollectOptions,
        only: Option<(&BTreeSet<StorePath>, bool)>,
    ) -> Result<Collected> {
        let action = match only {
            Some(_) => 3,
            None if options.dry_run => 1,
            None => 2,
        };
        let none = BTreeSet::new();
        let (paths, alive_or_not) = only.unwrap_or((&none, false));
        let paths: Vec<String> = paths.iter().map(|path| self.dir.print(path)).collect();
        let mut request = Answer::default();
        request.number(action).texts(paths.iter()).number(alive_or_not.into());
        request.number(options.max_freed.unwrap_or(u64::MAX)).number(0).number(0).number(0);
        self.ask(20, &request, |input| {
            let paths = texts(input)?;
            let freed = read_number(input)?;
            read_number(input)?;
            let parsed = paths.iter().filter_map(|text| self.dir.parse(text).ok()).collect();
            Ok(Collected { paths: parsed, freed, ..Collected::default() })
        })
    }

    /// Builds; the outputs by derivation that the daemon tells.
    fn build(&self, requests: &[(StorePath, Wanted)], options: &BuildOptions) -> Result<BuildReport> {
        self.tell_options(options)?;
        let mut request = Answer::default();
        request.texts(self.derived(requests).iter());
        request.number(if options.repair { 1 } else { options.check.into() });
        let mut listener = Listener { options, dir: &self.dir, running: BTreeMap::new() };
        let told = &mut |told: Told| listener.hear(&told);
        if self.connection.version() < 34 {
            self.connection.ask(9, &request, told, |input| read_number(input).map(drop))?;
            return Ok(BuildReport::default());
        }
        let results = self.connection.ask(46, &request, told, |input| {
            let mut results = Vec::new();
            for _ in 0..read_number(input)? {
                read_text(input)?;
                results.push(self.read_result(input)?);
            }
            Ok(results)
        })?;
        let mut report = BuildReport::default();
        let (mut failures, mut dependents) = (Vec::new(), Vec::new());
        for ((path, _), (status, message, outputs)) in requests.iter().zip(results) {
            match status {
                0..=2 | 13 => {
                    report.outputs.entry(path.clone()).or_default().extend(outputs);
                    if status == 0 {
                        report.built.push(path.clone());
                    }
                }
                10 => dependents.push(path.clone()),
                _ => failures.push(Failure {
                    derivation: path.clone(),
                    kind: FailureKind::Daemon { status, message: message.into() },
                    tail: Vec::new(),
                    log: None,
                    kept: None,
                }),
            }
        }
        if failures.is_empty() && dependents.is_empty() {
            return Ok(report);
        }
        Err(Error::Build(Box::new(BuildError { failures, dependents })))
    }

    fn build_given(
        &self,
        path: &StorePath,
        derivation: &Derivation,
        options: &BuildOptions,
    ) -> Result<BTreeMap<String, StorePath>> {
        self.tell_options(options)?;
        let mut request = Answer::default();
        write_basic_derivation(&mut request, &self.dir, path, derivation)?;
        request.number(0);
        let mut listener = Listener { options, dir: &self.dir, running: BTreeMap::new() };
        let told = &mut |told: Told| listener.hear(&told);
        let (status, message, outputs) =
            self.connection.ask(36, &request, told, |input| self.read_result(input))?;
        built_or_failed(path, status, message)?;
        Ok(outputs.into_iter().map(|(output, path)| (format!("!{output}"), path)).collect())
    }

    fn trusts_us(&self) -> bool {
        self.connection.is_trusted()
    }

    fn missing(&self, requests: &[(StorePath, Wanted)]) -> Result<Missing> {
        let mut request = Answer::default();
        request.texts(self.derived(requests).iter());
        self.ask(40, &request, |input| {
            let build = self.paths(input)?.into_iter().collect();
            let substitute = self.paths(input)?.into_iter().collect();
            let unknown = self.paths(input)?;
            let (download_size, nar_size) = (read_number(input)?, read_number(input)?);
            Ok(Missing { build, substitute, unknown, download_size, nar_size, ..Missing::default() })
        })
    }

    /// Makes paths valid that caches have.
    fn ensure(&self, paths: &BTreeSet<StorePath>, options: &BuildOptions) -> Result<()> {
        self.tell_options(options)?;
        for path in paths {
            self.about(10, path, |input| read_number(input).map(drop))?;
        }
        Ok(())
    }
}

/// An error where a `BuildResult` is not one of success.
pub(crate) fn built_or_failed(path: &StorePath, status: u64, message: String) -> Result<()> {
    if matches!(status, 0..=2 | 13) {
        return Ok(());
    }
    let kind = FailureKind::Daemon { status, message: message.into() };
    let failure = Failure { derivation: path.clone(), kind, tail: Vec::new(), log: None, kept: None };
    Err(Error::Build(Box::new(BuildError { failures: vec![failure], dependents: Vec::new() })))
}

/// Writes a derivation without its input derivations, as both protocols send it.
pub(crate) fn write_basic_derivation(
    request: &mut Answer,
    dir: &StoreDir,
    path: &StorePath,
    derivation: &Derivation,
) -> Result<()> {
    request.text(&dir.print(path)).number(derivation.outputs.len() as u64);
    for (name, output) in &derivation.outputs {
        let [path, method, hash] = output.to_fields(dir, &derivation.name, name)?;
        request.text(name).text(&path).text(&method).text(&hash);
    }
    let sources: Vec<String> = derivation.input_srcs.iter().map(|path| dir.print(path)).collect();
    request.texts(sources.iter());
    request.bytes(&derivation.platform).bytes(&derivation.builder).number(derivation.args.len() as u64);
    for argument in &derivation.args {
        request.bytes(argument);
    }
    request.number(derivation.env.len() as u64);
    for (name, value) in &derivation.env {
        request.bytes(name).bytes(value);
    }
    Ok(())
}

/// Copies a NAR, which tells itself where it ends.
pub(crate) fn copy_archive(path: &StorePath, input: &mut dyn Read, output: &mut dyn Write) -> Result<()> {
    let mut copying = Copying { input, output };
    formats::nar::read(&mut copying, &mut crate::tree::Nothing).map_err(Error::nar(path.base_name()))
}

/// Reads, and writes what it reads.
struct Copying<'a> {
    input: &'a mut dyn Read,
    output: &'a mut dyn Write,
}

impl Read for Copying<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.output.write_all(buffer.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}

/// A line for the user that no build says.
fn say(told: &Told) {
    if let Told::Line(line) = told {
        match line.strip_prefix("warning: ") {
            Some(warning) => log::warn!("{warning}"),
            None => log::info!("{line}"),
        }
    }
}

/// Hears of builds.
struct Listener<'a> {
    options: &'a BuildOptions,
    dir: &'a StoreDir,
    running: BTreeMap<u64, (StorePath, Instant)>,
}

impl Listener<'_> {
    fn hear(&mut self, told: &Told) {
        let progress = &self.options.progress;
        match told {
            Told::Started(number, kind, text) if matches!(*kind, BUILD | 110) => {
                let Ok(derivation) = self.dir.parse(text) else { return };
                if *kind == BUILD {
                    progress.event(&Event::Started { derivation: &derivation, fetch: false });
                }
                self.running.insert(*number, (derivation, Instant::now()));
            }
            Told::Stopped(number) => {
                if let Some((derivation, since)) = self.running.remove(number) {
                    progress.event(&Event::Finished { derivation: &derivation, duration: since.elapsed() });
                }
            }
            Told::Result(number, kind, text) => {
                let Some((derivation, _)) = self.running.get(number) else { return };
                match *kind {
                    LOG_LINE => progress.event(&Event::Line { derivation, line: text }),
                    HOOK_LINE => progress.event(&Event::HookLine { derivation, line: text }),
                    PHASE => progress.event(&Event::Phase { derivation, phase: text }),
                    _ => {}
                }
            }
            other => say(other),
        }
    }
}
