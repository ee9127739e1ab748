//! Attribute sets: names sorted by symbol in one array that sets of the same shape share, values in another. `a // b`
//! lays `b` over `a` without copying; after a few layers they are merged.

mod layout;
mod merge;

pub(crate) use self::layout::Attrs;

use self::merge::merged;
use crate::position::Pos;
use crate::shapes::Shapes;
use crate::symbol::Symbol;
use crate::value::{Slot, Value};
use bumpalo::Bump;
use std::cell::Cell;
use std::cmp::Ordering;

/// The names of a set, sorted, and where each was written. Code that builds the same set again uses the same keys.
#[derive(Debug)]
pub(crate) struct Keys<'a> {
    pub(crate) names: &'a [Symbol],
    /// As long as `names`, or empty when no position is known.
    pub(crate) positions: &'a [Pos],
    asked: Cell<Option<&'a Asked<'a>>>,
    /// A bit for each name: most names that a set does not have show by their bit, without a look at those that it has.
    marks: u64,
}

/// What few keys are asked for.
#[derive(Debug, Default)]
struct Asked<'a> {
    /// The indices in the order of the names' texts, once somebody asked.
    by_text: Cell<Option<&'a [u32]>>,
    /// The same names without positions, once somebody asked.
    bare: Cell<Option<&'a Keys<'a>>>,
}

/// One attribute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attr<'a> {
    pub(crate) name: Symbol,
    pub(crate) pos: Pos,
    pub(crate) slot: &'a Slot<'a>,
}

/// A name's bit.
#[inline]
fn mark(name: Symbol) -> u64 {
    1 << (name.0.wrapping_mul(0x9e37_79b9) >> 26)
}

/// In sets of more names than this, the place of a name is guessed first, so many times.
const GUESSED_FROM: usize = 64;
const GUESSES: u32 = 3;

/// So many layers may lie below another; then some are merged.
const MAX_DEPTH: u32 = 15;

impl<'a> Keys<'a> {
    /// Names, sorted, and as many positions or none.
    pub(crate) fn new(names: &'a [Symbol], positions: &'a [Pos]) -> Self {
        let marks = names.iter().fold(0, |marks, &name| marks | mark(name));
        Self { names, positions, asked: Cell::new(None), marks }
    }

    fn asked(&self, arena: &'a Bump) -> &'a Asked<'a> {
        self.asked.get().unwrap_or_else(|| {
            let asked: &'a Asked<'a> = arena.alloc(Asked::default());
            self.asked.set(Some(asked));
            asked
        })
    }

    /// The indices in the order of the names' texts; `sort` says what that is.
    pub(crate) fn by_text(&self, arena: &'a Bump, sort: impl FnOnce(&mut [u32])) -> &'a [u32] {
        let asked = self.asked(arena);
        asked.by_text.get().unwrap_or_else(|| {
            let order = arena.alloc_slice_fill_with(self.names.len(), |index| index as u32);
            sort(order);
            asked.by_text.set(Some(order));
            order
        })
    }

    /// The keys of a set whose attributes were written nowhere.
    pub(crate) fn without_positions(&'a self, arena: &'a Bump) -> &'a Self {
        if self.positions.is_empty() {
            return self;
        }
        let asked = self.asked(arena);
        asked.bare.get().unwrap_or_else(|| {
            let bare: &'a Self = arena.alloc(Self::new(self.names, &[]));
            asked.bare.set(Some(bare));
            bare
        })
    }

    /// Where a name stands.
    #[inline]
    pub(crate) fn find(&self, name: Symbol) -> Option<usize> {
        if self.marks & mark(name) == 0 {
            return None;
        }
        if self.names.len() <= 8 {
            return self.names.iter().position(|&other| other == name);
        }
        self.find_among_many(name)
    }

    fn find_among_many(&self, name: Symbol) -> Option<usize> {
        let (mut low, mut high) = (0, self.names.len());
        // The names of a large set were mostly met one after the other: where one stands can be guessed from its number.
        let guesses = if high > GUESSED_FROM { GUESSES } else { 0 };
        for _ in 0..guesses {
            let (first, last) = (self.names.get(low)?.0, self.names[high - 1].0);
            if name.0 < first || name.0 > last {
                return None;
            }
            let part = u64::from(name.0 - first) * (high - 1 - low) as u64;
            let guess = low + (part / u64::from(last - first).max(1)) as usize;
            match self.names[guess].cmp(&name) {
                Ordering::Equal => return Some(guess),
                Ordering::Less => low = guess + 1,
                Ordering::Greater => high = guess,
            }
            if low == high {
                return None;
            }
        }
        self.names[low..high].binary_search(&name).ok().map(|index| low + index)
    }

    pub(crate) fn position(&self, index: usize) -> Pos {
        self.positions.get(index).copied().unwrap_or_default()
    }
}

impl<'a> Attrs<'a> {
    /// A set with the given attributes, which must be sorted by name and without duplicates.
    pub(crate) fn from_sorted(shapes: &Shapes<'a>, attrs: &[(Symbol, Pos, Value<'a>)]) -> &'a Self {
        let arena = shapes.arena;
        let keys = shapes.keys(attrs.len(), |index| (attrs[index].0, attrs[index].1));
        Self::filled(arena, keys, |index| Slot::new(arena, attrs[index].2))
    }

    /// A set of attributes in any order, without duplicates.
    pub(crate) fn from_unsorted(shapes: &Shapes<'a>, attrs: &mut [(Symbol, Pos, Value<'a>)]) -> &'a Self {
        attrs.sort_unstable_by_key(|attr| attr.0);
        Self::from_sorted(shapes, attrs)
    }

    /// The slot of an attribute.
    #[inline]
    pub(crate) fn get(&self, name: Symbol) -> Option<&'a Slot<'a>> {
        let mut layer = self;
        loop {
            if let Some(index) = layer.keys().find(name) {
                return layer.slots().get(index);
            }
            layer = layer.under()?;
        }
    }

    /// The attribute with its position.
    pub(crate) fn get_attr(&self, name: Symbol) -> Option<Attr<'a>> {
        let mut layer = self;
        loop {
            if let Some(index) = layer.keys().find(name) {
                let slot = layer.slots().get(index)?;
                return Some(Attr { name, pos: layer.keys().position(index), slot });
            }
            layer = layer.under()?;
        }
    }

    /// All attributes, sorted by symbol.
    pub(crate) fn iter(&'a self) -> Iter<'a> {
        if self.under().is_none() {
            return Iter::flat(self);
        }
        Iter::Merged(merged(self).into_iter())
    }

    /// `under // over`.
    pub(crate) fn update(shapes: &Shapes<'a>, under: &'a Self, over: &'a Self) -> &'a Self {
        if over.at_least() == 0 {
            return under;
        }
        if under.at_least() == 0 {
            return over;
        }
        if under.depth() + over.depth() < MAX_DEPTH {
            return Self::laid(shapes.arena, under, over);
        }
        merge::settled(shapes, under, over)
    }

    /// All layers of `over` on `under`.
    fn laid(arena: &'a Bump, under: &'a Self, over: &'a Self) -> &'a Self {
        let under = over.under().map_or(under, |middle| Self::laid(arena, under, middle));
        Self::layered(arena, over, under)
    }

    /// A set that shares the given attributes' slots: evaluated values are copied, others referred to.
    pub(crate) fn of_attrs(shapes: &Shapes<'a>, attrs: &[Attr<'a>]) -> &'a Self {
        let keys = shapes.keys(attrs.len(), |index| (attrs[index].name, attrs[index].pos));
        Self::filled(shapes.arena, keys, |index| attrs[index].slot.share())
    }

    /// The same set in one layer. It stays like that: whoever asks next need not merge it again.
    pub(crate) fn flatten(&'a self, shapes: &Shapes<'a>) -> &'a Self {
        if self.under().is_none() {
            return self;
        }
        let flat = Self::of_attrs(shapes, &merged(self));
        self.becomes(flat);
        flat
    }
}

/// What to store elsewhere so that it is the same value: the value itself once it is evaluated, else a reference.
#[inline]
pub(crate) fn share<'a>(slot: &'a Slot<'a>) -> Value<'a> {
    match slot.get() {
        Value::Thunk(..) | Value::Apply(_) | Value::Item(..) | Value::Blackhole => Value::Ref(slot),
        value => value,
    }
}

/// The attributes of a set in the order of their symbols.
#[derive(Debug, Clone)]
pub(crate) enum Iter<'a> {
    Flat { keys: &'a Keys<'a>, slots: &'a [Slot<'a>], next: usize },
    Merged(std::vec::IntoIter<Attr<'a>>),
}

impl<'a> Iter<'a> {
    fn flat(attrs: &'a Attrs<'a>) -> Self {
        Self::Flat { keys: attrs.keys(), slots: attrs.slots(), next: 0 }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Attr<'a>;

    #[inline]
    fn next(&mut self) -> Option<Attr<'a>> {
        match self {
            Self::Flat { keys, slots, next } => {
                let index = *next;
                let slot = slots.get(index)?;
                *next += 1;
                Some(Attr { name: *keys.names.get(index)?, pos: keys.position(index), slot })
            }
            Self::Merged(attrs) => attrs.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Flat { slots, next, .. } => (slots.len() - next, Some(slots.len() - next)),
            Self::Merged(attrs) => attrs.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_however_they_are_spread() {
        let dense: Vec<u32> = (7..400).collect();
        let sparse: Vec<u32> = (0..300).map(|index| index * index * 13).collect();
        let runs: Vec<u32> = (0..500).map(|index| index / 90 * 1_000_000 + index % 90 * 2).collect();
        let ends: Vec<u32> = (0..70).chain([u32::MAX - 1, u32::MAX]).collect();
        for list in [dense, sparse, runs, ends, vec![5], Vec::new(), (0..9).collect(), (0..65).collect()] {
            let names: Vec<Symbol> = list.iter().map(|&name| Symbol(name)).collect();
            let keys = Keys::new(&names, &[]);
            for (index, &name) in names.iter().enumerate() {
                assert_eq!(keys.find(name), Some(index), "{name:?} in {list:?}");
                for other in [name.0.wrapping_sub(1), name.0.wrapping_add(1), name.0 / 2, !name.0] {
                    assert_eq!(
                        keys.find(Symbol(other)),
                        list.binary_search(&other).ok(),
                        "{other} in {list:?}"
                    );
                }
            }
        }
    }
}
