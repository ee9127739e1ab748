//! The requests, by number.

mod adding;
mod building;
mod options;

pub(crate) use building::{read_basic_derivation, status_of};

use super::connection::{Client, Failure, Settings, Trust};
use super::messages::{Activities, Messages};
use super::wire::{Answer, read_bool, read_number, read_text, read_texts};
use crate::build::BuildOptions;
use crate::error::{Error, Result};
use crate::garbage::CollectOptions;
use crate::nix_settings::NixSettings;
use crate::open::Store;
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
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
