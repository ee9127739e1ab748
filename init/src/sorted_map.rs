//! A map kept as one sorted list: for the handful to few thousand entries that process 1's supervisor holds by unit, number
//! or name. A search costs what it costs in a tree, an insertion moves the entries behind it (most are at the end), and
//! each kind of map adds a few hundred bytes to the program where a tree of the standard library adds eight thousand.

use std::borrow::Borrow;

/// A map from `K` to `V`, iterated in the order of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SortedMap<K, V> {
    entries: Vec<(K, V)>,
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> SortedMap<K, V> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.entries.iter_mut().map(|(key, value)| (&*key, value))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// Leaves the entries for which `keep` says true.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.entries.retain_mut(|(key, value)| keep(key, value));
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    /// Where `key` is, or where it would have to be put.
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        // Most insertions are of a key greater than all: units start in the order of their numbers.
        match self.entries.last() {
            Some((last, _)) if last.borrow() < key => Err(self.entries.len()),
            _ => self.entries.binary_search_by(|(one, _)| one.borrow().cmp(key)),
        }
    }

    pub(crate) fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.place(key).is_ok()
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).ok()?;
        self.entries.get(place).map(|(_, value)| value)
    }

    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).ok()?;
        self.entries.get_mut(place).map(|(_, value)| value)
    }

    /// Puts `value` under `key` and gives back what was there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(place) => self.entries.get_mut(place).map(|(_, there)| std::mem::replace(there, value)),
            Err(place) => {
                self.entries.insert(place, (key, value));
                None
            }
        }
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).ok()?;
        Some(self.entries.remove(place).1)
    }
}

impl<K: Ord, V: Default> SortedMap<K, V> {
    /// The value under `key`, made if there is none yet.
    pub(crate) fn get_or_default(&mut self, key: K) -> &mut V {
        let place = match self.place(&key) {
            Ok(place) => place,
            Err(place) => {
                self.entries.insert(place, (key, V::default()));
                place
            }
        };
        &mut self.entries[place].1
    }
}

impl<K, V> IntoIterator for SortedMap<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<K: Ord, V> Extend<(K, V)> for SortedMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, all: I) {
        for (key, value) in all {
            self.insert(key, value);
        }
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SortedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(all: I) -> Self {
        let mut map = Self::new();
        map.extend(all);
        map
    }
}

/// Sorts a short list, where equal elements keep their order. What the standard library has for long ones is ten times
/// this size, once for each type.
pub(crate) fn sort_few<T>(list: &mut [T], is_before: impl Fn(&T, &T) -> bool) {
    for end in 1..list.len() {
        let mut place = end;
        while place > 0 && is_before(&list[place], &list[place - 1]) {
            list.swap(place, place - 1);
            place -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{SortedMap, sort_few};

    #[test]
    fn does_what_a_tree_does() {
        let (mut ours, mut theirs) = (SortedMap::new(), BTreeMap::new());
        let mut state = 12345_u32;
        for step in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = state >> 24;
            match state >> 8 & 7 {
                0..=3 => assert_eq!(ours.insert(key, step), theirs.insert(key, step)),
                4 | 5 => assert_eq!(ours.remove(&key), theirs.remove(&key)),
                6 => {
                    *ours.get_or_default(key) += step;
                    *theirs.entry(key).or_default() += step;
                }
                _ => {
                    ours.retain(|key, _| key % 5 != 0);
                    theirs.retain(|key, _| key % 5 != 0);
                }
            }
            assert_eq!(ours.get(&key), theirs.get(&key));
            assert_eq!(ours.contains_key(&key), theirs.contains_key(&key));
        }
        assert!(!ours.is_empty());
        assert!(ours.iter().eq(theirs.iter()));
        assert!(ours.values().eq(theirs.values()) && ours.keys().eq(theirs.keys()));
        assert!(ours.clone().into_iter().eq(theirs));
        let backwards: SortedMap<u32, i32> = (0..9).rev().map(|key| (key, 1)).collect();
        assert!(backwards.keys().copied().eq(0..9));
    }

    #[test]
    fn finds_a_name_by_its_text() {
        let mut map: SortedMap<String, u8> = SortedMap::new();
        map.insert("b".to_owned(), 2);
        map.insert("a".to_owned(), 1);
        assert_eq!((map.get("a"), map.get("b"), map.get("c")), (Some(&1), Some(&2), None));
        if let Some(value) = map.get_mut("b") {
            *value = 9;
        }
        assert_eq!(map.values().copied().collect::<Vec<u8>>(), [1, 9]);
    }

    #[test]
    fn a_short_list_is_sorted_and_equals_keep_their_order() {
        let mut list: Vec<(u32, usize)> = [5, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5].into_iter().zip(0..).collect();
        let mut expected = list.clone();
        expected.sort_by_key(|(value, _)| *value);
        sort_few(&mut list, |one, other| one.0 < other.0);
        assert_eq!(list, expected);
        sort_few(&mut Vec::<u8>::new(), |one, other| one < other);
    }
}
