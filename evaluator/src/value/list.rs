//! How lists lie in the arena: one word with the length and what is known about the list, behind it the items, or the
//! address of items that lie elsewhere (a list's tail is a part of the same items).
#![expect(
    unsafe_code,
    reason = "objects whose length is known only when they are made; one of the homes of unsafe in this crate, beside arena/frames.rs, attrs/layout.rs, value/slot.rs and value/text.rs"
)]

use crate::value::Slot;
use bumpalo::Bump;
use std::alloc::Layout;
use std::cell::Cell;

/// A list.
#[repr(C)]
pub(crate) struct List<'a> {
    /// The length, shifted by [`SHIFT`], and [`APART`] and [`HELD`].
    head: Cell<usize>,
    /// What follows may change under a shared reference: slots do.
    rest: [Slot<'a>; 0],
}

/// The items lie elsewhere: their address follows.
const APART: usize = 1;
/// Some slot holds the list.
const HELD: usize = 2;
const SHIFT: u32 = 2;

impl std::fmt::Debug for List<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "List({} items)", self.len())
    }
}

impl<'a> List<'a> {
    /// A list whose items are made in order.
    #[inline]
    pub(crate) fn filled(
        arena: &'a Bump,
        length: usize,
        mut fill: impl FnMut(usize) -> Slot<'a>,
    ) -> &'a Self {
        let place = Self::allocate(arena, 1 + length);
        // SAFETY: the words are new and nobody else's.
        unsafe { place.write(length << SHIFT) };
        for index in 0..length {
            let slot = fill(index);
            // SAFETY: inside of what was allocated; a slot is a word.
            let to = unsafe { place.add(1 + index) };
            // SAFETY: as above.
            unsafe { to.cast::<Slot<'a>>().write(slot) };
        }
        Self::at(place)
    }

    /// A list of items that lie in the arena already.
    pub(crate) fn over(arena: &'a Bump, items: &'a [Slot<'a>]) -> &'a Self {
        let place = Self::allocate(arena, 2);
        // SAFETY: the words are new and nobody else's.
        unsafe { place.write(items.len() << SHIFT | APART) };
        // SAFETY: the second of two words.
        let second = unsafe { place.add(1) };
        // SAFETY: as above.
        unsafe { second.write(items.as_ptr().expose_provenance()) };
        Self::at(place)
    }

    #[inline]
    fn allocate(arena: &'a Bump, words: usize) -> *mut usize {
        let layout = Layout::array::<usize>(words).unwrap_or(Layout::new::<usize>());
        if layout.size() / size_of::<usize>() != words {
            // More than the address space holds.
            std::alloc::handle_alloc_error(layout);
        }
        arena.alloc_layout(layout).as_ptr().cast()
    }

    #[inline]
    fn at(place: *mut usize) -> &'a Self {
        let place = place.expose_provenance();
        // SAFETY: only called with what was allocated and written just before, in an arena that lives as long as `'a`.
        unsafe { &*std::ptr::with_exposed_provenance(place) }
    }

    /// How many items there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.head.get() >> SHIFT
    }

    /// Whether there are none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items.
    #[inline]
    pub(crate) fn items(&self) -> &'a [Slot<'a>] {
        let here = std::ptr::from_ref(self).expose_provenance() + size_of::<usize>();
        let first: *const Slot<'a> = if self.head.get() & APART == 0 {
            std::ptr::with_exposed_provenance(here)
        } else {
            let address: *const usize = std::ptr::with_exposed_provenance(here);
            // SAFETY: `over` put the address there.
            std::ptr::with_exposed_provenance(unsafe { *address })
        };
        // SAFETY: so many items are there, in an arena that lives as long as `'a`.
        unsafe { std::slice::from_raw_parts(first, self.len()) }
    }

    /// Notes that a slot holds the list.
    #[inline]
    pub(crate) fn hold(&self) {
        self.head.set(self.head.get() | HELD);
    }

    /// Whether a slot held the list at some time.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        self.head.get() & HELD != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::value::Value;

    #[test]
    fn lists_give_back_what_was_put_in() {
        let arena = Arena::new();
        let numbers = |list: &List<'_>| -> Vec<i64> {
            let number = |slot: &Slot<'_>| match slot.get() {
                Value::Int(number) => number,
                other => panic!("{other:?}"),
            };
            list.items().iter().map(number).collect()
        };
        for length in [0, 1, 2, 3, 100] {
            let list = List::filled(&arena, length, |index| Slot::new(&arena, Value::Int(index as i64)));
            assert_eq!((list.len(), list.is_empty()), (length, length == 0));
            assert_eq!(numbers(list), (0..length as i64).collect::<Vec<_>>());
            if length > 0 {
                let tail = List::over(&arena, &list.items()[1..]);
                assert_eq!(numbers(tail), (1..length as i64).collect::<Vec<_>>());
                assert!(std::ptr::eq(tail.items().as_ptr_range().end, list.items().as_ptr_range().end));
            }
        }
    }

    #[test]
    fn a_slot_holds_a_list() {
        let arena = Arena::new();
        let list = List::filled(&arena, 1, |_| Slot::new(&arena, Value::Null));
        assert!(!list.is_held());
        let slot = Slot::new(&arena, Value::List(list));
        assert!(list.is_held() && list.len() == 1);
        assert!(matches!(slot.get(), Value::List(found) if std::ptr::eq(found, list)));
    }
}
