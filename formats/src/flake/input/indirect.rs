//! `flake:ID/BRANCH/REVISION`: a name that a registry explains.

use super::{Attributes, FlakeError, Input, Kind, Url, attributes};
use crate::flake::{is_id, is_ref, is_revision};

pub(super) const INDIRECT: Kind = Kind {
    attributes: &["id", "ref", "rev", "narHash"],
    of_url,
    check,
    to_url,
    overridden: |input, branch, revision| {
        overridden(input, branch, revision);
        Ok(())
    },
};

fn of_url(url: &Url, _: bool) -> Result<Option<Attributes>, FlakeError> {
    if url.scheme != "flake" {
        return Ok(None);
    }
    let (id, branch, revision) = match url.segments().as_slice() {
        [id] => (*id, None, None),
        [id, one] if is_revision(one) => (*id, None, Some(*one)),
        [id, one] if is_ref(one) => (*id, Some(*one), None),
        [_, one] => {
            return FlakeError::url(format!(
                "in flake URL '{url}', '{one}' is not a commit hash or branch/tag name"
            ));
        }
        [_, branch, _] if !is_ref(branch) => {
            return FlakeError::url(format!("in flake URL '{url}', '{branch}' is not a branch/tag name"));
        }
        [_, _, revision] if !is_revision(revision) => {
            return FlakeError::url(format!("in flake URL '{url}', '{revision}' is not a commit hash"));
        }
        [id, branch, revision] => (*id, Some(*branch), Some(*revision)),
        _ => return FlakeError::url(format!("GitHub URL '{url}' is invalid")),
    };
    let mut attributes = Attributes::from([("id".to_owned(), id.into())]);
    for (name, value) in [("ref", branch), ("rev", revision)] {
        if let Some(value) = value {
            attributes.insert(name.to_owned(), value.into());
        }
    }
    Ok(Some(attributes))
}

fn check(attributes: &mut Attributes) -> Result<(), FlakeError> {
    let id = attributes::needed(attributes, "id")?;
    if !is_id(id) {
        return FlakeError::url(format!("'{id}' is not a valid flake ID"));
    }
    super::check_revision(attributes)
}

fn to_url(input: &Input) -> Result<Url, FlakeError> {
    let mut url = Url { scheme: "flake".to_owned(), ..Url::default() };
    url.path.push(attributes::needed(&input.attributes, "id")?.to_owned());
    url.path.extend(["ref", "rev"].into_iter().filter_map(|name| input.text(name)).map(str::to_owned));
    Ok(url)
}

fn overridden(input: &mut Input, branch: Option<&str>, revision: Option<&str>) {
    for (name, value) in [("ref", branch), ("rev", revision)] {
        if let Some(value) = value {
            input.set(name, value.into());
        }
    }
}
