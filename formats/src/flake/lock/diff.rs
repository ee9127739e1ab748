//! What changed between two lock files, for people: one paragraph for each input.

use super::{Edge, LockFile, print_input_path};
use crate::flake::FlakeRef;
use crate::time_zone::civil_from_days;
use std::collections::BTreeSet;

/// The inputs that were added, removed and updated, a line or three each.
pub fn diff(old: &LockFile, new: &LockFile) -> String {
    let (old_inputs, new_inputs) = (old.all_inputs(), new.all_inputs());
    let mut text = String::new();
    let paths: BTreeSet<_> = old_inputs.keys().chain(new_inputs.keys()).collect();
    for path in paths {
        let name = print_input_path(path);
        match (old_inputs.get(path), new_inputs.get(path)) {
            (None, Some(edge)) => {
                text.extend([format!("• Added input '{name}':\n    {}\n", describe(new, edge))]);
            }
            (Some(_), None) => text.extend([format!("• Removed input '{name}'\n")]),
            (Some(before), Some(after)) if !is_same((old, before), (new, after)) => {
                let (before, after) = (describe(old, before), describe(new, after));
                text.extend([format!("• Updated input '{name}':\n    {before}\n  → {after}\n")]);
            }
            _ => {}
        }
    }
    text
}

fn locked<'a>(lock: &'a LockFile, edge: &Edge) -> Option<&'a FlakeRef> {
    match edge {
        Edge::Node(index) => Some(&lock.nodes.get(*index)?.locked.as_ref()?.locked),
        Edge::Follows(_) => None,
    }
}

fn is_same(one: (&LockFile, &Edge), other: (&LockFile, &Edge)) -> bool {
    match (one.1, other.1) {
        (Edge::Node(_), Edge::Node(_)) => locked(one.0, one.1) == locked(other.0, other.1),
        (Edge::Follows(one), Edge::Follows(other)) => one == other,
        _ => false,
    }
}

fn describe(lock: &LockFile, edge: &Edge) -> String {
    match edge {
        Edge::Node(_) => locked(lock, edge).map(with_date).unwrap_or_default(),
        Edge::Follows(path) => format!("follows '{}'", print_input_path(path)),
    }
}

/// A reference and the day of its last change.
fn with_date(reference: &FlakeRef) -> String {
    match reference.input.number("lastModified") {
        Some(time) => {
            let (year, month, day) = civil_from_days(time.div_euclid(86_400));
            format!("'{reference}' ({year:04}-{month:02}-{day:02})")
        }
        None => format!("'{reference}'"),
    }
}
