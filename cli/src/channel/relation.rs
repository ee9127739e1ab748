//! `Depends` and `Provides`: clauses of alternatives, each a name with an optional version bound (deb-control(5), Debian
//! policy 7.1).

use super::version;
use std::cmp::Ordering;

/// A bound on a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound<'a> {
    operator: &'a str,
    version: &'a str,
}

impl Bound<'_> {
    /// Whether a version is within the bound.
    pub(crate) fn admits(&self, candidate: &str) -> bool {
        let order = version::compare(candidate, self.version);
        match self.operator {
            "<<" => order == Ordering::Less,
            "<=" | "<" => order != Ordering::Greater,
            "=" => order == Ordering::Equal,
            ">=" | ">" => order != Ordering::Less,
            ">>" => order == Ordering::Greater,
            _ => false,
        }
    }
}

/// A package named in a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Relation<'a> {
    /// The name, without `:any` or another architecture.
    pub(crate) name: &'a str,
    /// The bound, if there is one.
    pub(crate) bound: Option<Bound<'a>>,
}

/// The clauses of a relation field; each is a list of alternatives.
pub(crate) fn clauses(field: &str) -> impl Iterator<Item = Vec<Relation<'_>>> {
    field
        .split(',')
        .map(|clause| clause.split('|').filter_map(relation).collect::<Vec<_>>())
        .filter(|clause| !clause.is_empty())
}

fn relation(text: &str) -> Option<Relation<'_>> {
    let text = text.trim();
    let end = text.find([' ', '(', '[', '<', '\t', '\n']).unwrap_or(text.len());
    let name = text.get(..end)?.split(':').next().filter(|name| !name.is_empty())?;
    let bound = text.split_once('(').and_then(|(_, rest)| rest.split_once(')')).and_then(|(inside, _)| {
        let inside = inside.trim();
        let end = inside.find(|character| !matches!(character, '<' | '>' | '=')).unwrap_or(inside.len());
        let (operator, version) = inside.split_at(end);
        (!operator.is_empty()).then(|| Bound { operator, version: version.trim() })
    });
    Some(Relation { name, bound })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let all: Vec<_> =
            clauses("libc6 (>= 2.36), a:any | b (<< 2~), perl:any,\n c [amd64] <!nocheck>, ").collect();
        let names: Vec<Vec<&str>> =
            all.iter().map(|clause| clause.iter().map(|one| one.name).collect()).collect();
        assert_eq!(names, [vec!["libc6"], vec!["a", "b"], vec!["perl"], vec!["c"]]);
        let admits = |clause: usize, alternative: usize, version| {
            all[clause][alternative].bound.is_none_or(|bound| bound.admits(version))
        };
        assert!(admits(0, 0, "2.36-9+deb12u1") && !admits(0, 0, "2.35"));
        assert!(admits(1, 1, "1.9") && !admits(1, 1, "2"));
        assert!(admits(2, 0, "anything"));
    }
}
