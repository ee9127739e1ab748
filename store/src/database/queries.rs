//! What is asked of the database.

use super::Database;
use crate::error::{Error, Result};
use formats::hash::Hash;
use formats::path_info::PathInfo;
use formats::store_path::{HASH_LENGTH, StorePath};
use rusqlite::{OptionalExtension as _, Row, params};
use std::collections::{BTreeMap, BTreeSet};

/// A row's number.
pub(crate) type Id = i64;

/// The whole graph in memory: what collections and closures work on.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// The paths, sorted: a path's place here is its index.
    pub(crate) paths: Vec<StorePath>,
    /// The row of each path.
    pub(crate) ids: Vec<Id>,
    /// What each refers to.
    pub(crate) references: Vec<Vec<usize>>,
    /// What refers to each.
    pub(crate) referrers: Vec<Vec<usize>>,
    /// The deriver of each.
    pub(crate) derivers: Vec<Option<StorePath>>,
    /// The size of each NAR.
    pub(crate) sizes: Vec<u64>,
}

impl Graph {
    /// The index of a path.
    pub(crate) fn index(&self, path: &StorePath) -> Option<usize> {
        self.paths.binary_search(path).ok()
    }
}

impl Database {
    /// The row of a path, if it is valid.
    pub(crate) fn id(&self, path: &StorePath) -> Result<Option<Id>> {
        let mut statement = self
            .connection
            .prepare_cached("select id from ValidPaths where path = ?")
            .map_err(Error::database("looking for a path"))?;
        statement
            .query_row([self.store.print(path)], |row| row.get(0))
            .optional()
            .map_err(Error::database("looking for a path"))
    }

    /// All that is known about a valid path.
    pub(crate) fn info(&self, path: &StorePath) -> Result<Option<PathInfo>> {
        const DOING: &str = "reading a path's description";
        let mut statement = self
            .connection
            .prepare_cached(
                "select id, hash, registrationTime, deriver, narSize, ultimate, sigs, ca from ValidPaths where path = ?",
            )
            .map_err(Error::database(DOING))?;
        let found = statement
            .query_row([self.store.print(path)], RawInfo::from_row)
            .optional()
            .map_err(Error::database(DOING))?;
        let Some(raw) = found else { return Ok(None) };
        let id = raw.id;
        let mut info = self.parse_info(path, raw)?;
        let mut statement = self
            .connection
            .prepare_cached("select path from Refs join ValidPaths on reference = id where referrer = ?")
            .map_err(Error::database(DOING))?;
        let rows =
            statement.query_map([id], |row| row.get::<_, String>(0)).map_err(Error::database(DOING))?;
        for row in rows {
            info.references.insert(self.store.parse(&row.map_err(Error::database(DOING))?)?);
        }
        Ok(Some(info))
    }

    fn parse_info(&self, path: &StorePath, raw: RawInfo) -> Result<PathInfo> {
        let bad = |what: String| Error::BadRow { path: path.to_string(), what };
        let hash = Hash::parse(&raw.hash).map_err(|error| bad(format!("a bad hash ({error})")))?;
        let mut info = PathInfo::new(path.clone(), hash, raw.nar_size.unwrap_or(0) as u64);
        info.registration_time = raw.registration_time;
        info.deriver = match raw.deriver.as_deref() {
            None | Some("") => None,
            Some(text) => Some(self.store.parse(text)?),
        };
        info.ultimate = raw.ultimate.unwrap_or(0) != 0;
        info.signatures = raw.signatures.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        info.content_address = match raw.content_address.as_deref() {
            None | Some("") => None,
            Some(text) => {
                Some(text.parse().map_err(|error| bad(format!("a bad content address ({error})")))?)
            }
        };
        Ok(info)
    }

    fn paths_of(&self, query: &str, parameter: &str) -> Result<BTreeSet<StorePath>> {
        const DOING: &str = "reading paths";
        let mut statement = self.connection.prepare_cached(query).map_err(Error::database(DOING))?;
        let rows = statement
            .query_map([parameter], |row| row.get::<_, String>(0))
            .map_err(Error::database(DOING))?;
        let mut paths = BTreeSet::new();
        for row in rows {
            paths.insert(self.store.parse(&row.map_err(Error::database(DOING))?)?);
        }
        Ok(paths)
    }

    /// Adds a valid path and all that it refers to, directly or not. Which paths these are is found in memory: SQLite would
    /// keep what it has seen in trees of its own.
    pub(crate) fn add_closure(&self, path: &StorePath, found: &mut BTreeSet<StorePath>) -> Result<()> {
        const DOING: &str = "reading a closure";
        // One snapshot, and one lock for all that is read.
        let _reading = self.connection.unchecked_transaction().map_err(Error::database(DOING))?;
        let Some(start) = self.id(path)? else { return Err(Error::NotValid(self.store.print(path))) };
        let ids = self.closure_of(start).map_err(Error::database(DOING))?;
        let mut add = |row: &Row<'_>, column| -> Result<()> {
            let text =
                row.get_ref(column).and_then(|text| Ok(text.as_str()?)).map_err(Error::database(DOING))?;
            found.insert(self.store.parse(text)?);
            Ok(())
        };
        let last: Id = self
            .connection
            .query_row("select max(id) from ValidPaths", [], |row| row.get(0))
            .map_err(Error::database(DOING))?;
        if (ids.len() as Id).saturating_mul(8) < last {
            let mut statement = self
                .connection
                .prepare_cached("select path from ValidPaths where id = ?")
                .map_err(Error::database(DOING))?;
            for id in ids {
                let mut rows = statement.query([id]).map_err(Error::database(DOING))?;
                if let Some(row) = rows.next().map_err(Error::database(DOING))? {
                    add(row, 0)?;
                }
            }
            return Ok(());
        }
        // A good part of them all: in one pass.
        let mut statement = self
            .connection
            .prepare_cached("select id, path from ValidPaths order by id")
            .map_err(Error::database(DOING))?;
        let mut rows = statement.query([]).map_err(Error::database(DOING))?;
        let mut ids = ids.into_iter().peekable();
        while let (Some(wanted), Some(row)) = (ids.peek(), rows.next().map_err(Error::database(DOING))?) {
            if row.get::<_, Id>(0).map_err(Error::database(DOING))? == *wanted {
                add(row, 1)?;
                ids.next();
            }
        }
        Ok(())
    }

    /// The rows of a closure, sorted.
    fn closure_of(&self, start: Id) -> rusqlite::Result<Vec<Id>> {
        let mut statement =
            self.connection.prepare_cached("select reference from Refs where referrer = ?")?;
        let mut seen = Bits::default();
        seen.insert(start);
        let (mut found, mut done) = (vec![start], 0);
        while let Some(id) = found.get(done).copied() {
            done += 1;
            let mut rows = statement.query([id])?;
            while let Some(row) = rows.next()? {
                let reference = row.get(0)?;
                if seen.insert(reference) {
                    found.push(reference);
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The valid paths that mention this one.
    pub(crate) fn referrers(&self, path: &StorePath) -> Result<BTreeSet<StorePath>> {
        self.paths_of(
            "select path from Refs join ValidPaths on referrer = id
             where reference = (select id from ValidPaths where path = ?)",
            &self.store.print(path),
        )
    }

    /// The valid derivations that have this path as an output.
    pub(crate) fn valid_derivers(&self, path: &StorePath) -> Result<BTreeSet<StorePath>> {
        self.paths_of(
            "select v.path from DerivationOutputs d join ValidPaths v on d.drv = v.id where d.path = ?",
            &self.store.print(path),
        )
    }

    /// The outputs registered for a valid derivation.
    pub(crate) fn derivation_outputs(&self, derivation: &StorePath) -> Result<BTreeMap<String, StorePath>> {
        const DOING: &str = "reading a derivation's outputs";
        let mut statement = self
            .connection
            .prepare_cached(
                "select d.id, d.path from DerivationOutputs d join ValidPaths v on d.drv = v.id where v.path = ?",
            )
            .map_err(Error::database(DOING))?;
        let rows = statement
            .query_map([self.store.print(derivation)], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })
            .map_err(Error::database(DOING))?;
        let mut outputs = BTreeMap::new();
        for row in rows {
            let (output, path) = row.map_err(Error::database(DOING))?;
            outputs.insert(output, self.store.parse(&path)?);
        }
        Ok(outputs)
    }

    /// The valid path with this hash part.
    pub(crate) fn by_hash_part(&self, hash_part: &str) -> Result<Option<StorePath>> {
        const DOING: &str = "looking for a hash part";
        let prefix = format!("{}/{hash_part}", self.store);
        let mut statement = self
            .connection
            .prepare_cached("select path from ValidPaths where path >= ? order by path limit 1")
            .map_err(Error::database(DOING))?;
        let found: Option<String> =
            statement.query_row([&prefix], |row| row.get(0)).optional().map_err(Error::database(DOING))?;
        match found.filter(|path| path.starts_with(&prefix)) {
            Some(path) => Ok(Some(self.store.parse(&path)?)),
            None => Ok(None),
        }
    }

    /// All valid paths.
    pub(crate) fn all(&self) -> Result<BTreeSet<StorePath>> {
        self.paths_of("select path from ValidPaths where path <> ?", "")
    }

    /// Whether some valid path has this name after its hash part.
    pub(crate) fn has_name(&self, name: &str) -> Result<bool> {
        const DOING: &str = "looking for a name";
        let mut statement = self
            .connection
            .prepare_cached("select exists (select 1 from ValidPaths where substr(path, ?) = ?)")
            .map_err(Error::database(DOING))?;
        let start = self.store.as_str().len() + 1 + HASH_LENGTH + 2;
        statement.query_row(params![start as i64, name], |row| row.get(0)).map_err(Error::database(DOING))
    }

    /// Loads paths, references and derivers: two queries for everything.
    pub(crate) fn graph(&self) -> Result<Graph> {
        const DOING: &str = "loading the graph";
        let mut graph = Graph::default();
        let mut by_id: Vec<(Id, usize)> = Vec::new();
        let mut statement = self
            .connection
            .prepare_cached("select id, path, deriver, narSize from ValidPaths order by path")
            .map_err(Error::database(DOING))?;
        let mut rows = statement.query(params![]).map_err(Error::database(DOING))?;
        while let Some(row) = rows.next().map_err(Error::database(DOING))? {
            let get = |row: &Row<'_>| -> rusqlite::Result<(Id, String, Option<String>, Option<i64>)> {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            };
            let (id, path, deriver, size) = get(row).map_err(Error::database(DOING))?;
            let path = self.store.parse(&path)?;
            by_id.push((id, graph.paths.len()));
            graph.paths.push(path);
            graph.ids.push(id);
            graph.derivers.push(deriver.and_then(|deriver| self.store.parse(&deriver).ok()));
            graph.sizes.push(size.unwrap_or(0) as u64);
        }
        // The database sorts by bytes, as paths do; only a store of several directories could differ.
        if !graph.paths.is_sorted() {
            return Err(Error::Invalid(
                "the database holds paths in another order than their bytes'".to_owned(),
            ));
        }
        by_id.sort_unstable();
        let index_of = |id: Id| {
            let position = by_id.binary_search_by_key(&id, |(id, _)| *id).ok()?;
            by_id.get(position).map(|(_, index)| *index)
        };
        graph.references.resize(graph.paths.len(), Vec::new());
        graph.referrers.resize(graph.paths.len(), Vec::new());
        let mut statement = self
            .connection
            .prepare_cached("select referrer, reference from Refs order by referrer, reference")
            .map_err(Error::database(DOING))?;
        let mut last = (-1, None);
        let mut rows = statement.query(params![]).map_err(Error::database(DOING))?;
        while let Some(row) = rows.next().map_err(Error::database(DOING))? {
            let pair: rusqlite::Result<(Id, Id)> = (|| Ok((row.get(0)?, row.get(1)?)))();
            let (referrer, reference) = pair.map_err(Error::database(DOING))?;
            if last.0 != referrer {
                last = (referrer, index_of(referrer));
            }
            if let (Some(from), Some(to)) = (last.1, index_of(reference)) {
                if let Some(list) = graph.references.get_mut(from) {
                    list.push(to);
                }
                if let Some(list) = graph.referrers.get_mut(to) {
                    list.push(from);
                }
            }
        }
        Ok(graph)
    }
}

/// A set of rows' numbers, which are small and lie close together.
#[derive(Debug, Default)]
struct Bits {
    words: Vec<u64>,
    /// Numbers that SQLite did not give out.
    strange: BTreeSet<Id>,
}

impl Bits {
    /// Adds one. False if it was there.
    fn insert(&mut self, id: Id) -> bool {
        if !(0..1 << 32).contains(&id) {
            return self.strange.insert(id);
        }
        let (word, bit) = ((id / 64) as usize, 1_u64 << (id % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words.get_mut(word).is_some_and(|word| {
            let new = *word & bit == 0;
            *word |= bit;
            new
        })
    }
}

/// A row of `ValidPaths`, not yet understood.
struct RawInfo {
    id: Id,
    hash: String,
    registration_time: i64,
    deriver: Option<String>,
    nar_size: Option<i64>,
    ultimate: Option<i64>,
    signatures: Option<String>,
    content_address: Option<String>,
}

impl RawInfo {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            hash: row.get(1)?,
            registration_time: row.get(2)?,
            deriver: row.get(3)?,
            nar_size: row.get(4)?,
            ultimate: row.get(5)?,
            signatures: row.get(6)?,
            content_address: row.get(7)?,
        })
    }
}
