//! "Did you mean": the known names closest to a wrong one.

/// A sentence naming up to three close names, if there are any.
pub(crate) fn closest<'n>(wanted: &[u8], known: impl Iterator<Item = &'n [u8]>) -> Option<String> {
    let limit = (wanted.len() / 3).clamp(1, 3);
    let mut found: Vec<(usize, &[u8])> = known
        .filter(|name| !name.starts_with(b"__") && name.len().abs_diff(wanted.len()) <= limit)
        .map(|name| (distance(wanted, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    found.sort_unstable();
    found.dedup();
    let names: Vec<String> =
        found.iter().take(3).map(|(_, name)| format!("'{}'", String::from_utf8_lossy(name))).collect();
    match names.as_slice() {
        [] => None,
        [one] => Some(format!("did you mean {one}?")),
        [front @ .., last] => Some(format!("did you mean one of {} or {last}?", front.join(", "))),
    }
}

/// The number of single-byte insertions, deletions and changes between two names.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_close() {
        let known: Vec<&[u8]> = vec![b"enable", b"package", b"enabled"];
        assert_eq!(
            closest(b"enabel", known.iter().copied()).unwrap(),
            "did you mean one of 'enable' or 'enabled'?"
        );
        assert_eq!(closest(b"zzz", known.iter().copied()), None);
    }
}
