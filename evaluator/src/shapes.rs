//! The shapes of attribute sets: sets with the same names, written at the same places, share one [`Keys`], also when
//! they were put together at run time. That saves two words per attribute and lets selections remember where a name stands.

use crate::arena::Arena;
use crate::attrs::Keys;
use crate::position::Pos;
use crate::symbol::Symbol;
use hashbrown::HashTable;
use std::cell::RefCell;

/// All shapes of sets that were put together at run time.
#[derive(Debug)]
pub(crate) struct Shapes<'a> {
    pub(crate) arena: &'a Arena,
    known: RefCell<HashTable<(u32, &'a Keys<'a>)>>,
}

impl<'a> Shapes<'a> {
    /// No shapes yet.
    pub(crate) fn new(arena: &'a Arena) -> Self {
        Self { arena, known: RefCell::default() }
    }

    /// The keys of the given names, which must be sorted and without duplicates, and positions.
    pub(crate) fn keys(&self, length: usize, key: impl Fn(usize) -> (Symbol, Pos)) -> &'a Keys<'a> {
        let mut hash = length as u64;
        let mut placed = false;
        for index in 0..length {
            let (name, pos) = key(index);
            placed |= pos != Pos::NONE;
            let word = u64::from(name.0) | u64::from(pos.0) << 32;
            hash = (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        let hash = hash ^ hash >> 32;
        let short = hash as u32;
        let same = |&(other, keys): &(u32, &'a Keys<'a>)| {
            other == short
                && keys.names.len() == length
                && keys.positions.is_empty() != (placed && length > 0)
                && keys.names.iter().enumerate().all(|(index, &name)| key(index).0 == name)
                && keys.positions.iter().enumerate().all(|(index, &pos)| key(index).1 == pos)
        };
        let mut known = self.known.borrow_mut();
        if let Some((_, keys)) = known.find(spread(short), same) {
            return keys;
        }
        let names = self.arena.alloc_slice_fill_with(length, |index| key(index).0);
        let positions: &'a [Pos] =
            if placed { self.arena.alloc_slice_fill_with(length, |index| key(index).1) } else { &[] };
        let keys: &'a Keys<'a> = self.arena.alloc(Keys::new(names, positions));
        known.insert_unique(spread(short), (short, keys), |&(short, _)| spread(short));
        keys
    }
}

/// The table wants its bits high as well as low.
fn spread(short: u32) -> u64 {
    u64::from(short).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_names_at_the_same_places_are_one_shape() {
        let arena = Arena::new();
        let shapes = Shapes::new(&arena);
        let here = |index: usize| (Symbol(index as u32 * 3), Pos(index as u32 + 7));
        let there = |index: usize| (Symbol(index as u32 * 3), Pos(index as u32 + 8));
        let nowhere = |index: usize| (Symbol(index as u32 * 3), Pos::NONE);
        let first = shapes.keys(5, here);
        assert!(std::ptr::eq(first, shapes.keys(5, here)));
        assert!(!std::ptr::eq(first, shapes.keys(4, here)));
        assert!(!std::ptr::eq(first, shapes.keys(5, there)));
        assert!(!std::ptr::eq(first, shapes.keys(5, nowhere)));
        assert!(std::ptr::eq(shapes.keys(0, here), shapes.keys(0, nowhere)));
        assert_eq!(first.names.len(), 5);
        assert_eq!(first.position(2), Pos(9));
    }
}
