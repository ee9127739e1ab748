//! Version numbers and derivation names as Nix takes them apart. Nix manual, `builtins.compareVersions`,
//! `builtins.splitVersion`, `builtins.parseDrvName`.

use std::cmp::Ordering;

/// The components of a version: runs of digits and runs of anything else, cut at `.` and `-`.
pub fn split_version(version: &[u8]) -> Vec<&[u8]> {
    Components(version).collect()
}

/// Compares two versions component by component; a missing component is empty.
pub fn compare_versions(left: &[u8], right: &[u8]) -> Ordering {
    let (mut left, mut right) = (Components(left), Components(right));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (left, right) => {
                let (left, right) = (left.unwrap_or_default(), right.unwrap_or_default());
                if is_less(left, right) {
                    return Ordering::Less;
                }
                if is_less(right, left) {
                    return Ordering::Greater;
                }
            }
        }
    }
}

/// Cuts a derivation's name into name and version, at the first dash that no letter follows.
pub fn parse_drv_name(text: &[u8]) -> (&[u8], &[u8]) {
    let cut = text
        .windows(2)
        .position(|pair| pair.first() == Some(&b'-') && !pair.last().is_some_and(u8::is_ascii_alphabetic));
    match cut {
        Some(cut) => (text.get(..cut).unwrap_or_default(), text.get(cut + 1..).unwrap_or_default()),
        None => (text, &[]),
    }
}

struct Components<'a>(&'a [u8]);

impl<'a> Iterator for Components<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|byte| !matches!(byte, b'.' | b'-'))?;
        let rest = self.0.get(start..)?;
        let digits = rest.first()?.is_ascii_digit();
        let length = rest
            .iter()
            .position(|byte| byte.is_ascii_digit() != digits || matches!(byte, b'.' | b'-'))
            .unwrap_or(rest.len());
        let (component, rest) = rest.split_at(length);
        self.0 = rest;
        Some(component)
    }
}

/// Nix's order: numbers by value, `pre` before everything, a word before a number, the empty component before a number.
/// A number that does not fit 32 bits is a word.
fn is_less(left: &[u8], right: &[u8]) -> bool {
    match (number(left), number(right)) {
        (Some(left), Some(right)) => left < right,
        (left_number, right_number) => {
            if (left.is_empty() && right_number.is_some()) || (left == b"pre" && right != b"pre") {
                true
            } else if right == b"pre" {
                false
            } else if right_number.is_some() {
                true
            } else if left_number.is_some() {
                false
            } else {
                left < right
            }
        }
    }
}

fn number(component: &[u8]) -> Option<i32> {
    component.first()?.is_ascii_digit().then(|| std::str::from_utf8(component).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_and_compares_as_nix_does() {
        let split = |text: &str| -> Vec<String> {
            split_version(text.as_bytes())
                .into_iter()
                .map(|part| String::from_utf8_lossy(part).into_owned())
                .collect()
        };
        assert_eq!(split("1.2-3pre4"), ["1", "2", "3", "pre", "4"]);
        assert_eq!(split("a..b"), ["a", "b"]);
        assert!(split("").is_empty());
        for (left, right, expected) in [
            ("1.0", "2.3", Ordering::Less),
            ("2.1", "2.3", Ordering::Less),
            ("2.3", "2.3", Ordering::Equal),
            ("2.3.1", "2.3", Ordering::Greater),
            ("2.3.1", "2.3a", Ordering::Greater),
            ("2.3pre1", "2.3", Ordering::Less),
            ("2.3pre3", "2.3pre12", Ordering::Less),
            ("2.3a", "2.3c", Ordering::Less),
            ("2.3pre1", "2.3c", Ordering::Less),
            ("2.3pre1", "2.3q", Ordering::Less),
            ("1.0", "1.0-", Ordering::Equal),
            ("", "pre", Ordering::Greater),
            ("1.2147483648", "1.3", Ordering::Less),
        ] {
            assert_eq!(compare_versions(left.as_bytes(), right.as_bytes()), expected, "{left} {right}");
        }
    }

    #[test]
    fn takes_names_apart_as_nix_does() {
        for (text, name, version) in [
            ("nix-0.12pre12876", "nix", "0.12pre12876"),
            ("a-b-1-2", "a-b", "1-2"),
            ("-1", "", "1"),
            ("a-b", "a-b", ""),
            ("a-", "a-", ""),
        ] {
            assert_eq!(parse_drv_name(text.as_bytes()), (name.as_bytes(), version.as_bytes()), "{text}");
        }
    }
}
