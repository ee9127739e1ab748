//! glob(7) patterns over a root directory: `*`, `?`, `[…]` within one component, as tmpfiles.d(5) lines use them.

use crate::error::Result;
use crate::root::Root;
use std::path::{Path, PathBuf};

/// The places that a pattern matches, in order; without pattern characters the path itself, if it exists.
///
/// # Errors
/// When links go round in a circle.
pub(crate) fn expand(root: &Root, pattern: &str) -> Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for directory in &found {
            if !part.contains(['*', '?', '[']) {
                next.push(directory.join(part));
                continue;
            }
            let Ok(entries) = std::fs::read_dir(root.resolve(directory)?) else { continue };
            let mut names: Vec<String> = entries
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter(|name| matches(part, name))
                .collect();
            names.sort();
            next.extend(names.into_iter().map(|name| directory.join(name)));
        }
        found = next;
    }
    let mut places = Vec::new();
    for path in found {
        let place = root.resolve_parent(&path)?;
        if place.symlink_metadata().is_ok() {
            places.push(path);
        }
    }
    Ok(places)
}

/// Whether a path matches a pattern component by component.
pub(crate) fn matches_path(pattern: &str, path: &Path) -> bool {
    let mut parts = pattern.split('/').filter(|part| !part.is_empty());
    let mut components = path.iter().skip(1);
    loop {
        match (parts.next(), components.next()) {
            (None, None) => return true,
            (Some(part), Some(name)) if matches(part, &name.to_string_lossy()) => {}
            _ => return false,
        }
    }
}

/// fnmatch(3) within one component; a leading dot must be written.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    matches_from(&pattern, &name)
}

fn matches_from(pattern: &[char], name: &[char]) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['*', rest @ ..] => (0..=name.len()).any(|skipped| matches_from(rest, &name[skipped..])),
        ['?', rest @ ..] => !name.is_empty() && matches_from(rest, &name[1..]),
        ['[', rest @ ..] => match (class(rest), name) {
            (Some((members, negated, rest)), [first, others @ ..]) => {
                let within = members.iter().any(|(low, high)| (low..=high).contains(&first));
                within != negated && matches_from(rest, others)
            }
            (None, ['[', others @ ..]) => matches_from(rest, others),
            _ => false,
        },
        [literal, rest @ ..] => name.first() == Some(literal) && matches_from(rest, &name[1..]),
    }
}

type Class<'a> = (Vec<(char, char)>, bool, &'a [char]);

/// The members of a bracket expression, whether it is negated, and what follows it.
fn class(pattern: &[char]) -> Option<Class<'_>> {
    let negated = matches!(pattern.first(), Some('!' | '^'));
    let mut at = usize::from(negated);
    let mut members = Vec::new();
    loop {
        let low = *pattern.get(at)?;
        if low == ']' && !members.is_empty() {
            return Some((members, negated, &pattern[at + 1..]));
        }
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some('-'), Some(high)) if *high != ']' => {
                members.push((low, *high));
                at += 3;
            }
            _ => {
                members.push((low, low));
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_glob_does() {
        for (pattern, name, expected) in [
            ("*", "abc", true),
            ("*", ".abc", false),
            (".*", ".abc", true),
            ("a*c", "abbc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]x", "]x", true),
            ("[ab", "[ab", true),
            ("systemd-private-*", "systemd-private-1", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert!(matches_path("/tmp/*/x", Path::new("/tmp/a/x")));
        assert!(!matches_path("/tmp/*", Path::new("/tmp/a/x")));
    }
}
