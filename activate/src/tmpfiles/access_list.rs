//! POSIX access control lists (acl(5)) as tmpfiles.d(5) writes them and as the kernel keeps them in extended attributes
//! (include/uapi/linux/posix_acl_xattr.h: version 2, then tag, permissions and id of each entry, little-endian, in order).

use std::collections::BTreeMap;

/// Where the kernel keeps what counts for a file.
pub(super) const ACCESS: &str = "system.posix_acl_access";
/// Where it keeps what files made in a directory get.
pub(super) const DEFAULT: &str = "system.posix_acl_default";

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NO_ID: u32 = u32::MAX;

/// A list: tag and id of each entry, and its permissions.
pub(super) type List = BTreeMap<(u16, u32), u16>;

/// What an argument asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// Entries of the file's own list; permissions with whether `X` stands among them.
    access: BTreeMap<(u16, u32), (u16, bool)>,
    /// Entries of a directory's default list.
    default: BTreeMap<(u16, u32), (u16, bool)>,
}

impl Wish {
    /// Reads `[d:]u|g|m|o:NAME:rwxX`, separated by commas. `uid` and `gid` find names.
    ///
    /// # Errors
    /// A sentence about the first entry that is none.
    pub(super) fn parse(
        text: &str,
        uid: impl Fn(&str) -> Option<u32>,
        gid: impl Fn(&str) -> Option<u32>,
    ) -> Result<Self, String> {
        let mut wish = Self::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let wrong = || format!("`{entry}` is no entry of an access control list, see acl(5)");
            let mut parts: Vec<&str> = entry.split(':').collect();
            let is_default = matches!(parts.first(), Some(&("d" | "default")));
            if is_default {
                parts.remove(0);
            }
            let [kind, name, permissions] = parts.as_slice() else { return Err(wrong()) };
            let missing = || format!("there is no user or group `{name}`");
            let key = match (*kind, name.is_empty()) {
                ("u" | "user", true) => (USER_OBJ, NO_ID),
                ("u" | "user", false) => (USER, uid(name).ok_or_else(missing)?),
                ("g" | "group", true) => (GROUP_OBJ, NO_ID),
                ("g" | "group", false) => (GROUP, gid(name).ok_or_else(missing)?),
                ("m" | "mask", true) => (MASK, NO_ID),
                ("o" | "other", true) => (OTHER, NO_ID),
                _ => return Err(wrong()),
            };
            let (mut bits, mut executes_if) = (0, false);
            for letter in permissions.chars() {
                match letter {
                    'r' => bits |= 4,
                    'w' => bits |= 2,
                    'x' => bits |= 1,
                    'X' => executes_if = true,
                    '-' => {}
                    _ => return Err(wrong()),
                }
            }
            let list = if is_default { &mut wish.default } else { &mut wish.access };
            list.insert(key, (bits, executes_if));
        }
        Ok(wish)
    }

    /// The file's own list: what is there (without the named entries when the line replaces them) and what is asked for. Nothing when
    /// nothing is asked for.
    pub(super) fn access(&self, there: &List, mode: u32, is_directory: bool, adds: bool) -> Option<List> {
        (!self.access.is_empty()).then(|| merge(&self.access, there, mode, is_directory, adds))
    }

    /// The default list of a directory, likewise.
    pub(super) fn inherited(&self, there: &List, mode: u32, adds: bool) -> Option<List> {
        (!self.default.is_empty()).then(|| merge(&self.default, there, mode, true, adds))
    }
}

fn merge(
    wish: &BTreeMap<(u16, u32), (u16, bool)>,
    there: &List,
    mode: u32,
    is_directory: bool,
    adds: bool,
) -> List {
    let is_base = |tag: u16| matches!(tag, USER_OBJ | GROUP_OBJ | OTHER);
    let mut list: List =
        there.iter().filter(|((tag, _), _)| adds || is_base(*tag)).map(|(key, bits)| (*key, *bits)).collect();
    for (tag, shift) in [(USER_OBJ, 6), (GROUP_OBJ, 3), (OTHER, 0)] {
        list.entry((tag, NO_ID)).or_insert((mode >> shift & 7) as u16);
    }
    let executes = is_directory || list.iter().any(|((tag, _), bits)| *tag != MASK && bits & 1 != 0);
    for (key, (bits, executes_if)) in wish {
        list.insert(*key, bits | u16::from(*executes_if && executes));
    }
    let needs_mask = list.keys().any(|(tag, _)| matches!(*tag, USER | GROUP));
    if needs_mask && !wish.contains_key(&(MASK, NO_ID)) {
        let group_class = list.iter().filter(|((tag, _), _)| matches!(*tag, USER | GROUP | GROUP_OBJ));
        let union = group_class.fold(0, |union, (_, bits)| union | bits);
        list.insert((MASK, NO_ID), union);
    }
    list
}

/// As the kernel has it.
pub(super) fn encode(list: &List) -> Vec<u8> {
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for ((tag, id), permissions) in list {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Reads what the kernel has; an empty list when that is none.
pub(super) fn decode(bytes: &[u8]) -> List {
    let Some((version, entries)) = bytes.split_first_chunk::<4>() else { return List::new() };
    if u32::from_le_bytes(*version) != VERSION {
        return List::new();
    }
    let (entries, _) = entries.as_chunks::<8>();
    entries
        .iter()
        .map(|[t0, t1, p0, p1, id @ ..]| {
            ((u16::from_le_bytes([*t0, *t1]), u32::from_le_bytes(*id)), u16::from_le_bytes([*p0, *p1]))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Wish, String> {
        let known = |name: &str| name.parse().ok().or((name == "nginx").then_some(60));
        Wish::parse(text, known, known)
    }

    #[test]
    fn entries_are_added_with_a_mask() {
        let wish = parse("u:nginx:rX, g:7:rwx").unwrap();
        let list = wish.access(&List::new(), 0o640, false, true).unwrap();
        let expected = [
            ((USER_OBJ, NO_ID), 6),
            ((USER, 60), 4),
            ((GROUP_OBJ, NO_ID), 4),
            ((GROUP, 7), 7),
            ((MASK, NO_ID), 7),
            ((OTHER, NO_ID), 0),
        ];
        assert_eq!(list, List::from(expected));
        assert_eq!(decode(&encode(&list)), list);
        assert_eq!(encode(&list).len(), 4 + 6 * 8);
        let again = parse("u:8:r").unwrap();
        assert!(again.access(&list, 0o640, false, true).unwrap().contains_key(&(USER, 60)));
        assert!(!again.access(&list, 0o640, false, false).unwrap().contains_key(&(USER, 60)));
        assert_eq!(again.inherited(&List::new(), 0o755, true), None);
        let list = parse("d:u:nginx:rwX,m::r").unwrap();
        assert_eq!(list.inherited(&List::new(), 0o755, true).unwrap().get(&(USER, 60)), Some(&7));
        assert_eq!(list.access(&List::new(), 0o755, true, true).unwrap().get(&(MASK, NO_ID)), Some(&4));
    }

    #[test]
    fn what_is_no_entry_is_named() {
        for text in ["u:nginx", "q::r", "m:x:r", "u:nginx:z", "u:nobody-here:r"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
