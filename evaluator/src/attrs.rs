//! Attribute sets: names sorted by symbol in one array that sets of the same shape share, values in another. `a // b`
//! lays `b` over `a` without copying; after a few layers they are merged.

use crate::position::Pos;
use crate::symbol::Symbol;
use crate::value::{Slot, Value};
use bumpalo::Bump;
use std::cell::Cell;

/// The names of a set, sorted, and where each was written. Code that builds the same set again uses the same keys.
#[derive(Debug)]
pub(crate) struct Keys<'a> {
    pub(crate) names: &'a [Symbol],
    /// As long as `names`, or empty when no position is known.
    pub(crate) positions: &'a [Pos],
    /// The indices in the order of the names' texts, once somebody asked.
    pub(crate) by_text: Cell<Option<&'a [u32]>>,
}

/// A set, or one layer of it.
#[derive(Debug)]
pub(crate) struct Attrs<'a> {
    pub(crate) keys: &'a Keys<'a>,
    pub(crate) slots: &'a [Slot<'a>],
    /// The set that this layer lies on.
    pub(crate) under: Option<&'a Attrs<'a>>,
    /// How many attributes there are in all layers together.
    pub(crate) length: u32,
    /// How many layers lie below.
    pub(crate) depth: u32,
}

/// One attribute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attr<'a> {
    pub(crate) name: Symbol,
    pub(crate) pos: Pos,
    pub(crate) slot: &'a Slot<'a>,
}

/// More layers than this are merged.
const MAX_DEPTH: u32 = 7;

impl Keys<'_> {
    /// Where a name stands.
    #[inline]
    pub(crate) fn find(&self, name: Symbol) -> Option<usize> {
        if self.names.len() <= 8 {
            return self.names.iter().position(|&other| other == name);
        }
        self.names.binary_search(&name).ok()
    }

    pub(crate) fn position(&self, index: usize) -> Pos {
        self.positions.get(index).copied().unwrap_or_default()
    }
}

impl<'a> Attrs<'a> {
    /// A set with the given attributes, which must be sorted by name and without duplicates.
    pub(crate) fn from_sorted(arena: &'a Bump, attrs: &[(Symbol, Pos, Value<'a>)]) -> &'a Self {
        let names = arena.alloc_slice_fill_with(attrs.len(), |index| attrs[index].0);
        let positions: &'a [Pos] = if attrs.iter().any(|attr| attr.1 != Pos::NONE) {
            arena.alloc_slice_fill_with(attrs.len(), |index| attrs[index].1)
        } else {
            &[]
        };
        let slots = arena.alloc_slice_fill_with(attrs.len(), |index| Slot::new(arena, attrs[index].2));
        let keys = arena.alloc(Keys { names, positions, by_text: Cell::new(None) });
        arena.alloc(Self { keys, slots, under: None, length: attrs.len() as u32, depth: 0 })
    }

    /// A set of attributes in any order, without duplicates.
    pub(crate) fn from_unsorted(arena: &'a Bump, attrs: &mut [(Symbol, Pos, Value<'a>)]) -> &'a Self {
        attrs.sort_unstable_by_key(|attr| attr.0);
        Self::from_sorted(arena, attrs)
    }

    /// A set over keys that exist already.
    pub(crate) fn with_keys(arena: &'a Bump, keys: &'a Keys<'a>, slots: &'a [Slot<'a>]) -> &'a Self {
        arena.alloc(Self { keys, slots, under: None, length: slots.len() as u32, depth: 0 })
    }

    pub(crate) fn len(&self) -> usize {
        self.length as usize
    }

    /// The slot of an attribute.
    #[inline]
    pub(crate) fn get(&self, name: Symbol) -> Option<&'a Slot<'a>> {
        let mut layer = self;
        loop {
            if let Some(index) = layer.keys.find(name) {
                return layer.slots.get(index);
            }
            layer = layer.under?;
        }
    }

    /// The attribute with its position.
    pub(crate) fn get_attr(&self, name: Symbol) -> Option<Attr<'a>> {
        let mut layer = self;
        loop {
            if let Some(index) = layer.keys.find(name) {
                let slot = layer.slots.get(index)?;
                return Some(Attr { name, pos: layer.keys.position(index), slot });
            }
            layer = layer.under?;
        }
    }

    /// All attributes, sorted by symbol.
    pub(crate) fn iter(&'a self) -> Iter<'a> {
        let mut layers: [(&'a [Symbol], &'a [Slot<'a>], &'a [Pos]); MAX_DEPTH as usize + 1] =
            Default::default();
        let mut count = 0;
        let mut layer = Some(self);
        while let Some(attrs) = layer {
            layers[count] = (attrs.keys.names, attrs.slots, attrs.keys.positions);
            count += 1;
            layer = attrs.under;
        }
        Iter { layers, count }
    }

    /// `under // over`.
    pub(crate) fn update(arena: &'a Bump, under: &'a Self, over: &'a Self) -> &'a Self {
        if over.length == 0 {
            return under;
        }
        if under.length == 0 {
            return over;
        }
        let over = if over.depth == 0 { over } else { over.flatten(arena) };
        if under.depth < MAX_DEPTH && over.length <= under.length.saturating_mul(2).max(8) {
            let shared = over.keys.names.iter().filter(|&&name| under.get(name).is_some()).count() as u32;
            let length = under.length + over.length - shared;
            return arena.alloc(Self {
                keys: over.keys,
                slots: over.slots,
                under: Some(under),
                length,
                depth: under.depth + 1,
            });
        }
        let mut merged = Vec::with_capacity(under.len() + over.len());
        let mut left = under.iter().peekable();
        let mut right = over.iter().peekable();
        loop {
            match (left.peek(), right.peek()) {
                (Some(l), Some(r)) if l.name < r.name => merged.extend(left.next()),
                (Some(l), Some(r)) => {
                    if l.name == r.name {
                        left.next();
                    }
                    merged.extend(right.next());
                }
                (Some(_), None) => merged.extend(left.next()),
                (None, _) => match right.next() {
                    Some(attr) => merged.push(attr),
                    None => break,
                },
            }
        }
        Self::of_attrs(arena, &merged)
    }

    /// A set that shares the given attributes' slots: evaluated values are copied, others referred to.
    pub(crate) fn of_attrs(arena: &'a Bump, attrs: &[Attr<'a>]) -> &'a Self {
        let names = arena.alloc_slice_fill_with(attrs.len(), |index| attrs[index].name);
        let positions: &'a [Pos] = if attrs.iter().any(|attr| attr.pos != Pos::NONE) {
            arena.alloc_slice_fill_with(attrs.len(), |index| attrs[index].pos)
        } else {
            &[]
        };
        let slots = arena.alloc_slice_fill_with(attrs.len(), |index| attrs[index].slot.share());
        let keys = arena.alloc(Keys { names, positions, by_text: Cell::new(None) });
        arena.alloc(Self { keys, slots, under: None, length: attrs.len() as u32, depth: 0 })
    }

    /// The same set in one layer.
    pub(crate) fn flatten(&'a self, arena: &'a Bump) -> &'a Self {
        if self.depth == 0 {
            return self;
        }
        let attrs: Vec<Attr<'a>> = self.iter().collect();
        Self::of_attrs(arena, &attrs)
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
pub(crate) struct Iter<'a> {
    layers: [(&'a [Symbol], &'a [Slot<'a>], &'a [Pos]); MAX_DEPTH as usize + 1],
    count: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Attr<'a>;

    fn next(&mut self) -> Option<Attr<'a>> {
        let layers = self.layers.get_mut(..self.count)?;
        let name = layers.iter().filter_map(|layer| layer.0.first()).min().copied()?;
        let mut found = None;
        for (names, slots, positions) in layers {
            if names.first() == Some(&name) {
                if found.is_none() {
                    let pos = positions.first().copied().unwrap_or_default();
                    found = slots.first().map(|slot| Attr { name, pos, slot });
                }
                *names = &names[1..];
                *slots = &slots[1..];
                *positions = positions.get(1..).unwrap_or_default();
            }
        }
        found
    }
}
