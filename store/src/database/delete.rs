//! Paths become invalid: one by one under the tables' foreign keys, or many at once where nobody has written since the
//! graph was read, so that what the keys would check and delete is known already.
//!
//! SQLite deletes a row of `Refs` in about a microsecond (it lies in four trees) and asks three keys and a trigger for each
//! row of `ValidPaths`. A collection deletes hundreds of thousands; by ranges of ids, and by emptying `Refs` as a whole
//! when most of it goes, that is a tenth.

use super::Database;
use super::queries::Id;
use crate::error::{Error, Result};
use rusqlite::{Connection, TransactionBehavior};

const DOING: &str = "invalidating paths";

/// The tables whose rows go with a path. A database with others (realisations) keeps to the keys.
const KNOWN_TABLES: &[&str] = &["DerivationOutputs", "Refs", "ValidPaths"];

/// The state of the database at a moment: another one says that somebody has written since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Changes when another connection writes.
    others: i64,
    /// Rows that this connection has written.
    ours: u64,
}

/// Rows to delete.
#[derive(Debug, Default)]
pub(crate) struct Doomed {
    /// Their ids, sorted.
    pub(crate) ids: Vec<Id>,
    /// Ranges of ids, both ends among them, in which no row stays.
    pub(crate) ranges: Vec<(Id, Id)>,
    /// The ranges between, in which no row goes.
    pub(crate) kept: Vec<(Id, Id)>,
    /// How many references they have.
    pub(crate) references: usize,
    /// How many references stay.
    pub(crate) references_kept: usize,
}

impl Doomed {
    /// Adds the next row in the order of ids: one that goes, or one that stays.
    pub(crate) fn push(&mut self, id: Id, goes: bool, references: usize) {
        let (ranges, others, count) = if goes {
            self.ids.push(id);
            (&mut self.ranges, &self.kept, &mut self.references)
        } else {
            (&mut self.kept, &self.ranges, &mut self.references_kept)
        };
        *count += references;
        match ranges.last_mut() {
            Some(last) if others.last().is_none_or(|other| other.1 < last.1) => last.1 = id,
            _ => ranges.push((id, id)),
        }
    }
}

impl Database {
    /// The state now. Take it before reading what is worked on.
    pub(crate) fn moment(&self) -> Result<Moment> {
        let others = self
            .connection
            .pragma_query_value(None, "data_version", |row| row.get(0))
            .map_err(Error::database("asking for changes"))?;
        Ok(Moment { others, ours: self.connection.total_changes() })
    }

    /// Makes these rows invalid, all or none. Referrers must come before what they refer to; one that is still referred
    /// to by a row outside fails the whole.
    pub(crate) fn invalidate(&mut self, ids: &[Id]) -> Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(Error::database(DOING))?;
        {
            let mut delete_references = transaction
                .prepare_cached("delete from Refs where referrer = ?")
                .map_err(Error::database(DOING))?;
            let mut delete = transaction
                .prepare_cached("delete from ValidPaths where id = ?")
                .map_err(Error::database(DOING))?;
            // References first: then the order of rows does not matter among them.
            for id in ids {
                delete_references.execute([id]).map_err(Error::database(DOING))?;
            }
            for id in ids {
                delete.execute([id]).map_err(Error::database(DOING))?;
            }
        }
        transaction.commit().map_err(Error::database(DOING))
    }

    /// The same for rows of a graph that was read at a moment, to which nothing outside refers in it: at once, if the
    /// database is still as it was. The moment becomes the one after.
    pub(crate) fn invalidate_at(&mut self, moment: &mut Moment, doomed: &Doomed) -> Result<()> {
        // Inside of a transaction SQLite does not heed it.
        self.check_keys(false)?;
        let done = self.delete_ranges(*moment, doomed);
        self.check_keys(true)?;
        if done? {
            moment.ours = self.connection.total_changes();
            return Ok(());
        }
        self.invalidate(&doomed.ids)
    }

    fn check_keys(&self, check: bool) -> Result<()> {
        self.connection.pragma_update(None, "foreign_keys", check).map_err(Error::database(DOING))
    }

    /// Whether it could be done.
    fn delete_ranges(&mut self, moment: Moment, doomed: &Doomed) -> Result<bool> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(Error::database(DOING))?;
        let others: i64 = transaction
            .pragma_query_value(None, "data_version", |row| row.get(0))
            .map_err(Error::database(DOING))?;
        let now = Moment { others, ours: transaction.total_changes() };
        if now != moment || !has_only_known_tables(&transaction).map_err(Error::database(DOING))? {
            return Ok(false);
        }
        delete(&transaction, doomed).and_then(|()| transaction.commit()).map_err(Error::database(DOING))?;
        Ok(true)
    }
}

fn has_only_known_tables(connection: &Connection) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(
        "select name from sqlite_master where type = 'table' and name not like 'sqlite_%' order by name",
    )?;
    let names: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(names == KNOWN_TABLES)
}

fn delete(connection: &Connection, doomed: &Doomed) -> rusqlite::Result<()> {
    if doomed.references_kept < doomed.references / 4 {
        connection.execute_batch("create temp table KeptRefs (referrer integer, reference integer)")?;
        each(
            connection,
            "insert into KeptRefs select referrer, reference from Refs where referrer between ? and ?",
            &doomed.kept,
        )?;
        // Without a condition SQLite empties the trees and need not look for each row.
        connection.execute_batch(
            "delete from Refs;
             insert into Refs (referrer, reference) select referrer, reference from KeptRefs;
             drop table KeptRefs;",
        )?;
    } else {
        each(connection, "delete from Refs where referrer between ? and ?", &doomed.ranges)?;
    }
    each(connection, "delete from DerivationOutputs where drv between ? and ?", &doomed.ranges)?;
    each(connection, "delete from ValidPaths where id between ? and ?", &doomed.ranges)
}

fn each(connection: &Connection, statement: &str, ranges: &[(Id, Id)]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(statement)?;
    ranges.iter().try_for_each(|range| statement.execute(*range).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::store_path::StoreDir;
    use std::path::Path;

    const COUNT: Id = 60;

    /// Each row refers to some with smaller ids, some to themselves as well.
    fn filled(directory: &Path) -> Database {
        std::fs::create_dir_all(directory).unwrap();
        let database = Database::open(directory, &StoreDir::default(), false).unwrap();
        let run = |text: &str, id, other| database.connection.execute(text, (id, other)).map(drop).unwrap();
        for id in 1..=COUNT {
            run(
                "insert into ValidPaths (id, path, hash, registrationTime) values (?, 'p' || ?, 'h', 1)",
                id,
                id,
            );
            run("insert into DerivationOutputs (drv, id, path) values (?, 'out', 'o' || ?)", id, id);
            for reference in [id / 2, id / 3, id - 1].into_iter().filter(|to| *to > 0 && *to < id) {
                run("insert or ignore into Refs values (?, ?)", id, reference);
            }
            if id % 7 == 0 {
                run("insert into Refs values (?, ?)", id, id);
            }
        }
        database
    }

    fn rows(database: &Database) -> Vec<String> {
        let queries = [
            "select id || path from ValidPaths order by id",
            "select referrer || ' ' || reference from Refs order by referrer, reference",
            "select drv || path from DerivationOutputs order by drv",
            "select * from pragma_foreign_key_check",
            "select * from pragma_integrity_check",
        ];
        let all = |query| {
            let mut statement = database.connection.prepare(query).unwrap();
            statement
                .query_map([], |row| row.get(0))
                .unwrap()
                .map(rusqlite::Result::unwrap)
                .collect::<Vec<_>>()
        };
        queries.into_iter().flat_map(all).collect()
    }

    fn doomed(goes: impl Fn(Id) -> bool) -> Doomed {
        let mut doomed = Doomed::default();
        (1..=COUNT).for_each(|id| doomed.push(id, goes(id), 3));
        doomed
    }

    #[test]
    fn at_once_is_as_one_by_one() {
        // What goes is closed under what refers to it: all, most, few.
        for first in [1, 4, 50] {
            let directory = tempfile::tempdir().unwrap();
            let (mut slow, mut fast) =
                (filled(&directory.path().join("slow")), filled(&directory.path().join("fast")));
            let doomed = doomed(|id| id >= first);
            slow.invalidate(&doomed.ids).unwrap();
            let mut moment = fast.moment().unwrap();
            assert!(fast.delete_ranges(moment, &Doomed::default()).unwrap(), "nothing happened since");
            fast.invalidate_at(&mut moment, &doomed).unwrap();
            assert_eq!(moment, fast.moment().unwrap());
            assert_eq!(rows(&fast), rows(&slow), "from {first}");
            assert_eq!(rows(&fast).last().map(String::as_str), Some("ok"));
        }
    }

    #[test]
    fn where_somebody_wrote_or_has_other_tables_the_keys_decide() {
        let write = "insert into ValidPaths (path, hash, registrationTime) values ('new', 'h', 1);
                     insert into Refs select id, 50 from ValidPaths where path = 'new';";
        let statements = [write, crate::database::schema::CREATE_REALISATIONS];
        for (statement, by_another) in statements.into_iter().flat_map(|text| [(text, true), (text, false)]) {
            let directory = tempfile::tempdir().unwrap();
            let mut database = filled(directory.path());
            let mut moment = database.moment().unwrap();
            if by_another {
                let other = Database::open(directory.path(), &StoreDir::default(), false).unwrap();
                other.connection.execute_batch(statement).unwrap();
            } else {
                database.connection.execute_batch(statement).unwrap();
            }
            assert!(!database.delete_ranges(moment, &doomed(|id| id >= 50)).unwrap());
            let refused = database.invalidate_at(&mut moment, &doomed(|id| id >= 50)).is_err();
            assert_eq!(refused, statement == write, "a new row refers to what should go");
            // The keys hold again.
            assert!(database.connection.execute("delete from ValidPaths where id = 1", []).is_err());
        }
    }
}
