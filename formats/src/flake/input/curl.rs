//! `https://…`, `file://…`: archives (`tarball`) and single files (`file`). `tarball+` and `file+` say which, else the
//! ending does.

use super::{Attribute, Attributes, FlakeError, Input, Kind, Url, attributes};

const ATTRIBUTES: &[&str] = &["url", "narHash", "name", "unpack", "rev", "revCount", "lastModified"];

pub(super) const FILE: Kind = Kind {
    attributes: ATTRIBUTES,
    of_url: |url, require_tree| {
        let is_meant = match url.kinds().0 {
            Some(application) => application == "file",
            None => !require_tree && !is_archive(&url.path_text()),
        };
        Ok(is_meant.then(|| of_url(url)).flatten())
    },
    check,
    to_url,
    overridden: super::no_overrides,
};

pub(super) const TARBALL: Kind = Kind {
    attributes: ATTRIBUTES,
    of_url: |url, require_tree| {
        let is_meant = match url.kinds().0 {
            Some(application) => application == "tarball",
            None => require_tree || is_archive(&url.path_text()),
        };
        Ok(is_meant.then(|| of_url(url)).flatten())
    },
    check,
    to_url,
    overridden: super::no_overrides,
};

/// Whether a path ends as an archive's.
fn is_archive(path: &str) -> bool {
    [".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst"]
        .iter()
        .any(|end| path.ends_with(end))
}

fn of_url(url: &Url) -> Option<Attributes> {
    let (_, transport) = url.kinds();
    if !matches!(transport, "file" | "http" | "https") {
        return None;
    }
    let mut attributes = Attributes::new();
    for name in ["narHash", "rev"] {
        if let Some(value) = url.query.get(name) {
            attributes.insert(name.to_owned(), Attribute::Text(value.clone()));
        }
    }
    for name in ["revCount", "lastModified"] {
        if let Some(number) = url.query.get(name).and_then(|value| value.parse().ok()) {
            attributes.insert(name.to_owned(), Attribute::Int(number));
        }
    }
    // What is meant for us is not sent to the server.
    let mut address = url.clone();
    transport.clone_into(&mut address.scheme);
    address.query.retain(|name, _| name != "type" && !ATTRIBUTES.contains(&name.as_str()));
    address.fragment.clear();
    attributes.insert("url".to_owned(), Attribute::Text(address.to_string()));
    Some(attributes)
}

fn check(attributes: &mut Attributes) -> Result<(), FlakeError> {
    attributes::needed(attributes, "url").map(drop)
}

fn to_url(input: &Input) -> Result<Url, FlakeError> {
    let mut url = Url::parse(attributes::needed(&input.attributes, "url")?)?;
    if let Some(hash) = input.nar_hash()? {
        url.query.insert("narHash".to_owned(), hash.sri());
    }
    Ok(url)
}
