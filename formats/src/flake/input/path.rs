//! `path:/somewhere`: a directory of this machine. It may say of itself what a repository would.

use super::{Attribute, Attributes, FlakeError, Input, Kind, Url, attributes};

pub(super) const PATH: Kind = Kind {
    attributes: &["path", "rev", "revCount", "lastModified", "narHash"],
    of_url,
    check,
    to_url,
    overridden: super::no_overrides,
};

fn of_url(url: &Url, _: bool) -> Result<Option<Attributes>, FlakeError> {
    if url.scheme != "path" {
        return Ok(None);
    }
    if let Some(authority) = url.authority.as_deref().filter(|authority| !authority.is_empty()) {
        return FlakeError::other(format!("path URL '{url}' should not have an authority ('{authority}')"));
    }
    let mut attributes = Attributes::from([("path".to_owned(), Attribute::Text(url.path_text()))]);
    for (name, value) in &url.query {
        let attribute = match name.as_str() {
            "rev" | "narHash" => Attribute::Text(value.clone()),
            "revCount" | "lastModified" => match value.parse().ok().filter(|number| *number >= 0) {
                Some(number) => Attribute::Int(number),
                None => {
                    return FlakeError::other(format!("path URL '{url}' has invalid parameter '{name}'"));
                }
            },
            _ => {
                return FlakeError::other(format!("path URL '{url}' has unsupported parameter '{name}'"));
            }
        };
        attributes.insert(name.clone(), attribute);
    }
    Ok(Some(attributes))
}

fn check(attributes: &mut Attributes) -> Result<(), FlakeError> {
    attributes::needed(attributes, "path").map(drop)
}

fn to_url(input: &Input) -> Result<Url, FlakeError> {
    let mut url = Url::of_path("path", None, attributes::needed(&input.attributes, "path")?);
    for (name, value) in &input.attributes {
        if matches!(name.as_str(), "path" | "type") {
            continue;
        }
        let text = match value {
            Attribute::Text(text) => text.clone(),
            Attribute::Int(number) => number.to_string(),
            Attribute::Bool(truth) => u8::from(*truth).to_string(),
        };
        url.query.insert(name.clone(), text);
    }
    Ok(url)
}
