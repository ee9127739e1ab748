//! Realisations: which path an output of a content-addressed derivation got when it was built. Nix manual, "Realisation";
//! kept in the tables that Nix 2.8 has for them.

use crate::error::{Error, Result};
use crate::open::Store;
use formats::derivation::Derivation;
use formats::signature::{SecretKey, TrustedKeys};
use formats::store_path::StorePath;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One output's path, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realisation {
    /// `sha256:<hash of the derivation>!<output>`.
    pub id: String,
    /// The path.
    pub path: StorePath,
    /// Signatures.
    pub signatures: BTreeSet<String>,
    /// The realisations that this one was made with, as far as somebody told us.
    pub dependencies: BTreeMap<String, StorePath>,
}

impl Realisation {
    /// A realisation made here.
    #[must_use]
    pub const fn new(id: String, path: StorePath) -> Self {
        Self { id, path, signatures: BTreeSet::new(), dependencies: BTreeMap::new() }
    }

    /// As the worker protocol and binary caches have it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let dependencies: BTreeMap<&str, &str> =
            self.dependencies.iter().map(|(id, path)| (id.as_str(), path.base_name())).collect();
        json!({
            "id": self.id,
            "outPath": self.path.base_name(),
            "signatures": self.signatures,
            "dependentRealisations": dependencies,
        })
    }

    /// What its signatures sign: itself without them.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut value = self.to_json();
        if let Some(fields) = value.as_object_mut() {
            fields.remove("signatures");
        }
        value.to_string()
    }

    /// Reads the same.
    pub fn from_json(text: &str) -> Result<Self> {
        let bad = |what: &str| Error::Invalid(format!("a realisation has {what}: {text}"));
        let value: Value = serde_json::from_str(text).map_err(|error| bad(&error.to_string()))?;
        let id = value.get("id").and_then(Value::as_str).ok_or_else(|| bad("no `id`"))?;
        if split_id(id).is_none() {
            return Err(bad("a bad `id`"));
        }
        let path = value.get("outPath").and_then(Value::as_str).ok_or_else(|| bad("no `outPath`"))?;
        let mut realisation = Self::new(id.to_owned(), StorePath::from_base_name(path)?);
        for signature in value.get("signatures").and_then(Value::as_array).into_iter().flatten() {
            realisation.signatures.extend(signature.as_str().map(str::to_owned));
        }
        for (id, path) in value.get("dependentRealisations").and_then(Value::as_object).into_iter().flatten()
        {
            let path = path.as_str().ok_or_else(|| bad("a dependency without a path"))?;
            realisation.dependencies.insert(id.clone(), StorePath::from_base_name(path)?);
        }
        Ok(realisation)
    }
}

/// Splits an id in the derivation's hash and the output.
pub(crate) fn split_id(id: &str) -> Option<(&str, &str)> {
    id.split_once('!').filter(|(hash, output)| hash.starts_with("sha256:") && !output.is_empty())
}

impl Store {
    /// The realisation with this id, if its path is valid.
    pub fn realisation(&self, id: &str) -> Result<Option<Realisation>> {
        if let Some(remote) = &self.remote {
            return remote.realisation(id);
        }
        self.database().realisation(id)
    }

    /// Notes a realisation. Its path must be valid; another path for the same output is refused.
    pub fn register_realisation(&self, realisation: &Realisation) -> Result<()> {
        if let Some(known) = self.realisation(&realisation.id)? {
            if known.path != realisation.path {
                return Err(Error::Invalid(format!(
                    "output `{}` is `{}` here and cannot be `{}` as well",
                    realisation.id,
                    self.dir().print(&known.path),
                    self.dir().print(&realisation.path)
                )));
            }
            if known.signatures.is_superset(&realisation.signatures) {
                return Ok(());
            }
        }
        match &self.remote {
            Some(remote) => remote.register_realisation(realisation),
            None => self.database().register_realisation(realisation),
        }
    }

    /// Whether a realisation from elsewhere may be believed.
    pub(crate) fn believes(&self, realisation: &Realisation) -> bool {
        let trust = &self.options.trust;
        if !trust.require_signatures {
            return true;
        }
        let own = TrustedKeys::new(self.options.secret_keys.iter().map(SecretKey::public));
        let fingerprint = realisation.fingerprint();
        let signed = |signature: &String| {
            trust.keys.verify(&fingerprint, signature).is_some()
                || own.verify(&fingerprint, signature).is_some()
        };
        realisation.signatures.iter().any(signed)
    }

    /// What can be told elsewhere about the outputs of a derivation that are known here: its realisations, and those of
    /// the content-addressed inputs that they refer to, which come first. Signed with the keys of the store's options.
    pub fn realisations_of(&self, derivation: &StorePath) -> Result<Vec<Realisation>> {
        let mut found = Vec::new();
        self.add_realisations(derivation, true, &mut BTreeMap::new(), &mut found)?;
        Ok(found)
    }

    /// Adds a derivation's realisations, if its outputs' paths do not follow from its text or it is the one asked for.
    fn add_realisations(
        &self,
        path: &StorePath,
        asked: bool,
        known: &mut BTreeMap<StorePath, BTreeMap<String, StorePath>>,
        found: &mut Vec<Realisation>,
    ) -> Result<BTreeMap<String, StorePath>> {
        if let Some(ids) = known.get(path) {
            return Ok(ids.clone());
        }
        let derivation = self.read_derivation(path)?;
        let floating = derivation.output_paths(self.dir())?.values().any(Option::is_none);
        if !asked && !floating {
            known.insert(path.clone(), BTreeMap::new());
            return Ok(BTreeMap::new());
        }
        let mut inputs = BTreeMap::new();
        for input in derivation.input_drvs.keys().filter(|_| floating) {
            inputs.extend(self.add_realisations(input, false, known, found)?);
        }
        let mut ids = BTreeMap::new();
        for (output, place) in self.known_outputs(&derivation)? {
            let Some(place) = place else { continue };
            let Some(info) = self.query_path_info(&place)? else { continue };
            let id = self.realisation_id(&derivation, &output)?;
            let mut realisation = match self.realisation(&id)? {
                Some(known) if !known.dependencies.is_empty() => known,
                _ => Realisation::new(id.clone(), place.clone()),
            };
            if realisation.dependencies.is_empty() {
                let referred = inputs.iter().filter(|(_, path)| info.references.contains(*path));
                realisation.dependencies.extend(referred.map(|(id, path)| (id.clone(), path.clone())));
            }
            let fingerprint = realisation.fingerprint();
            realisation.signatures.extend(self.options.secret_keys.iter().map(|key| key.sign(&fingerprint)));
            found.push(realisation);
            ids.insert(id, place);
        }
        known.insert(path.clone(), ids.clone());
        Ok(ids)
    }

    /// The paths of a derivation's outputs as far as they are known: from its text, or because they were built.
    pub fn known_outputs(&self, derivation: &Derivation) -> Result<BTreeMap<String, Option<StorePath>>> {
        let mut outputs = derivation.output_paths(self.dir())?;
        for (output, path) in &mut outputs {
            if path.is_none() {
                let id = self.realisation_id(derivation, output)?;
                *path = self.realisation(&id)?.map(|realisation| realisation.path);
            }
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_go_round() {
        let path = StorePath::from_base_name("m0iyz1rzcgxw68h6skk8b9sg0p0napwc-foo").unwrap();
        let mut realisation = Realisation::new("sha256:00!out".to_owned(), path.clone());
        realisation.signatures.insert("key:AAAA".to_owned());
        realisation.dependencies.insert("sha256:01!dev".to_owned(), path);
        let text = realisation.to_json().to_string();
        assert_eq!(Realisation::from_json(&text).unwrap(), realisation);
        for bad in [
            "",
            "{}",
            r#"{"id":"x","outPath":"m0iyz1rzcgxw68h6skk8b9sg0p0napwc-foo"}"#,
            r#"{"id":"sha256:0!out","outPath":"../x"}"#,
        ] {
            assert!(Realisation::from_json(bad).is_err(), "{bad}");
        }
    }
}
