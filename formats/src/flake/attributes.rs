//! The attributes of an input: names with strings, numbers and truths, as lock files and `fetchTree` have them.

use super::FlakeError;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attribute {
    /// A string.
    Text(String),
    /// A number, not negative.
    Int(i64),
    /// A truth.
    Bool(bool),
}

impl Attribute {
    /// As JSON.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.as_str()),
            Self::Int(number) => Value::from(*number),
            Self::Bool(truth) => Value::from(*truth),
        }
    }
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Attributes by name.
pub type Attributes = BTreeMap<String, Attribute>;

/// The attributes as a JSON object.
pub fn to_json(attributes: &Attributes) -> Value {
    Value::Object(attributes.iter().map(|(name, value)| (name.clone(), value.to_json())).collect())
}

/// Reads attributes from a JSON object.
pub fn from_json(value: &Value) -> Result<Attributes, FlakeError> {
    let Some(object) = value.as_object() else {
        return FlakeError::other(format!("attributes of an input should be an object but are {value}"));
    };
    from_map(object)
}

fn from_map(object: &Map<String, Value>) -> Result<Attributes, FlakeError> {
    let mut attributes = Attributes::new();
    for (name, value) in object {
        let attribute = match value {
            Value::String(text) => Attribute::Text(text.clone()),
            Value::Bool(truth) => Attribute::Bool(*truth),
            Value::Number(number) => match number.as_i64().filter(|number| *number >= 0) {
                Some(number) => Attribute::Int(number),
                None => return FlakeError::other(format!("unsupported input attribute '{name}': {number}")),
            },
            _ => {
                return FlakeError::other(format!(
                    "unsupported input attribute type in lock file: '{name}' is {value}"
                ));
            }
        };
        attributes.insert(name.clone(), attribute);
    }
    Ok(attributes)
}

/// A string among the attributes; an error if it is there and no string.
pub fn text<'a>(attributes: &'a Attributes, name: &str) -> Result<Option<&'a str>, FlakeError> {
    match attributes.get(name) {
        None => Ok(None),
        Some(Attribute::Text(text)) => Ok(Some(text)),
        Some(_) => wrong(attributes, name, "a string"),
    }
}

/// A string that must be there.
pub fn needed<'a>(attributes: &'a Attributes, name: &str) -> Result<&'a str, FlakeError> {
    text(attributes, name)?.ok_or_else(|| FlakeError::Other(format!("input attribute '{name}' is missing")))
}

/// A number among the attributes.
pub fn number(attributes: &Attributes, name: &str) -> Result<Option<i64>, FlakeError> {
    match attributes.get(name) {
        None => Ok(None),
        Some(Attribute::Int(number)) => Ok(Some(*number)),
        Some(_) => wrong(attributes, name, "an integer"),
    }
}

/// A truth among the attributes; false if it is not there.
pub fn truth(attributes: &Attributes, name: &str) -> Result<bool, FlakeError> {
    match attributes.get(name) {
        None => Ok(false),
        Some(Attribute::Bool(truth)) => Ok(*truth),
        Some(_) => wrong(attributes, name, "a Boolean"),
    }
}

fn wrong<T>(attributes: &Attributes, name: &str, wanted: &str) -> Result<T, FlakeError> {
    FlakeError::other(format!("input attribute '{name}' is not {wanted} {}", to_json(attributes)))
}
