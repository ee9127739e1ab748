//! `--dump-db`, `--load-db` and `--register-validity`: descriptions of paths as text, for stores that are copied by other
//! means than Nix's.

use crate::add::now;
use crate::database::NewPath;
use crate::error::{Error, Result};
use crate::open::Store;
use crate::tree;
use formats::hash::Algorithm;
use formats::path_info::{PathInfo, parse_registrations};
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};

impl Store {
    /// The descriptions of these paths, or of all, as text with hashes.
    pub fn dump_database(&self, paths: Option<&BTreeSet<StorePath>>) -> Result<String> {
        let all;
        let paths = if let Some(paths) = paths {
            paths
        } else {
            all = self.all_valid()?;
            &all
        };
        let mut text = String::new();
        for path in paths {
            text.push_str(&self.path_info(path)?.to_registration(self.dir(), true));
        }
        Ok(text)
    }

    /// Registers paths described by a text, whose files are in the store already. Without hashes in the text they are
    /// computed; with `canonicalise`, the files are made canonical first.
    pub fn load_registrations(&self, text: &str, with_hash: bool, canonicalise: bool) -> Result<()> {
        let entries = parse_registrations(text, self.dir(), with_hash)
            .map_err(|error| Error::Invalid(format!("cannot read the registrations: {error}")))?;
        let mut infos = Vec::new();
        let mut derivations = BTreeMap::new();
        for entry in entries {
            let real = self.real_path(&entry.path);
            if canonicalise {
                tree::canonicalise(&real, None, &mut BTreeSet::new())?;
            }
            let (hash, size) = match entry.nar {
                Some(nar) => nar,
                None => tree::hash_tree(&real, Algorithm::Sha256)?,
            };
            let mut info = PathInfo::new(entry.path, hash, size);
            info.references = entry.references;
            info.deriver = entry.deriver;
            info.registration_time = now();
            if info.path.is_derivation() && real.is_file() {
                derivations.insert(info.path.clone(), self.read_derivation(&info.path)?);
            }
            infos.push(info);
        }
        let mut new = Vec::new();
        for info in &infos {
            let mut outputs = BTreeMap::new();
            if let Some(derivation) = derivations.get(&info.path) {
                derivation.check_output_paths::<Error>(self.dir(), &mut |input| {
                    self.modulo_among(input, &derivations)
                })?;
                outputs = self.output_paths(derivation)?;
            }
            new.push(NewPath { info, outputs });
        }
        if self.options.durable {
            tree::sync_file_system(&self.layout.real_store)?;
        }
        self.database().register(&new)
    }
}
