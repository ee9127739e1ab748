//! Garbage collection: the graph is loaded once and worked on in memory; dead paths are invalidated in batches, referrers
//! first, and only then removed from disk. Whoever adds a path meanwhile tells us over a socket (Nix's protocol), so
//! builds go on.

mod live;
mod server;
mod sweep;

use crate::database::Graph;
use crate::error::{Error, Result};
use crate::lock::{FileLock, Mode};
use crate::open::Store;
use crate::tree;
use formats::store_path::{HASH_LENGTH, StorePath};
use server::Server;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use sweep::Sweep;

/// What a collection does.
#[derive(Debug, Clone, Default)]
pub struct CollectOptions {
    /// Only find out, delete nothing.
    pub dry_run: bool,
    /// Stop when this many bytes are free.
    pub max_freed: Option<u64>,
    /// Keep the outputs of derivations that are alive.
    pub keep_outputs: bool,
    /// Keep the derivations of outputs that are alive. Nix's default.
    pub keep_derivations: bool,
}

/// What a collection did, or would do.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// The paths deleted (or dead, in a dry run).
    pub paths: Vec<StorePath>,
    /// Bytes freed on disk.
    pub freed: u64,
    /// How many valid paths are alive.
    pub alive: usize,
}

/// Paths invalidated in one transaction, at most.
const BATCH: usize = 32768;
/// Bytes of archives in one transaction, so that nobody waits long for a path that is being deleted.
const BATCH_BYTES: u64 = 256 << 20;

impl Store {
    /// Deletes what no root needs.
    pub fn collect_garbage(&self, options: &CollectOptions) -> Result<Collected> {
        self.collect(options, None)
    }

    /// Deletes these paths, which nothing may need.
    pub fn delete_paths(&self, paths: &BTreeSet<StorePath>) -> Result<Collected> {
        self.delete_paths_with(paths, &CollectOptions { keep_derivations: true, ..CollectOptions::default() })
    }

    /// The same where the options say what is needed.
    pub fn delete_paths_with(
        &self,
        paths: &BTreeSet<StorePath>,
        options: &CollectOptions,
    ) -> Result<Collected> {
        self.collect(options, Some(paths))
    }

    /// Deletes these paths though something may need them; only nothing valid may refer to them.
    pub fn delete_paths_alive_or_not(&self, paths: &BTreeSet<StorePath>) -> Result<Collected> {
        let options = CollectOptions { keep_derivations: true, ..CollectOptions::default() };
        self.collect_with(&options, Some(paths), true)
    }

    fn collect(&self, options: &CollectOptions, only: Option<&BTreeSet<StorePath>>) -> Result<Collected> {
        self.collect_with(options, only, false)
    }

    fn collect_with(
        &self,
        options: &CollectOptions,
        only: Option<&BTreeSet<StorePath>>,
        alive_or_not: bool,
    ) -> Result<Collected> {
        if let Some(remote) = &self.remote {
            return remote.collect_garbage(options, only.map(|paths| (paths, alive_or_not)));
        }
        let reserve = self.layout.database().join("reserved");
        if !options.dry_run && fs::remove_file(&reserve).is_ok() {
            log::debug!("freed the reserve {}", reserve.display());
        }
        let gc_lock = FileLock::open(&self.layout.state.join("gc.lock"))?;
        gc_lock.acquire(Mode::Exclusive)?;
        let server = Server::start(&self.layout)?;
        let roots = self.find_roots()?;
        // Temporary roots last: what was added before the lock is in the files, what comes after is told to the server.
        let temporary = self.read_temp_roots()?;
        let (moment, graph) = {
            let database = self.database();
            (database.moment()?, database.graph()?)
        };
        // Nix's functional tests hold a collection here, to see that builds go on meanwhile.
        if let Some(point) = std::env::var_os("_NIX_TEST_GC_SYNC").filter(|point| !point.is_empty()) {
            fs::read(&point).map_err(Error::file("waiting for", &point))?;
        }
        let mut alive = vec![false; graph.paths.len()];
        let kept = roots.iter().map(|root| &root.target);
        live::mark(&graph, kept.chain(&temporary), options, &mut alive);
        let mut collected =
            Collected { alive: alive.iter().filter(|alive| **alive).count(), ..Collected::default() };
        if alive_or_not {
            for path in only.into_iter().flatten() {
                if let Some(alive) = graph.index(path).and_then(|index| alive.get_mut(index)) {
                    *alive = false;
                }
            }
        }
        let mut dead = live::dead_referrers_first(&graph, &alive);
        if let Some(only) = only {
            live::check_deletable(&graph, &alive, only, &roots)?;
            dead.retain(|index| graph.paths.get(*index).is_some_and(|path| only.contains(path)));
        }
        if options.dry_run {
            collected.paths = dead.iter().filter_map(|index| graph.paths.get(*index).cloned()).collect();
            return Ok(collected);
        }
        let mut sweep = Sweep::new(&graph, alive, moment);
        let mut rest = dead.as_slice();
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch_length(
                &graph,
                rest,
                options.max_freed.map(|limit| limit.saturating_sub(collected.freed)),
            ));
            rest = later;
            if options.max_freed.is_some_and(|limit| collected.freed >= limit) {
                return Ok(collected);
            }
            self.delete_batch(batch, options, &mut sweep, &server, &mut collected)?;
        }
        if only.is_none() {
            self.delete_strays(&temporary, &server, &mut collected)?;
        }
        self.delete_unused_links(&mut collected)?;
        Ok(collected)
    }

    fn delete_batch(
        &self,
        batch: &[usize],
        options: &CollectOptions,
        sweep: &mut Sweep<'_>,
        server: &Server,
        collected: &mut Collected,
    ) -> Result<()> {
        let graph = sweep.graph;
        // From here to `done`, whoever asks for one of these paths waits; what was asked for before is alive.
        let rescued = server.begin(batch.iter().filter_map(|index| graph.paths.get(*index)));
        live::mark(graph, rescued.iter(), options, &mut sweep.alive);
        let (doomed, rows) = sweep.doom(batch);
        let store = tree::Directory::open(&self.layout.real_store)?;
        let deleted = self.database().invalidate_at(&mut sweep.moment, &rows).and_then(|()| {
            for index in doomed {
                let Some(path) = graph.paths.get(index) else { continue };
                collected.freed += store.remove(path.base_name())?;
                collected.paths.push(path.clone());
                if options.max_freed.is_some_and(|limit| collected.freed >= limit) {
                    // The rest of the batch is invalid now; the next collection removes its files.
                    break;
                }
            }
            Ok(())
        });
        server.done();
        deleted
    }

    /// Removes what lies in the store without being valid: left by crashes, failed builds, other programs.
    fn delete_strays(
        &self,
        temporary: &BTreeSet<StorePath>,
        server: &Server,
        collected: &mut Collected,
    ) -> Result<()> {
        let protected: BTreeSet<&str> = temporary.iter().map(StorePath::hash_part).collect();
        let real_store = &self.layout.real_store;
        let valid: BTreeSet<String> =
            self.all_valid()?.iter().map(|path| path.base_name().to_owned()).collect();
        for entry in fs::read_dir(real_store).map_err(Error::file("reading directory", real_store))? {
            let entry = entry.map_err(Error::file("reading directory", real_store))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name == ".links" || valid.contains(name.as_ref()) {
                continue;
            }
            let hash_part = name.get(..HASH_LENGTH).unwrap_or_default();
            if protected.contains(hash_part) || (name.starts_with("tmp-") && is_locked(&entry.path())) {
                continue;
            }
            if server.begin_hash_part(hash_part) {
                // Somebody may have registered it since we looked.
                let removed = match StorePath::from_base_name(&name) {
                    Ok(path) if self.is_valid(&path)? => Ok(0),
                    _ => tree::remove(&entry.path()),
                };
                server.done();
                collected.freed += removed?;
            }
        }
        Ok(())
    }

    /// Removes from `.links` what no path uses any more.
    fn delete_unused_links(&self, collected: &mut Collected) -> Result<()> {
        let links = self.layout.links();
        let Ok(entries) = fs::read_dir(&links) else { return Ok(()) };
        for entry in entries {
            let entry = entry.map_err(Error::file("reading directory", &links))?;
            let found = entry.metadata().map_err(Error::file("examining", entry.path()))?;
            if found.nlink() == 1 {
                fs::remove_file(entry.path()).map_err(Error::file("removing", entry.path()))?;
                collected.freed += found.blocks() * 512;
            }
        }
        Ok(())
    }

    /// The temporary roots of all living processes; files of dead ones are removed.
    fn read_temp_roots(&self) -> Result<BTreeSet<StorePath>> {
        let directory = self.layout.temp_roots();
        let mut roots = BTreeSet::new();
        for entry in fs::read_dir(&directory).map_err(Error::file("reading directory", &directory))? {
            let path = entry.map_err(Error::file("reading directory", &directory))?.path();
            if !path.exists() {
                continue;
            }
            let lock = FileLock::open(&path)?;
            if lock.try_acquire(Mode::Exclusive)? {
                fs::remove_file(&path).map_err(Error::file("removing", &path))?;
                std::io::Write::write_all(&mut lock.file(), b"d").map_err(Error::file("writing", &path))?;
                continue;
            }
            let text = fs::read(&path).map_err(Error::file("reading", &path))?;
            for root in text.split(|byte| *byte == 0).filter_map(|root| std::str::from_utf8(root).ok()) {
                if let Ok(root) = self.dir().parse(root) {
                    roots.insert(root);
                }
            }
        }
        Ok(roots)
    }
}

/// How many of these are deleted together.
fn batch_length(graph: &Graph, dead: &[usize], wanted: Option<u64>) -> usize {
    let limit = wanted.unwrap_or(BATCH_BYTES).min(BATCH_BYTES);
    let mut bytes = 0;
    let mut fits = |index: &usize| {
        bytes += graph.sizes.get(*index).copied().unwrap_or(0);
        bytes <= limit
    };
    dead.iter().take(BATCH).take_while(|index| fits(index)).count().max(1).min(dead.len())
}

fn is_locked(path: &std::path::Path) -> bool {
    use rustix::fs::{FlockOperation, flock};
    fs::File::open(path).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_err())
}
