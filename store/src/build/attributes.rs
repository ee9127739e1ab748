//! The attributes of a derivation that the store itself understands, from plain variables or structured attributes.

use super::FailureKind;
use formats::derivation::Derivation;
use serde_json::Value;
use std::collections::BTreeSet;

/// A derivation's attributes, wherever they are.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    derivation: &'a Derivation,
    /// The structured attributes, if the derivation has them.
    pub(super) structured: Option<serde_json::Map<String, Value>>,
}

impl<'a> Attributes<'a> {
    pub(super) fn of(derivation: &'a Derivation) -> Result<Self, FailureKind> {
        let structured = match derivation.variable("__json") {
            None => None,
            Some(text) => match serde_json::from_slice(text) {
                Ok(Value::Object(map)) => Some(map),
                Ok(_) => return Err(FailureKind::Unsupported("its __json is not an object".to_owned())),
                Err(error) => {
                    return Err(FailureKind::Unsupported(format!("its __json cannot be read: {error}")));
                }
            },
        };
        Ok(Self { derivation, structured })
    }

    /// A text attribute.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        match &self.structured {
            Some(map) => map.get(name)?.as_str().map(str::to_owned),
            None => self.derivation.variable(name).map(|text| String::from_utf8_lossy(text).into_owned()),
        }
    }

    /// A truth: `"1"` or, structured, `true`.
    pub(super) fn flag(&self, name: &str) -> bool {
        match &self.structured {
            Some(map) => match map.get(name) {
                Some(Value::Bool(truth)) => *truth,
                Some(Value::String(text)) => text == "1",
                _ => false,
            },
            None => self.derivation.variable(name) == Some(b"1"),
        }
    }

    /// A list of words; `None` when it is not given at all.
    pub(super) fn words(&self, name: &str) -> Option<Vec<String>> {
        if let Some(map) = &self.structured {
            Some(words_of(map.get(name)?))
        } else {
            let text = self.derivation.variable(name)?;
            Some(String::from_utf8_lossy(text).split_ascii_whitespace().map(str::to_owned).collect())
        }
    }

    /// Whether its outputs may come from a cache.
    pub(super) fn allows_substitutes(&self) -> bool {
        match &self.structured {
            Some(map) => map.get("allowSubstitutes").and_then(Value::as_bool).unwrap_or(true),
            None => self.derivation.variable("allowSubstitutes").is_none_or(|text| text == b"1"),
        }
    }

    /// Features that the machine must have.
    pub(super) fn required_features(&self) -> BTreeSet<String> {
        self.words("requiredSystemFeatures").unwrap_or_default().into_iter().collect()
    }

    /// The rules for one output's references.
    pub(super) fn output_rules(&self, output: &str) -> OutputRules {
        if let Some(map) = &self.structured {
            let checks = map.get("outputChecks").and_then(|checks| checks.get(output));
            let list = |name: &str| checks.and_then(|checks| checks.get(name)).map(words_of);
            let number = |name: &str| checks.and_then(|checks| checks.get(name)).and_then(Value::as_u64);
            let flag = |name: &str| checks.and_then(|checks| checks.get(name)).and_then(Value::as_bool);
            let discard = map.get("unsafeDiscardReferences").and_then(|outputs| outputs.get(output));
            return OutputRules {
                allowed_references: list("allowedReferences"),
                allowed_requisites: list("allowedRequisites"),
                disallowed_references: list("disallowedReferences").unwrap_or_default(),
                disallowed_requisites: list("disallowedRequisites").unwrap_or_default(),
                max_size: number("maxSize"),
                max_closure_size: number("maxClosureSize"),
                ignore_self: flag("ignoreSelfRefs").unwrap_or(false),
                discard_references: discard.and_then(Value::as_bool).unwrap_or(false),
            };
        }
        OutputRules {
            allowed_references: self.words("allowedReferences"),
            allowed_requisites: self.words("allowedRequisites"),
            disallowed_references: self.words("disallowedReferences").unwrap_or_default(),
            disallowed_requisites: self.words("disallowedRequisites").unwrap_or_default(),
            // Plain attributes have always meant references to others.
            ignore_self: true,
            ..OutputRules::default()
        }
    }
}

fn words_of(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::String(text) => text.split_ascii_whitespace().map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// What an output may refer to and how big it may be.
#[derive(Debug, Default)]
pub(super) struct OutputRules {
    pub(super) allowed_references: Option<Vec<String>>,
    pub(super) allowed_requisites: Option<Vec<String>>,
    pub(super) disallowed_references: Vec<String>,
    pub(super) disallowed_requisites: Vec<String>,
    pub(super) max_size: Option<u64>,
    pub(super) max_closure_size: Option<u64>,
    pub(super) ignore_self: bool,
    pub(super) discard_references: bool,
}
