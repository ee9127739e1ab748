//! Writes a service graph: units with their settings in, one file out. Dependencies are given by name; the builder
//! interns, resolves, inverts and sorts.

use super::key::{Key, Shape};
use super::{HEADER_BYTES, MAGIC, UNIT_WORDS, UnitKind, VERSION, checksum};
use std::collections::BTreeMap;
use std::fmt;

/// One command line of an Exec setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// A set of `key::command::*`.
    pub flags: u32,
    /// The absolute path of the program.
    pub program: String,
    /// The arguments with `argv[0]`.
    pub arguments: Vec<String>,
}

/// One setting's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// See [`Shape::Number`].
    Number(u64),
    /// See [`Shape::Text`].
    Text(String),
    /// See [`Shape::Texts`].
    Texts(Vec<String>),
    /// See [`Shape::Units`]: names, resolved by the builder.
    Units(Vec<String>),
    /// See [`Shape::Numbers`].
    Numbers(Vec<u64>),
    /// See [`Shape::Tagged`].
    Tagged(Vec<(u32, String)>),
    /// See [`Shape::Commands`].
    Commands(Vec<CommandLine>),
}

impl Value {
    const fn shape(&self) -> Shape {
        match self {
            Self::Number(_) => Shape::Number,
            Self::Text(_) => Shape::Text,
            Self::Texts(_) => Shape::Texts,
            Self::Units(_) => Shape::Units,
            Self::Numbers(_) => Shape::Numbers,
            Self::Tagged(_) => Shape::Tagged,
            Self::Commands(_) => Shape::Commands,
        }
    }
}

/// One unit's settings.
pub type Settings = BTreeMap<Key, Value>;

/// Why a graph cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildError {
    /// A unit's name has no known suffix.
    UnknownKind {
        /// The name.
        unit: String,
    },
    /// A dependency names a unit that was not added.
    MissingUnit {
        /// Who depends.
        unit: String,
        /// By which setting.
        key: Key,
        /// On what.
        target: String,
    },
    /// A value's shape is not the key's.
    WrongShape {
        /// The unit.
        unit: String,
        /// The setting.
        key: Key,
    },
    /// A string holds a NUL byte.
    NulByte {
        /// The string.
        text: String,
    },
    /// Units that order themselves in a circle: each is after the next, the last is the first again.
    Cycle(Vec<String>),
}

impl fmt::Display for BuildError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind { unit } => {
                write!(formatter, "`{unit}` is not the name of a unit: its suffix is unknown")
            }
            Self::MissingUnit { unit, key, target } => {
                write!(formatter, "{unit}: {}={target}: there is no such unit", key.name())
            }
            Self::WrongShape { unit, key } => {
                write!(formatter, "{unit}: {} has a value of the wrong shape", key.name())
            }
            Self::NulByte { text } => write!(formatter, "{text:?} holds a NUL byte"),
            Self::Cycle(path) => write!(formatter, "units are ordered in a circle: {}", path.join(" after ")),
        }
    }
}

impl std::error::Error for BuildError {}

/// Collects units and writes the graph.
#[derive(Debug, Clone, Default)]
pub struct GraphBuilder {
    units: BTreeMap<String, Settings>,
}

/// Dependencies and the key under which the other side finds them.
const INVERSES: [(Key, Key); 9] = [
    (Key::Requires, Key::RequiredBy),
    (Key::Requisite, Key::RequisiteOf),
    (Key::Wants, Key::WantedBy),
    (Key::BindsTo, Key::BoundBy),
    (Key::PartOf, Key::ConsistsOf),
    (Key::Upholds, Key::UpheldBy),
    (Key::Conflicts, Key::ConflictedBy),
    (Key::Triggers, Key::TriggeredBy),
    (Key::Before, Key::After),
];

impl GraphBuilder {
    /// Adds a unit or replaces one.
    pub fn add(&mut self, name: &str, settings: Settings) {
        self.units.insert(name.to_owned(), settings);
    }

    /// Writes the graph.
    pub fn build(mut self) -> Result<Vec<u8>, BuildError> {
        self.invert()?;
        let order = self.start_order()?;
        let index: BTreeMap<&str, u32> =
            order.iter().enumerate().map(|(index, name)| (name.as_str(), index as u32)).collect();
        let mut pools = Pools::default();
        let mut table = Vec::with_capacity(order.len() * UNIT_WORDS);
        for name in &order {
            let kind =
                UnitKind::of_name(name).ok_or_else(|| BuildError::UnknownKind { unit: name.clone() })?;
            let settings = self.units.get(name).cloned().unwrap_or_default();
            let mut entries = Vec::with_capacity(settings.len() * 2);
            for (key, value) in &settings {
                if value.shape() != key.shape() {
                    return Err(BuildError::WrongShape { unit: name.clone(), key: *key });
                }
                entries.push(u32::from(*key as u16) << 8 | u32::from(key.shape() as u8));
                entries.push(pools.value(value, &index)?);
            }
            table.extend([pools.text(name)?, kind as u32, pools.words.len() as u32, settings.len() as u32]);
            pools.words.extend(entries);
        }
        let words = table.iter().chain(index.values()).chain(&pools.words);
        let mut body: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        body.extend(&pools.strings);
        let mut file = Vec::with_capacity(HEADER_BYTES + body.len());
        file.extend(MAGIC);
        for number in [VERSION, order.len() as u32, pools.words.len() as u32, pools.strings.len() as u32] {
            file.extend(number.to_le_bytes());
        }
        let sum = checksum(&file, &body);
        file.extend(sum.to_le_bytes());
        file.extend(body);
        Ok(file)
    }

    /// Adds to each unit what others say about it, so that every list can be walked from both ends.
    fn invert(&mut self) -> Result<(), BuildError> {
        let mut found: Vec<(String, Key, String)> = Vec::new();
        for (name, settings) in &self.units {
            for (key, inverse) in INVERSES {
                let Some(Value::Units(targets)) = settings.get(&key) else { continue };
                if let Some(target) = targets.iter().find(|target| !self.units.contains_key(*target)) {
                    return Err(BuildError::MissingUnit { unit: name.clone(), key, target: target.clone() });
                }
                found.extend(targets.iter().map(|target| (target.clone(), inverse, name.clone())));
            }
            if let Some(Value::Units(targets)) = settings.get(&Key::After) {
                found.extend(targets.iter().map(|target| (target.clone(), Key::Before, name.clone())));
            }
        }
        for (target, key, name) in found {
            let Some(settings) = self.units.get_mut(&target) else {
                return Err(BuildError::MissingUnit { unit: name, key: Key::After, target });
            };
            if let Value::Units(list) = settings.entry(key).or_insert_with(|| Value::Units(Vec::new()))
                && !list.contains(&name)
            {
                list.push(name);
            }
        }
        Ok(())
    }

    /// The units in an order in which each comes after all that it is after; among equals, by name.
    fn start_order(&self) -> Result<Vec<String>, BuildError> {
        let after = |name: &str| match self.units.get(name).and_then(|settings| settings.get(&Key::After)) {
            Some(Value::Units(list)) => list.as_slice(),
            _ => &[],
        };
        let mut waiting: BTreeMap<&str, usize> =
            self.units.keys().map(|name| (name.as_str(), after(name).len())).collect();
        let mut ready: Vec<&str> =
            waiting.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).rev().collect();
        let mut order = Vec::with_capacity(self.units.len());
        while let Some(name) = ready.pop() {
            waiting.remove(name);
            order.push(name.to_owned());
            let Some(Value::Units(list)) =
                self.units.get(name).and_then(|settings| settings.get(&Key::Before))
            else {
                continue;
            };
            for next in list {
                let Some(count) = waiting.get_mut(next.as_str()) else { continue };
                *count -= 1;
                if *count == 0 {
                    ready.push(next);
                }
            }
        }
        match waiting.keys().next() {
            None => Ok(order),
            Some(first) => Err(BuildError::Cycle(find_cycle(first, |name| {
                after(name).iter().find(|next| waiting.contains_key(next.as_str())).map(String::as_str)
            }))),
        }
    }
}

/// Follows `next` from `first` until a name comes again; returns the circle with its first name at both ends.
fn find_cycle<'a>(first: &'a str, next: impl Fn(&str) -> Option<&'a str>) -> Vec<String> {
    let mut path = vec![first];
    let mut current = first;
    while let Some(name) = next(current) {
        if let Some(start) = path.iter().position(|earlier| *earlier == name) {
            path.push(name);
            return path.iter().skip(start).map(|name| (*name).to_owned()).collect();
        }
        path.push(name);
        current = name;
    }
    path.iter().map(|name| (*name).to_owned()).collect()
}

/// The growing words and strings of the file.
#[derive(Debug, Default)]
struct Pools {
    words: Vec<u32>,
    strings: Vec<u8>,
    interned: BTreeMap<String, u32>,
}

impl Pools {
    /// The offset of a string, which is written once.
    fn text(&mut self, text: &str) -> Result<u32, BuildError> {
        if let Some(offset) = self.interned.get(text) {
            return Ok(*offset);
        }
        if text.contains('\0') {
            return Err(BuildError::NulByte { text: text.to_owned() });
        }
        let offset = self.strings.len() as u32;
        self.strings.extend((text.len() as u32).to_le_bytes());
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        self.interned.insert(text.to_owned(), offset);
        Ok(offset)
    }

    /// Writes a value and returns the word of its entry: the value itself for a text, else where it begins.
    fn value(&mut self, value: &Value, index: &BTreeMap<&str, u32>) -> Result<u32, BuildError> {
        let mut words = Vec::new();
        match value {
            Value::Text(text) => return self.text(text),
            Value::Number(number) => push_number(&mut words, *number),
            Value::Numbers(numbers) => {
                words.push(numbers.len() as u32);
                for number in numbers {
                    push_number(&mut words, *number);
                }
            }
            Value::Texts(texts) => {
                words.push(texts.len() as u32);
                for text in texts {
                    words.push(self.text(text)?);
                }
            }
            Value::Tagged(pairs) => {
                words.push(pairs.len() as u32);
                for (tag, text) in pairs {
                    words.extend([*tag, self.text(text)?]);
                }
            }
            Value::Units(names) => {
                let mut targets: Vec<u32> =
                    names.iter().filter_map(|name| index.get(name.as_str()).copied()).collect();
                targets.sort_unstable();
                targets.dedup();
                words.push(targets.len() as u32);
                words.extend(targets);
            }
            Value::Commands(commands) => {
                words.push(commands.len() as u32);
                for command in commands {
                    words.extend([
                        command.flags,
                        self.text(&command.program)?,
                        command.arguments.len() as u32,
                    ]);
                    for argument in &command.arguments {
                        words.push(self.text(argument)?);
                    }
                }
            }
        }
        let offset = self.words.len() as u32;
        self.words.extend(words);
        Ok(offset)
    }
}

fn push_number(words: &mut Vec<u32>, number: u64) {
    words.extend([number as u32, (number >> 32) as u32]);
}
