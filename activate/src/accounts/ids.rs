//! Which id every name has had on this machine, so that a user who leaves and returns owns the same files, and the
//! choice of new ids from NixOS's ranges: system accounts from 999 downwards to 400, people from 1000 upwards.
//!
//! Kept in `/var/lib/firn/ids.json`. A machine that ran NixOS has the same in `/var/lib/nixos`; it is taken over.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// System accounts, both ends included.
const SYSTEM: (u32, u32) = (400, 999);
/// People, both ends included.
const PEOPLE: (u32, u32) = (1000, 29_999);
/// Where subordinate ranges begin, and how long one is (`users.users.<name>.autoSubUidGidRange`).
const SUBORDINATE_START: u32 = 100_000;
/// Ids in one automatic subordinate range.
pub(crate) const SUBORDINATE_COUNT: u32 = 65_536;

/// The state that outlives generations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ids {
    /// User ids ever given.
    pub uids: BTreeMap<String, u32>,
    /// Group ids ever given.
    pub gids: BTreeMap<String, u32>,
    /// First ids of the automatic subordinate ranges.
    pub subordinate: BTreeMap<String, u32>,
    /// Users of the last activated generation: the ones that may be removed when they are no longer declared.
    pub declared_users: BTreeSet<String>,
    /// Its groups.
    pub declared_groups: BTreeSet<String>,
}

impl Ids {
    /// Reads the state; what is damaged counts as empty, since names in use are found in /etc/passwd again.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// What NixOS's update-users-groups keeps in /var/lib/nixos.
    pub fn from_nixos(read: impl Fn(&str) -> Option<Vec<u8>>) -> Self {
        let map = |name: &str| -> BTreeMap<String, u32> {
            read(name).and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
        };
        let names = |name: &str| -> BTreeSet<String> {
            let bytes = read(name).unwrap_or_default();
            String::from_utf8_lossy(&bytes).split_whitespace().map(str::to_owned).collect()
        };
        Self {
            uids: map("uid-map"),
            gids: map("gid-map"),
            subordinate: map("auto-subuid-map"),
            declared_users: names("declarative-users"),
            declared_groups: names("declarative-groups"),
        }
    }

    /// The file's text.
    pub fn render(&self) -> String {
        // Maps of names and numbers always serialise.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// Who asks for an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Range {
    /// From the top of the system range downwards.
    System,
    /// From the bottom of the people's range upwards.
    People,
}

/// Chooses an id that neither is in use nor ever was another's. `None`: the range is exhausted.
pub(crate) fn choose(
    range: Range,
    former: Option<u32>,
    in_use: &BTreeSet<u32>,
    given: &BTreeMap<String, u32>,
) -> Option<u32> {
    if let Some(former) = former.filter(|id| !in_use.contains(id)) {
        return Some(former);
    }
    let reserved: BTreeSet<u32> = given.values().copied().collect();
    let free = |id: &u32| !in_use.contains(id) && !reserved.contains(id);
    match range {
        Range::System => (SYSTEM.0..=SYSTEM.1).rev().find(free),
        Range::People => (PEOPLE.0..=PEOPLE.1).find(free),
    }
}

/// Chooses the start of a subordinate range that overlaps none of these.
pub(crate) fn choose_subordinate(former: Option<u32>, taken: &[(u32, u32)]) -> Option<u32> {
    let overlaps = |start: u32| {
        let end = u64::from(start) + u64::from(SUBORDINATE_COUNT);
        taken.iter().any(|(other, count)| {
            u64::from(*other) < end && u64::from(start) < u64::from(*other) + u64::from(*count)
        })
    };
    let mut candidates =
        (SUBORDINATE_START..u32::MAX - SUBORDINATE_COUNT).step_by(SUBORDINATE_COUNT as usize);
    former.filter(|start| !overlaps(*start)).or_else(|| candidates.find(|start| !overlaps(*start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_from_nixos_ranges_and_are_not_given_twice() {
        let given = BTreeMap::from([("gone".to_owned(), 999), ("me".to_owned(), 1000)]);
        let in_use = BTreeSet::from([998, 1001]);
        assert_eq!(choose(Range::System, None, &in_use, &given), Some(997));
        assert_eq!(choose(Range::People, None, &in_use, &given), Some(1002));
        assert_eq!(choose(Range::System, Some(999), &in_use, &given), Some(999));
        assert_eq!(choose(Range::System, Some(998), &in_use, &given), Some(997), "someone else has it now");
        assert_eq!(choose(Range::System, None, &(400..=999).collect(), &given), None);
    }

    #[test]
    fn subordinate_ranges_do_not_overlap() {
        assert_eq!(choose_subordinate(None, &[]), Some(100_000));
        assert_eq!(choose_subordinate(None, &[(100_000, 65_536), (165_537, 1)]), Some(231_072));
        assert_eq!(choose_subordinate(Some(500_000), &[(100_000, 65_536)]), Some(500_000));
    }

    #[test]
    fn damaged_state_is_empty_and_nixos_state_is_taken_over() {
        assert_eq!(Ids::parse(b"\0\0\0"), None);
        let ids = Ids::from_nixos(|name| match name {
            "uid-map" => Some(br#"{"alice":1000}"#.to_vec()),
            "gid-map" => Some(b"\0\0".to_vec()),
            "declarative-users" => Some(b"alice bob".to_vec()),
            _ => None,
        });
        assert_eq!((ids.uids["alice"], ids.gids.len(), ids.declared_users.len()), (1000, 0, 2));
        assert_eq!(Ids::parse(ids.render().as_bytes()), Some(ids));
    }
}
