//! `parseFlakeRef` and `flakeRefToString`: flake references as sets and as text. Nix manual, `nix flake`, "Flake
//! references". Nothing is fetched here.

use super::{Builtin, builtin};
use crate::attrs::Attrs;
use crate::error::{ErrorKind, Eval};
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::value::Value;
use std::collections::BTreeMap;

pub(super) const TABLE: &[Builtin] = &[
    builtin("__parseFlakeRef", 1, 1, parse_flake_ref, "s: a flake reference as a set"),
    builtin("__flakeRefToString", 1, 1, flake_ref_to_string, "set: a flake reference as a string"),
];

/// The attributes of a reference.
pub(super) type Reference = BTreeMap<String, String>;

/// Kinds that are written `kind:owner/repo`.
const FORGES: [&str; 3] = ["github", "gitlab", "sourcehut"];

fn is_revision(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        if let Some(byte) = escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b'@' => {
                (byte as char).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Reads a reference; the error is a sentence.
pub(super) fn parse(text: &str) -> Result<Reference, String> {
    let (base, query) = text.split_once('?').unwrap_or((text, ""));
    if base.contains('#') {
        return Err(format!("unexpected fragment in flake reference '{text}'"));
    }
    let mut reference = Reference::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("invalid query '{pair}' in flake reference '{text}'"))?;
        reference.insert(name.to_owned(), decode(value));
    }
    let mut set = |name: &str, value: &str| reference.insert(name.to_owned(), decode(value));
    match base.split_once(':') {
        Some((kind, rest)) if FORGES.contains(&kind) => {
            let mut parts = rest.splitn(3, '/');
            let (Some(owner), Some(repo)) = (parts.next(), parts.next()) else {
                return Err(format!(
                    "'{text}' is not a valid flake reference: owner and repository are missing"
                ));
            };
            set("type", kind);
            set("owner", owner);
            set("repo", repo);
            if let Some(version) = parts.next() {
                set(if is_revision(version) { "rev" } else { "ref" }, version);
            }
        }
        Some(("flake", rest)) => indirect(rest, &mut reference)?,
        Some(("path", rest)) => {
            set("type", "path");
            set("path", rest);
        }
        Some((scheme, rest)) => {
            let (kind, transport) = match scheme.split_once('+') {
                Some((kind @ ("git" | "hg" | "tarball" | "file"), transport)) => (kind, transport),
                None if scheme == "git" => ("git", "git"),
                None if is_archive(rest) => ("tarball", scheme),
                None if matches!(scheme, "http" | "https" | "file") => ("file", scheme),
                _ => return Err(format!("'{text}' is not a valid flake reference")),
            };
            set("type", kind);
            set("url", &format!("{transport}:{rest}"));
        }
        None if base.starts_with('/') => {
            set("type", "path");
            set("path", base);
        }
        None => indirect(base, &mut reference)?,
    }
    Ok(reference)
}

fn is_archive(path: &str) -> bool {
    [".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst"]
        .iter()
        .any(|end| path.ends_with(end))
}

fn indirect(text: &str, reference: &mut Reference) -> Result<(), String> {
    let mut parts = text.split('/');
    let id = parts.next().unwrap_or_default();
    let starts = id.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if !starts || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        return Err(format!("'{text}' is not a valid flake reference"));
    }
    reference.insert("type".to_owned(), "indirect".to_owned());
    reference.insert("id".to_owned(), id.to_owned());
    for part in parts {
        let name = if is_revision(part) { "rev" } else { "ref" };
        reference.insert(name.to_owned(), part.to_owned());
    }
    Ok(())
}

/// Writes a reference; the error is a sentence.
fn print(reference: &Reference) -> Result<String, String> {
    let mut rest = reference.clone();
    let mut take = |name: &str| rest.remove(name);
    let kind = take("type").ok_or("the flake reference has no attribute 'type'")?;
    let missing = |name: &str| format!("the flake reference has no attribute '{name}'");
    let base = match kind.as_str() {
        forge if FORGES.contains(&forge) => {
            let owner = take("owner").ok_or_else(|| missing("owner"))?;
            let repo = take("repo").ok_or_else(|| missing("repo"))?;
            let version = take("ref").or_else(|| take("rev")).map(|version| format!("/{}", encode(&version)));
            format!("{forge}:{}/{}{}", encode(&owner), encode(&repo), version.unwrap_or_default())
        }
        "indirect" => {
            let id = take("id").ok_or_else(|| missing("id"))?;
            let version = take("ref").map(|version| format!("/{version}")).unwrap_or_default();
            let revision = take("rev").map(|revision| format!("/{revision}")).unwrap_or_default();
            format!("flake:{id}{version}{revision}")
        }
        "path" => format!("path:{}", encode(&take("path").ok_or_else(|| missing("path"))?)),
        "git" | "hg" => {
            let url = take("url").ok_or_else(|| missing("url"))?;
            if url.starts_with("git:") { url } else { format!("{kind}+{url}") }
        }
        "tarball" | "file" => take("url").ok_or_else(|| missing("url"))?,
        other => return Err(format!("flake references of type '{other}' are not known")),
    };
    let query: Vec<String> = rest.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    Ok(if query.is_empty() { base } else { format!("{base}?{}", query.join("&")) })
}

fn parse_flake_ref<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let text = String::from_utf8_lossy(e.expect_plain(args[0], pos)?).into_owned();
    let reference = parse(&text).or_else(|message| e.fail(ErrorKind::Other, pos, &message))?;
    let mut attrs = Vec::new();
    for (name, value) in reference {
        let name = e.symbols.intern(name.as_bytes());
        attrs.push((name, Pos::NONE, e.new_string(value.as_bytes())));
    }
    Ok(Value::Attrs(Attrs::from_unsorted(&e.shapes, &mut attrs)))
}

fn flake_ref_to_string<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let mut reference = Reference::new();
    for attr in e.expect_attrs(args[0], pos)?.iter() {
        let text = match e.force(attr.slot)? {
            Value::Int(number) if number >= 0 => number.to_string(),
            Value::Bool(value) => u8::from(value).to_string(),
            other => String::from_utf8_lossy(e.expect_plain(other, pos)?).into_owned(),
        };
        reference.insert(e.symbols.show(attr.name), text);
    }
    let text = print(&reference).or_else(|message| e.fail(ErrorKind::Other, pos, &message))?;
    Ok(e.new_string(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_go_round() {
        for text in [
            "github:NixOS/nixpkgs/23.05?dir=lib",
            "flake:nixpkgs/nixos-25.05",
            "path:/a/b",
            "git+https://example.org/x.git?ref=main",
            "https://example.org/x.tar.gz",
        ] {
            assert_eq!(print(&parse(text).unwrap()).unwrap(), text);
        }
        assert!(parse("github:x").is_err() && parse("1x").is_err());
    }
}
