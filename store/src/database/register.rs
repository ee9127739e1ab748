//! What adds to the database: paths become valid, get signatures. Each call is one transaction.

use super::Database;
use super::queries::Id;
use crate::error::{Error, Result};
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
use rusqlite::{TransactionBehavior, params};
use std::collections::BTreeMap;

/// A path to register, and for a derivation its outputs.
#[derive(Debug)]
pub(crate) struct NewPath<'a> {
    /// The description.
    pub(crate) info: &'a PathInfo,
    /// For a derivation: output name → path, for those known.
    pub(crate) outputs: BTreeMap<String, StorePath>,
}

const DOING: &str = "registering paths";

impl Database {
    /// Makes all these paths valid, or none. Their references must be valid or among them.
    pub(crate) fn register(&mut self, paths: &[NewPath<'_>]) -> Result<()> {
        let store = self.store.clone();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(Error::database(DOING))?;
        let mut ids: BTreeMap<&StorePath, Id> = BTreeMap::new();
        {
            let mut insert = transaction
                .prepare_cached(
                    "insert into ValidPaths (path, hash, registrationTime, deriver, narSize, ultimate, sigs, ca)
                     values (?, ?, ?, ?, ?, ?, ?, ?)
                     on conflict (path) do update set hash = excluded.hash, narSize = excluded.narSize,
                         ultimate = excluded.ultimate, sigs = excluded.sigs, ca = excluded.ca
                     returning id",
                )
                .map_err(Error::database(DOING))?;
            let mut insert_output = transaction
                .prepare_cached("insert or replace into DerivationOutputs (drv, id, path) values (?, ?, ?)")
                .map_err(Error::database(DOING))?;
            for NewPath { info, outputs } in paths {
                let signatures = info.signatures.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
                let id: Id = insert
                    .query_row(
                        params![
                            store.print(&info.path),
                            info.nar_hash.base16(),
                            info.registration_time,
                            info.deriver.as_ref().map(|path| store.print(path)),
                            info.nar_size as i64,
                            info.ultimate.then_some(1),
                            (!signatures.is_empty()).then_some(signatures),
                            info.content_address.map(|address| address.to_string()),
                        ],
                        |row| row.get(0),
                    )
                    .map_err(Error::database(DOING))?;
                ids.insert(&info.path, id);
                for (output, path) in outputs {
                    insert_output
                        .execute(params![id, output, store.print(path)])
                        .map_err(Error::database(DOING))?;
                }
            }
            let mut insert_reference = transaction
                .prepare_cached("insert or replace into Refs (referrer, reference) values (?, ?)")
                .map_err(Error::database(DOING))?;
            let mut find = transaction
                .prepare_cached("select id from ValidPaths where path = ?")
                .map_err(Error::database(DOING))?;
            for NewPath { info, .. } in paths {
                let Some(&referrer) = ids.get(&info.path) else { continue };
                for reference in &info.references {
                    let id = match ids.get(reference) {
                        Some(&id) => id,
                        None => match find.query_row([store.print(reference)], |row| row.get(0)) {
                            Ok(id) => id,
                            Err(rusqlite::Error::QueryReturnedNoRows) => {
                                return Err(Error::NotValid(format!(
                                    "{}` (a reference of `{}",
                                    store.print(reference),
                                    store.print(&info.path)
                                )));
                            }
                            Err(error) => return Err(Error::database(DOING)(error)),
                        },
                    };
                    insert_reference.execute(params![referrer, id]).map_err(Error::database(DOING))?;
                }
            }
        }
        check_acyclic(paths)?;
        transaction.commit().map_err(Error::database(DOING))
    }

    /// Adds signatures to a valid path.
    pub(crate) fn set_signatures(&mut self, path: &StorePath, signatures: &str) -> Result<()> {
        self.connection
            .execute(
                "update ValidPaths set sigs = ? where path = ?",
                params![signatures, self.store.print(path)],
            )
            .map(drop)
            .map_err(Error::database("writing signatures"))
    }
}

/// Refuses paths that refer to each other in a circle: nothing could ever delete them one by one.
fn check_acyclic(paths: &[NewPath<'_>]) -> Result<()> {
    let graph: BTreeMap<&StorePath, &PathInfo> = paths.iter().map(|new| (&new.info.path, new.info)).collect();
    // 1 = being visited, 2 = done.
    let mut state: BTreeMap<&StorePath, u8> = BTreeMap::new();
    for start in graph.keys() {
        let mut stack = vec![(*start, false)];
        while let Some((path, leaving)) = stack.pop() {
            if leaving {
                state.insert(path, 2);
                continue;
            }
            if state.contains_key(path) {
                continue;
            }
            state.insert(path, 1);
            stack.push((path, true));
            let Some(info) = graph.get(path) else { continue };
            for reference in info.references.iter().filter(|reference| *reference != path) {
                if let Some((reference, _)) = graph.get_key_value(reference) {
                    match state.get(*reference) {
                        Some(1) => return Err(Error::Cycle(vec![path.clone(), (*reference).clone()])),
                        Some(_) => {}
                        None => stack.push((reference, false)),
                    }
                }
            }
        }
    }
    Ok(())
}
