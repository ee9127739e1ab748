//! The derivation that is being built: its name, its outputs, its attributes, as the store hands them to a builder
//! with structured attributes (Nix manual, "Advanced Attributes", `__structuredAttrs`): a JSON file whose path is in
//! `$NIX_ATTRS_JSON_FILE`, with the outputs' paths under `outputs`.

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Attributes that speak to the store or to Nix code and not to a command: no command has to know them.
const NOT_FOR_COMMANDS: &[&str] = &[
    "name",
    "pname",
    "version",
    "system",
    "builder",
    "args",
    "outputs",
    "meta",
    "passthru",
    "preferLocalBuild",
    "allowSubstitutes",
    "requiredSystemFeatures",
    "allowedReferences",
    "allowedRequisites",
    "disallowedReferences",
    "disallowedRequisites",
    "outputChecks",
    "exportReferencesGraph",
    "unsafeDiscardReferences",
    "outputHash",
    "outputHashAlgo",
    "outputHashMode",
    "impureEnvVars",
    "enableParallelBuilding",
];

/// A derivation under construction.
#[derive(Debug, Clone)]
pub struct Derivation {
    name: String,
    outputs: BTreeMap<String, PathBuf>,
    attributes: Map<String, Value>,
}

impl Derivation {
    /// Reads the file that `$NIX_ATTRS_JSON_FILE` names.
    pub fn from_environment() -> Result<Self> {
        let file = std::env::var_os("NIX_ATTRS_JSON_FILE")
            .context("NIX_ATTRS_JSON_FILE is not set: this is a builder and wants a derivation with __structuredAttrs = true")?;
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", Path::new(&file).display()))?;
        Self::from_json(&text).with_context(|| format!("in {}", Path::new(&file).display()))
    }

    /// Takes a derivation from the text of its attributes.
    pub fn from_json(text: &str) -> Result<Self> {
        let mut attributes: Map<String, Value> = serde_json::from_str(text).context("not a JSON object")?;
        let name = match attributes.get("name") {
            Some(Value::String(name)) => name.clone(),
            _ => bail!("the attribute `name` is missing"),
        };
        let outputs = match attributes.get("outputs") {
            Some(outputs @ Value::Object(_)) => serde_json::from_value(outputs.clone())
                .context("the attribute `outputs` does not map names to paths")?,
            _ => bail!("the attribute `outputs` is missing; the store adds it when __structuredAttrs = true"),
        };
        for key in NOT_FOR_COMMANDS {
            attributes.remove(*key);
        }
        Ok(Self { name, outputs, attributes })
    }

    /// The derivation's name, as it stands in the store path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path of the output `out`. It does not exist yet.
    pub fn out(&self) -> Result<&Path> {
        self.output("out")
    }

    /// The path of an output.
    pub fn output(&self, output: &str) -> Result<&Path> {
        self.outputs
            .get(output)
            .map(PathBuf::as_path)
            .with_context(|| format!("the derivation has no output `{output}`"))
    }

    /// All outputs with their paths, by name.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.outputs.iter().map(|(name, path)| (name.as_str(), path.as_path()))
    }

    /// The attributes that are meant for the command, in its own shape. Give the type `deny_unknown_fields`, so that a
    /// misspelt attribute is an error that names it.
    pub fn attributes<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(Value::Object(self.attributes.clone()))
            .context("the derivation's attributes do not fit")
    }

    /// The attributes as they are.
    pub fn raw_attributes(&self) -> &Map<String, Value> {
        &self.attributes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Sample {
        some_text: String,
    }

    #[test]
    fn attributes_without_those_of_the_store() {
        let derivation = Derivation::from_json(
            r#"{"name":"x-1","system":"x86_64-linux","builder":"/b","outputs":{"out":"/nix/store/o"},"someText":"a"}"#,
        )
        .expect("valid");
        assert_eq!(derivation.name(), "x-1");
        assert_eq!(derivation.out().expect("out"), Path::new("/nix/store/o"));
        assert_eq!(derivation.attributes::<Sample>().expect("fits").some_text, "a");
    }

    #[test]
    fn a_misspelt_attribute_is_named() {
        let derivation =
            Derivation::from_json(r#"{"name":"x","outputs":{"out":"/o"},"someText":"a","sumText":"b"}"#)
                .expect("valid");
        let error = derivation.attributes::<Sample>().expect_err("unknown field");
        assert!(format!("{error:#}").contains("sumText"), "{error:#}");
    }

    #[test]
    fn what_is_missing_is_said() {
        for (text, word) in
            [("[]", "JSON object"), (r#"{"outputs":{}}"#, "`name`"), (r#"{"name":"a"}"#, "`outputs`")]
        {
            let error = Derivation::from_json(text).expect_err(text);
            assert!(format!("{error:#}").contains(word), "{error:#}");
        }
        let derivation = Derivation::from_json(r#"{"name":"a","outputs":{"dev":"/d"}}"#).expect("valid");
        assert!(format!("{:#}", derivation.out().expect_err("no out")).contains("`out`"));
    }
}
