//! Slots: where values are stored, eight bytes each. The lowest byte says what is in the slot; above it are 56 bits of
//! payload: a small integer, a pointer, or (for what runs in a frame) 24 bits of a code's number and 32 of the frame's.
//! Integers and floats that need all their 64 bits lie in the arena.
//!
//! [`Value`] is the same thing unpacked, to be matched on and passed around; a slot is unpacked when it is read.
#![expect(
    unsafe_code,
    reason = "turns packed words back into the references that they were made of; one of the homes of unsafe in this crate"
)]

use crate::arena::Arena;
use crate::arena::frames;
use crate::attrs::Attrs;
use crate::builtins::Builtin;
use crate::error::{Error, ErrorNode};
use crate::escape::Lifetime;
use crate::value::{Apply, List, Mapped, Partial, Str, Value};
use bumpalo::Bump;
use std::cell::Cell;
use std::marker::PhantomData;

/// Code and functions are numbered with this many bits.
pub(crate) const NUMBER_BITS: u32 = 24;

const NULL: u8 = 0;
const BOOL: u8 = 1;
const INT: u8 = 2;
const FLOAT: u8 = 3;
const STRING: u8 = 4;
const PATH: u8 = 5;
const LIST: u8 = 6;
const ATTRS: u8 = 7;
const LAMBDA: u8 = 8;
const BUILTIN: u8 = 9;
const PARTIAL: u8 = 10;
const WIDE_INT: u8 = 11;
/// The last of those that are evaluated.
const WIDE_FLOAT: u8 = 12;
const THUNK: u8 = 16;
const APPLY: u8 = 17;
const ITEM: u8 = 18;
const BLACKHOLE: u8 = 19;
const REF: u8 = 20;
const FAILED: u8 = 21;
/// In a [`Lazy`] only: a variable, its scope's distance (24 bits) and its slot (32 bits).
const VARIABLE: u8 = 22;
/// In a [`Lazy`] only: code that runs in the scope of a set's `inherit (e) …`.
const INHERITED: u8 = 23;

/// A place that holds a value or the promise of one.
#[repr(transparent)]
pub(crate) struct Slot<'a> {
    word: Cell<u64>,
    /// What a slot holds may be replaced by something of the same lifetime only.
    invariant: PhantomData<Cell<&'a ()>>,
}

/// The variables of one scope; the scope around it. The slots lie right behind.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Env<'a> {
    up: u32,
    /// How many slots there are, and [`KEPT`].
    length: Cell<u32>,
    slots: [Slot<'a>; 0],
}

/// Something that may outlive the scope's call refers to the scope or to one of its slots.
const KEPT: u32 = 1 << 31;

/// What to store for something that is evaluated when it is needed: a slot's word without the frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lazy<'a> {
    word: u64,
    of: PhantomData<Cell<&'a ()>>,
}

impl std::fmt::Debug for Slot<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Slot({:#x})", self.word.get())
    }
}

fn pointed<T>(tag: u8, target: &T) -> u64 {
    u64::from(tag) | (std::ptr::from_ref(target).expose_provenance() as u64) << 8
}

#[inline]
fn framed<T>(tag: u8, number: u32, frame: &T) -> u64 {
    u64::from(tag) | u64::from(number) << 8 | u64::from(frames::number_of(frame)) << 32
}

#[inline]
fn pack<'a>(arena: &'a Bump, value: Value<'a>) -> u64 {
    match value {
        Value::Null => u64::from(NULL),
        Value::Bool(value) => u64::from(BOOL) | u64::from(value) << 8,
        Value::Int(number) if number << 8 >> 8 == number => u64::from(INT) | (number as u64) << 8,
        Value::Int(number) => pointed(WIDE_INT, arena.alloc(number)),
        Value::Float(number) if number.to_bits().trailing_zeros() >= 8 => u64::from(FLOAT) | number.to_bits(),
        Value::Float(number) => pointed(WIDE_FLOAT, arena.alloc(number)),
        Value::String(string) => pointed(STRING, string),
        Value::Path(string) => pointed(PATH, string),
        Value::List(list) => {
            list.hold();
            pointed(LIST, list)
        }
        Value::Attrs(attrs) => pointed(ATTRS, attrs),
        Value::Lambda(number, env) => framed(LAMBDA, number, env),
        Value::Builtin(builtin) => pointed(BUILTIN, builtin),
        Value::Partial(partial) => pointed(PARTIAL, partial),
        Value::Thunk(number, env) => framed(THUNK, number, env),
        Value::Apply(apply) => pointed(APPLY, apply),
        Value::Item(index, mapped) => framed(ITEM, index, mapped),
        Value::Ref(slot) => pointed(REF, slot),
        Value::Blackhole => u64::from(BLACKHOLE),
        Value::Failed(error) => pointed(FAILED, error.0),
    }
}

/// The thing at an address.
///
/// # Safety
/// The address must be of a `T` that lives as long as `'a`.
#[inline]
unsafe fn at<'a, T>(address: usize) -> &'a T {
    // SAFETY: the caller vouches for it; whoever packed the address exposed its provenance.
    unsafe { &*std::ptr::with_exposed_provenance(address) }
}

/// What a packed pointer points to.
///
/// # Safety
/// The word must be a [`pointed`] `T` that lives as long as `'a`.
#[inline]
unsafe fn target<'a, T>(word: u64) -> &'a T {
    // SAFETY: the caller vouches for it.
    unsafe { at((word >> 8) as usize) }
}

/// The frame of a packed word.
///
/// # Safety
/// The word must be a [`framed`] `T` that lives as long as `'a`.
#[inline]
unsafe fn frame<'a, T>(word: u64) -> &'a T {
    // SAFETY: the caller vouches for it.
    unsafe { at(frames::address_of((word >> 32) as u32)) }
}

#[inline]
fn number(word: u64) -> u32 {
    (word as u32) >> 8
}

/// # Safety
/// The word must come from [`pack`] with the same `'a`.
#[inline]
unsafe fn unpack<'a>(word: u64) -> Value<'a> {
    match word as u8 {
        NULL => Value::Null,
        BOOL => Value::Bool(word >> 8 != 0),
        INT => Value::Int(word as i64 >> 8),
        FLOAT => Value::Float(f64::from_bits(word & !0xff)),
        // SAFETY: the tag says what was packed, for `'a`.
        STRING => Value::String(unsafe { target::<Str<'a>>(word) }),
        // SAFETY: as above.
        PATH => Value::Path(unsafe { target::<Str<'a>>(word) }),
        // SAFETY: as above.
        LIST => Value::List(unsafe { target::<List<'a>>(word) }),
        // SAFETY: as above.
        ATTRS => Value::Attrs(unsafe { target::<Attrs<'a>>(word) }),
        // SAFETY: as above.
        LAMBDA => Value::Lambda(number(word), unsafe { frame::<Env<'a>>(word) }),
        // SAFETY: as above; only what is `'static` was packed.
        BUILTIN => Value::Builtin(unsafe { target::<'static, Builtin>(word) }),
        // SAFETY: as above.
        PARTIAL => Value::Partial(unsafe { target::<Partial<'a>>(word) }),
        // SAFETY: as above.
        WIDE_INT => Value::Int(*unsafe { target::<i64>(word) }),
        // SAFETY: as above.
        WIDE_FLOAT => Value::Float(*unsafe { target::<f64>(word) }),
        // SAFETY: as above.
        THUNK => Value::Thunk(number(word), unsafe { frame::<Env<'a>>(word) }),
        // SAFETY: as above.
        APPLY => Value::Apply(unsafe { target::<Apply<'a>>(word) }),
        // SAFETY: as above.
        ITEM => Value::Item(number(word), unsafe { frame::<Mapped<'a>>(word) }),
        // SAFETY: as above.
        REF => Value::Ref(unsafe { target::<Slot<'a>>(word) }),
        // SAFETY: as above.
        FAILED => Value::Failed(Error(unsafe { target::<ErrorNode<'a>>(word) })),
        _ => Value::Blackhole,
    }
}

impl Default for Slot<'_> {
    /// A slot that will be filled.
    #[inline]
    fn default() -> Self {
        Self::of(u64::from(BLACKHOLE))
    }
}

impl<'a> Slot<'a> {
    #[inline]
    fn of(word: u64) -> Self {
        Self { word: Cell::new(word), invariant: PhantomData }
    }

    /// A slot that holds a value.
    #[inline]
    pub(crate) fn new(arena: &'a Bump, value: Value<'a>) -> Self {
        Self::of(pack(arena, value))
    }

    /// A slot in the arena.
    pub(crate) fn alone(arena: &'a Bump, value: Value<'a>) -> &'a Self {
        arena.alloc(Self::new(arena, value))
    }

    /// What the slot holds.
    #[inline]
    pub(crate) fn get(&self) -> Value<'a> {
        // SAFETY: the word was packed with this lifetime: `new`, `set` and `share` are the ways to make one.
        unsafe { unpack(self.word.get()) }
    }

    /// Puts a value there.
    #[inline]
    pub(crate) fn set(&self, arena: &'a Bump, value: Value<'a>) {
        self.word.set(pack(arena, value));
    }

    /// A slot that holds a number that every slot has room for.
    #[inline]
    pub(crate) fn of_index(index: u32) -> Self {
        Self::of(u64::from(INT) | u64::from(index) << 8)
    }

    /// A slot that holds the same; for what was made to be stored and is not stored yet.
    #[inline]
    pub(crate) fn copy(&self) -> Self {
        Self::of(self.word.get())
    }

    /// Whether this is evaluated; what refers to something evaluated becomes that.
    #[inline]
    pub(crate) fn settled(&self) -> bool {
        let word = self.word.get();
        if word as u8 != REF {
            return self.is_evaluated();
        }
        // SAFETY: the tag says what was packed.
        let there = unsafe { target::<Slot<'a>>(word) };
        if there.is_evaluated() {
            self.put(there);
        }
        there.is_evaluated()
    }

    /// Moves what another slot holds here.
    #[inline]
    pub(crate) fn put(&self, other: &Self) {
        self.word.set(other.word.get());
    }

    /// Marks the value as being evaluated.
    #[inline]
    pub(crate) fn enter(&self) {
        self.word.set(u64::from(BLACKHOLE));
    }

    /// What waits here moves to a slot of its own, to which this one then refers.
    #[inline]
    pub(crate) fn moved(self, arena: &'a Bump) -> Self {
        if self.waits() {
            return Self::of(pointed(REF, arena.alloc(self)));
        }
        self
    }

    /// Whether others that want the value must refer to this slot.
    #[inline]
    fn waits(&self) -> bool {
        (THUNK..=BLACKHOLE).contains(&(self.word.get() as u8))
    }

    /// Whether nothing is left to evaluate at the top.
    #[inline]
    pub(crate) fn is_evaluated(&self) -> bool {
        self.word.get() as u8 <= WIDE_FLOAT
    }

    /// The same value for another place: a copy of what is evaluated, else a reference to this slot.
    #[inline]
    pub(crate) fn share(&'a self) -> Self {
        if self.waits() { Self::of(pointed(REF, self)) } else { Self::of(self.word.get()) }
    }
}

impl<'a> Env<'a> {
    /// The scope around everything.
    pub(crate) fn root(arena: &'a Arena) -> &'a Self {
        Self::empty(arena.frames.allocate(1), u32::MAX, 0)
    }

    /// A scope inside another. The slots are filled in order; `fill` gets the number and the scope, in which the slots
    /// before that number are filled and the others hold anything evaluated.
    #[inline]
    pub(crate) fn new(
        arena: &'a Arena,
        up: &'a Self,
        length: usize,
        fill: impl FnMut(usize, &'a Self) -> Slot<'a>,
    ) -> &'a Self {
        up.keep();
        let address = arena.frames.allocate(1 + length);
        Self::empty(address, frames::number_of(up), length).fill(fill)
    }

    /// The scope of a call with named arguments, to be filled, and what ends it.
    #[inline]
    pub(crate) fn of_call_by_name(arena: &'a Arena, up: &'a Self, length: usize) -> (&'a Self, Passing<'a>) {
        let address = arena.frames.allocate_again(1 + length);
        let env = Self::empty(address, frames::number_of(up), length);
        (env, Passing(env))
    }

    /// Puts a scope of blackholes at an address where there are as many words as it needs, one more than its length, that
    /// are its own.
    #[inline]
    fn empty(address: usize, up: u32, length: usize) -> &'a Self {
        let place: *mut u64 = std::ptr::with_exposed_provenance_mut(address);
        // SAFETY: the words are the caller's, nobody else has them, and they are aligned for what is put there.
        unsafe { place.write(u64::from(up) | (length as u64) << 32) };
        for index in 0..length {
            // SAFETY: inside of what was allocated.
            let slot = unsafe { place.add(1 + index) };
            // SAFETY: as above. Until they are filled, slots are blackholes.
            unsafe { slot.write(u64::from(BLACKHOLE)) };
        }
        // SAFETY: the header and all the slots are written: `up` is the lower half of the word on a little-endian
        // machine (checked below), the length the upper one.
        unsafe { at(address) }
    }

    #[inline]
    fn fill(&'a self, mut fill: impl FnMut(usize, &'a Self) -> Slot<'a>) -> &'a Self {
        for (index, slot) in self.slots().iter().enumerate() {
            slot.word.set(fill(index, self).word.get());
        }
        self
    }

    /// Notes that something refers to the scope or to one of its slots that may outlive the call whose scope it is.
    #[inline]
    pub(crate) fn keep(&self) {
        self.length.set(self.length.get() | KEPT);
    }

    #[inline]
    fn length(&self) -> usize {
        (self.length.get() & !KEPT) as usize
    }

    /// A scope of one variable.
    #[inline]
    pub(crate) fn with_one(arena: &'a Arena, up: &'a Self, variable: &Slot<'a>) -> &'a Self {
        up.keep();
        let address = arena.frames.allocate(2);
        Self::written(address, up, 1, |_| variable.copy())
    }

    /// The scope of a call with its arguments, and what ends it where it ends with the call.
    #[inline]
    pub(crate) fn of_call(
        arena: &'a Arena,
        up: &'a Self,
        length: usize,
        lifetime: Lifetime,
        mut argument: impl FnMut(usize) -> Slot<'a>,
    ) -> (&'a Self, Passing<'a>) {
        let address = arena.frames.allocate_again(1 + length);
        let env = if lifetime == Lifetime::CallWithSharedArgument {
            Self::written(address, up, length, |index| argument(index).moved(arena))
        } else {
            Self::written(address, up, length, argument)
        };
        (env, Passing(env))
    }

    /// Puts a scope at an address where there are as many words as it needs, one more than its length, that are its
    /// own. The slots do not get to see the scope.
    #[inline]
    fn written(
        address: usize,
        up: &'a Self,
        length: usize,
        mut fill: impl FnMut(usize) -> Slot<'a>,
    ) -> &'a Self {
        let place: *mut u64 = std::ptr::with_exposed_provenance_mut(address);
        // SAFETY: the first of the words that the caller took.
        unsafe { place.write(u64::from(frames::number_of(up)) | (length as u64) << 32) };
        for index in 0..length {
            let word = fill(index).word.get();
            // SAFETY: inside of what the caller took.
            let slot = unsafe { place.add(1 + index) };
            // SAFETY: as above.
            unsafe { slot.write(word) };
        }
        // SAFETY: the header and all slots are written.
        unsafe { at(address) }
    }

    /// The scope around this one.
    #[inline]
    pub(crate) fn up(&self) -> Option<&'a Self> {
        if self.up == u32::MAX {
            return None;
        }
        // SAFETY: `new` got it as a reference of this lifetime.
        Some(unsafe { at(frames::address_of(self.up)) })
    }

    /// The variables.
    #[inline]
    pub(crate) fn slots(&'a self) -> &'a [Slot<'a>] {
        let first = std::ptr::from_ref(self).expose_provenance() + size_of::<Self>();
        let first: *const Slot<'a> = std::ptr::with_exposed_provenance(first);
        // SAFETY: `allocate` put so many slots behind the header.
        unsafe { std::slice::from_raw_parts(first, self.length()) }
    }

    /// A variable so many scopes further out.
    #[inline]
    pub(crate) fn variable(&'a self, depth: u32, slot: u32) -> &'a Slot<'a> {
        &self.outwards(depth).slots()[slot as usize]
    }

    /// The scope so many scopes further out.
    #[inline]
    fn outwards(&'a self, depth: u32) -> &'a Self {
        let mut env = self;
        for _ in 0..depth {
            match env.up() {
                Some(up) => env = up,
                None => break,
            }
        }
        env
    }
}

/// The scope of a call that is running.
#[derive(Debug)]
pub(crate) struct Passing<'a>(&'a Env<'a>);

impl Passing<'_> {
    /// The call is over, with a value: the scope's memory is used again unless something refers to it. (After an error it
    /// stays.)
    #[inline]
    pub(crate) fn end(self, arena: &Arena) {
        let length = self.0.length.get();
        if length & KEPT == 0 {
            let words = 1 + length as usize;
            // SAFETY: it was made with `allocate_again`, and there is one of these for each such scope. Whatever may
            // outlive the call and refers to the scope or to its slots (a function, something that waits, a scope inside,
            // a reference to what waits in a slot) called `keep` when it was made.
            unsafe { arena.frames.give_back(std::ptr::from_ref(self.0).expose_provenance(), words) };
        }
    }
}

const _: () = assert!(cfg!(target_endian = "little"), "an environment's header is written as one word");

impl<'a> Mapped<'a> {
    /// A function over a list, a set of one layer, or (if that is null) numbers.
    pub(crate) fn over(arena: &'a Arena, function: Value<'a>, over: Value<'a>) -> &'a Self {
        let mapped = Self { function: Slot::new(arena, function), over: Slot::new(arena, over) };
        let address = arena.frames.allocate(size_of::<Self>().div_ceil(8));
        let place: *mut Self = std::ptr::with_exposed_provenance_mut(address);
        // SAFETY: as many words as it needs, aligned (checked below), nobody else's.
        unsafe { place.write(mapped) };
        // SAFETY: written just now, in an arena that lives as long as `'a`.
        unsafe { at(address) }
    }

    /// The slot of an item that waits.
    #[inline]
    pub(crate) fn item(&'a self, index: usize) -> Slot<'a> {
        Slot::of(framed(ITEM, index as u32, self))
    }
}

const _: () = assert!(align_of::<Mapped<'_>>() == 8, "frames are made of eight-byte words");

impl<'a> Lazy<'a> {
    /// A value that is known already.
    pub(crate) fn value(arena: &'a Bump, value: Value<'a>) -> Self {
        // What has a frame of its own must not be mistaken for what gets one.
        let value = match value {
            Value::Lambda(..) | Value::Thunk(..) => Value::Ref(Slot::alone(arena, value)),
            value => value,
        };
        Self { word: pack(arena, value), of: PhantomData }
    }

    /// A variable.
    pub(crate) fn variable(depth: u32, slot: u32) -> Self {
        Self { word: u64::from(VARIABLE) | u64::from(depth) << 8 | u64::from(slot) << 32, of: PhantomData }
    }

    /// A function.
    pub(crate) fn lambda(number: u32) -> Self {
        Self { word: u64::from(LAMBDA) | u64::from(number) << 8, of: PhantomData }
    }

    /// Code that has to run.
    pub(crate) fn thunk(number: u32) -> Self {
        Self { word: u64::from(THUNK) | u64::from(number) << 8, of: PhantomData }
    }

    /// The same code, to run in the scope of a set's sources.
    pub(crate) fn inherited(self) -> Self {
        Self { word: self.word & !0xff | u64::from(INHERITED), of: PhantomData }
    }

    /// The value, if it is one that is known already.
    #[inline]
    pub(crate) fn constant(self) -> Option<Value<'a>> {
        // SAFETY: everything but the four kinds that need a frame was packed from a value with this lifetime.
        (!matches!(self.word as u8, VARIABLE | INHERITED | LAMBDA | THUNK))
            .then(|| unsafe { unpack(self.word) })
    }

    /// The scope's distance and the slot, if it is a variable.
    #[inline]
    pub(crate) fn as_variable(self) -> Option<(u32, u32)> {
        (self.word as u8 == VARIABLE).then(|| (number(self.word), (self.word >> 32) as u32))
    }

    /// The number of the code that has to run, if that is what it is.
    pub(crate) fn thunk_number(self) -> Option<u32> {
        (self.word as u8 == THUNK).then(|| number(self.word))
    }

    /// Whether it is the variable `slot` of the innermost scope.
    pub(crate) fn is_local(self, slot: usize) -> bool {
        self.word == Self::variable(0, slot as u32).word
    }

    /// What to store, in a frame.
    #[inline]
    pub(crate) fn within(self, env: &'a Env<'a>) -> Slot<'a> {
        match self.word as u8 {
            VARIABLE => {
                let env = env.outwards(number(self.word));
                let slot = &env.slots()[(self.word >> 32) as usize];
                if slot.waits() {
                    env.keep();
                }
                slot.share()
            }
            LAMBDA | THUNK => {
                env.keep();
                Slot::of(self.word | u64::from(frames::number_of(env)) << 32)
            }
            _ => Slot::of(self.word),
        }
    }

    /// What to store as an attribute: the sources of `inherit (e) …` are in a frame of their own.
    #[inline]
    pub(crate) fn within_set(self, env: &'a Env<'a>, sources: &'a Env<'a>) -> Slot<'a> {
        if self.word as u8 != INHERITED {
            return self.within(env);
        }
        let thunk = self.word & !0xff | u64::from(THUNK);
        Slot::of(thunk | u64::from(frames::number_of(sources)) << 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_one_word_and_give_back_what_was_put_in() {
        assert_eq!(size_of::<Slot<'_>>(), 8);
        assert_eq!(size_of::<Lazy<'_>>(), 8);
        let arena = Arena::new();
        for number in [0, 1, -1, i64::MAX, i64::MIN, (1 << 55) - 1, 1 << 55, -(1 << 55), -(1 << 55) - 1] {
            let slot = Slot::new(&arena, Value::Int(number));
            assert!(slot.is_evaluated());
            assert!(matches!(slot.get(), Value::Int(back) if back == number), "{number}");
        }
        for number in [0.0, -0.0, 1.5, 0.1, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 1e300] {
            let slot = Slot::new(&arena, Value::Float(number));
            assert!(
                matches!(slot.get(), Value::Float(back) if back.to_bits() == number.to_bits()),
                "{number}"
            );
        }
        assert!(matches!(Slot::new(&arena, Value::Bool(true)).get(), Value::Bool(true)));
        assert!(matches!(Slot::new(&arena, Value::Null).get(), Value::Null));
    }

    #[test]
    fn scopes_nest() {
        let arena = Arena::new();
        let root = Env::root(&arena);
        assert!(root.up().is_none() && root.slots().is_empty());
        let outer = Env::new(&arena, root, 2, |index, _| Slot::new(&arena, Value::Int(index as i64)));
        let inner = Env::new(&arena, outer, 1, |_, env| Lazy::thunk(7).within(env));
        assert!(matches!(inner.variable(1, 1).get(), Value::Int(1)));
        assert!(matches!(inner.variable(0, 0).get(), Value::Thunk(7, env) if std::ptr::eq(env, inner)));
        let shared = Lazy::variable(0, 0).within(inner);
        assert!(matches!(shared.get(), Value::Ref(slot) if std::ptr::eq(slot, inner.variable(0, 0))));
    }
}
