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
        Ok(Some(realisation))
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
