//! The text of derivations:
//! `Derive([outputs],[input derivations],[input sources],"system","builder",[args],[environment])`.
//!
//! Lists that are sets are sorted bytewise; reading is strict about order as well, because a text in any other order
//! would not be the one whose hash its path carries.

use super::{Derivation, Output};
use crate::content_address::{ContentAddress, Method};
use crate::hash::{Algorithm, Hash, HashError};
use crate::scan::{each_special, is_plain};
use crate::store_path::{StoreDir, StorePath, StorePathError};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// Why a text is not a derivation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Something else stands where the grammar wants this.
    #[error("derivation: expected `{expected}` at byte {offset}")]
    Expected {
        /// The text wanted.
        expected: String,
        /// Where.
        offset: usize,
    },
    /// A string does not end, or holds an escape that there is not.
    #[error("derivation: bad string at byte {0}")]
    String(usize),
    /// A name that must be UTF-8 is not.
    #[error("derivation: text at byte {0} is not UTF-8")]
    Utf8(usize),
    /// A list that is a set is not sorted or names something twice.
    #[error("derivation: {what} are not sorted or not unique at byte {offset}")]
    Order {
        /// outputs, inputs, variables.
        what: &'static str,
        /// Where.
        offset: usize,
    },
    /// A store path that is none.
    #[error("derivation: {0}")]
    Path(#[from] StorePathError),
    /// An output's hash that is none.
    #[error("derivation: output `{output}`: {source}")]
    Hash {
        /// The output.
        output: String,
        /// What is wrong.
        source: HashError,
    },
    /// An output's three fields make no kind of output.
    #[error("derivation: output `{0}` is of no known kind")]
    Output(String),
    /// The path beside a fixed output's hash is not the one that the hash gives.
    #[error("derivation: fixed output `{output}` has path `{found}`, its hash gives `{expected}`")]
    FixedPath {
        /// The output.
        output: String,
        /// The path in the text.
        found: StorePath,
        /// The path that follows from the hash.
        expected: StorePath,
    },
    /// There is more text behind the derivation.
    #[error("derivation: text behind the end, at byte {0}")]
    Trailing(usize),
}

impl Derivation {
    /// Its text, byte for byte as Nix writes it.
    pub fn unparse(&self, store: &StoreDir) -> Result<Vec<u8>, StorePathError> {
        let inputs = self
            .input_drvs
            .iter()
            .map(|(path, outputs)| (store.print(path), outputs.clone()))
            .collect::<BTreeMap<_, _>>();
        self.unparse_with(store, &inputs, false)
    }

    /// Its text with other words for the input derivations and, if asked, without its outputs' paths.
    pub(super) fn unparse_with(
        &self,
        store: &StoreDir,
        inputs: &BTreeMap<String, BTreeSet<String>>,
        mask_outputs: bool,
    ) -> Result<Vec<u8>, StorePathError> {
        let mut text = Vec::with_capacity(1024);
        text.extend_from_slice(b"Derive([");
        for (index, (name, output)) in self.outputs.iter().enumerate() {
            separate(&mut text, index);
            let path = if mask_outputs { None } else { output.path(store, &self.name, name)? };
            let path = path.map(|path| store.print(&path)).unwrap_or_default();
            output_fields(&mut text, name, output, &path);
        }
        text.extend_from_slice(b"],[");
        for (index, (path, outputs)) in inputs.iter().enumerate() {
            separate(&mut text, index);
            text.push(b'(');
            quote(&mut text, path.as_bytes());
            text.push(b',');
            strings(&mut text, outputs.iter().map(String::as_bytes), quote);
            text.push(b')');
        }
        text.extend_from_slice(b"],");
        let sources: Vec<String> = self.input_srcs.iter().map(|path| store.print(path)).collect();
        strings(&mut text, sources.iter().map(String::as_bytes), quote);
        text.push(b',');
        quote(&mut text, &self.platform);
        text.push(b',');
        escape(&mut text, &self.builder);
        text.push(b',');
        strings(&mut text, self.args.iter().map(Vec::as_slice), escape);
        text.extend_from_slice(b",[");
        for (index, (key, value)) in self.env.iter().enumerate() {
            separate(&mut text, index);
            let masked =
                mask_outputs && std::str::from_utf8(key).is_ok_and(|key| self.outputs.contains_key(key));
            text.push(b'(');
            escape(&mut text, key);
            text.push(b',');
            escape(&mut text, if masked { b"" } else { value });
            text.push(b')');
        }
        text.extend_from_slice(b"])");
        Ok(text)
    }
}

/// An output with its path, printed or nothing: `("name","path","method and algorithm","hash")`.
pub(super) fn output_fields(text: &mut Vec<u8>, name: &str, output: &Output, path: &str) {
    let [method, hash] = output.address_fields();
    text.push(b'(');
    for (field, value) in [name, path, &method, &hash].into_iter().enumerate() {
        separate(text, field);
        quote(text, value.as_bytes());
    }
    text.push(b')');
}

pub(super) fn separate(text: &mut Vec<u8>, index: usize) {
    if index > 0 {
        text.push(b',');
    }
}

/// A string that holds nothing to escape.
pub(super) fn quote(text: &mut Vec<u8>, value: &[u8]) {
    text.push(b'"');
    text.extend_from_slice(value);
    text.push(b'"');
}

/// A string of any bytes.
pub(super) fn escape(text: &mut Vec<u8>, value: &[u8]) {
    text.reserve(value.len() + 2);
    text.push(b'"');
    // Long values are scripts: they have something to escape.
    if value.len() <= 256 && is_plain(value) {
        text.extend_from_slice(value);
        text.push(b'"');
        return;
    }
    let mut done = 0;
    // Of the bytes below fourteen only three are special; the others hardly ever occur.
    each_special(value, 14, [b'"', b'\\'], |place| {
        let escaped = match value.get(place) {
            Some(b'\n') => b'n',
            Some(b'\r') => b'r',
            Some(b'\t') => b't',
            Some(&byte @ (b'"' | b'\\')) => byte,
            _ => return,
        };
        text.extend_from_slice(value.get(done..place).unwrap_or_default());
        text.extend_from_slice(&[b'\\', escaped]);
        done = place + 1;
    });
    text.extend_from_slice(value.get(done..).unwrap_or_default());
    text.push(b'"');
}

pub(super) fn strings<'a>(
    text: &mut Vec<u8>,
    values: impl Iterator<Item = &'a [u8]>,
    write: fn(&mut Vec<u8>, &[u8]),
) {
    text.push(b'[');
    for (index, value) in values.enumerate() {
        separate(text, index);
        write(text, value);
    }
    text.push(b']');
}

/// Reads a derivation whose store path has this name (without `.drv`).
pub fn parse(text: &[u8], name: &str, store: &StoreDir) -> Result<Derivation, ParseError> {
    let mut parser = Parser { text, position: 0 };
    let mut derivation = Derivation { name: name.to_owned(), ..Derivation::default() };
    parser.expect("Derive(")?;
    let mut given_paths = Vec::new();
    parser.list(|parser| {
        parser.expect("(")?;
        let output = parser.utf8()?;
        let path = parser.field_utf8()?;
        let method = parser.field_utf8()?;
        let hash = parser.field_utf8()?;
        parser.expect(")")?;
        in_order(
            derivation.outputs.last_key_value().is_none_or(|(last, _)| *last < output),
            "outputs",
            parser,
        )?;
        let (parsed, path) = parse_output(store, &output, &path, &method, &hash)?;
        if let Some(path) = path {
            given_paths.push((output.clone(), path));
        }
        derivation.outputs.insert(output, parsed);
        Ok(())
    })?;
    parser.expect(",")?;
    parser.list(|parser| {
        parser.expect("(")?;
        let path = store.parse(&parser.utf8()?)?;
        parser.expect(",")?;
        let mut outputs = BTreeSet::new();
        parser.list(|parser| {
            let output = parser.utf8()?;
            in_order(outputs.last().is_none_or(|last| *last < output), "outputs of an input", parser)?;
            outputs.insert(output);
            Ok(())
        })?;
        parser.expect(")")?;
        let sorted = derivation.input_drvs.last_key_value().is_none_or(|(last, _)| *last < path);
        in_order(sorted, "input derivations", parser)?;
        derivation.input_drvs.insert(path, outputs);
        Ok(())
    })?;
    parser.expect(",")?;
    parser.list(|parser| {
        let path = store.parse(&parser.utf8()?)?;
        in_order(derivation.input_srcs.last().is_none_or(|last| *last < path), "input sources", parser)?;
        derivation.input_srcs.insert(path);
        Ok(())
    })?;
    parser.expect(",")?;
    derivation.platform = parser.string()?;
    parser.expect(",")?;
    derivation.builder = parser.string()?;
    parser.expect(",")?;
    parser.list(|parser| {
        derivation.args.push(parser.string()?);
        Ok(())
    })?;
    parser.expect(",")?;
    parser.list(|parser| {
        parser.expect("(")?;
        let key = parser.string()?;
        parser.expect(",")?;
        let value = parser.string()?;
        parser.expect(")")?;
        in_order(derivation.env.last_key_value().is_none_or(|(last, _)| *last < key), "variables", parser)?;
        derivation.env.insert(key, value);
        Ok(())
    })?;
    parser.expect(")")?;
    if parser.position != text.len() {
        return Err(ParseError::Trailing(parser.position));
    }
    check_fixed_paths(&derivation, store, given_paths)?;
    Ok(derivation)
}

impl Output {
    /// The three fields that [`Self::from_fields`] reads, for this output of the derivation by that name.
    pub fn to_fields(
        &self,
        store: &StoreDir,
        derivation: &str,
        output: &str,
    ) -> Result<[String; 3], StorePathError> {
        let path = self.path(store, derivation, output)?;
        let [method, hash] = self.address_fields();
        Ok([path.map(|path| store.print(&path)).unwrap_or_default(), method, hash])
    }

    /// How its content is hashed, and the hash.
    fn address_fields(&self) -> [String; 2] {
        let kind = |method: Method, algorithm: Algorithm| format!("{}{algorithm}", method.prefix());
        match self {
            Self::InputAddressed(_) | Self::Deferred => Default::default(),
            Self::Fixed(address) => [kind(address.method, address.hash.algorithm()), address.hash.digits16()],
            Self::Floating { method, algorithm } => [kind(*method, *algorithm), String::new()],
            Self::Impure { method, algorithm } => [kind(*method, *algorithm), "impure".to_owned()],
        }
    }

    /// An output from the three fields that describe it in a derivation's text and in the worker protocol: its path, how
    /// its content is hashed, the hash.
    pub fn from_fields(
        store: &StoreDir,
        output: &str,
        path: &str,
        method: &str,
        hash: &str,
    ) -> Result<Self, ParseError> {
        parse_output(store, output, path, method, hash).map(|(output, _)| output)
    }
}

fn check_fixed_paths(
    derivation: &Derivation,
    store: &StoreDir,
    given: Vec<(String, StorePath)>,
) -> Result<(), ParseError> {
    for (output, found) in given {
        if let Some(expected) = derivation.output_path(store, &output)?.filter(|expected| *expected != found)
        {
            return Err(ParseError::FixedPath { output, found, expected });
        }
    }
    Ok(())
}

fn in_order(sorted: bool, what: &'static str, parser: &Parser<'_>) -> Result<(), ParseError> {
    if sorted { Ok(()) } else { Err(ParseError::Order { what, offset: parser.position }) }
}

fn parse_output(
    store: &StoreDir,
    output: &str,
    path: &str,
    method: &str,
    hash: &str,
) -> Result<(Output, Option<StorePath>), ParseError> {
    let failed = |source| ParseError::Hash { output: output.to_owned(), source };
    if method.is_empty() {
        if !hash.is_empty() {
            return Err(ParseError::Output(output.to_owned()));
        }
        if path.is_empty() {
            return Ok((Output::Deferred, None));
        }
        return Ok((Output::InputAddressed(store.parse(path)?), None));
    }
    let (method, algorithm) = Method::split(method);
    let algorithm: Algorithm = algorithm.parse().map_err(failed)?;
    match (hash, path) {
        ("impure", "") => Ok((Output::Impure { method, algorithm }, None)),
        ("", "") => Ok((Output::Floating { method, algorithm }, None)),
        ("" | "impure", _) => Err(ParseError::Output(output.to_owned())),
        (hash, path) => {
            let hash = Hash::parse_as(hash, algorithm).map_err(failed)?;
            Ok((Output::Fixed(ContentAddress { method, hash }), Some(store.parse(path)?)))
        }
    }
}

struct Parser<'a> {
    text: &'a [u8],
    position: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &[u8] {
        self.text.get(self.position..).unwrap_or_default()
    }

    fn expect(&mut self, expected: &str) -> Result<(), ParseError> {
        if self.rest().starts_with(expected.as_bytes()) {
            self.position += expected.len();
            Ok(())
        } else {
            Err(ParseError::Expected { expected: expected.to_owned(), offset: self.position })
        }
    }

    fn list(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), ParseError>) -> Result<(), ParseError> {
        self.expect("[")?;
        if self.rest().first() == Some(&b']') {
            self.position += 1;
            return Ok(());
        }
        loop {
            item(self)?;
            match self.rest().first() {
                Some(b',') => self.position += 1,
                Some(b']') => {
                    self.position += 1;
                    return Ok(());
                }
                _ => return Err(ParseError::Expected { expected: "]".to_owned(), offset: self.position }),
            }
        }
    }

    fn string(&mut self) -> Result<Vec<u8>, ParseError> {
        self.expect("\"")?;
        let start = self.position;
        let mut value = Vec::new();
        let mut bytes = self.text.get(start..).unwrap_or_default().iter();
        let mut used = 0;
        while let Some(&byte) = bytes.next() {
            used += 1;
            match byte {
                b'"' => {
                    self.position = start + used;
                    return Ok(value);
                }
                b'\\' => {
                    used += 1;
                    value.push(match bytes.next() {
                        Some(b'n') => b'\n',
                        Some(b'r') => b'\r',
                        Some(b't') => b'\t',
                        Some(&other) => other,
                        None => return Err(ParseError::String(start)),
                    });
                }
                other => value.push(other),
            }
        }
        Err(ParseError::String(start))
    }

    fn utf8(&mut self) -> Result<String, ParseError> {
        let start = self.position;
        String::from_utf8(self.string()?).map_err(|_| ParseError::Utf8(start))
    }

    fn field_utf8(&mut self) -> Result<String, ParseError> {
        self.expect(",")?;
        self.utf8()
    }
}
