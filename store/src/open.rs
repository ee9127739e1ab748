//! The store as a value: its layout, its database connection, its temporary roots.

use crate::build::{FreeSpace, LastLook};
use crate::cache::Substituters;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::keeper::Keeper;
use crate::layout::Layout;
use crate::remote::Remote;
use crate::temp_roots::TempRoots;
use crate::trust::Trust;
use formats::derivation::ModuloHash;
use formats::signature::SecretKey;
use formats::store_path::{StoreDir, StorePath};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether a path's bytes are on disk before it is called valid. Turn it off only for stores that may be lost.
    pub durable: bool,
    /// Whose word counts for paths that come from elsewhere.
    pub trust: Trust,
    /// What is built here is signed with these.
    pub secret_keys: Vec<SecretKey>,
    /// Caches to take from what would have to be built.
    pub substituters: Arc<Substituters>,
    /// Make room before additions when the disk fills up; builds look for themselves.
    pub free_space: Option<FreeSpace>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durable: true,
            trust: Trust::default(),
            secret_keys: Vec::new(),
            substituters: Arc::default(),
            free_space: None,
        }
    }
}

/// An open store. Threads may share it.
#[derive(Debug)]
pub struct Store {
    pub(crate) layout: Layout,
    pub(crate) options: Options,
    pub(crate) database: Mutex<Database>,
    pub(crate) temp_roots: TempRoots,
    pub(crate) modulo_hashes: Mutex<BTreeMap<StorePath, ModuloHash>>,
    /// When an addition last looked whether there is room.
    pub(crate) last_look: Mutex<LastLook>,
    /// Who keeps it, if we do not.
    pub(crate) remote: Option<Box<dyn Keeper>>,
    /// The store in which derivations and sources are, where it is another.
    pub(crate) evaluation: OnceLock<Box<Self>>,
}

impl Store {
    /// Opens the store below `root` (`/`, or any directory), creating what is missing. When the store is on a read-only
    /// mount and we are root, this thread gets a mount namespace in which it is writable: open it before starting threads.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_with(Layout::below(root), Options::default())
    }

    /// Opens a store with another layout or other options.
    pub fn open_with(layout: Layout, options: Options) -> Result<Self> {
        make_writable(&layout.real_store)?;
        layout.create()?;
        let database = Database::open(&layout.database(), &layout.store_dir, options.durable)?;
        Ok(Self {
            temp_roots: TempRoots::new(&layout),
            layout,
            options,
            database: Mutex::new(database),
            modulo_hashes: Mutex::default(),
            last_look: Mutex::default(),
            remote: None,
            evaluation: OnceLock::new(),
        })
    }

    /// The store that the daemon at a socket keeps, whose files are where the layout says. `settings` are what its user
    /// wants to be otherwise; the daemon decides which of them it heeds.
    pub fn connect(
        layout: Layout,
        options: Options,
        socket: &Path,
        settings: Vec<(String, String)>,
    ) -> Result<Self> {
        let remote = Remote::open(socket, &layout.store_dir, settings)?;
        Self::kept(layout, options, Box::new(remote))
    }

    /// A store that somebody else keeps.
    pub(crate) fn kept(layout: Layout, options: Options, keeper: Box<dyn Keeper>) -> Result<Self> {
        Ok(Self {
            remote: Some(keeper),
            temp_roots: TempRoots::new(&layout),
            database: Mutex::new(Database::none(&layout.store_dir)?),
            layout,
            options,
            modulo_hashes: Mutex::default(),
            last_look: Mutex::default(),
            evaluation: OnceLock::new(),
        })
    }

    /// Whether somebody else keeps it.
    pub const fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Whether who keeps it takes our word for what we say of paths.
    pub(crate) fn trusts_us(&self) -> bool {
        self.remote.as_ref().is_none_or(|keeper| keeper.trusts_us())
    }

    /// Whether the files of its paths are where [`Store::real_path`] says.
    pub fn has_files(&self) -> bool {
        self.remote.as_ref().is_none_or(|keeper| keeper.has_files())
    }

    /// Writes the NAR of a valid path, wherever it is.
    pub fn archive(&self, path: &StorePath, mut output: &mut dyn Write) -> Result<()> {
        match &self.remote {
            Some(keeper) if !keeper.has_files() => keeper.archive(path, output),
            _ => crate::tree::dump(&self.real_path(path), &mut output).map(drop),
        }
    }

    /// Its directories.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What its paths begin with: `/nix/store`.
    pub const fn dir(&self) -> &StoreDir {
        &self.layout.store_dir
    }

    /// How it was opened.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Where a path really is.
    pub fn real_path(&self, path: &StorePath) -> std::path::PathBuf {
        self.layout.real(path)
    }

    /// Protects a path from collections as long as this store is open. It need not be valid yet.
    pub fn add_temp_root(&self, path: &StorePath) -> Result<()> {
        match &self.remote {
            Some(remote) => remote.add_temp_root(path),
            None => self.temp_roots.add(path),
        }
    }

    pub(crate) fn database(&self) -> MutexGuard<'_, Database> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Remounts a read-only store writable for this thread and its children, as only root can.
fn make_writable(real_store: &Path) -> Result<()> {
    if !real_store.is_dir() || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    if sys::private_mounts::is_read_only(real_store)
        .map_err(Error::file("examining the mount of", real_store))?
    {
        sys::private_mounts::make_writable_here(real_store)
            .map_err(Error::file("remounting writable, for this process alone, the store", real_store))?;
    }
    Ok(())
}
