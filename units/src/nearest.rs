//! The known name nearest to a misspelt one: by Levenshtein distance, ignoring case.

/// The nearest of `known`, when it is near enough that a slip of the fingers explains the difference.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let limit = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (number, from) in left.chars().enumerate() {
        let mut diagonal = number;
        let mut before = number + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&right) {
            let above = *cell;
            *cell = (diagonal + usize::from(from != *to)).min(above + 1).min(before + 1);
            diagonal = above;
            before = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = number + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let known = ["StateDirectory", "SystemCallArchitectures", "PIDFile", "After"];
        for (name, expected) in [
            ("StateDiectory", Some("StateDirectory")),
            ("SystenCallArchitectures", Some("SystemCallArchitectures")),
            ("PidFile", Some("PIDFile")),
            ("Afer", Some("After")),
            ("Frobnicate", None),
        ] {
            assert_eq!(nearest(name, known).as_deref(), expected, "{name}");
        }
    }
}
