//! `git+https://…` and `hg+https://…`: repositories.

use super::{Attribute, Attributes, FlakeError, Input, Kind, Url, attributes};

pub(super) const GIT: Kind = Kind {
    attributes: &[
        "url",
        "ref",
        "rev",
        "shallow",
        "submodules",
        "lfs",
        "exportIgnore",
        "lastModified",
        "revCount",
        "narHash",
        "allRefs",
        "name",
        "dirtyRev",
        "dirtyShortRev",
        "verifyCommit",
        "keytype",
        "publicKey",
        "publicKeys",
    ],
    of_url: |url, _| Ok(git_of_url(url)),
    check: check_git,
    to_url: git_to_url,
    overridden,
};

pub(super) const MERCURIAL: Kind = Kind {
    attributes: &["url", "ref", "rev", "revCount", "narHash", "name"],
    of_url: |url, _| Ok(mercurial_of_url(url)),
    check: check_mercurial,
    to_url: mercurial_to_url,
    overridden,
};

/// Truths of a git input, which a URL writes as 1.
const TRUTHS: [&str; 6] = ["shallow", "submodules", "lfs", "exportIgnore", "allRefs", "verifyCommit"];

/// Truths that the URL of an input shows.
const SHOWN: [&str; 5] = ["shallow", "lfs", "submodules", "exportIgnore", "verifyCommit"];

/// A repository's address as a URL: `host:path` of ssh and paths are written as such.
fn git_address(address: &str) -> Result<String, FlakeError> {
    if !address.starts_with('/')
        && let Some((user, rest)) = address.split_once('@')
        && !user.contains('/')
        && let Some((host, path)) = rest.rsplit_once(':')
    {
        return Ok(format!("ssh://{user}@{host}/{path}"));
    }
    if address.contains("://") || address.starts_with("file:") {
        return Ok(address.to_owned());
    }
    if address.starts_with('/') {
        return Ok(Url::of_path("file", Some(""), address).to_string());
    }
    if address.split('/').next().is_some_and(|first| first.contains(':')) {
        return FlakeError::url(format!("'{address}' is not a valid URL"));
    }
    Ok(Url::of_path("file", None, address).to_string())
}

/// The address of a repository without what is meant for us.
fn split(url: &Url, prefix: &str) -> (Attributes, Url) {
    let mut address = Url { fragment: String::new(), ..url.clone() };
    if let Some(scheme) = url.scheme.strip_prefix(prefix) {
        scheme.clone_into(&mut address.scheme);
    }
    address.query.clear();
    (Attributes::new(), address)
}

fn git_of_url(url: &Url) -> Option<Attributes> {
    if !matches!(url.scheme.as_str(), "git" | "git+http" | "git+https" | "git+ssh" | "git+file") {
        return None;
    }
    let (mut attributes, mut address) = split(url, "git+");
    for (name, value) in &url.query {
        match name.as_str() {
            "rev" | "ref" | "keytype" | "publicKey" | "publicKeys" => {
                attributes.insert(name.clone(), Attribute::Text(value.clone()));
            }
            truth if TRUTHS.contains(&truth) => {
                attributes.insert(name.clone(), Attribute::Bool(value == "1"));
            }
            _ => {
                address.query.insert(name.clone(), value.clone());
            }
        }
    }
    attributes.insert("url".to_owned(), Attribute::Text(address.to_string()));
    Some(attributes)
}

/// Whether git refuses the name of a branch or tag: git-check-ref-format(1).
pub(in crate::flake) fn is_bad_branch(name: &str) -> bool {
    let bad = |byte: u8| byte <= 0x20 || byte == 0x7f || b":?^~[\\*".contains(&byte);
    name.is_empty()
        || name == "@"
        || name.bytes().any(bad)
        || name.starts_with(['.', '/'])
        || name.ends_with(['.', '/'])
        || ["//", "/.", "..", "@{", ".lock/"].iter().any(|part| name.contains(part))
        || name.strip_suffix(".lock").is_some()
}

fn check_git(attributes: &mut Attributes) -> Result<(), FlakeError> {
    if let Some(branch) = attributes::text(attributes, "ref")?
        && is_bad_branch(branch)
    {
        return FlakeError::url(format!("invalid Git branch/tag name '{branch}'"));
    }
    let address = git_address(attributes::needed(attributes, "url")?)?;
    Url::parse(&address)?;
    attributes.insert("url".to_owned(), Attribute::Text(address));
    for name in TRUTHS {
        attributes::truth(attributes, name)?;
    }
    super::check_revision(attributes)
}

fn git_to_url(input: &Input) -> Result<Url, FlakeError> {
    let mut url = Url::parse(attributes::needed(&input.attributes, "url")?)?;
    if url.scheme != "git" {
        url.scheme = format!("git+{}", url.scheme);
    }
    for name in ["rev", "ref", "keytype", "publicKey", "publicKeys"] {
        if let Some(value) = input.text(name) {
            url.query.insert(name.to_owned(), value.to_owned());
        }
    }
    for name in SHOWN {
        if input.truth(name) {
            url.query.insert(name.to_owned(), "1".to_owned());
        }
    }
    Ok(url)
}

fn mercurial_of_url(url: &Url) -> Option<Attributes> {
    if !matches!(url.scheme.as_str(), "hg+http" | "hg+https" | "hg+ssh" | "hg+file") {
        return None;
    }
    let (mut attributes, mut address) = split(url, "hg+");
    for (name, value) in &url.query {
        if matches!(name.as_str(), "rev" | "ref") {
            attributes.insert(name.clone(), Attribute::Text(value.clone()));
        } else {
            address.query.insert(name.clone(), value.clone());
        }
    }
    attributes.insert("url".to_owned(), Attribute::Text(address.to_string()));
    Some(attributes)
}

fn check_mercurial(attributes: &mut Attributes) -> Result<(), FlakeError> {
    Url::parse(attributes::needed(attributes, "url")?)?;
    super::check_revision(attributes)
}

fn mercurial_to_url(input: &Input) -> Result<Url, FlakeError> {
    let mut url = Url::parse(attributes::needed(&input.attributes, "url")?)?;
    url.scheme = format!("hg+{}", url.scheme);
    for name in ["rev", "ref"] {
        if let Some(value) = input.text(name) {
            url.query.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(url)
}

fn overridden(input: &mut Input, branch: Option<&str>, revision: Option<&str>) -> Result<(), FlakeError> {
    for (name, value) in [("rev", revision), ("ref", branch)] {
        if let Some(value) = value {
            input.set(name, value.into());
        }
    }
    if input.kind() == "git" && input.text("ref").is_none() && input.text("rev").is_some() {
        return FlakeError::other(format!("Git input '{input}' has a commit hash but no branch/tag name"));
    }
    Ok(())
}
