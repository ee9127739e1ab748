//! Strings as they lie in the arena: where the bytes are, what they depend on, and the name that they are, in three words.
#![expect(
    unsafe_code,
    reason = "an address and a length of 32 bits instead of a slice; one of the homes of unsafe in this crate, beside arena/frames.rs, attrs/layout.rs, value/list.rs and value/slot.rs"
)]

use std::cell::Cell;
use std::marker::PhantomData;
use std::num::NonZero;

/// A string's bytes and the store paths that it depends on.
pub(crate) struct Str<'a> {
    start: *const u8,
    length: u32,
    /// The text as a name, once it was used as one.
    pub(crate) symbol: Cell<Option<NonZero<u32>>>,
    pub(crate) context: Option<&'a Context<'a>>,
    of: PhantomData<&'a [u8]>,
}

/// Numbers of context elements, sorted, never empty.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Context<'a> {
    pub(crate) elements: &'a [u32],
}

impl<'a> Str<'a> {
    /// A string of less than four gigabytes.
    pub(crate) fn new(bytes: &'a [u8], context: Option<&'a Context<'a>>) -> Self {
        let Ok(length) = u32::try_from(bytes.len()) else {
            // Nobody has the memory to do anything with it.
            std::alloc::handle_alloc_error(std::alloc::Layout::for_value(bytes));
        };
        Self { start: bytes.as_ptr(), length, symbol: Cell::new(None), context, of: PhantomData }
    }

    /// The bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> &'a [u8] {
        // SAFETY: `new` took them from such a slice.
        unsafe { std::slice::from_raw_parts(self.start, self.length as usize) }
    }
}

impl std::fmt::Debug for Str<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Str")
            .field("bytes", &self.bytes())
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_three_words() {
        assert_eq!(size_of::<Str<'_>>(), 24);
        let elements = [3, 7];
        let context = Context { elements: &elements };
        for text in [&b""[..], b"x", b"a longer one"] {
            let string = Str::new(text, Some(&context));
            assert_eq!(string.bytes(), text);
            assert!(string.context.is_some_and(|found| std::ptr::eq(found, &raw const context)));
        }
    }
}
