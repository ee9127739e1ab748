//! URLs as flake references use them: RFC 3986 section 3, with the segments of a path and the values of a query decoded.
//! A query may hold spaces and quotes, a fragment `^` as well, because people write attributes and outputs there.

use super::FlakeError;
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result as FormatResult};

/// A URL taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Url {
    /// What is before the first colon.
    pub scheme: String,
    /// What follows `//`, as it was written.
    pub authority: Option<String>,
    /// The segments of the path, decoded; an absolute path begins with an empty one.
    pub path: Vec<String>,
    /// The parameters, decoded.
    pub query: BTreeMap<String, String>,
    /// What follows `#`, decoded.
    pub fragment: String,
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn is_delimiter(byte: u8) -> bool {
    b"!$&'\"()*+,;=".contains(&byte)
}

/// Whether each byte is one of those that a part of a URL may have; a percent sign needs its two digits.
fn is_valid(text: &str, more: &[u8]) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().enumerate().all(|(at, &byte)| match byte {
        b'%' => bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)),
        _ => is_plain(byte) || is_delimiter(byte) || more.contains(&byte),
    })
}

/// Replaces `%41` by what it stands for.
pub fn decode(text: &str) -> Result<String, FlakeError> {
    let invalid = || FlakeError::Url(format!("invalid URI parameter '{text}'"));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            let digits = text.get(at + 1..at + 3).ok_or_else(invalid)?;
            decoded.push(u8::from_str_radix(digits, 16).map_err(|_| invalid())?);
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    String::from_utf8(decoded).map_err(|_| invalid())
}

/// Writes what a URL cannot hold as `%41`; `keep` are bytes that need not be.
pub fn encode(text: &str, keep: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) || keep.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.extend([format!("%{byte:02X}")]);
        }
    }
    encoded
}

/// The parameters of a query, decoded. What has no `=` is left out, which `warn` hears of.
pub fn decode_query(query: &str, warn: &mut dyn FnMut(&str)) -> Result<BTreeMap<String, String>, FlakeError> {
    let mut parameters = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((name, value)) => {
                let value = decode(value)?;
                parameters.entry(name.to_owned()).or_insert(value);
            }
            None => warn(&format!("dubious URI query '{pair}' is missing equal sign '=', ignoring")),
        }
    }
    Ok(parameters)
}

impl Url {
    /// Takes a URL apart.
    pub fn parse(text: &str) -> Result<Self, FlakeError> {
        Self::parse_with(text, &mut |_| {})
    }

    /// The same, telling what is odd about it.
    pub fn parse_with(text: &str, warn: &mut dyn FnMut(&str)) -> Result<Self, FlakeError> {
        let invalid = || FlakeError::Url(format!("'{text}' is not a valid URL"));
        let (scheme, rest) = text.split_once(':').ok_or_else(invalid)?;
        let is_scheme = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+.-".contains(&byte));
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let end = rest.find('/').unwrap_or(rest.len());
                (Some(rest.get(..end).unwrap_or_default()), rest.get(end..).unwrap_or_default())
            }
            None => (None, rest),
        };
        if !is_scheme
            || !authority.is_none_or(|authority| is_valid(authority, b":@[]"))
            || !is_valid(path, b":@/")
            || !is_valid(query, b":@/? ")
            || !is_valid(fragment, b":@/? ^")
        {
            return Err(invalid());
        }
        let is_file = scheme.rsplit('+').next() == Some("file");
        if let Some(host) = authority.filter(|authority| is_file && !authority.is_empty()) {
            return FlakeError::url(format!("file:// URL '{text}' has unexpected authority '{host}'"));
        }
        let path = if is_file && path.is_empty() { "/" } else { path };
        Ok(Self {
            scheme: scheme.to_owned(),
            authority: authority.map(str::to_owned),
            path: path.split('/').map(decode).collect::<Result<_, _>>()?,
            query: decode_query(query, warn)?,
            fragment: decode(fragment)?,
        })
    }

    /// A URL of a path that is not encoded.
    pub fn of_path(scheme: &str, authority: Option<&str>, path: &str) -> Self {
        Self {
            scheme: scheme.to_owned(),
            authority: authority.map(str::to_owned),
            path: path.split('/').map(str::to_owned).collect(),
            ..Self::default()
        }
    }

    /// The path as one text, decoded.
    pub fn path_text(&self) -> String {
        self.path.join("/")
    }

    /// The segments of the path that are not empty.
    pub fn segments(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).filter(|segment| !segment.is_empty()).collect()
    }

    /// `tarball` and `https` of `tarball+https`.
    pub fn kinds(&self) -> (Option<&str>, &str) {
        match self.scheme.split_once('+') {
            Some((application, transport)) => (Some(application), transport),
            None => (None, &self.scheme),
        }
    }
}

impl Display for Url {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> FormatResult {
        write!(formatter, "{}:", self.scheme)?;
        if let Some(authority) = &self.authority {
            write!(formatter, "//{authority}")?;
        }
        for (index, segment) in self.path.iter().enumerate() {
            let slash = if index == 0 { "" } else { "/" };
            write!(formatter, "{slash}{}", encode(segment, b":@"))?;
        }
        for (index, (name, value)) in self.query.iter().enumerate() {
            let sign = if index == 0 { '?' } else { '&' };
            write!(formatter, "{sign}{}={}", encode(name, b":@/?"), encode(value, b":@/?"))?;
        }
        if !self.fragment.is_empty() {
            write!(formatter, "#{}", encode(&self.fragment, b""))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_go_round() {
        for text in [
            "https://user:pw@host.x:80/a/b%20c?x=1&y=a/b%26#f%20g",
            "path:./a",
            "path:/a/%C3%A4",
            "git+file:///a",
            "github:a%2Fb/c",
            "http://[::1]/",
        ] {
            assert_eq!(Url::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_url() {
        for text in ["", "a", "1x:y", "A:b", "a:b c", "a:%1", "a:b?%", "a:b#\u{e4}", "file://host/a"] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parameters_without_a_value_are_left_out_and_told() {
        let mut said = Vec::new();
        let url = Url::parse_with("a:b?x&y=1", &mut |text| said.push(text.to_owned())).unwrap();
        assert_eq!(url.query.len(), 1);
        assert_eq!(said, ["dubious URI query 'x' is missing equal sign '=', ignoring"]);
    }
}
