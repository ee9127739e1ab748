//! How attribute sets lie in the arena: one word with the address of their keys and, in its lowest bits, what kind of
//! set it is; behind it the slots themselves, or the address of slots that lie elsewhere, or two layers. Most sets are
//! small and flat, and cost one word more than their values.
#![expect(
    unsafe_code,
    reason = "objects whose length is known only when they are made; one of the homes of unsafe in this crate, beside arena/frames.rs, value/list.rs, value/slot.rs and value/text.rs"
)]

use crate::attrs::Keys;
use crate::value::Slot;
use bumpalo::Bump;
use std::alloc::Layout;
use std::cell::Cell;

/// A set, or one layer of it and the set below.
#[repr(C)]
pub(crate) struct Attrs<'a> {
    /// The keys' address and the kind. Changes once at most: a layered set that was merged is one layer from then on.
    head: Cell<usize>,
    /// What follows may change under a shared reference: slots do, and what a layered set lies on.
    rest: [Slot<'a>; 0],
}

/// The slots follow.
const INLINE: usize = 0;
/// The slots lie elsewhere: in an environment.
const APART: usize = 1;
/// The slots lie elsewhere, and there is a set below.
const LAYERED: usize = 2;
const KIND: usize = 3;

/// A set whose slots lie elsewhere, or whose uppermost layer does.
#[repr(C)]
struct Two {
    /// For layers the address of the uppermost one, a set of its own, and above it [`Attrs::at_least`].
    head: Cell<usize>,
    /// The address of the slots, or of the set below and above it how many layers lie there.
    second: Cell<usize>,
}

const _: () = assert!(align_of::<Keys<'_>>() > KIND, "the kind fits beside the keys' address");

/// Addresses have 48 bits; sixteen are left for numbers.
const NUMBER: u32 = 48;
const ADDRESS: usize = ((1 << NUMBER) - 1) & !KIND;
const MOST: u32 = (1 << 16) - 1;

impl std::fmt::Debug for Attrs<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Attrs({} names, {} layers below)", self.slots().len(), self.depth())
    }
}

fn address<T>(target: &T) -> usize {
    std::ptr::from_ref(target).expose_provenance()
}

impl<'a> Attrs<'a> {
    /// A set whose slots are made in the order of the keys.
    #[inline]
    pub(crate) fn filled(
        arena: &'a Bump,
        keys: &'a Keys<'a>,
        mut fill: impl FnMut(usize) -> Slot<'a>,
    ) -> &'a Self {
        let length = keys.names.len();
        // The size of what exists in memory already, in words, does not overflow.
        let layout = Layout::new::<[usize; 1]>();
        let layout = Layout::from_size_align(layout.size() * (1 + length), layout.align());
        let place: *mut usize = arena.alloc_layout(layout.unwrap_or(Layout::new::<usize>())).as_ptr().cast();
        // SAFETY: the words are new and nobody else's.
        unsafe { place.write(address(keys) | INLINE) };
        for index in 0..length {
            let slot = fill(index);
            // SAFETY: inside of what was allocated; a slot is a word.
            let to = unsafe { place.add(1 + index) };
            // SAFETY: as above.
            unsafe { to.cast::<Slot<'a>>().write(slot) };
        }
        let place = place.expose_provenance();
        // SAFETY: written just now, in an arena that lives as long as `'a`.
        unsafe { &*std::ptr::with_exposed_provenance(place) }
    }

    /// A set over slots that lie elsewhere; there are at least as many as keys.
    pub(crate) fn apart(arena: &'a Bump, keys: &'a Keys<'a>, slots: &'a [Slot<'a>]) -> &'a Self {
        match slots.first() {
            Some(_) if slots.len() >= keys.names.len() => {
                let first = slots.as_ptr().expose_provenance();
                Self::two(arena, address(keys) | APART, first)
            }
            _ => Self::filled(arena, keys, |_| Slot::default()),
        }
    }

    /// The uppermost layer of `over` on another set, which must be less than 255 layers deep.
    pub(crate) fn layered(arena: &'a Bump, over: &'a Self, under: &'a Self) -> &'a Self {
        let top = over.top();
        let length = top.keys().names.len();
        if length == 0 {
            return under;
        }
        let at_least = (under.at_least() as usize).max(length).min(MOST as usize);
        let depth = under.depth() as usize + 1;
        Self::two(arena, address(top) | LAYERED | at_least << NUMBER, address(under) | depth << NUMBER)
    }

    fn two(arena: &'a Bump, head: usize, second: usize) -> &'a Self {
        let two: &'a Two = arena.alloc(Two { head: Cell::new(head), second: Cell::new(second) });
        Self::at(address(two))
    }

    /// The set at an address.
    #[inline]
    fn at(address: usize) -> &'a Self {
        // SAFETY: only called with addresses of what begins as this does and lives as long as `'a`.
        unsafe { &*std::ptr::with_exposed_provenance(address) }
    }

    #[inline]
    fn kind(&self) -> usize {
        self.head.get() & KIND
    }

    /// The second word of what has two.
    #[inline]
    fn second(&self) -> &Cell<usize> {
        let here = std::ptr::from_ref(self).expose_provenance();
        // SAFETY: only called for the kinds that have it.
        let two: &Two = unsafe { &*std::ptr::with_exposed_provenance(here) };
        &two.second
    }

    /// The uppermost layer as a set of its own.
    #[inline]
    fn top(&'a self) -> &'a Self {
        if self.kind() == LAYERED { Self::at(self.head.get() & ADDRESS) } else { self }
    }

    /// The names of the uppermost layer.
    #[inline]
    pub(crate) fn keys(&self) -> &'a Keys<'a> {
        let mut head = self.head.get();
        if head & KIND == LAYERED {
            head = Self::at(head & ADDRESS).head.get();
        }
        // SAFETY: the word was made from such a reference.
        unsafe { &*std::ptr::with_exposed_provenance(head & ADDRESS) }
    }

    /// The values of the uppermost layer.
    #[inline]
    pub(crate) fn slots(&self) -> &'a [Slot<'a>] {
        if self.kind() == LAYERED {
            return Self::at(self.head.get() & ADDRESS).flat_slots();
        }
        self.flat_slots()
    }

    #[inline]
    fn flat_slots(&self) -> &'a [Slot<'a>] {
        let head = self.head.get();
        // SAFETY: the word was made from such a reference.
        let keys: &'a Keys<'a> = unsafe { &*std::ptr::with_exposed_provenance(head & ADDRESS) };
        let first: *const Slot<'a> = if head & KIND == INLINE {
            std::ptr::with_exposed_provenance(
                std::ptr::from_ref(self).expose_provenance() + size_of::<usize>(),
            )
        } else {
            std::ptr::with_exposed_provenance(self.second().get())
        };
        // SAFETY: whoever made the set put as many slots there as there are keys.
        unsafe { std::slice::from_raw_parts(first, keys.names.len()) }
    }

    /// From now on this layered set is what was made by merging it.
    pub(super) fn becomes(&self, flat: &'a Self) {
        if self.kind() == LAYERED {
            self.second().set(flat.slots().as_ptr().expose_provenance());
            self.head.set(address(flat.keys()) | APART);
        }
    }

    /// The set that the uppermost layer lies on.
    #[inline]
    pub(crate) fn under(&self) -> Option<&'a Self> {
        (self.kind() == LAYERED).then(|| Self::at(self.second().get() & ADDRESS))
    }

    /// How many layers lie below.
    #[inline]
    pub(crate) fn depth(&self) -> u32 {
        if self.kind() == LAYERED { (self.second().get() >> NUMBER) as u32 } else { 0 }
    }

    /// A number of attributes that there are at least: all of a flat set, those of the largest layer of another as far as
    /// sixteen bits can count them.
    #[inline]
    pub(crate) fn at_least(&self) -> u32 {
        if self.kind() == LAYERED {
            (self.head.get() >> NUMBER) as u32
        } else {
            self.keys().names.len() as u32
        }
    }

    /// How many attributes there are.
    pub(crate) fn len(&self) -> usize {
        let names = self.keys().names;
        self.under().map_or(names.len(), |under| {
            under.len() + names.iter().filter(|&&name| under.get(name).is_none()).count()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::symbol::Symbol;
    use crate::value::Value;

    #[test]
    fn all_kinds_give_back_what_was_put_in() {
        let arena = Arena::new();
        let names = |list: &[u32]| -> &Keys<'_> {
            let names = arena.alloc_slice_fill_iter(list.iter().map(|&name| Symbol(name)));
            arena.alloc(Keys::new(names, &[]))
        };
        let numbers = |from: i64| {
            let arena = &arena;
            move |index| Slot::new(arena, Value::Int(from + index as i64))
        };
        let value = |attrs: &Attrs<'_>, name| match attrs.get(Symbol(name)).map(Slot::get) {
            Some(Value::Int(number)) => Some(number),
            _ => None,
        };
        let empty = Attrs::filled(&arena, names(&[]), numbers(0));
        assert_eq!((empty.len(), empty.at_least(), empty.depth()), (0, 0, 0));
        let inline = Attrs::filled(&arena, names(&[1, 2, 3]), numbers(10));
        assert_eq!((inline.len(), inline.depth()), (3, 0));
        assert_eq!((value(inline, 1), value(inline, 3), value(inline, 4)), (Some(10), Some(12), None));
        let elsewhere = arena.alloc_slice_fill_with(2, numbers(20));
        let apart = Attrs::apart(&arena, names(&[3, 9]), elsewhere);
        assert_eq!((apart.len(), value(apart, 3), value(apart, 9)), (2, Some(20), Some(21)));
        let layered = Attrs::layered(&arena, apart, inline);
        assert_eq!((layered.len(), layered.depth(), layered.at_least()), (4, 1, 3));
        assert_eq!((value(layered, 1), value(layered, 3), value(layered, 9)), (Some(10), Some(20), Some(21)));
        assert!(layered.under().is_some_and(|under| std::ptr::eq(under, inline)));
    }
}
