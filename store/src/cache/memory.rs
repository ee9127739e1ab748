//! What servers said before, so that they are not asked again: in a database of the user's, as Nix has one. Only a
//! saving: whatever goes wrong here is as if nothing were remembered.

use rusqlite::{Connection, OptionalExtension as _, params};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long an answer with a narinfo counts (`narinfo-cache-positive-ttl`).
const POSITIVE: u64 = 30 * 24 * 3600;
/// How long a "not there" counts (`narinfo-cache-negative-ttl`).
const NEGATIVE: u64 = 3600;

/// What is remembered of a cache and a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Recalled {
    /// Nothing, or nothing that still counts.
    Unknown,
    /// The cache did not have it.
    NotThere,
    /// The cache had it; the text of its narinfo or realisation.
    There(String),
}

/// The database.
#[derive(Debug)]
pub(super) struct Memory {
    connection: Mutex<Connection>,
}

impl Memory {
    /// Opens or makes it; none if that cannot be.
    pub(super) fn open(directory: &Path) -> Option<Self> {
        let opened = std::fs::create_dir_all(directory).map_err(|error| error.to_string()).and_then(|()| {
            let connection =
                Connection::open(directory.join("binary-cache-firn-1.sqlite")).map_err(|e| e.to_string())?;
            connection
                .busy_timeout(Duration::from_secs(2))
                .and_then(|()| {
                    connection.execute_batch(
                        "pragma journal_mode = wal; pragma synchronous = off;
                         create table if not exists Answers (
                             cache text not null, hash text not null, text text, time integer not null,
                             primary key (cache, hash)) without rowid;",
                    )
                })
                .map_err(|error| error.to_string())?;
            Ok(connection)
        });
        match opened {
            Ok(connection) => Some(Self { connection: Mutex::new(connection) }),
            Err(error) => {
                log::debug!("nothing is remembered of caches: {}: {error}", directory.display());
                None
            }
        }
    }

    /// What the cache said about a path's hash part, or a realisation's id.
    pub(super) fn recall(&self, cache: &str, key: &str) -> Recalled {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let row: Option<(Option<String>, u64)> = connection
            .prepare_cached("select text, time from Answers where cache = ? and hash = ?")
            .and_then(|mut statement| {
                statement
                    .query_row(params![cache, key], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))
                    .optional()
            })
            .unwrap_or_default();
        let Some((text, time)) = row else { return Recalled::Unknown };
        let limit = if text.is_some() { POSITIVE } else { NEGATIVE };
        match text {
            _ if now().saturating_sub(time) >= limit => Recalled::Unknown,
            Some(text) => Recalled::There(text),
            None => Recalled::NotThere,
        }
    }

    /// Keeps an answer.
    pub(super) fn keep(&self, cache: &str, key: &str, text: Option<&str>) {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = connection
            .prepare_cached("insert or replace into Answers (cache, hash, text, time) values (?, ?, ?, ?)")
            .and_then(|mut statement| statement.execute(params![cache, key, text, now() as i64]));
        if let Err(error) = kept {
            log::debug!("an answer of {cache} was not kept: {error}");
        }
    }

    /// Forgets an answer that turned out wrong.
    pub(super) fn forget(&self, cache: &str, key: &str) {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten =
            connection.execute("delete from Answers where cache = ? and hash = ?", params![cache, key]);
        if let Err(error) = forgotten {
            log::debug!("an answer of {cache} was not forgotten: {error}");
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_for_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::open(directory.path()).unwrap();
        let path = "m0iyz1rzcgxw68h6skk8b9sg0p0napwc";
        assert_eq!(memory.recall("a", path), Recalled::Unknown);
        memory.keep("a", path, None);
        memory.keep("b", path, Some("text"));
        assert_eq!(memory.recall("a", path), Recalled::NotThere);
        assert_eq!(memory.recall("b", path), Recalled::There("text".to_owned()));
        let age = |seconds: u64| {
            let connection = memory.connection.lock().unwrap();
            connection.execute("update Answers set time = time - ?", [seconds as i64]).unwrap();
        };
        age(NEGATIVE + 1);
        assert_eq!(memory.recall("a", path), Recalled::Unknown);
        assert_ne!(memory.recall("b", path), Recalled::Unknown);
        memory.forget("b", path);
        assert_eq!(memory.recall("b", path), Recalled::Unknown);
        std::fs::write(directory.path().join("file"), "").unwrap();
        assert!(Memory::open(&directory.path().join("file")).is_none());
    }
}
