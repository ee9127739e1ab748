//! "Did you mean": the known names closest to a wrong one.

/// A sentence naming up to three close names, if there are any.
pub(crate) fn closest<'n>(wanted: &[u8], known: impl Iterator<Item = &'n [u8]>) -> Option<String> {
    let names: Vec<String> = close_names(wanted, known).iter().map(|name| format!("'{name}'")).collect();
    match names.as_slice() {
        [] => None,
        [one] => Some(format!("did you mean {one}?")),
        [front @ .., last] => Some(format!("did you mean one of {} or {last}?", front.join(", "))),
    }
}

/// Up to five names that are at most two changes away, the closest first.
pub(crate) fn closest_names<'n>(wanted: &[u8], known: impl Iterator<Item = &'n [u8]>) -> Vec<String> {
    let mut found: Vec<(usize, &[u8])> = known
        .map(|name| (distance(wanted, name), name))
        .filter(|(distance, name)| *distance <= 2 && *distance < wanted.len().max(name.len()))
        .collect();
    found.sort_unstable();
    found.into_iter().take(5).map(|(_, name)| String::from_utf8_lossy(name).into_owned()).collect()
}

/// Up to three close names.
fn close_names<'n>(wanted: &[u8], known: impl Iterator<Item = &'n [u8]>) -> Vec<String> {
    let limit = (wanted.len() / 3).clamp(1, 3);
    let mut found: Vec<(usize, &[u8])> = known
        .filter(|name| !name.starts_with(b"__") && name.len().abs_diff(wanted.len()) <= limit)
        .map(|name| (distance(wanted, name), name))
        // Where every letter differs, nothing is close.
        .filter(|(distance, name)| *distance <= limit && *distance < wanted.len().max(name.len()))
        .collect();
    found.sort_unstable();
    found.dedup();
    found.iter().take(3).map(|(_, name)| String::from_utf8_lossy(name).into_owned()).collect()
}

/// The number of single-byte insertions, deletions, changes and swaps of neighbours between two names.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut best = (row[j] + usize::from(a != b)).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && left[i - 1] == *b && right[j - 1] == *a {
                best = best.min(before[j - 1] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
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
        assert_eq!(closest(b"prot", [b"port".as_slice()].into_iter()).unwrap(), "did you mean 'port'?");
        assert_eq!(closest(b"zzz", known.iter().copied()), None);
    }
}
