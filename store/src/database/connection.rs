//! Opens the database with Nix's locks and pragmas: a shared lock on `db/big-lock` for as long as it is open, an
//! exclusive one to create it; the version in `db/schema`, written atomically.

use super::schema;
use crate::error::{Error, Result};
use crate::lock::{FileLock, Mode};
use formats::store_path::StoreDir;
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

/// An open database.
#[derive(Debug)]
pub(crate) struct Database {
    pub(super) connection: Connection,
    pub(super) store: StoreDir,
    /// Held for life: who wants to change the schema needs it alone.
    _big_lock: Option<FileLock>,
}

impl Database {
    /// Opens the database in the directory, creating it if there is none. With `durable`, a transaction is on disk
    /// before it is reported done.
    pub(crate) fn open(directory: &Path, store: &StoreDir, durable: bool) -> Result<Self> {
        let big_lock = FileLock::open(&directory.join("big-lock"))?;
        let version_file = directory.join("schema");
        if !version_file.exists() {
            big_lock.acquire(Mode::Exclusive)?;
            if !version_file.exists() {
                let connection = connect(&directory.join("db.sqlite"), durable)?;
                connection.execute_batch(schema::CREATE).map_err(Error::database("creating the tables"))?;
                drop(connection);
                write_version(&version_file)?;
            }
        }
        big_lock.acquire(Mode::Shared)?;
        check_version(&version_file)?;
        let connection = connect(&directory.join("db.sqlite"), durable)?;
        Ok(Self { connection, store: store.clone(), _big_lock: Some(big_lock) })
    }

    /// Creates a database in one new file, without locks beside it: for images. Its bytes depend only on what is
    /// registered.
    pub(crate) fn create_single_file(file: &Path, store: &StoreDir) -> Result<Self> {
        let connection = Connection::open(file).map_err(Error::database("creating"))?;
        connection
            .execute_batch("pragma journal_mode = off; pragma synchronous = off; pragma foreign_keys = 1;")
            .map_err(Error::database("setting up"))?;
        connection.execute_batch(schema::CREATE).map_err(Error::database("creating the tables"))?;
        Ok(Self { connection, store: store.clone(), _big_lock: None })
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
