//! Where the machine gets its packages from: `/etc/apt/sources.list`, `sources.list.d/*.list` and `*.sources`
//! (sources.list(5)). Firn itself knows no mirror.

use super::control;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// One suite of one archive.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Source {
    /// The archive's address, without a slash at its end.
    pub(crate) base: String,
    /// `bookworm`, `bookworm-security`, …
    pub(crate) suite: String,
    /// `main`, `contrib`, …
    pub(crate) components: Vec<String>,
    /// The key ring that signs it, where the configuration names one.
    pub(crate) signed_by: Option<PathBuf>,
}

/// Reads the configuration below a root directory (`/`).
pub(crate) fn read(root: &Path) -> Result<Vec<Source>> {
    let apt = root.join("etc/apt");
    let mut files = vec![apt.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(apt.join("sources.list.d")) {
        let mut parts: Vec<PathBuf> =
            entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        parts.sort();
        files.append(&mut parts);
    }
    let mut sources = Vec::new();
    for file in files {
        let one_line = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => true,
            Some("sources") => false,
            _ => continue,
        };
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        sources.extend(if one_line { one_line_style(&text) } else { deb822_style(&text) });
    }
    Ok(sources)
}

/// `deb [signed-by=/x] http://host/debian bookworm main contrib`
fn one_line_style(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t'])) else {
            continue;
        };
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (Some(base), Some(suite)) = (words.next(), words.next()) else { continue };
        let components: Vec<String> = words.map(str::to_owned).collect();
        let signed_by = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(PathBuf::from);
        push(&mut sources, base, suite, &components, signed_by.as_deref());
    }
    sources
}

/// Stanzas with `Types`, `URIs`, `Suites`, `Components`, `Signed-By`.
fn deb822_style(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for stanza in control::stanzas(text) {
        let enabled = !stanza.get("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
        if !enabled || !stanza.words("Types").any(|kind| kind == "deb") {
            continue;
        }
        let components: Vec<String> = stanza.words("Components").map(str::to_owned).collect();
        let signed_by =
            stanza.get("Signed-By").filter(|value| value.starts_with('/') && !value.contains('\n'));
        for base in stanza.words("URIs") {
            for suite in stanza.words("Suites") {
                push(&mut sources, base, suite, &components, signed_by.map(Path::new));
            }
        }
    }
    sources
}

fn push(sources: &mut Vec<Source>, base: &str, suite: &str, components: &[String], signed_by: Option<&Path>) {
    // A suite with a slash at its end is a flat repository: none of Debian's own.
    if components.is_empty() || suite.ends_with('/') {
        return;
    }
    let source = Source {
        base: base.trim_end_matches('/').to_owned(),
        suite: suite.to_owned(),
        components: components.to_vec(),
        signed_by: signed_by.map(Path::to_path_buf),
    };
    if !sources.contains(&source) {
        sources.push(source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_styles() {
        let root = tempfile::tempdir().expect("a directory");
        let parts = root.path().join("etc/apt/sources.list.d");
        std::fs::create_dir_all(&parts).expect("made");
        std::fs::write(
            root.path().join("etc/apt/sources.list"),
            "# comment\ndeb [arch=amd64 signed-by=/k.gpg] file:///m/ bookworm main contrib # more\ndeb-src file:///m bookworm main\n",
        )
        .expect("written");
        std::fs::write(
            parts.join("debian.sources"),
            "Types: deb\n# note\nURIs: http://a/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /r.gpg\n\n\
             Types: deb\nEnabled: no\nURIs: http://b\nSuites: x\nComponents: main\n\nTypes: deb\nURIs: http://flat\nSuites: ./\n",
        )
        .expect("written");
        std::fs::write(parts.join("old.list.save"), "deb http://c x main").expect("written");
        let sources = read(root.path()).expect("read");
        let shown: Vec<String> = sources
            .iter()
            .map(|source| {
                format!(
                    "{} {} {} {:?}",
                    source.base,
                    source.suite,
                    source.components.join("+"),
                    source.signed_by
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "file:///m bookworm main+contrib Some(\"/k.gpg\")",
                "http://a/debian bookworm main Some(\"/r.gpg\")",
                "http://a/debian bookworm-updates main Some(\"/r.gpg\")",
            ]
        );
    }
}
