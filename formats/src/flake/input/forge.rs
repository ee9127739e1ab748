//! `github:OWNER/REPO/BRANCH`, `gitlab:` and `sourcehut:`: archives that a forge makes of a revision.

use super::{Attribute, Attributes, FlakeError, Input, Kind, Url, attributes};
use crate::flake::{is_ref, is_revision};

const ATTRIBUTES: &[&str] = &["owner", "repo", "ref", "rev", "narHash", "lastModified", "host", "treeHash"];

pub(super) const GITHUB: Kind =
    Kind { attributes: ATTRIBUTES, of_url: |url, _| of_url(url, "github"), check, to_url, overridden };
pub(super) const GITLAB: Kind =
    Kind { attributes: ATTRIBUTES, of_url: |url, _| of_url(url, "gitlab"), check, to_url, overridden };
pub(super) const SOURCEHUT: Kind =
    Kind { attributes: ATTRIBUTES, of_url: |url, _| of_url(url, "sourcehut"), check, to_url, overridden };

fn is_host(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
}

fn of_url(url: &Url, scheme: &str) -> Result<Option<Attributes>, FlakeError> {
    if url.scheme != scheme {
        return Ok(None);
    }
    let (mut branch, mut revision) = (None, None);
    let segments = url.segments();
    let [owner, repo, version @ ..] = segments.as_slice() else {
        return FlakeError::url(format!("URL '{url}' is invalid"));
    };
    match version {
        [] => {}
        [one] if is_revision(one) => revision = Some((*one).to_owned()),
        [one] if is_ref(one) => branch = Some((*one).to_owned()),
        [one] => {
            return FlakeError::url(format!(
                "in URL '{url}', '{one}' is not a commit hash or branch/tag name"
            ));
        }
        several => {
            let joined = several.join("/");
            if !is_ref(&joined) {
                return FlakeError::url(format!("in URL '{url}', '{joined}' is not a branch/tag name"));
            }
            branch = Some(joined);
        }
    }
    let mut attributes =
        Attributes::from([("owner".to_owned(), (*owner).into()), ("repo".to_owned(), (*repo).into())]);
    for (name, value) in &url.query {
        match name.as_str() {
            "rev" if revision.is_some() => {
                return FlakeError::url(format!("URL '{url}' contains multiple commit hashes"));
            }
            "rev" => revision = Some(value.clone()),
            "ref" if !is_ref(value) => {
                return FlakeError::url(format!("URL '{url}' contains an invalid branch/tag name"));
            }
            "ref" if branch.is_some() => {
                return FlakeError::url(format!("URL '{url}' contains multiple branch/tag names"));
            }
            "ref" => branch = Some(value.clone()),
            "host" if !is_host(value) => {
                return FlakeError::url(format!("URL '{url}' contains an invalid instance host"));
            }
            "host" | "narHash" => {
                attributes.insert(name.clone(), Attribute::Text(value.clone()));
            }
            _ => {}
        }
    }
    if let (Some(branch), Some(revision)) = (&branch, &revision) {
        return FlakeError::url(format!(
            "URL '{url}' contains both a commit hash and a branch/tag name {branch} {revision}"
        ));
    }
    for (name, value) in [("ref", branch), ("rev", revision)] {
        if let Some(value) = value {
            attributes.insert(name.to_owned(), Attribute::Text(value));
        }
    }
    Ok(Some(attributes))
}

fn check(attributes: &mut Attributes) -> Result<(), FlakeError> {
    attributes::needed(attributes, "owner")?;
    attributes::needed(attributes, "repo")?;
    if let (Some(branch), Some(revision)) =
        (attributes::text(attributes, "ref")?, attributes::text(attributes, "rev")?)
    {
        return FlakeError::other(format!(
            "input {} contains both a commit hash ('{revision}') and a branch/tag name ('{branch}')",
            attributes::to_json(attributes)
        ));
    }
    super::check_revision(attributes)
}

fn to_url(input: &Input) -> Result<Url, FlakeError> {
    let mut url = Url { scheme: input.kind().to_owned(), ..Url::default() };
    for name in ["owner", "repo"] {
        url.path.push(attributes::needed(&input.attributes, name)?.to_owned());
    }
    url.path.extend(["ref", "rev"].into_iter().filter_map(|name| input.text(name)).map(str::to_owned));
    if let Some(hash) = input.nar_hash()? {
        url.query.insert("narHash".to_owned(), hash.sri());
    }
    if let Some(host) = input.text("host") {
        url.query.insert("host".to_owned(), host.to_owned());
    }
    Ok(url)
}

fn overridden(input: &mut Input, branch: Option<&str>, revision: Option<&str>) -> Result<(), FlakeError> {
    if let (Some(branch), Some(revision)) = (branch, revision) {
        return FlakeError::url(format!(
            "cannot apply both a commit hash ({revision}) and a branch/tag name ('{branch}') to input '{input}'"
        ));
    }
    for (name, other, value) in [("rev", "ref", revision), ("ref", "rev", branch)] {
        if let Some(value) = value {
            input.set(name, value.into());
            input.remove(other);
        }
    }
    Ok(())
}
