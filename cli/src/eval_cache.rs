//! The cache of evaluations: a question that was asked before, of a world that still looks the same, is looked up
//! (`evaluator::trace`). One file a question, below `$XDG_CACHE_HOME/firn/eval` (`~/.cache`; for root the store's
//! `/nix/var/firn/eval`). What is torn, of another version or somebody else's is as good as not there.
//! `--no-eval-cache`, or Nix's `--option eval-cache false`, evaluates anew.

use crate::nix_conf::NixConf;
use anyhow::Result;
use evaluator::io::EvalIo;
use evaluator::trace::{Recorder, Trace, Verdict};
use evaluator::{DerivationInfo, Options};
use formats::hash::{Algorithm, Hash, Hasher};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// How many questions are kept; the oldest go first.
const KEPT: usize = 200;
/// No file of this cache is larger.
const LARGEST: u64 = 256 << 20;

/// All that an answer depends on beside the world: what is asked, of whom, with which settings.
#[derive(Debug)]
pub(crate) struct Question(Option<Hash>);

/// What is known now.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What the evaluation's caller made of its value.
    pub(crate) bytes: Vec<u8>,
    /// If it was looked up: how many inputs were compared.
    pub(crate) compared: Option<usize>,
}

impl Question {
    /// A question of that kind about these words; `None` of a word is not the same as an empty one.
    pub(crate) fn new(kind: &str, words: &[&str], options: &Options, io: &dyn EvalIo) -> Self {
        if !NixConf::load().flag("eval-cache", true) {
            return Self(None);
        }
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        add(kind.as_bytes());
        add(env!("CARGO_PKG_VERSION").as_bytes());
        // Another program may answer otherwise.
        let Some(program) = std::env::current_exe().ok().and_then(|path| std::fs::metadata(path).ok()) else {
            return Self(None);
        };
        add(format!("{} {} {} {}", program.len(), program.ino(), program.mtime(), program.mtime_nsec())
            .as_bytes());
        let Ok(here) = std::env::current_dir() else { return Self(None) };
        add(here.as_os_str().as_encoded_bytes());
        add(io.store_dir().as_bytes());
        // Where that store really lies.
        let place = io.fingerprint(io.store_dir().as_bytes(), true).map(|print| print.inode);
        add(format!("{place:?}").as_bytes());
        add(format!("{options:?}").as_bytes());
        for word in words {
            add(word.as_bytes());
        }
        Self(Some(hasher.finish()))
    }

    /// A question that is not remembered.
    pub(crate) const fn forgotten() -> Self {
        Self(None)
    }

    /// The answer: looked up if `is_good` still finds it good, else that of `evaluate`, which is remembered.
    pub(crate) fn answer(
        &self,
        io: Rc<dyn EvalIo>,
        is_good: impl FnOnce(&[u8]) -> bool,
        evaluate: impl FnOnce(Rc<dyn EvalIo>) -> Result<Vec<u8>>,
    ) -> Result<Answer> {
        let Some((question, directory)) = self.0.as_ref().and_then(|hash| Some((hash, directory()?))) else {
            return Ok(Answer { bytes: evaluate(io)?, compared: None });
        };
        let file = directory.join(question.digits32());
        if let Some(trace) = load(&file) {
            let verdict = trace.check(question, &*io);
            match &verdict {
                Verdict::Broken(what) => log::debug!("evaluating anew: {what} is not what it was"),
                _ if !is_good(trace.answer()) => log::debug!("evaluating anew: the store lacks the answer"),
                Verdict::Holds | Verdict::Touched(_) => {
                    if let Verdict::Touched(trace) = &verdict {
                        save(&file, trace);
                    }
                    for line in trace.messages() {
                        io.message(line);
                    }
                    let compared = Some(trace.inputs());
                    return Ok(Answer { bytes: trace.answer().to_vec(), compared });
                }
            }
        }
        let recorder = Rc::new(Recorder::new(io));
        let bytes = evaluate(Rc::clone(&recorder) as Rc<dyn EvalIo>)?;
        match recorder.finish(*question, bytes.clone()) {
            Some(trace) => save(&file, &trace),
            None => log::debug!("this evaluation cannot be remembered: it asked for the time or the network"),
        }
        Ok(Answer { bytes, compared: None })
    }
}

/// Where traces lie, if they can lie anywhere.
fn directory() -> Option<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(cache) = given("XDG_CACHE_HOME").filter(|path| path.is_absolute()) {
        return Some(cache.join("firn/eval"));
    }
    let state = crate::settings::store_root().ok().map(|root| root.join("nix/var"));
    match state {
        Some(state) if nix::unistd::geteuid().is_root() && state.is_dir() => Some(state.join("firn/eval")),
        _ => Some(given("HOME")?.join(".cache/firn/eval")),
    }
}

/// Reads a trace that this user wrote.
fn load(file: &Path) -> Option<Trace> {
    let mut options = std::fs::File::options();
    let mut opened = options.read(true).custom_flags(nix::libc::O_NOFOLLOW).open(file).ok()?;
    let metadata = opened.metadata().ok()?;
    let own = metadata.uid() == nix::unistd::geteuid().as_raw() && metadata.mode() & 0o022 == 0;
    if !own || !metadata.is_file() || metadata.len() > LARGEST {
        log::warn!("{} was not written by this user; it is not used", file.display());
        return None;
    }
    let mut bytes = Vec::new();
    opened.read_to_end(&mut bytes).ok()?;
    Trace::decode(&bytes).inspect_err(|error| log::debug!("{}: {error}", file.display())).ok()
}

/// Writes a trace; a cache that cannot be written is no reason to fail.
fn save(file: &Path, trace: &Trace) {
    if let Err(error) = write(file, &trace.encode()) {
        log::debug!("the evaluation is not remembered: {}: {error}", file.display());
    }
}

fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut temporary = tempfile::NamedTempFile::new_in(directory)?;
    temporary.write_all(bytes)?;
    temporary.persist(file)?;
    forget_oldest(directory)
}

fn forget_oldest(directory: &Path) -> std::io::Result<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    files.sort();
    for (_, path) in files.iter().take(files.len().saturating_sub(KEPT)) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Derivations as an answer's bytes.
pub(crate) fn derivations_to_bytes(derivations: &[DerivationInfo]) -> Result<Vec<u8>> {
    let rows: Vec<[&str; 4]> = derivations
        .iter()
        .map(|info| [&info.drv_path, &info.output, &info.out_path, &info.name].map(String::as_str))
        .collect();
    Ok(serde_json::to_vec(&rows)?)
}

/// Derivations from an answer's bytes.
pub(crate) fn derivations_from_bytes(bytes: &[u8]) -> Result<Vec<DerivationInfo>> {
    let rows: Vec<[String; 4]> = serde_json::from_slice(bytes)?;
    let info =
        |[drv_path, output, out_path, name]: [String; 4]| DerivationInfo { drv_path, output, out_path, name };
    Ok(rows.into_iter().map(info).collect())
}

/// Whether a store still has all these derivations.
pub(crate) fn has_derivations(store: &store::Store, bytes: &[u8]) -> bool {
    derivations_from_bytes(bytes).is_ok_and(|derivations| {
        derivations.iter().all(|info| {
            let path = store.dir().parse(&info.drv_path);
            path.is_ok_and(|path| store.is_valid(&path).unwrap_or(false))
        })
    })
}
