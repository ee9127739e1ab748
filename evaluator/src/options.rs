//! What an evaluation is allowed to do and how it behaves.

use std::collections::BTreeSet;

/// The settings of an evaluation.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of Nix's of its own")]
pub struct Options {
    /// How many calls may nest (Nix's `max-call-depth`).
    pub max_call_depth: u32,
    /// Whether `|>` and `<|` are allowed.
    pub pipe_operators: bool,
    /// Pure evaluation: no environment, no time, no paths but the allowed ones.
    pub pure: bool,
    /// Restricted evaluation: only the search path and the allowed paths can be read.
    pub restricted: bool,
    /// What pure or restricted evaluation may read, as absolute paths.
    pub allowed_paths: Vec<Vec<u8>>,
    /// Whether a value may depend on building something.
    pub allow_import_from_derivation: bool,
    /// The search path: prefix (may be empty) and path, first match wins.
    pub search_path: Vec<(Vec<u8>, Vec<u8>)>,
    /// What `builtins.currentSystem` says.
    pub system: String,
    /// Whether `builtins.traceVerbose` prints.
    pub trace_verbose: bool,
    /// Whether `builtins.warn` fails.
    pub abort_on_warn: bool,
    /// Nix's experimental features that are on: `ca-derivations`, `impure-derivations`, `dynamic-derivations`, ….
    pub features: BTreeSet<String>,
    /// Whether dates in TOML become `{ _type = "timestamp"; … }`.
    pub parse_toml_timestamps: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_call_depth: 10_000,
            pipe_operators: false,
            pure: false,
            restricted: false,
            allowed_paths: Vec::new(),
            allow_import_from_derivation: true,
            search_path: Vec::new(),
            system: format!("{}-linux", std::env::consts::ARCH),
            trace_verbose: false,
            abort_on_warn: false,
            features: BTreeSet::new(),
            parse_toml_timestamps: false,
        }
    }
}

impl Options {
    /// Adds entries in the form of `NIX_PATH`: `name=path` or `path`, separated by colons.
    pub fn add_nix_path(&mut self, text: &[u8]) {
        let mut rest = text;
        while !rest.is_empty() {
            // A colon that begins `://` belongs to a URL.
            let end =
                (0..rest.len()).find(|&at| rest[at] == b':' && !is_url_colon(rest, at)).unwrap_or(rest.len());
            self.add_search_path(&rest[..end]);
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }

    /// Adds one entry, `name=path` or `path`.
    pub fn add_search_path(&mut self, entry: &[u8]) {
        if entry.is_empty() {
            return;
        }
        let (prefix, path) = match entry.iter().position(|&byte| byte == b'=') {
            Some(equal) => (&entry[..equal], &entry[equal + 1..]),
            None => (&entry[..0], entry),
        };
        self.search_path.push((prefix.to_vec(), path.to_vec()));
    }
}

/// Whether the colon at `at` is followed by `//` and preceded by a scheme: `http://…`, or is that of `channel:`/`flake:`.
fn is_url_colon(text: &[u8], at: usize) -> bool {
    if text[at + 1..].starts_with(b"//") {
        return true;
    }
    let start = text[..at].iter().rposition(|&byte| byte == b'=' || byte == b':').map_or(0, |n| n + 1);
    matches!(&text[start..at], b"flake" | b"channel")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nix_path_is_split_at_colons_but_not_in_urls() {
        let mut options = Options::default();
        options.add_nix_path(b"a=/x:/y:n=https://h/t.tar.gz:z=channel:nixos");
        let text: Vec<String> = options
            .search_path
            .iter()
            .map(|(a, b)| format!("{}|{}", String::from_utf8_lossy(a), String::from_utf8_lossy(b)))
            .collect();
        assert_eq!(text, ["a|/x", "|/y", "n|https://h/t.tar.gz", "z|channel:nixos"]);
    }
}
