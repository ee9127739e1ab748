//! File name patterns (glob(7)): `*`, `?`, `[…]`, in any part of a path.

use std::path::{Path, PathBuf};

/// Whether anything matches the pattern, an absolute path.
pub fn any(pattern: &str) -> bool {
    pattern.starts_with('/') && descend(Path::new("/"), &parts(pattern), &mut |_| true)
}

/// What matches the pattern, in order; the pattern itself when it has none of those characters, whether it is there or not.
pub fn paths(pattern: &str) -> Vec<String> {
    if !pattern.contains(['*', '?', '[']) {
        return vec![pattern.to_owned()];
    }
    let mut found = Vec::new();
    descend(Path::new("/"), &parts(pattern), &mut |path| {
        found.push(path.to_string_lossy().into_owned());
        false
    });
    crate::sorted_map::sort_few(&mut found, |one, other| one < other);
    // None: whoever reads it says what is missing.
    if found.is_empty() { vec![pattern.to_owned()] } else { found }
}

fn parts(pattern: &str) -> Vec<&str> {
    pattern.split('/').filter(|part| !part.is_empty()).collect()
}

/// The directory in which the first part of the pattern that is one has to be looked for.
pub fn fixed_part(pattern: &str) -> PathBuf {
    let is_plain = |part: &&str| !part.contains(['*', '?', '[']);
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    let mut path = PathBuf::from("/");
    path.extend(parts.iter().take_while(|part| is_plain(part)));
    path
}

/// Shows each match to `visit` until that says that it is enough.
fn descend(directory: &Path, parts: &[&str], visit: &mut dyn FnMut(&Path) -> bool) -> bool {
    let Some((first, rest)) = parts.split_first() else {
        return directory.symlink_metadata().is_ok() && visit(directory);
    };
    if !first.contains(['*', '?', '[']) {
        return descend(&directory.join(first), rest, visit);
    }
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let bytes = name.as_encoded_bytes();
        // A leading dot is matched by a dot only.
        (bytes.first() != Some(&b'.') || first.starts_with('.'))
            && matches(first.as_bytes(), bytes)
            && descend(&entry.path(), rest, visit)
    })
}

/// Whether a name matches a pattern without slashes.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, name) || name.split_first().is_some_and(|(_, tail)| matches(pattern, tail))
        }
        (Some((b'?', rest)), Some((_, tail))) => matches(rest, tail),
        (Some((b'[', rest)), Some((found, tail))) => match class(rest, *found) {
            Some((is_in, after)) => is_in && matches(after, tail),
            None => *found == b'[' && matches(rest, tail),
        },
        (Some((wanted, rest)), Some((found, tail))) => wanted == found && matches(rest, tail),
        _ => false,
    }
}

/// Whether a byte is in the class that begins here, and what follows it; nothing when the class does not end.
fn class(text: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match text.split_first()? {
        (b'!' | b'^', rest) => (true, rest),
        _ => (false, text),
    };
    let mut is_in = false;
    let mut is_first = true;
    loop {
        let (start, tail) = rest.split_first()?;
        if *start == b']' && !is_first {
            return Some((is_in != negated, tail));
        }
        is_first = false;
        match tail {
            [b'-', end, after @ ..] if *end != b']' => {
                is_in |= (*start..=*end).contains(&byte);
                rest = after;
            }
            _ => {
                is_in |= *start == byte;
                rest = tail;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("a?c", "abc", true),
            ("*.conf", "a.cfg", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("*a*b*", "xaybz", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn paths() {
        assert!(any("/proc/sel*") && !any("/proc/nothing*") && any("/pro?/s*f/stat") && any("/proc/self"));
        assert_eq!(
            super::paths("/proc/[sx]elf/s[t]at*"),
            ["/proc/self/stat", "/proc/self/statm", "/proc/self/status"]
        );
        assert_eq!(
            (super::paths("/none"), super::paths("/none*")),
            (vec!["/none".into()], vec!["/none*".into()])
        );
        assert_eq!(fixed_part("/var/spool/*/x"), Path::new("/var/spool"));
    }
}
