//! Interned names. A symbol is a `u32`: names are compared, sorted and looked up as integers, and their text is kept
//! once, as a string value that `attrNames` can hand out without copying.

use crate::value::Str;
use bumpalo::Bump;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher as _;
use std::num::NonZero;

/// An interned name. Ordered by the time of interning, not by its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Symbol(pub(crate) u32);

/// All names that an evaluation has met.
#[derive(Debug)]
pub(crate) struct Symbols<'a> {
    arena: &'a Bump,
    hasher: DefaultHashBuilder,
    /// All of them, each beside half of its text's hash.
    known: HashTable<(u32, Symbol)>,
    texts: Vec<&'a Str<'a>>,
    /// Short names that were met lately, each at the place that it hashes to: most names in a text have just been read.
    recent: Box<[(Short, Symbol)]>,
}

/// A name of at most sixteen bytes, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Short {
    first: u64,
    last: u64,
    length: u32,
}

/// How many names are looked for among the recent ones; a power of two.
const RECENT: usize = 2048;

impl Short {
    /// No name: longer than one can be.
    const NONE: Self = Self { first: 0, last: 0, length: u32::MAX };

    /// The first and the last eight bytes, which overlap, or the same of four, or what there is.
    #[inline]
    fn new(name: &[u8]) -> Option<Self> {
        let (first, last) = match name.len() {
            8..=16 => {
                let (first, last) = (name.first_chunk::<8>()?, name.last_chunk::<8>()?);
                (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
            }
            4..=7 => {
                let (first, last) = (name.first_chunk::<4>()?, name.last_chunk::<4>()?);
                (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)))
            }
            0 | 17.. => return None,
            length => (u64::from(name[0]) << 8 | u64::from(name[length / 2]), u64::from(name[length - 1])),
        };
        Some(Self { first, last, length: name.len() as u32 })
    }

    /// The halves of the product of its numbers, mixed.
    #[inline]
    fn hash(self) -> u32 {
        let first = self.first ^ 0x9e37_79b9_7f4a_7c15;
        let last = self.last ^ 0xe703_7ed1_a0b4_28db ^ u64::from(self.length) << 56;
        let product = u128::from(first) * u128::from(last);
        let mixed = product as u64 ^ (product >> 64) as u64;
        (mixed ^ mixed >> 32) as u32
    }
}

macro_rules! well_known {
    ($($name:ident = $index:literal $text:literal;)*) => {
        /// The names that the evaluator itself asks for, interned first and in this order.
        #[derive(Debug)]
        pub(crate) struct Known;
        impl Known { $(pub(crate) const $name: Symbol = Symbol($index);)* }
        const WELL_KNOWN: &[(u32, &str)] = &[$(($index, $text)),*];
    };
}

well_known! {
    NAME = 0 "name";
    VALUE = 1 "value";
    TYPE = 2 "type";
    OUT_PATH = 3 "outPath";
    DRV_PATH = 4 "drvPath";
    TO_STRING = 5 "__toString";
    FUNCTOR = 6 "__functor";
    OVERRIDES = 7 "__overrides";
    SUCCESS = 8 "success";
    KEY = 9 "key";
    OPERATOR = 10 "operator";
    START_SET = 11 "startSet";
    PATH = 12 "path";
    PREFIX = 13 "prefix";
    BODY = 14 "body";
    OR = 15 "or";
    RIGHT = 16 "right";
    WRONG = 17 "wrong";
    FILE = 18 "file";
    LINE = 19 "line";
    COLUMN = 20 "column";
    VERSION = 21 "version";
    HASH = 22 "hash";
    URL = 23 "url";
    SHA256 = 24 "sha256";
    FILTER = 25 "filter";
    RECURSIVE = 26 "recursive";
    OUTPUT_NAME = 27 "outputName";
    SUB = 28 "__sub";
    MUL = 29 "__mul";
    DIV = 30 "__div";
    LESS_THAN = 31 "__lessThan";
    FIND_FILE = 32 "__findFile";
    NIX_PATH = 33 "__nixPath";
    ALL_OUTPUTS = 34 "allOutputs";
    OUTPUTS = 35 "outputs";
    CUR_POS = 36 "__curPos";
    STRUCTURED_ATTRS = 37 "__structuredAttrs";
    IGNORE_NULLS = 38 "__ignoreNulls";
    BUILDER = 39 "builder";
    SYSTEM = 40 "system";
    ARGS = 41 "args";
    OUTPUT_HASH = 42 "outputHash";
    OUTPUT_HASH_ALGO = 43 "outputHashAlgo";
    OUTPUT_HASH_MODE = 44 "outputHashMode";
    CONTENT_ADDRESSED = 45 "__contentAddressed";
    IMPURE = 46 "__impure";
    HASH_ALGO = 47 "hashAlgo";
    TO_HASH_FORMAT = 48 "toHashFormat";
    TIMESTAMP = 49 "_type";
}

/// The table wants its bits high as well as low.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl<'a> Symbols<'a> {
    /// An interner that holds the well-known names.
    pub(crate) fn new(arena: &'a Bump) -> Self {
        let mut symbols = Self {
            arena,
            hasher: DefaultHashBuilder::default(),
            known: HashTable::with_capacity(4096),
            texts: Vec::with_capacity(4096),
            recent: vec![(Short::NONE, Symbol(0)); RECENT].into_boxed_slice(),
        };
        for (index, text) in WELL_KNOWN {
            let symbol = symbols.intern(text.as_bytes());
            debug_assert_eq!(symbol.0, *index);
        }
        symbols
    }

    /// The symbol of a name.
    #[inline]
    pub(crate) fn intern(&mut self, name: &[u8]) -> Symbol {
        let Some(short) = Short::new(name) else {
            return self.intern_hashed(name, self.hasher.hash_one(name) as u32);
        };
        let hash = short.hash();
        let place = hash as usize % RECENT;
        let (known, symbol) = self.recent[place];
        if known == short {
            return symbol;
        }
        let symbol = self.intern_hashed(name, hash);
        self.recent[place] = (short, symbol);
        symbol
    }

    #[inline(never)]
    fn intern_hashed(&mut self, name: &[u8], hash: u32) -> Symbol {
        if let Some(symbol) = self.find_hashed(name, hash) {
            return symbol;
        }
        let bytes: &'a [u8] = self.arena.alloc_slice_copy(name);
        let symbol = Symbol(self.texts.len() as u32);
        let string: &'a Str<'a> = self.arena.alloc(Str::new(bytes, None));
        string.symbol.set(NonZero::new(symbol.0 + 1));
        self.texts.push(string);
        self.known.insert_unique(spread(hash), (hash, symbol), |&(hash, _)| spread(hash));
        symbol
    }

    /// The symbol of a string, remembered in it.
    #[inline]
    pub(crate) fn of_string(&mut self, string: &Str<'_>) -> Symbol {
        if let Some(known) = string.symbol.get() {
            return Symbol(known.get() - 1);
        }
        let symbol = self.intern(string.bytes());
        string.symbol.set(NonZero::new(symbol.0 + 1));
        symbol
    }

    /// The same if anything has ever used the text as a name.
    #[inline]
    pub(crate) fn find_string(&self, string: &Str<'_>) -> Option<Symbol> {
        if let Some(known) = string.symbol.get() {
            return Some(Symbol(known.get() - 1));
        }
        let symbol = self.find(string.bytes())?;
        string.symbol.set(NonZero::new(symbol.0 + 1));
        Some(symbol)
    }

    /// The symbol of a name if anything has ever used it; a name that nothing used is in no attribute set.
    pub(crate) fn find(&self, name: &[u8]) -> Option<Symbol> {
        let Some(short) = Short::new(name) else {
            return self.find_hashed(name, self.hasher.hash_one(name) as u32);
        };
        let hash = short.hash();
        let (known, symbol) = self.recent[hash as usize % RECENT];
        if known == short { Some(symbol) } else { self.find_hashed(name, hash) }
    }

    #[inline]
    fn find_hashed(&self, name: &[u8], hash: u32) -> Option<Symbol> {
        let same = |&(other, symbol): &(u32, Symbol)| other == hash && self.text(symbol) == name;
        self.known.find(spread(hash), same).map(|&(_, symbol)| symbol)
    }

    /// The name's text.
    pub(crate) fn text(&self, symbol: Symbol) -> &'a [u8] {
        self.texts[symbol.0 as usize].bytes()
    }

    /// The name as a string value's payload.
    pub(crate) fn string(&self, symbol: Symbol) -> &'a Str<'a> {
        self.texts[symbol.0 as usize]
    }

    /// Sorts things by the text of a name that each of them has, no two of them the same.
    pub(crate) fn sort_by_text<T: Copy>(&self, things: &mut [T], name: impl Fn(&T) -> Symbol) {
        // Most names differ in their first eight bytes, which are compared as one number.
        let key = |thing: &T| {
            let text = self.text(name(thing));
            let mut start = [0; 8];
            let length = text.len().min(8);
            start[..length].copy_from_slice(&text[..length]);
            (u64::from_be_bytes(start), text, *thing)
        };
        let mut keyed: Vec<(u64, &[u8], T)> = things.iter().map(key).collect();
        keyed.sort_unstable_by(|one, other| one.0.cmp(&other.0).then_with(|| one.1.cmp(other.1)));
        for (place, (_, _, thing)) in things.iter_mut().zip(keyed) {
            *place = thing;
        }
    }

    /// How many names there are.
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The name for messages.
    pub(crate) fn show(&self, symbol: Symbol) -> String {
        String::from_utf8_lossy(self.text(symbol)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_symbol_and_keeps_its_text() {
        let arena = Bump::new();
        let mut symbols = Symbols::new(&arena);
        assert_eq!(symbols.intern(b"name"), Known::NAME);
        // More names than are remembered as recent, of all lengths, some of them alike in their first and last bytes.
        let name = |index: usize| {
            let middle = "-".repeat(index % 19);
            format!("a{middle}{index}{middle}z").into_bytes()
        };
        let mut first: Vec<Symbol> = Vec::new();
        for short in
            ["", "a", "aa", "aaa", "aba", "bab", "ab", "abab", "ababa", "aabbaabb", "aabbaabbaabbaabb"]
        {
            first.push(symbols.intern(short.as_bytes()));
        }
        first.extend((0..10_000).map(|index| symbols.intern(&name(index))));
        let distinct: std::collections::BTreeSet<Symbol> = first.iter().copied().collect();
        assert_eq!(distinct.len(), first.len());
        for (index, &symbol) in first[11..].iter().enumerate() {
            assert_eq!(symbols.text(symbol), name(index));
            assert_eq!(symbols.intern(&name(index)), symbol);
            assert_eq!(symbols.find(&name(index)), Some(symbol));
        }
    }
}
