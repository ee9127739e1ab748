//! The requests, by number.

use super::connection::{Client, Failure, Settings, Trust};
use super::derived_path::DerivedPath;
use super::messages::{Activities, Messages};
use super::wire::{Answer, Framed, read_bool, read_bytes, read_number, read_text, read_texts};
use crate::build::{BuildOptions, BuildReport, Failure as Failed, FailureKind, Wanted};
use crate::error::{Error, Result};
use crate::garbage::CollectOptions;
use crate::nix_settings::NixSettings;
use crate::open::Store;
use crate::realisation::Realisation;
use formats::content_address::Method;
use formats::derivation::{Derivation, Output};
use formats::hash::{Algorithm, Hash};
use formats::path_info::PathInfo;
use formats::store_path::{StoreDir, StorePath};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A client's session.
pub(super) struct Session<'a> {
    store: Arc<Store>,
    /// Stores opened before with other settings: their temporary roots still count.
    earlier: Vec<Arc<Store>>,
    client: Client,
    version: u64,
    trust: Trust,
    hang_up: Option<UnixStream>,
    settings: &'a Settings,
    /// The daemon's settings with what the client changed for itself.
    nix: NixSettings,
    options: BuildOptions,
    /// Whether the client wants to see what builders say.
    show_build_logs: bool,
}

/// Settings that say how the store is opened.
const STORE_SETTINGS: [&str; 5] =
    ["substituters", "substitute", "trusted-public-keys", "require-sigs", "secret-key-files"];

/// What a client never decides, whoever it is: it concerns the client's own program, or the daemon as a whole.
const NEVER_SET: [&str; 8] = [
    "experimental-features",
    "extra-experimental-features",
    "plugin-files",
    "extra-plugin-files",
    "allowed-users",
    "trusted-users",
    "extra-trusted-users",
    "ssh-auth-sock",
];

/// Requests that a builder has no business with: roots, collections, repairs, signatures, foreign archives and logs.
const FOR_OTHERS: [u64; 9] = [14, 20, 34, 35, 36, 37, 42, 45, 29];

/// What a request gives back.
type Reply = std::result::Result<(), Failure>;

/// For errors while a request is read.
fn fatal(error: Error) -> Failure {
    Failure::Fatal(error)
}

/// For errors of the work itself.
fn failed(error: Error) -> Failure {
    Failure::Request(error)
}

impl<'a> Session<'a> {
    pub(super) fn new(
        store: Store,
        client: Client,
        version: u64,
        trust: Trust,
        settings: &'a Settings,
        hang_up: Option<UnixStream>,
    ) -> Self {
        let mut options = settings.build.clone();
        settings.nix.apply(&mut options);
        let nix = settings.nix.clone();
        let (store, earlier) = (Arc::new(store), Vec::new());
        Self {
            store,
            earlier,
            client,
            version,
            trust,
            hang_up,
            settings,
            nix,
            options,
            show_build_logs: true,
        }
    }

    /// Reads one request, does it, answers.
    pub(super) fn perform(&mut self, operation: u64, input: &mut dyn Read) -> Reply {
        if self.settings.restriction.is_some() && FOR_OTHERS.contains(&operation) {
            return Err(fatal(Error::Invalid(format!("a builder may not make request {operation}"))));
        }
        match operation {
            1 | 6 | 10 | 11 | 22 | 26 | 28 | 33 | 38 | 41 => {
                let text = read_text(input).map_err(fatal)?;
                let path = self.store.dir().parse(&text).map_err(|error| failed(error.into()))?;
                self.about_path(operation, &path)
            }
            7 => self.add_to_store(input),
            9 | 46 => self.build_paths(operation, input),
            12 => {
                let link = read_text(input).map_err(fatal)?;
                // A builder's links end with it.
                let added = match self.settings.restriction {
                    Some(_) => Ok(()),
                    None => self.store.add_indirect_root(Path::new(&link)),
                };
                self.answer(added, |answer, ()| {
                    answer.number(1);
                })
            }
            13 => self.answer(Ok(()), |answer, ()| {
                answer.number(1);
            }),
            14 => self.find_roots(),
            19 => self.set_options(input),
            20 => self.collect_garbage(input),
            23 => {
                let paths = self.store.all_valid().map(|paths| self.visible(paths));
                self.answer(paths, |answer, paths| self.paths(answer, &paths))
            }
            29 => {
                let hash_part = read_text(input).map_err(fatal)?;
                let found = self.store.by_hash_part(&hash_part);
                self.answer(found, |answer, found| {
                    answer.text(&found.map(|path| self.store.dir().print(&path)).unwrap_or_default());
                })
            }
            30 => {
                let count = read_number(input).map_err(fatal)?;
                let mut texts = Vec::new();
                for _ in 0..count {
                    texts.push(read_text(input).map_err(fatal)?);
                    read_text(input).map_err(fatal)?; // its content address, which its name tells of as well
                }
                self.substitutable(&texts)
            }
            31 | 32 => self.query_valid(operation, input),
            34 => {
                let done = self.store.optimise(&|_| {});
                self.answer(done, |answer, _| {
                    answer.number(1);
                })
            }
            35 => self.verify(input),
            37 => self.add_signatures(input),
            39 => self.add_nar(input),
            40 => self.query_missing(input),
            36 => self.build_derivation(input),
            42 => self.register_realisation(input),
            43 => self.query_realisation(input),
            44 => self.add_multiple(input),
            45 => self.add_build_log(input),
            47 => {
                let path = read_text(input).map_err(fatal)?;
                let link = read_text(input).map_err(fatal)?;
                let added = match self.settings.restriction {
                    Some(_) => Ok(()),
                    None => self
                        .parse(&path)
                        .and_then(|path| self.store.add_permanent_root(&path, Path::new(&link))),
                };
                self.answer(added, |answer, ()| {
                    answer.text(&link);
                })
            }
            other => Err(fatal(Error::Invalid(format!("this daemon does not know request {other}")))),
        }
    }

    /// Whether the client may know of a path.
    fn sees(&self, path: &StorePath) -> bool {
        self.settings.restriction.as_ref().is_none_or(|restriction| restriction.allows(path))
    }

    /// Those of many paths that the client may know of.
    fn visible(&self, paths: BTreeSet<StorePath>) -> BTreeSet<StorePath> {
        match &self.settings.restriction {
            Some(restriction) => restriction.among(paths),
            None => paths,
        }
    }

    /// Notes that the client added or built a path.
    fn admit(&self, path: &StorePath) -> Result<()> {
        match &self.settings.restriction {
            Some(restriction) => restriction.admit(&self.store, path),
            None => Ok(()),
        }
    }

    /// The error for a path that the client may not know of.
    fn unseen(&self, path: &StorePath) -> Failure {
        let path = self.store.dir().print(path);
        failed(Error::Invalid(format!(
            "path `{path}` is neither an input of this build nor was it added by it"
        )))
    }

    fn parse(&self, text: &str) -> Result<StorePath> {
        Ok(self.store.dir().parse(text)?)
    }

    /// Sends the end of work and an answer, or hands the error on.
    fn answer<T>(&self, result: Result<T>, write: impl FnOnce(&mut Answer, T)) -> Reply {
        let value = result.map_err(failed)?;
        let mut answer = Answer::default();
        write(&mut answer, value);
        self.client.last().and_then(|()| self.client.send(&answer.0)).map_err(fatal)
    }

    fn paths(&self, answer: &mut Answer, paths: &BTreeSet<StorePath>) {
        let texts: Vec<String> = paths.iter().map(|path| self.store.dir().print(path)).collect();
        answer.texts(texts.iter());
    }

    fn about_path(&self, operation: u64, path: &StorePath) -> Reply {
        let store = &*self.store;
        if !self.sees(path) {
            return match operation {
                1 | 26 => self.answer(Ok(()), |answer, ()| {
                    answer.number(0);
                }),
                6 | 33 => self.answer(Ok(BTreeSet::new()), |answer, none| self.paths(answer, &none)),
                _ => Err(self.unseen(path)),
            };
        }
        match operation {
            1 => self.answer(store.is_valid(path), |answer, valid| {
                answer.number(valid.into());
            }),
            6 => {
                let paths = store.referrers(path).map(|paths| self.visible(paths));
                self.answer(paths, |answer, paths| self.paths(answer, &paths))
            }
            10 => {
                let ensured = self.ensure(&BTreeSet::from([path.clone()]));
                self.answer(ensured, |answer, ()| {
                    answer.number(1);
                })
            }
            11 => self.answer(store.add_temp_root(path), |answer, ()| {
                answer.number(1);
            }),
            22 => self.answer(store.derivation_outputs(path), |answer, outputs| {
                self.paths(answer, &outputs.into_values().collect());
            }),
            26 => self.answer(store.query_path_info(path), |answer, info| match info {
                None => {
                    answer.number(0);
                }
                Some(info) => {
                    answer.number(1);
                    self.path_info(answer, &info);
                }
            }),
            28 => self.answer(store.derivation_outputs(path), |answer, outputs| {
                answer.texts(outputs.keys());
            }),
            33 => {
                let paths = store.valid_derivers(path).map(|paths| self.visible(paths));
                self.answer(paths, |answer, paths| self.paths(answer, &paths))
            }
            38 => {
                store.path_info(path).map_err(failed)?;
                self.client.last().map_err(fatal)?;
                let output = std::io::BufWriter::with_capacity(64 * 1024, self.client.writer());
                let mut output = crate::tree::dump(&store.real_path(path), output).map_err(fatal)?;
                std::io::Write::flush(&mut output)
                    .map_err(Error::file("sending", store.real_path(path)))
                    .map_err(fatal)
            }
            _ => {
                let outputs =
                    store.read_derivation(path).and_then(|derivation| store.known_outputs(&derivation));
                self.answer(outputs, |answer, outputs| {
                    answer.number(outputs.len() as u64);
                    for (output, path) in outputs {
                        answer
                            .text(&output)
                            .text(&path.map(|path| store.dir().print(&path)).unwrap_or_default());
                    }
                })
            }
        }
    }

    /// A description without its path.
    fn path_info(&self, answer: &mut Answer, info: &PathInfo) {
        let print = |path: &StorePath| self.store.dir().print(path);
        answer.text(&info.deriver.as_ref().map(print).unwrap_or_default());
        answer.text(&info.nar_hash.digits16());
        self.paths(answer, &info.references);
        answer.number(info.registration_time as u64).number(info.nar_size).number(info.ultimate.into());
        answer.texts(info.signatures.iter());
        answer.text(&info.content_address.map(|address| address.to_string()).unwrap_or_default());
    }

    fn read_path_info(&self, input: &mut dyn Read) -> Result<PathInfo> {
        let path = self.parse(&read_text(input)?)?;
        let deriver = read_text(input)?;
        let hash = read_text(input)?;
        let nar_hash = Hash::parse_as(&hash, Algorithm::Sha256)
            .map_err(|error| Error::Invalid(format!("the client sent a bad hash: {error}")))?;
        let mut info = PathInfo::new(path, nar_hash, 0);
        info.deriver = if deriver.is_empty() { None } else { Some(self.parse(&deriver)?) };
        for reference in read_texts(input)? {
            info.references.insert(self.parse(&reference)?);
        }
        info.registration_time = read_number(input)? as i64;
        info.nar_size = read_number(input)?;
        info.ultimate = read_bool(input)?;
        info.signatures = read_texts(input)?.into_iter().collect();
        let address = read_text(input)?;
        if !address.is_empty() {
            let parsed =
                address.parse().map_err(|error| Error::Invalid(format!("the client sent: {error}")))?;
            info.content_address = Some(parsed);
        }
        Ok(info)
    }

    fn add_to_store(&self, input: &mut dyn Read) -> Reply {
        let name = read_text(input).map_err(fatal)?;
        let method = read_text(input).map_err(fatal)?;
        let references = read_texts(input).map_err(fatal)?;
        let _repair = read_bool(input).map_err(fatal)?;
        let mut framed = Framed::new(input);
        let added = (|| {
            let references: BTreeSet<StorePath> =
                references.iter().map(|text| self.parse(text)).collect::<Result<_>>()?;
            let (method, algorithm) = match method.strip_prefix("fixed:") {
                Some(rest) => Method::split(rest),
                None => Method::split(&method),
            };
            let algorithm = algorithm
                .parse()
                .map_err(|error| Error::Invalid(format!("the client sent `{method:?}`: {error}")))?;
            if let Some(unseen) = references.iter().find(|reference| !self.sees(reference)) {
                return Err(Error::NotValid(self.store.dir().print(unseen)));
            }
            let path = self.store.add_stream(&name, method, algorithm, &references, &mut framed)?;
            self.admit(&path)?;
            self.store.path_info(&path)
        })();
        framed.drain().map_err(fatal)?;
        self.answer(added, |answer, info| {
            answer.text(&self.store.dir().print(&info.path));
            self.path_info(answer, &info);
        })
    }

    /// Refuses what an untrusted client may not bring.
    fn check_trust(&self, info: &mut PathInfo) -> Result<()> {
        if self.trust == Trust::Trusted {
            return Ok(());
        }
        info.ultimate = false;
        self.store.check_signatures(info)
    }

    fn add_nar(&self, input: &mut dyn Read) -> Reply {
        let info = self.read_path_info(input).map_err(fatal)?;
        let _repair = read_bool(input).map_err(fatal)?;
        let _unsigned = read_bool(input).map_err(fatal)?;
        let mut framed = Framed::new(input);
        let mut info = info;
        let added = self
            .check_trust(&mut info)
            .and_then(|()| self.store.add_nar(&info, &mut framed))
            .and_then(|()| self.admit(&info.path));
        framed.drain().map_err(fatal)?;
        self.answer(added, |_, ()| {})
    }

    fn add_multiple(&self, input: &mut dyn Read) -> Reply {
        let _repair = read_bool(input).map_err(fatal)?;
        let _unsigned = read_bool(input).map_err(fatal)?;
        let mut framed = Framed::new(input);
        let added = (|| {
            for _ in 0..read_number(&mut framed)? {
                let mut info = self.read_path_info(&mut framed)?;
                self.check_trust(&mut info)?;
                if self.store.is_valid(&info.path)? {
                    // Its NAR must be read past.
                    formats::nar::read(&mut framed, &mut crate::tree::Nothing)
                        .map_err(Error::nar(info.path.base_name()))?;
                } else {
                    self.store.add_nar(&info, &mut framed)?;
                }
                self.admit(&info.path)?;
            }
            Ok(())
        })();
        framed.drain().map_err(fatal)?;
        self.answer(added, |_, ()| {})
    }

    fn add_build_log(&self, input: &mut dyn Read) -> Reply {
        let path = read_text(input).map_err(fatal)?;
        let mut framed = Framed::new(input);
        let added = if self.trust == Trust::Trusted {
            self.parse(&path).and_then(|path| self.store.add_build_log(&path, &mut framed))
        } else {
            Err(Error::Invalid("you are not allowed to add logs".to_owned()))
        };
        framed.drain().map_err(fatal)?;
        self.answer(added, |answer, ()| {
            answer.number(1);
        })
    }

    fn add_signatures(&self, input: &mut dyn Read) -> Reply {
        let path = read_text(input).map_err(fatal)?;
        let signatures = read_texts(input).map_err(fatal)?;
        let added = if self.trust == Trust::Trusted {
            self.parse(&path).and_then(|path| self.store.add_signatures(&path, signatures))
        } else {
            Err(Error::Invalid("you are not allowed to add signatures".to_owned()))
        };
        self.answer(added, |answer, ()| {
            answer.number(1);
        })
    }

    fn find_roots(&self) -> Reply {
        self.answer(self.store.find_roots(), |answer, roots| {
            answer.number(roots.len() as u64);
            for root in roots {
                let link = if root.link.starts_with("/proc") && self.trust != Trust::Trusted {
                    "{censored}".to_owned()
                } else {
                    root.link.to_string_lossy().into_owned()
                };
                answer.text(&link).text(&self.store.dir().print(&root.target));
            }
        })
    }

    fn query_valid(&self, operation: u64, input: &mut dyn Read) -> Reply {
        let texts = read_texts(input).map_err(fatal)?;
        if operation == 31 && self.version >= 27 {
            read_bool(input).map_err(fatal)?; // whether to substitute them
        }
        if operation == 32 {
            let paths = texts.iter().map(|text| self.parse(text)).collect::<Result<BTreeSet<_>>>();
            let offered = paths.map(|paths| {
                if self.options.substitute && self.settings.restriction.is_none() {
                    self.store.options.substituters.query_many(&self.store, &paths)
                } else {
                    BTreeSet::new()
                }
            });
            return self.answer(offered, |answer, offered| self.paths(answer, &offered));
        }
        let valid = (|| {
            let mut valid = BTreeSet::new();
            for text in &texts {
                let path = self.parse(text)?;
                if self.sees(&path) && self.store.is_valid(&path)? {
                    valid.insert(path);
                }
            }
            Ok(valid)
        })();
        self.answer(valid, |answer, valid| self.paths(answer, &valid))
    }

    /// What caches say of paths: derivers, references and sizes.
    fn substitutable(&self, texts: &[String]) -> Reply {
        let paths = texts.iter().map(|text| self.parse(text)).collect::<Result<BTreeSet<_>>>();
        let offers = paths.map(|paths| {
            if self.options.substitute && self.settings.restriction.is_none() {
                self.store.options.substituters.query(&self.store, &paths)
            } else {
                BTreeMap::new()
            }
        });
        self.answer(offers, |answer, offers| {
            answer.number(offers.len() as u64);
            for (path, offer) in offers {
                let (info, print) = (&offer.narinfo.info, |path: &StorePath| self.store.dir().print(path));
                answer.text(&print(&path));
                answer.text(&info.deriver.as_ref().map(print).unwrap_or_default());
                self.paths(answer, &info.references);
                answer.number(offer.narinfo.file_size.unwrap_or(0)).number(info.nar_size);
            }
        })
    }

    fn verify(&self, input: &mut dyn Read) -> Reply {
        let contents = read_bool(input).map_err(fatal)?;
        let repair = read_bool(input).map_err(fatal)?;
        if repair {
            if self.trust != Trust::Trusted {
                return Err(failed(Error::Invalid("repairing needs a trusted user".to_owned())));
            }
            let mended = self.store.verify_and_repair(contents, &self.options, &|_| {}).and_then(|mended| {
                for (problem, error) in &mended.left {
                    self.client.message(&format!("{problem}: {error}"))?;
                }
                Ok(mended)
            });
            return self.answer(mended, |answer, mended| {
                answer.number((!mended.left.is_empty()).into());
            });
        }
        let problems = self.store.verify(contents, &|_| {}).and_then(|problems| {
            for problem in &problems {
                self.client.message(&problem.to_string())?;
            }
            Ok(problems)
        });
        self.answer(problems, |answer, problems| {
            answer.number((!problems.is_empty()).into());
        })
    }

    fn set_options(&mut self, input: &mut dyn Read) -> Reply {
        let mut numbers = [0; 12];
        for number in &mut numbers {
            *number = read_number(input).map_err(fatal)?;
        }
        let [keep_failed, keep_going, _, _, jobs, silent, _, verbose_build, _, _, cores, substitute] =
            numbers;
        let mut nix = self.settings.nix.clone();
        let truth = |number: u64| if number == 0 { "false" } else { "true" };
        nix.set("keep-failed", truth(keep_failed));
        nix.set("keep-going", truth(keep_going));
        nix.set("max-jobs", &jobs.max(1).to_string());
        nix.set("max-silent-time", &silent.to_string());
        nix.set("cores", &cores.to_string());
        nix.set("substitute", truth(substitute));
        self.show_build_logs = verbose_build == 0;
        let count = read_number(input).map_err(fatal)?;
        let mut given = Vec::new();
        for _ in 0..count {
            given.push((read_text(input).map_err(fatal)?, read_text(input).map_err(fatal)?));
        }
        for (name, value) in given {
            if self.may_set(&name, &value) {
                nix.set(&name, &value);
            } else if !NEVER_SET.contains(&name.as_str()) {
                let text = format!(
                    "warning: ignoring the client-specified setting '{name}', because it is a restricted setting and you are not a trusted user"
                );
                self.client.message(&text).map_err(fatal)?;
            }
        }
        // How its own requests are done, a builder does not decide.
        if self.settings.restriction.is_some() {
            return self.answer(Ok(()), |_, ()| {});
        }
        let changed = |name: &&str| nix.words(name, &[]) != self.nix.words(name, &[]);
        let reopened = if STORE_SETTINGS.iter().any(changed) {
            (self.settings.store_options)(&nix)
                .map_err(Error::Invalid)
                .and_then(|options| Store::open_with(self.store.layout().clone(), options))
                .map(Some)
        } else {
            Ok(None)
        };
        if let Some(store) = reopened.map_err(failed)? {
            self.earlier.push(std::mem::replace(&mut self.store, Arc::new(store)));
        }
        self.options = self.settings.build.clone();
        nix.apply(&mut self.options);
        self.nix = nix;
        self.answer(Ok(()), |_, ()| {})
    }

    /// Whether the client may change a setting for itself.
    fn may_set(&self, name: &str, value: &str) -> bool {
        let harmless = matches!(
            name,
            "timeout" | "build-timeout" | "max-silent-time" | "connect-timeout" | "build-poll-interval"
        ) || (name == "builders" && value.is_empty())
            || (matches!(name, "substituters" | "extra-substituters") && self.trusts_caches(value));
        !NEVER_SET.contains(&name) && (harmless || self.trust == Trust::Trusted)
    }

    /// Whether all these caches are ones that anybody may use.
    fn trusts_caches(&self, caches: &str) -> bool {
        let nix = &self.settings.nix;
        let known = [nix.words("substituters", &[]), nix.words("trusted-substituters", &[])].concat();
        let plain = |text: &str| text.trim_end_matches('/').to_owned();
        caches.split_ascii_whitespace().all(|cache| known.iter().any(|known| plain(known) == plain(cache)))
    }

    fn collect_garbage(&self, input: &mut dyn Read) -> Reply {
        let action = read_number(input).map_err(fatal)?;
        let paths = read_texts(input).map_err(fatal)?;
        let ignore_liveness = read_bool(input).map_err(fatal)?;
        let max_freed = read_number(input).map_err(fatal)?;
        for _ in 0..3 {
            read_number(input).map_err(fatal)?;
        }
        let collected = (|| {
            if ignore_liveness {
                return Err(Error::Invalid("you are not allowed to ignore liveness".to_owned()));
            }
            let options = CollectOptions {
                dry_run: action < 2,
                max_freed: (max_freed != u64::MAX).then_some(max_freed),
                keep_outputs: self.nix.flag("keep-outputs", false),
                keep_derivations: self.nix.flag("keep-derivations", true),
            };
            if action == 3 {
                let paths = paths.iter().map(|path| self.parse(path)).collect::<Result<_>>()?;
                let collected = self.store.delete_paths(&paths)?;
                return Ok((collected.paths, collected.freed));
            }
            let collected = self.store.collect_garbage(&options)?;
            if action == 0 {
                let mut alive = self.store.all_valid()?;
                for dead in &collected.paths {
                    alive.remove(dead);
                }
                return Ok((alive.into_iter().collect(), 0));
            }
            Ok((collected.paths, collected.freed))
        })();
        self.answer(collected, |answer, (paths, freed)| {
            self.paths(answer, &paths.into_iter().collect());
            answer.number(freed).number(0);
        })
    }

    fn read_derived(&self, input: &mut dyn Read) -> std::result::Result<Vec<(String, DerivedPath)>, Failure> {
        let texts = read_texts(input).map_err(fatal)?;
        let mut paths = Vec::new();
        for text in texts {
            let path = DerivedPath::parse(&self.store, &text).map_err(failed)?;
            paths.push((text, path));
        }
        Ok(paths)
    }

    fn query_missing(&self, input: &mut dyn Read) -> Reply {
        let paths = self.read_derived(input)?;
        let missing = (|| {
            let (mut build, mut unknown) = (BTreeSet::new(), BTreeSet::new());
            let (mut wanted, mut plain) = (Vec::new(), BTreeSet::new());
            for (_, path) in &paths {
                match path {
                    DerivedPath::Opaque(path) | DerivedPath::Built(path, _) if !self.sees(path) => {
                        unknown.extend([path.clone()]);
                    }
                    DerivedPath::Opaque(path) if self.store.is_valid(path)? => {}
                    DerivedPath::Opaque(path) => plain.extend([path.clone()]),
                    DerivedPath::Built(path, _) if !self.store.is_valid(path)? => {
                        unknown.extend([path.clone()]);
                    }
                    DerivedPath::Built(path, outputs) => wanted.push((path.clone(), outputs.clone())),
                }
            }
            let mut missing = self.store.missing(&wanted)?;
            if !plain.is_empty() {
                let (more, none) = self.store.missing_paths(&plain)?;
                unknown.extend(none);
                missing.substitute.extend(more.substitute);
                missing.download_size += more.download_size;
                missing.nar_size += more.nar_size;
            }
            build.extend(std::mem::take(&mut missing.build));
            Ok((build, unknown, missing))
        })();
        self.answer(missing, |answer, (build, unknown, missing)| {
            self.paths(answer, &build);
            self.paths(answer, &missing.substitute.into_iter().collect());
            self.paths(answer, &unknown);
            answer.number(missing.download_size).number(missing.nar_size);
        })
    }

    fn build_paths(&mut self, operation: u64, input: &mut dyn Read) -> Reply {
        let paths = self.read_derived(input);
        let mode = read_number(input).map_err(fatal)?;
        let paths = paths?;
        if mode == 1 && self.trust != Trust::Trusted {
            return Err(failed(Error::Invalid("repairing needs a trusted user".to_owned())));
        }
        let (mut requests, mut plain) = (Vec::new(), BTreeSet::new());
        for (_, path) in &paths {
            match path {
                DerivedPath::Built(path, _) | DerivedPath::Opaque(path) if !self.sees(path) => {
                    return Err(self.unseen(path));
                }
                DerivedPath::Built(path, wanted) => requests.push((path.clone(), wanted.clone())),
                DerivedPath::Opaque(path) => drop(plain.insert(path.clone())),
            }
        }
        self.ensure(&plain).map_err(failed)?;
        let built = self.build(&requests, mode == 2).and_then(|report| {
            if mode == 1 {
                let made = report.outputs.values().flat_map(|outputs| outputs.values().cloned());
                self.store.repair_closure(made, &self.options)?;
            }
            for path in report.outputs.values().flat_map(|outputs| outputs.values()) {
                self.admit(path)?;
            }
            Ok(report)
        });
        if operation == 9 {
            return self.answer(built, |answer, _| {
                answer.number(1);
            });
        }
        let requested: BTreeSet<StorePath> = requests.into_iter().map(|(path, _)| path).collect();
        if let Err(Error::Build(failed)) = &built {
            // What was not asked for itself has no result of its own.
            for failure in failed.failures.iter().filter(|failure| !requested.contains(&failure.derivation)) {
                let text = format!("error: {}", in_nix_words(failure, &self.store));
                self.client.message(&text).map_err(fatal)?;
            }
        }
        let results =
            paths.iter().map(|(text, path)| self.result(text, path, built.as_ref(), &requested)).collect();
        self.answer(results, |answer, results: Vec<Answer>| {
            answer.number(results.len() as u64);
            for result in results {
                answer.0.extend(result.0);
            }
        })
    }

    /// Makes paths valid that are not: from caches, if they have them.
    fn ensure(&self, paths: &BTreeSet<StorePath>) -> Result<()> {
        let mut missing = BTreeSet::new();
        for path in paths {
            if !self.store.is_valid(path)? {
                missing.insert(path.clone());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        if !self.options.substitute || self.settings.restriction.is_some() {
            return missing.iter().try_for_each(|path| self.store.path_info(path).map(drop));
        }
        self.store.substitute(&missing, &self.options)
    }

    fn build(&self, requests: &[(StorePath, Wanted)], check: bool) -> Result<BuildReport> {
        self.build_told(check, |options| self.store.build(requests, options))
    }

    /// Builds what `build` builds; the client is told of it, and its going away ends it.
    fn build_told<T>(&self, check: bool, build: impl FnOnce(&BuildOptions) -> Result<T>) -> Result<T> {
        let cancel = Arc::new(AtomicBool::new(false));
        let done = AtomicBool::new(false);
        let mut options = self.options.clone();
        options.check = check;
        options.cancel = Arc::clone(&cancel);
        options.progress = Arc::new(Messages {
            client: self.client.clone(),
            store_dir: self.store.dir().to_string(),
            show_logs: self.show_build_logs,
            activities: Activities::default(),
        });
        std::thread::scope(|scope| {
            if let Some(socket) = &self.hang_up {
                scope.spawn(|| watch(socket, &done, &cancel));
            }
            let built = build(&options);
            done.store(true, Ordering::SeqCst);
            built
        })
    }

    /// One path's `BuildResult`, behind the path itself.
    fn result(
        &self,
        text: &str,
        path: &DerivedPath,
        built: std::result::Result<&BuildReport, &Error>,
        requested: &BTreeSet<StorePath>,
    ) -> Result<Answer> {
        let (mut status, mut message) = (0, String::new());
        let mut outputs = BTreeMap::new();
        if let DerivedPath::Built(path, wanted) = path {
            let derivation = self.store.read_derivation(path)?;
            let made = built.ok().and_then(|report| report.outputs.get(path));
            for (output, known) in self.store.known_outputs(&derivation)? {
                let Some(path) = made.and_then(|made| made.get(&output)).cloned().or(known) else { continue };
                if wanted.contains(&output) && self.store.is_valid(&path)? {
                    outputs.insert(self.store.realisation_id(&derivation, &output)?, path);
                }
            }
            let complete =
                derivation.outputs.keys().filter(|output| wanted.contains(output)).count() == outputs.len();
            if let Err(error) = built
                && !complete
            {
                let keep_going = self.options.keep_going;
                (status, message) = verdict(error, path, &derivation, requested, keep_going, &self.store);
                outputs.clear();
            }
        }
        let mut answer = Answer::default();
        answer.text(text);
        self.build_result(&mut answer, status, &message, outputs);
        Ok(answer)
    }

    fn build_result(
        &self,
        answer: &mut Answer,
        status: u64,
        message: &str,
        outputs: BTreeMap<String, StorePath>,
    ) {
        answer.number(status).text(message);
        if self.version >= 29 {
            answer.number(1).number(0).number(0).number(0);
        }
        if self.version >= 37 {
            answer.number(0).number(0); // no processor times
        }
        if self.version >= 28 {
            answer.number(outputs.len() as u64);
            for (id, path) in outputs {
                let text = Realisation::new(id.clone(), path).to_json().to_string();
                answer.text(&id).text(&text);
            }
        }
    }

    /// Builds a derivation that comes with the request, its inputs being in the store already: how a remote builder is
    /// asked. Only a trusted client may claim paths that are addressed by inputs which nobody can check.
    fn build_derivation(&mut self, input: &mut dyn Read) -> Reply {
        let path = read_text(input).map_err(fatal)?;
        let derivation = read_basic_derivation(self.store.dir(), &path, input).map_err(fatal)?;
        let mode = read_number(input).map_err(fatal)?;
        let built = (|| {
            let derivation = derivation?;
            let addressed =
                derivation.outputs.values().all(|output| !matches!(output, Output::InputAddressed(_)));
            if !addressed && self.trust != Trust::Trusted {
                return Err(Error::Invalid(
                    "you are not privileged to build input-addressed derivations".to_owned(),
                ));
            }
            let path = self.parse(&path)?;
            self.build_told(mode == 2, |options| self.store.build_given(&path, derivation, options))
        })();
        let (status, message, outputs) = match built {
            Ok(outputs) => (0, String::new(), outputs),
            Err(error @ Error::Build(_)) => {
                let status = match &error {
                    Error::Build(failed) => {
                        failed.failures.first().map_or(9, |failure| status_of(&failure.kind))
                    }
                    _ => 9,
                };
                (status, error.to_string(), BTreeMap::new())
            }
            Err(error) => return Err(failed(error)),
        };
        self.answer(Ok(()), |answer, ()| self.build_result(answer, status, &message, outputs))
    }

    fn register_realisation(&self, input: &mut dyn Read) -> Reply {
        let registered = if self.version >= 31 {
            let text = read_text(input).map_err(fatal)?;
            Realisation::from_json(&text)
        } else {
            let id = read_text(input).map_err(fatal)?;
            let path = read_text(input).map_err(fatal)?;
            self.parse(&path).map(|path| Realisation::new(id, path))
        }
        .and_then(|realisation| {
            if self.trust != Trust::Trusted {
                return Err(Error::Invalid(format!(
                    "cannot register realisation `{}` because it lacks a signature by a trusted key",
                    realisation.id
                )));
            }
            self.store.register_realisation(&realisation)
        });
        self.answer(registered, |_, ()| {})
    }

    fn query_realisation(&self, input: &mut dyn Read) -> Reply {
        let id = read_text(input).map_err(fatal)?;
        let found = self.store.realisation(&id);
        self.answer(found, |answer, found| {
            let found: Vec<Realisation> = found.into_iter().collect();
            if self.version >= 31 {
                answer.texts(found.iter().map(|realisation| realisation.to_json().to_string()));
            } else {
                answer.texts(found.iter().map(|realisation| self.store.dir().print(&realisation.path)));
            }
        })
    }
}

/// A derivation without its input derivations.
/// An error that the answer can tell is inside of one that breaks off the conversation.
pub(crate) fn read_basic_derivation(
    dir: &StoreDir,
    path: &str,
    input: &mut dyn Read,
) -> Result<Result<Derivation>> {
    let mut fields = Vec::new();
    for _ in 0..read_number(input)? {
        fields.push([read_text(input)?, read_text(input)?, read_text(input)?, read_text(input)?]);
    }
    let sources = read_texts(input)?;
    let (platform, builder) = (read_bytes(input)?, read_bytes(input)?);
    let mut derivation = Derivation { platform, builder, ..Derivation::default() };
    for _ in 0..read_number(input)? {
        derivation.args.push(read_bytes(input)?);
    }
    for _ in 0..read_number(input)? {
        let name = read_bytes(input)?;
        derivation.env.insert(name, read_bytes(input)?);
    }
    Ok((|| {
        let path = dir.parse(path)?;
        path.name().trim_end_matches(".drv").clone_into(&mut derivation.name);
        for [name, path, method, hash] in fields {
            let output = Output::from_fields(dir, &name, &path, &method, &hash)
                .map_err(|source| Error::Derivation { path: derivation.name.clone(), source })?;
            derivation.outputs.insert(name, output);
        }
        for source in &sources {
            derivation.input_srcs.insert(dir.parse(source)?);
        }
        Ok(derivation)
    })())
}

/// What a `BuildResult` says of a derivation that was not built: a status and a message.
fn verdict(
    error: &Error,
    path: &StorePath,
    derivation: &Derivation,
    requested: &BTreeSet<StorePath>,
    keep_going: bool,
    store: &Store,
) -> (u64, String) {
    const DEPENDENCY_FAILED: u64 = 10;
    let Error::Build(failed) = error else { return (9, error.to_string()) };
    if let Some(failure) = failed.failures.iter().find(|failure| failure.derivation == *path) {
        return (status_of(&failure.kind), in_nix_words(failure, store));
    }
    // When something that was asked for itself fails, the others are given up, and nothing is said of them.
    let given_up =
        !keep_going && failed.failures.iter().any(|failure| requested.contains(&failure.derivation));
    let is_failed = |input: &StorePath| {
        failed.dependents.contains(input)
            || failed.failures.iter().any(|failure| failure.derivation == *input)
    };
    match derivation.input_drvs.keys().filter(|input| is_failed(input)).count() {
        0 => (9, String::new()),
        _ if given_up => (9, String::new()),
        count => {
            let path = store.dir().print(path);
            (DEPENDENCY_FAILED, format!("{count} dependencies of derivation '{path}' failed to build"))
        }
    }
}

/// A failure as clients of Nix look for it in what they are told.
fn in_nix_words(failure: &Failed, store: &Store) -> String {
    match &failure.kind {
        FailureKind::HashMismatch { specified, got } => format!(
            "hash mismatch in fixed-output derivation '{}':\n         specified: {}\n            got:    {}",
            store.dir().print(&failure.derivation),
            specified.sri(),
            got.sri()
        ),
        _ => failure.to_string(),
    }
}

/// What a `BuildResult` says of a kind of failure.
pub(crate) const fn status_of(kind: &FailureKind) -> u64 {
    match kind {
        FailureKind::Timeout(_) | FailureKind::Silent(_) => 8,
        FailureKind::LogLimit(_) => 11,
        FailureKind::NotDeterministic(_) => 12,
        FailureKind::Output(_) | FailureKind::HashMismatch { .. } => 5,
        FailureKind::Unsupported(_) => 4,
        FailureKind::Exit(_) | FailureKind::Signal(_) => 3,
        FailureKind::Fetch(_) => 6,
        _ => 9,
    }
}

/// Cancels when the client hangs up.
fn watch(socket: &UnixStream, done: &AtomicBool, cancel: &AtomicBool) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let tick = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    while !done.load(Ordering::SeqCst) {
        let mut descriptors = [PollFd::new(socket, PollFlags::RDHUP)];
        if poll(&mut descriptors, Some(&tick)).is_ok_and(|count| count > 0) {
            cancel.store(true, Ordering::SeqCst);
            return;
        }
    }
}
