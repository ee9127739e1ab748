//! Opens the database with Nix's locks and pragmas: a shared lock on `db/big-lock` for as long as it is open, an
//! exclusive one to create it; the version in `db/schema`, written atomically.

use super::big_lock::BigLock;
use super::schema;
use crate::error::{Error, Result};
use formats::store_path::StoreDir;
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// An open database.
#[derive(Debug)]
pub(crate) struct Database {
    pub(super) connection: Connection,
    pub(super) store: StoreDir,
    big_lock: Option<Arc<BigLock>>,
    version_file: PathBuf,
}

impl Database {
    /// Opens the database in the directory, creating it if there is none. With `durable`, a transaction is on disk
    /// before it is reported done.
    pub(crate) fn open(directory: &Path, store: &StoreDir, durable: bool) -> Result<Self> {
        let version_file = directory.join("schema");
        let create = || {
            if version_file.exists() {
                return Ok(());
            }
            let connection = connect(&directory.join("db.sqlite"), durable)?;
            connection.execute_batch(schema::CREATE).map_err(Error::database("creating the tables"))?;
            drop(connection);
            write_version(&version_file)
        };
        let big_lock = BigLock::take(directory, &create)?;
        check_version(&version_file)?;
        let connection = connect(&directory.join("db.sqlite"), durable)?;
        let big_lock = Some(big_lock);
        Ok(Self { connection, store: store.clone(), big_lock, version_file })
    }

    /// Creates a database in one new file, without locks beside it: for images. Its bytes depend only on what is
    /// registered.
    pub(crate) fn create_single_file(file: &Path, store: &StoreDir) -> Result<Self> {
        let connection = Connection::open(file).map_err(Error::database("creating"))?;
        connection
            .execute_batch("pragma journal_mode = off; pragma synchronous = off; pragma foreign_keys = 1;")
            .map_err(Error::database("setting up"))?;
        connection.execute_batch(schema::CREATE).map_err(Error::database("creating the tables"))?;
        let version_file = PathBuf::new();
        Ok(Self { connection, store: store.clone(), big_lock: None, version_file })
    }

    /// No database, for a store that a daemon keeps: whatever is asked of it is an error that names the missing table.
    pub(crate) fn none(store: &StoreDir) -> Result<Self> {
        let connection = Connection::open_in_memory().map_err(Error::database("opening"))?;
        Ok(Self { connection, store: store.clone(), big_lock: None, version_file: PathBuf::new() })
    }

    /// Lets others have the big lock, until [`Self::take_lock_back`].
    pub(crate) fn yield_lock(&self) -> Result<()> {
        self.big_lock.as_ref().map_or(Ok(()), |lock| lock.yield_to_others())
    }

    /// Takes the big lock back; the tables must still be those that we know.
    pub(crate) fn take_lock_back(&self) -> Result<()> {
        let Some(lock) = &self.big_lock else { return Ok(()) };
        lock.take_back()?;
        check_version(&self.version_file)
    }

    /// Closes it, finishing what is in the journal.
    pub(crate) fn close(self) -> Result<()> {
        self.connection.close().map_err(|(_, error)| Error::database("closing")(error))
    }
}

fn connect(file: &Path, durable: bool) -> Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(Error::database("opening"))?;
    connection.busy_timeout(Duration::from_secs(3600)).map_err(Error::database("setting the time limit"))?;
    // `normal` in WAL mode may lose the last transactions in a power cut; what we reported as done must last.
    let synchronous = if durable { "full" } else { "off" };
    connection
        .execute_batch(&format!(
            "pragma foreign_keys = 1;
             pragma synchronous = {synchronous};
             pragma journal_mode = wal;
             pragma wal_autocheckpoint = 10000;
             pragma cache_size = -16384;
             pragma temp_store = memory;"
        ))
        .map_err(Error::database("setting up"))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn write_version(file: &Path) -> Result<()> {
    let temporary = file.with_extension(format!("tmp-{}", std::process::id()));
    let mut output = fs::File::create(&temporary).map_err(Error::file("creating", &temporary))?;
    write!(output, "{}", schema::VERSION).map_err(Error::file("writing", &temporary))?;
    output.sync_all().map_err(Error::file("syncing", &temporary))?;
    fs::rename(&temporary, file).map_err(Error::file("renaming", &temporary))
}

fn check_version(file: &Path) -> Result<()> {
    let text = fs::read_to_string(file).map_err(Error::file("reading", file))?;
    if text.trim().parse::<u32>().ok() == Some(schema::VERSION) {
        return Ok(());
    }
    Err(Error::Schema { path: file.to_owned(), found: text.trim().to_owned(), known: schema::VERSION })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_schema_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = StoreDir::default();
        Database::open(directory.path(), &store, true).unwrap().close().unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("schema")).unwrap(), "10");
        for found in ["11", "", "9", "ten"] {
            fs::write(directory.path().join("schema"), found).unwrap();
            let error = Database::open(directory.path(), &store, true).unwrap_err();
            assert!(matches!(error, Error::Schema { .. }), "{error}");
        }
    }
}
