//! [`FlakeRef`]: an input and the directory in it that has the `flake.nix`. Written as an identifier (`nixpkgs/BRANCH`), as
//! a URL, or as a path; a path is handed back as one, for its reader must look at the directories that it names.

use super::attributes::{self, Attribute, Attributes};
use super::url::{Url, decode, decode_query};
use super::{FlakeError, Input, is_id, is_ref, is_revision};
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result as FormatResult};

/// A reference to a flake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlakeRef {
    /// The source tree.
    pub input: Input,
    /// The directory in it, empty for its root.
    pub subdir: String,
}

/// What a text turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// A reference, and the fragment that followed it.
    Reference(FlakeRef, String),
    /// A path, its parameters and the fragment, decoded.
    Path {
        /// As it was written.
        path: String,
        /// The parameters.
        query: BTreeMap<String, String>,
        /// What followed `#`.
        fragment: String,
    },
}

/// How a text is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading<'a> {
    /// The directory where relative paths in URLs begin.
    pub base: Option<&'a str>,
    /// Whether a single file is not meant.
    pub is_flake: bool,
}

/// Tells a reference from a path. `warn` hears what is odd but has a meaning.
pub fn read(text: &str, how: Reading<'_>, warn: &mut dyn FnMut(&str)) -> Result<Written, FlakeError> {
    if let Some((reference, fragment)) = by_id(text)? {
        return Ok(Written::Reference(reference, fragment));
    }
    // Of two readings of a query only one should complain.
    let mut said = Vec::new();
    match by_url(text, how, &mut |message| said.push(message.to_owned())) {
        Err(FlakeError::Url(_)) => {}
        other => {
            for message in &said {
                warn(message);
            }
            return other.map(|(reference, fragment)| Written::Reference(reference, fragment));
        }
    }
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    Ok(Written::Path {
        path: path.to_owned(),
        query: decode_query(query, warn)?,
        fragment: decode(fragment)?,
    })
}

fn by_id(text: &str) -> Result<Option<(FlakeRef, String)>, FlakeError> {
    let (path, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (id, version) = path.split_once('/').unwrap_or((path, "x"));
    let is_version = is_revision(version) || is_ref(version);
    if !is_id(id) || !is_version {
        return Ok(None);
    }
    let input = Input::from_url(&Url::of_path("flake", None, path), true)?;
    Ok(Some((FlakeRef { input, subdir: String::new() }, decode(fragment)?)))
}

fn by_url(
    text: &str,
    how: Reading<'_>,
    warn: &mut dyn FnMut(&str),
) -> Result<(FlakeRef, String), FlakeError> {
    let mut url = Url::parse_with(text, warn)?;
    let path = url.path_text();
    if let Some(base) = how.base
        && matches!(url.scheme.as_str(), "path" | "git+file")
        && !path.starts_with('/')
    {
        let path = absolute(&path, base);
        url.path = path.split('/').map(str::to_owned).collect();
    }
    from_url(url, how.is_flake)
}

/// The flake and the fragment that a URL names.
pub fn from_url(mut url: Url, is_flake: bool) -> Result<(FlakeRef, String), FlakeError> {
    let subdir = url.query.remove("dir").unwrap_or_default();
    let fragment = std::mem::take(&mut url.fragment);
    Ok((FlakeRef { input: Input::from_url(&url, is_flake)?, subdir }, fragment))
}

/// A path without `.` and `..`, starting at a directory if it is relative.
pub fn absolute(path: &str, base: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let start = if path.starts_with('/') { "" } else { base };
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

impl FlakeRef {
    /// Reads a reference that stands alone: paths are absolute, unless `relative` ones are meant to stay so.
    pub fn parse(text: &str, is_flake: bool, relative: bool) -> Result<Self, FlakeError> {
        let how = Reading { base: None, is_flake };
        let (reference, fragment) = match read(text, how, &mut |_| {})? {
            Written::Reference(reference, fragment) => (reference, fragment),
            Written::Path { path, query, fragment } => {
                if !relative && !path.starts_with('/') {
                    return FlakeError::other(format!("flake reference '{text}' is not an absolute path"));
                }
                let url = Url { query, fragment, ..Url::of_path("path", None, &path) };
                from_url(url, is_flake)?
            }
        };
        if !fragment.is_empty() {
            return FlakeError::other(format!(
                "unexpected fragment '{fragment}' in flake reference '{text}'"
            ));
        }
        Ok(reference)
    }

    /// Takes attributes; `dir` is the directory.
    pub fn from_attributes(mut attributes: Attributes) -> Result<Self, FlakeError> {
        let subdir = attributes::text(&attributes, "dir")?.unwrap_or_default().to_owned();
        attributes.remove("dir");
        Ok(Self { input: Input::from_attributes(attributes)?, subdir })
    }

    /// The attributes; `dir` is the directory.
    pub fn to_attributes(&self) -> Attributes {
        let mut attributes = self.input.attributes().clone();
        if !self.subdir.is_empty() {
            attributes.insert("dir".to_owned(), Attribute::Text(self.subdir.clone()));
        }
        attributes
    }

    /// As a URL; the error is that of an input that cannot be one.
    pub fn to_url(&self) -> Result<Url, FlakeError> {
        let mut url = self.input.to_url()?;
        if !self.subdir.is_empty() {
            url.query.entry("dir".to_owned()).or_insert_with(|| self.subdir.clone());
        }
        Ok(url)
    }
}

impl Display for FlakeRef {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> FormatResult {
        match self.to_url() {
            Ok(url) => Display::fmt(&url, formatter),
            Err(_) => Display::fmt(&self.input, formatter),
        }
    }
}

#[cfg(test)]
mod tests;
