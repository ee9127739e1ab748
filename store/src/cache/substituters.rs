//! The caches that stand in for building, asked in the order of their priorities and all paths at a time. One that is
//! away or lies is set aside with one message and not waited for again for a while.

use super::memory::{Memory, Recalled};
use super::{Address, Cache, CacheError, Place, TransportError};
use crate::error::Error;
use crate::open::Store;
use crate::realisation::Realisation;
use formats::content_address::ContentAddress;
use formats::narinfo::NarInfo;
use formats::path_info::PathInfo;
use formats::store_path::{StoreDir, StorePath};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How many narinfos are asked for at a time.
const QUESTIONS: usize = 24;
/// How long a cache is left aside: a daemon lives longer than a cache's bad hour.
const ASIDE: Duration = Duration::from_secs(60);
/// The priority of a cache that does not say.
const PRIORITY: u64 = 50;

/// A path that a cache has.
#[derive(Debug, Clone)]
pub struct Offer {
    /// What the cache says about it.
    pub narinfo: NarInfo,
    /// Which one says so.
    member: usize,
}

/// What became of fetching an offer.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// The path is valid.
    Done,
    /// No cache has it any more.
    Gone(String),
    /// Caches have it, but not as they promised.
    Broken(String),
}

/// The caches of a store.
#[derive(Debug, Default)]
pub struct Substituters {
    addresses: Vec<Address>,
    memory_directory: Option<PathBuf>,
    members: OnceLock<Members>,
}

#[derive(Debug)]
struct Members {
    members: Vec<Member>,
    memory: Option<Memory>,
}

#[derive(Debug)]
struct Member {
    cache: Cache,
    aside: Mutex<Option<Instant>>,
    told_untrusted: AtomicBool,
}

impl Member {
    fn is_aside(&self) -> bool {
        let aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        aside.is_some_and(|since| since.elapsed() < ASIDE)
    }

    /// Sets it aside, saying so once.
    fn set_aside(&self, why: &str) {
        let mut aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        if aside.is_none_or(|since| since.elapsed() >= ASIDE) {
            log::warn!("cache {} is left aside: {why}", self.cache.name());
            *aside = Some(Instant::now());
        }
    }
}

impl Substituters {
    /// These caches. They are opened when the first path is asked for. What servers say is remembered below a directory,
    /// if there is one.
    #[must_use]
    pub fn new(addresses: Vec<Address>, memory_directory: Option<PathBuf>) -> Self {
        Self { addresses, memory_directory, members: OnceLock::new() }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    fn members(&self, store: &StoreDir) -> &Members {
        self.members.get_or_init(|| {
            let mut members: Vec<Member> = std::thread::scope(|scope| {
                let opening: Vec<_> = self
                    .addresses
                    .iter()
                    .map(|address| scope.spawn(move || Cache::open_any(address, store)))
                    .collect();
                let opened = opening.into_iter().filter_map(|thread| thread.join().ok());
                opened
                    .filter_map(|opened| match opened {
                        Ok(cache) => Some(Member {
                            cache,
                            aside: Mutex::default(),
                            told_untrusted: AtomicBool::new(false),
                        }),
                        Err(error) => {
                            log::warn!("{error}; it is left aside");
                            None
                        }
                    })
                    .collect()
            });
            members.sort_by_key(|member| member.cache.info.priority.unwrap_or(PRIORITY));
            let remembers = members.iter().any(|member| is_remembered(&member.cache));
            let memory = self.memory_directory.as_ref().filter(|_| remembers);
            Members { members, memory: memory.and_then(|directory| Memory::open(directory)) }
        })
    }

    /// Asks for many paths at a time: those that some cache has and that may be believed.
    pub fn query(&self, store: &Store, paths: &BTreeSet<StorePath>) -> BTreeMap<StorePath, Offer> {
        self.query_by_content(store, paths, &BTreeMap::new())
    }

    /// Those of many paths that caches have which want to be asked about many (`WantMassQuery`). Signatures do not count
    /// here: they are looked at when a path is fetched.
    pub fn query_many(&self, store: &Store, paths: &BTreeSet<StorePath>) -> BTreeSet<StorePath> {
        if self.is_empty() || paths.is_empty() {
            return BTreeSet::new();
        }
        let members = &self.members(store.dir()).members;
        let willing: Vec<&Member> = members
            .iter()
            .filter(|member| member.cache.info.want_mass_query && member.cache.store == *store.dir())
            .collect();
        if willing.is_empty() {
            return BTreeSet::new();
        }
        let all = self.members(store.dir());
        let (next, found) = (Mutex::new(paths.iter()), Mutex::new(BTreeSet::new()));
        let ask_on = || {
            while let Some(path) = { next.lock().unwrap_or_else(PoisonError::into_inner).next() } {
                let has = |member: &&Member| {
                    !member.is_aside() && all.ask_one(member, path).is_ok_and(|answer| answer.is_some())
                };
                if willing.iter().any(has) {
                    found.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..QUESTIONS.min(paths.len()) {
                scope.spawn(ask_on);
            }
        });
        found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same where the contents of some paths are known beforehand: those may come from the cache of another store
    /// directory, in which the same contents have another path.
    pub(crate) fn query_by_content(
        &self,
        store: &Store,
        paths: &BTreeSet<StorePath>,
        contents: &BTreeMap<StorePath, ContentAddress>,
    ) -> BTreeMap<StorePath, Offer> {
        if self.is_empty() || paths.is_empty() {
            return BTreeMap::new();
        }
        let members = self.members(store.dir());
        let next = Mutex::new(paths.iter());
        let found = Mutex::new(BTreeMap::new());
        let ask_on = || {
            while let Some(path) = { next.lock().unwrap_or_else(PoisonError::into_inner).next() } {
                let Some(offer) = members.ask(store, path, contents.get(path), 0) else { continue };
                found.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), offer);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..QUESTIONS.min(paths.len()) {
                scope.spawn(ask_on);
            }
        });
        found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which path an output got, from the first cache that knows and may be believed.
    pub(crate) fn realisation(&self, store: &Store, id: &str) -> Option<Realisation> {
        let members = self.members(store.dir());
        for member in &members.members {
            if member.is_aside() || member.cache.store != *store.dir() {
                continue;
            }
            match members.realisation_of(&member.cache, id) {
                Ok(Some(found)) if found.id == id && (member.cache.trusted || store.believes(&found)) => {
                    return Some(found);
                }
                Ok(_) => {}
                Err(CacheError::Transport(error)) => member.set_aside(&error.to_string()),
                Err(error) => log::warn!("cache {}: what it says about {id}: {error}", member.cache.name()),
            }
        }
        None
    }

    /// Fetches a valid path that is damaged once more. False when no cache has it, or none has it whole.
    pub(crate) fn fetch_again(&self, store: &Store, path: &StorePath) -> Result<bool, Error> {
        let members = self.members(store.dir());
        let mut offer = members.ask(store, path, None, 0);
        while let Some(current) = offer {
            let Some(member) = members.members.get(current.member) else { break };
            let told: Arc<dyn Fn(u64) -> bool + Send + Sync> = Arc::new(|_| true);
            match try_fetch(store, member, &current, &told, Store::replace_by_nar)? {
                Fetched::Done => return Ok(true),
                Fetched::Gone(why) | Fetched::Broken(why) => {
                    log::warn!("{}: {path}: {why}", member.cache.name());
                }
            }
            offer = members.ask(store, path, None, current.member + 1);
        }
        Ok(false)
    }

    /// Makes an offered path valid. When its cache fails, those behind it are asked. `told` hears of the bytes that came
    /// in and says whether to go on.
    pub(crate) fn fetch(
        &self,
        store: &Store,
        offer: &Offer,
        told: &Arc<dyn Fn(u64) -> bool + Send + Sync>,
    ) -> Result<Fetched, Error> {
        let members = self.members(store.dir());
        let path = &offer.narinfo.info.path;
        let mut offer = Some(offer.clone());
        let (mut gone, mut broken) = (Vec::new(), Vec::new());
        while let Some(current) = offer {
            let Some(member) = members.members.get(current.member) else { break };
            let name = member.cache.name();
            match try_fetch(store, member, &current, told, Store::add_nar)? {
                Fetched::Done => return Ok(Fetched::Done),
                Fetched::Gone(why) => {
                    if let Some(memory) = &members.memory {
                        memory.forget(name, path.hash_part());
                    }
                    gone.push(format!("{name}: {why}"));
                }
                Fetched::Broken(why) => {
                    member.set_aside(&format!("{path}: {why}"));
                    broken.push(format!("{name}: {why}"));
                }
            }
            let content = current.narinfo.info.content_address;
            offer = members.ask(store, path, content.as_ref(), current.member + 1);
        }
        Ok(if broken.is_empty() {
            Fetched::Gone(gone.join("; "))
        } else {
            broken.extend(gone);
            Fetched::Broken(broken.join("; "))
        })
    }
}

impl Members {
    /// The first cache, from this one on, that has the path and may be believed.
    fn ask(
        &self,
        store: &Store,
        path: &StorePath,
        content: Option<&ContentAddress>,
        from: usize,
    ) -> Option<Offer> {
        for (index, member) in self.members.iter().enumerate().skip(from) {
            if member.is_aside() {
                continue;
            }
            let asked = if member.cache.store == *store.dir() {
                self.ask_one(member, path)
            } else {
                content.map_or(Ok(None), |content| self.ask_elsewhere(member, path, content))
            };
            match asked {
                Ok(Some(narinfo)) => {
                    if member.cache.trusted || store.check_signatures(&narinfo.info).is_ok() {
                        return Some(Offer { narinfo, member: index });
                    }
                    if !member.told_untrusted.swap(true, Ordering::Relaxed) {
                        log::warn!(
                            "cache {} has paths without a signature by a trusted key, such as {path}; they are passed over",
                            member.cache.name()
                        );
                    }
                }
                Ok(None) => {}
                Err(CacheError::Transport(error)) => member.set_aside(&error.to_string()),
                Err(error) => member.set_aside(&format!("what it says about {path} cannot be: {error}")),
            }
        }
        None
    }

    /// Asks a cache of another store directory for the same contents. Only what refers to nothing is the same there.
    fn ask_elsewhere(
        &self,
        member: &Member,
        path: &StorePath,
        content: &ContentAddress,
    ) -> Result<Option<NarInfo>, CacheError> {
        let there = &member.cache.store;
        let Ok(other) = there.make_content_address_path(path.name(), content, &BTreeSet::new(), false) else {
            return Ok(None);
        };
        let Some(mut narinfo) = self.ask_one(member, &other)? else { return Ok(None) };
        if !narinfo.info.references.is_empty() {
            return Ok(None);
        }
        narinfo.info.path = path.clone();
        narinfo.info.deriver = None;
        narinfo.info.content_address = Some(*content);
        Ok(Some(narinfo))
    }

    fn ask_one(&self, member: &Member, path: &StorePath) -> Result<Option<NarInfo>, CacheError> {
        let cache = &member.cache;
        let memory = self.memory.as_ref().filter(|_| is_remembered(cache));
        match memory.map_or(Recalled::Unknown, |memory| memory.recall(cache.name(), path.hash_part())) {
            Recalled::NotThere => return Ok(None),
            Recalled::There(text) => {
                if let Ok(narinfo) = cache.parse(path, &text) {
                    return Ok(Some(narinfo));
                }
            }
            Recalled::Unknown => {}
        }
        let text = cache.narinfo_text(path)?;
        let narinfo = text.as_ref().map(|text| cache.parse(path, text)).transpose()?;
        if let Some(memory) = memory {
            memory.keep(cache.name(), path.hash_part(), text.as_deref());
        }
        Ok(narinfo)
    }
}

impl Members {
    /// What a cache says or said about a realisation; that it has none is not remembered.
    fn realisation_of(&self, cache: &Cache, id: &str) -> Result<Option<Realisation>, CacheError> {
        let memory = self.memory.as_ref().filter(|_| is_remembered(cache));
        if let Some(Recalled::There(text)) = memory.map(|memory| memory.recall(cache.name(), id))
            && let Ok(found) = Realisation::from_json(&text)
        {
            return Ok(Some(found));
        }
        let found = cache.realisation_of(id)?;
        if let (Some(memory), Some(found)) = (memory, &found) {
            memory.keep(cache.name(), id, Some(&found.to_json().to_string()));
        }
        Ok(found)
    }
}

/// Whether what a cache says is remembered: a server's. Nix's functional tests let directories pass for servers.
fn is_remembered(cache: &Cache) -> bool {
    matches!(cache.place, Place::Server(_))
        || std::env::var_os("_NIX_FORCE_HTTP").is_some_and(|value| !value.is_empty())
}

fn try_fetch(
    store: &Store,
    member: &Member,
    offer: &Offer,
    told: &Arc<dyn Fn(u64) -> bool + Send + Sync>,
    take: fn(&Store, &PathInfo, &mut dyn Read) -> Result<(), Error>,
) -> Result<Fetched, Error> {
    let told = Arc::clone(told);
    let archive = match member.cache.archive_counted(&offer.narinfo, Box::new(move |done| told(done))) {
        Ok(archive) => archive,
        Err(TransportError::Missing) => return Ok(Fetched::Gone("its archive is not there".to_owned())),
        Err(error) => return Ok(Fetched::Broken(error.to_string())),
    };
    let mut input = Remembering { input: archive, failure: None };
    match take(store, &offer.narinfo.info, &mut input) {
        Ok(()) => Ok(Fetched::Done),
        Err(error) => match (input.failure, error) {
            (Some(failure), _) => Ok(Fetched::Broken(failure)),
            // The bytes came, but they are not what was promised.
            (None, error @ (Error::HashMismatch { .. } | Error::Invalid(_))) => {
                Ok(Fetched::Broken(error.to_string()))
            }
            (None, Error::Nar { context, source }) if !source.is_io() => {
                Ok(Fetched::Broken(format!("{context}: {source}")))
            }
            // It is our own disk or database.
            (None, error) => Err(error),
        },
    }
}

/// Keeps the reader's own failure: whether the cache or our disk failed must be known.
struct Remembering {
    input: Box<dyn Read + Send>,
    failure: Option<String>,
}

impl Read for Remembering {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer).inspect_err(|error| self.failure = Some(error.to_string()))
    }
}
