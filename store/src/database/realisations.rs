//! The tables of realisations. `Realisations.drvPath` holds the hash in the id, not a path: Nix's name for it.

use super::{Database, schema};
use crate::error::{Error, Result};
use crate::realisation::{Realisation, split_id};
use rusqlite::{OptionalExtension as _, params};

impl Database {
    /// Looks an id up.
    pub(crate) fn realisation(&self, id: &str) -> Result<Option<Realisation>> {
        const DOING: &str = "looking for a realisation";
        let Some((hash, output)) =
            split_id(id).filter(|_| self.connection.table_exists(None, "Realisations").unwrap_or(false))
        else {
            return Ok(None);
        };
        let found: Option<(String, Option<String>)> = self
            .connection
            .prepare_cached(
                "select v.path, r.signatures from Realisations r join ValidPaths v on r.outputPath = v.id
                 where r.drvPath = ? and r.outputName = ?",
            )
            .and_then(|mut statement| {
                statement.query_row(params![hash, output], |row| Ok((row.get(0)?, row.get(1)?))).optional()
            })
            .map_err(Error::database(DOING))?;
        let Some((path, signatures)) = found else { return Ok(None) };
        let mut realisation = Realisation::new(id.to_owned(), self.store.parse(&path)?);
        let signatures = signatures.unwrap_or_default();
        realisation.signatures = signatures.split_ascii_whitespace().map(str::to_owned).collect();
        self.add_dependencies(&path, &mut realisation)?;
        Ok(Some(realisation))
    }

    /// What it was made with: the realisations of the paths that its own refers to.
    fn add_dependencies(&self, path: &str, realisation: &mut Realisation) -> Result<()> {
        const DOING: &str = "looking for what a realisation was made with";
        let mut statement = self
            .connection
            .prepare_cached(
                "select r.drvPath, r.outputName, v.path from Refs f
                 join ValidPaths s on s.id = f.referrer join Realisations r on r.outputPath = f.reference
                 join ValidPaths v on v.id = f.reference where s.path = ? and f.reference != f.referrer",
            )
            .map_err(Error::database(DOING))?;
        let rows = statement
            .query_map(params![path], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
            })
            .map_err(Error::database(DOING))?;
        for row in rows {
            let (hash, output, path) = row.map_err(Error::database(DOING))?;
            realisation.dependencies.insert(format!("{hash}!{output}"), self.store.parse(&path)?);
        }
        Ok(())
    }

    /// Writes one, or adds its signatures to those known.
    pub(crate) fn register_realisation(&mut self, realisation: &Realisation) -> Result<()> {
        const DOING: &str = "registering a realisation";
        let Some((hash, output)) = split_id(&realisation.id) else {
            return Err(Error::Invalid(format!("`{}` does not name an output", realisation.id)));
        };
        let path = self.store.print(&realisation.path);
        self.connection.execute_batch(schema::CREATE_REALISATIONS).map_err(Error::database(DOING))?;
        let known = self.realisation(&realisation.id)?;
        let mut signatures = realisation.signatures.clone();
        signatures.extend(known.iter().flat_map(|known| known.signatures.clone()));
        let signatures = signatures.into_iter().collect::<Vec<_>>().join(" ");
        let written = if known.is_some() {
            self.connection.execute(
                "update Realisations set signatures = ? where drvPath = ? and outputName = ?",
                params![signatures, hash, output],
            )
        } else {
            self.connection.execute(
                "insert into Realisations (drvPath, outputName, outputPath, signatures)
                 select ?, ?, id, ? from ValidPaths where path = ?",
                params![hash, output, signatures, path],
            )
        };
        match written.map_err(Error::database(DOING))? {
            0 => Err(Error::NotValid(path)),
            _ => Ok(()),
        }
    }
}
