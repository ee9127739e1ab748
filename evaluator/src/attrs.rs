//! Attribute sets: names sorted by symbol in one array that sets of the same shape share, values in another. `a // b`
//! lays `b` over `a` without copying; after a few layers they are merged.

use crate::position::Pos;
use crate::shapes::Shapes;
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
    /// The same names without positions, once somebody asked.
    bare: Cell<Option<&'a Keys<'a>>>,
}

/// A set, or one layer of it.
#[derive(Debug)]
pub(crate) struct Attrs<'a> {
    pub(crate) keys: &'a Keys<'a>,
    pub(crate) slots: &'a [Slot<'a>],
    /// The set that this layer lies on.
    pub(crate) under: Option<&'a Attrs<'a>>,
    /// How many attributes there are in all layers together; [`UNCOUNTED`] until somebody asks.
    length: Cell<u32>,
    /// At least so many.
    at_least: u32,
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

const UNCOUNTED: u32 = u32::MAX;

/// More layers than this are merged.
const MAX_DEPTH: u32 = 7;

impl<'a> Keys<'a> {
    /// Names, sorted, and as many positions or none.
    pub(crate) fn new(names: &'a [Symbol], positions: &'a [Pos]) -> Self {
        Self { names, positions, by_text: Cell::new(None), bare: Cell::new(None) }
    }

    /// The keys of a set whose attributes were written nowhere.
    pub(crate) fn without_positions(&'a self, arena: &'a Bump) -> &'a Self {
        if self.positions.is_empty() {
            return self;
        }
        if let Some(bare) = self.bare.get() {
            return bare;
        }
        let bare = arena.alloc(Self::new(self.names, &[]));
        bare.by_text.set(self.by_text.get());
        self.bare.set(Some(bare));
        bare
    }

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
    pub(crate) fn from_sorted(shapes: &Shapes<'a>, attrs: &[(Symbol, Pos, Value<'a>)]) -> &'a Self {
        let arena = shapes.arena;
        let keys = shapes.keys(attrs.len(), |index| (attrs[index].0, attrs[index].1));
        let slots = arena.alloc_slice_fill_with(attrs.len(), |index| Slot::new(arena, attrs[index].2));
        Self::with_keys(arena, keys, slots)
    }

    /// A set of attributes in any order, without duplicates.
    pub(crate) fn from_unsorted(shapes: &Shapes<'a>, attrs: &mut [(Symbol, Pos, Value<'a>)]) -> &'a Self {
        attrs.sort_unstable_by_key(|attr| attr.0);
        Self::from_sorted(shapes, attrs)
    }

    /// A set over keys that exist already.
    pub(crate) fn with_keys(arena: &'a Bump, keys: &'a Keys<'a>, slots: &'a [Slot<'a>]) -> &'a Self {
        {
            let length = slots.len() as u32;
            arena.alloc(Self {
                keys,
                slots,
                under: None,
                length: Cell::new(length),
                at_least: length,
                depth: 0,
            })
        }
    }

    pub(crate) fn len(&self) -> usize {
        if self.length.get() == UNCOUNTED
            && let Some(under) = self.under
        {
            let fresh = self.keys.names.iter().filter(|&&name| under.get(name).is_none()).count();
            self.length.set((under.len() + fresh) as u32);
        }
        self.length.get() as usize
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
        if self.depth == 0 {
            return Iter::Flat { attrs: self, next: 0 };
        }
        let mut layers: Layers<'a> = Default::default();
        let mut count = 0;
        let mut layer = Some(self);
        while let Some(attrs) = layer {
            layers[count] = (attrs.keys.names, attrs.slots, attrs.keys.positions);
            count += 1;
            layer = attrs.under;
        }
        Iter::Layered { layers, count }
    }

    /// `under // over`.
    pub(crate) fn update(shapes: &Shapes<'a>, under: &'a Self, over: &'a Self) -> &'a Self {
        if over.at_least == 0 {
            return under;
        }
        if under.at_least == 0 {
            return over;
        }
        let over = if over.depth == 0 { over } else { over.flatten(shapes) };
        if under.depth < MAX_DEPTH && over.at_least <= under.at_least.saturating_mul(2).max(8) {
            return shapes.arena.alloc(Self {
                keys: over.keys,
                slots: over.slots,
                under: Some(under),
                length: Cell::new(UNCOUNTED),
                at_least: under.at_least.max(over.at_least),
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
        Self::of_attrs(shapes, &merged)
    }

    /// A set that shares the given attributes' slots: evaluated values are copied, others referred to.
    pub(crate) fn of_attrs(shapes: &Shapes<'a>, attrs: &[Attr<'a>]) -> &'a Self {
        let arena = shapes.arena;
        let keys = shapes.keys(attrs.len(), |index| (attrs[index].name, attrs[index].pos));
        let slots = arena.alloc_slice_fill_with(attrs.len(), |index| attrs[index].slot.share());
        Self::with_keys(arena, keys, slots)
    }

    /// The same set in one layer.
    pub(crate) fn flatten(&'a self, shapes: &Shapes<'a>) -> &'a Self {
        if self.depth == 0 {
            return self;
        }
        let attrs: Vec<Attr<'a>> = self.iter().collect();
        Self::of_attrs(shapes, &attrs)
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
#[expect(clippy::large_enum_variant, reason = "lives on the stack for the length of a loop")]
pub(crate) enum Iter<'a> {
    Flat { attrs: &'a Attrs<'a>, next: usize },
    Layered { layers: Layers<'a>, count: usize },
}

/// What is left of each layer: names, slots, positions.
type Layers<'a> = [(&'a [Symbol], &'a [Slot<'a>], &'a [Pos]); MAX_DEPTH as usize + 1];

impl<'a> Iterator for Iter<'a> {
    type Item = Attr<'a>;

    #[inline]
    fn next(&mut self) -> Option<Attr<'a>> {
        match self {
            Self::Flat { attrs, next } => {
                let index = *next;
                let slot = attrs.slots.get(index)?;
                *next += 1;
                let name = attrs.keys.names.get(index).copied()?;
                Some(Attr { name, pos: attrs.keys.position(index), slot })
            }
            Self::Layered { layers, count } => first_of(layers.get_mut(..*count)?),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Flat { attrs, next } => {
                let left = attrs.slots.len() - next;
                (left, Some(left))
            }
            Self::Layered { layers, .. } => {
                (layers.iter().map(|layer| layer.0.len()).max().unwrap_or(0), None)
            }
        }
    }
}

/// Takes the attribute with the lowest symbol from the layers; the uppermost layer that has it wins.
fn first_of<'a>(layers: &mut [(&'a [Symbol], &'a [Slot<'a>], &'a [Pos])]) -> Option<Attr<'a>> {
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
