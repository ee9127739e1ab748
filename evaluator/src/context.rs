//! String contexts: which store objects a string depends on. Each distinct element has a number; a context is a sorted
//! array of numbers, so that joining two is a merge of integers. Nix manual, "String context".

use crate::error::Eval;
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::value::{Context, Str, Value};
use formats::store_path::StorePath;
use hashbrown::{HashMap, HashTable};
use std::cell::RefCell;

/// One dependency. Paths are printed in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Element<'a> {
    /// A store object as it is.
    Opaque(&'a [u8]),
    /// A derivation file with all that it refers to and all its outputs (`=path`).
    DrvDeep(&'a [u8]),
    /// An output of a derivation (`!output!path`).
    Built { drv: &'a [u8], output: &'a [u8] },
}

/// All elements met so far.
#[derive(Debug, Default)]
pub(crate) struct Contexts<'a> {
    elements: Vec<Element<'a>>,
    /// The store path of each, once somebody asked.
    paths: Vec<Option<StorePath>>,
    numbers: HashMap<Element<'a>, u32>,
    /// All contexts that strings have.
    built: RefCell<HashTable<&'a Context<'a>>>,
}

fn hash_of(elements: &[u32]) -> u64 {
    let mixed = elements.iter().fold(elements.len() as u64, |hash, &element| {
        (hash.rotate_left(5) ^ u64::from(element)).wrapping_mul(0x517c_c1b7_2722_0a95)
    });
    // The table wants its bits high as well as low.
    mixed ^ mixed >> 32
}

/// A context being put together.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContextBuilder {
    pub(crate) elements: Vec<u32>,
}

impl ContextBuilder {
    /// Adds what a string depends on.
    #[inline]
    pub(crate) fn add(&mut self, context: Option<&Context<'_>>) {
        let Some(context) = context else { return };
        if self.elements.as_slice() == context.elements {
            return;
        }
        self.elements.extend_from_slice(context.elements);
        if self.elements.len() > 4096 {
            self.normalize();
        }
    }

    /// Brings the elements in order, each once.
    pub(crate) fn normalize(&mut self) {
        self.elements.sort_unstable();
        self.elements.dedup();
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }
}

impl<'a> Evaluator<'a> {
    /// The number of an element.
    pub(crate) fn context_number(&mut self, element: Element<'_>) -> u32 {
        if let Some(&number) = self.contexts.numbers.get(&element) {
            return number;
        }
        let arena = self.arena;
        let kept = match element {
            Element::Opaque(path) => Element::Opaque(arena.alloc_slice_copy(path)),
            Element::DrvDeep(path) => Element::DrvDeep(arena.alloc_slice_copy(path)),
            Element::Built { drv, output } => {
                Element::Built { drv: arena.alloc_slice_copy(drv), output: arena.alloc_slice_copy(output) }
            }
        };
        let number = self.contexts.elements.len() as u32;
        self.contexts.elements.push(kept);
        self.contexts.numbers.insert(kept, number);
        number
    }

    /// The elements of a context, sorted by their contents.
    pub(crate) fn context_elements(&self, context: Option<&Context<'_>>) -> Vec<Element<'a>> {
        self.elements_of(context.map_or(&[], |context| context.elements))
    }

    pub(crate) fn elements_of(&self, numbers: &[u32]) -> Vec<Element<'a>> {
        let mut elements: Vec<Element<'a>> =
            numbers.iter().map(|&number| self.contexts.elements[number as usize]).collect();
        elements.sort_unstable();
        elements.dedup();
        elements
    }

    /// An element by its number, with its path (the derivation's for an output) as a store path.
    pub(crate) fn context_object(&mut self, number: u32, pos: Pos) -> Eval<'a, (Element<'a>, StorePath)> {
        let index = number as usize;
        let element = self.contexts.elements[index];
        if let Some(Some(known)) = self.contexts.paths.get(index) {
            return Ok((element, known.clone()));
        }
        let (Element::Opaque(path) | Element::DrvDeep(path) | Element::Built { drv: path, .. }) = element;
        let path = self.store_object(path, pos)?;
        if self.contexts.paths.len() <= index {
            self.contexts.paths.resize(self.contexts.elements.len(), None);
        }
        self.contexts.paths[index] = Some(path.clone());
        Ok((element, path))
    }

    /// A finished context; strings that depend on the same things share it.
    fn context_built(&self, builder: &mut ContextBuilder) -> Option<&'a Context<'a>> {
        if builder.is_empty() {
            return None;
        }
        if builder.elements.len() > 1 {
            builder.normalize();
        }
        let elements = builder.elements.as_slice();
        let hash = hash_of(elements);
        let mut built = self.contexts.built.borrow_mut();
        if let Some(context) = built.find(hash, |context| context.elements == elements) {
            return Some(context);
        }
        let elements = self.arena.alloc_slice_copy(elements);
        let context: &'a Context<'a> = self.arena.alloc(Context { elements });
        built.insert_unique(hash, context, |context| hash_of(context.elements));
        Some(context)
    }

    /// A string with a context.
    pub(crate) fn string_with(&self, bytes: &[u8], mut builder: ContextBuilder) -> Value<'a> {
        self.string_built(bytes, &mut builder)
    }

    /// The same from a builder that serves again.
    pub(crate) fn string_built(&self, bytes: &[u8], builder: &mut ContextBuilder) -> Value<'a> {
        let context = self.context_built(builder);
        self.string_in_context(bytes, context)
    }

    /// A string with a context that is there already.
    pub(crate) fn string_in_context(&self, bytes: &[u8], context: Option<&'a Context<'a>>) -> Value<'a> {
        if context.is_none() {
            return self.new_string(bytes);
        }
        let bytes = self.arena.alloc_slice_copy(bytes);
        Value::String(self.arena.alloc(Str::new(bytes, context)))
    }

    /// A string that depends on one thing.
    pub(crate) fn string_needing(&mut self, bytes: &[u8], element: Element<'_>) -> Value<'a> {
        let number = self.context_number(element);
        self.string_with(bytes, ContextBuilder { elements: vec![number] })
    }
}
