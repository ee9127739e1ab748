//! Reads a service graph in place. Loading checks the checksum and every offset once; the accessors then cannot meet
//! anything unexpected, and answer with nothing where they would.

use super::key::{Key, Shape};
use super::{HEADER_BYTES, MAGIC, UNIT_WORDS, UnitKind, VERSION, checksum};
use std::ffi::CStr;
use std::fmt;

/// Why bytes are not a service graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadError {
    /// Shorter than its header says, or than a header.
    Truncated,
    /// The magic is not a service graph's.
    NotAGraph,
    /// Another version.
    Version(u32),
    /// The checksum does not fit the bytes.
    Damaged,
    /// A row of a table points outside of the file or at something else than it should.
    Malformed {
        /// Number of the unit at which it was noticed.
        unit: u32,
    },
    /// A setting that this binary does not know.
    UnknownKey(u16),
}

impl fmt::Display for LoadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => formatter.write_str("the service graph is truncated"),
            Self::NotAGraph => formatter.write_str("not a service graph"),
            Self::Version(found) => {
                write!(
                    formatter,
                    "the service graph has version {found}; this binary reads version {VERSION}"
                )
            }
            Self::Damaged => formatter.write_str("the service graph is damaged: its checksum does not fit"),
            Self::Malformed { unit } => write!(formatter, "the service graph is malformed at unit {unit}"),
            Self::UnknownKey(key) => {
                write!(formatter, "the service graph uses setting {key}, which this binary does not know")
            }
        }
    }
}

impl std::error::Error for LoadError {}

/// A loaded graph.
#[derive(Debug, Clone, Copy)]
pub struct Graph<'a> {
    table: &'a [u8],
    by_name: &'a [u8],
    words: &'a [u8],
    strings: &'a [u8],
    count: u32,
}

/// One unit of a graph.
#[derive(Debug, Clone, Copy)]
pub struct Unit<'a> {
    graph: Graph<'a>,
    index: u32,
}

/// One command line.
#[derive(Debug, Clone, Copy)]
pub struct Command<'a> {
    graph: Graph<'a>,
    at: u32,
}

/// The little-endian word at an index of a section.
fn word(section: &[u8], index: u32) -> Option<u32> {
    let start = (index as usize).checked_mul(4)?;
    let bytes = section.get(start..start.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

impl<'a> Graph<'a> {
    /// Checks and maps a file's bytes.
    pub fn load(file: &'a [u8]) -> Result<Self, LoadError> {
        let header = file.get(..HEADER_BYTES).ok_or(LoadError::Truncated)?;
        if !header.starts_with(&MAGIC) {
            return Err(LoadError::NotAGraph);
        }
        let field = |index| word(header, index).ok_or(LoadError::Truncated);
        let (version, count, words, strings) = (field(2)?, field(3)?, field(4)?, field(5)?);
        if version != VERSION {
            return Err(LoadError::Version(version));
        }
        let body = file.get(HEADER_BYTES..).ok_or(LoadError::Truncated)?;
        let table_bytes = u64::from(count) * 4 * UNIT_WORDS as u64;
        let expected = table_bytes + u64::from(count) * 4 + u64::from(words) * 4 + u64::from(strings);
        if expected != body.len() as u64 {
            return Err(LoadError::Truncated);
        }
        let sum = u64::from(field(6)?) | u64::from(field(7)?) << 32;
        if checksum(header.get(..HEADER_BYTES - 8).unwrap_or_default(), body) != sum {
            return Err(LoadError::Damaged);
        }
        let (table, rest) = body.split_at_checked(table_bytes as usize).ok_or(LoadError::Truncated)?;
        let (by_name, rest) = rest.split_at_checked(count as usize * 4).ok_or(LoadError::Truncated)?;
        let (words, strings) = rest.split_at_checked(words as usize * 4).ok_or(LoadError::Truncated)?;
        let graph = Self { table, by_name, words, strings, count };
        graph.check()?;
        Ok(graph)
    }

    /// Walks every unit's settings once.
    fn check(&self) -> Result<(), LoadError> {
        for unit in self.units() {
            let malformed = LoadError::Malformed { unit: unit.index };
            unit.check().ok_or(malformed)?.map_err(LoadError::UnknownKey)?;
            let named = word(self.by_name, unit.index).ok_or(malformed)?;
            if named >= self.count {
                return Err(malformed);
            }
        }
        Ok(())
    }

    /// How many units there are.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The units in start order.
    pub fn units(&self) -> impl DoubleEndedIterator<Item = Unit<'a>> + use<'a> {
        let graph = *self;
        (0..self.count).map(move |index| Unit { graph, index })
    }

    /// The unit of that index.
    pub fn unit(&self, index: u32) -> Option<Unit<'a>> {
        (index < self.count).then_some(Unit { graph: *self, index })
    }

    /// The unit of that name; aliases count.
    pub fn find(&self, name: &str) -> Option<Unit<'a>> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let unit = self.unit(word(self.by_name, middle)?)?;
            match unit.name().cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(unit),
            }
        }
        self.units().find(|unit| unit.texts(Key::Aliases).any(|alias| alias == name))
    }

    /// The string at an offset, with its NUL.
    fn c_text(&self, offset: u32) -> Option<&'a CStr> {
        let start = offset as usize;
        let length: [u8; 4] = self.strings.get(start..start.checked_add(4)?)?.try_into().ok()?;
        let from = start.checked_add(4)?;
        let to = from.checked_add(u32::from_le_bytes(length) as usize)?.checked_add(1)?;
        CStr::from_bytes_with_nul(self.strings.get(from..to)?).ok()
    }

    fn text(&self, offset: u32) -> Option<&'a str> {
        self.c_text(offset)?.to_str().ok()
    }

    fn number(&self, at: u32) -> Option<u64> {
        Some(u64::from(word(self.words, at)?) | u64::from(word(self.words, at.checked_add(1)?)?) << 32)
    }
}

impl<'a> Unit<'a> {
    /// Its place in start order, by which other units refer to it.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its name with the suffix.
    pub fn name(&self) -> &'a str {
        self.row(0).and_then(|offset| self.graph.text(offset)).unwrap_or_default()
    }

    /// What it is.
    pub fn kind(&self) -> UnitKind {
        self.row(1).and_then(UnitKind::from_number).unwrap_or(UnitKind::Target)
    }

    fn row(&self, column: u32) -> Option<u32> {
        word(self.graph.table, self.index.checked_mul(UNIT_WORDS as u32)?.checked_add(column)?)
    }

    /// The value word of a setting, by binary search over the entries, which are sorted by key.
    fn entry(&self, key: Key) -> Option<u32> {
        let first = self.row(2)?;
        let (mut low, mut high) = (0, self.row(3)?);
        while low < high {
            let middle = low + (high - low) / 2;
            let at = first.checked_add(middle.checked_mul(2)?)?;
            match (word(self.graph.words, at)? >> 8).cmp(&u32::from(key as u16)) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return word(self.graph.words, at.checked_add(1)?),
            }
        }
        None
    }

    /// The keys that it sets, in order.
    pub fn keys(&self) -> impl Iterator<Item = Key> + use<'a> {
        let (unit, first) = (*self, self.row(2).unwrap_or(0));
        (0..self.row(3).unwrap_or(0)).filter_map(move |number| {
            Key::from_number(
                (word(unit.graph.words, first.checked_add(number.checked_mul(2)?)?)? >> 8) as u16,
            )
        })
    }

    /// Whether it sets this.
    pub fn has(&self, key: Key) -> bool {
        self.entry(key).is_some()
    }

    /// A number.
    pub fn number(&self, key: Key) -> Option<u64> {
        self.graph.number(self.entry(key).filter(|_| key.shape() == Shape::Number)?)
    }

    /// Whether a bit of [`Key::Flags`] is set.
    pub fn flag(&self, flag: u64) -> bool {
        self.number(Key::Flags).unwrap_or(0) & flag != 0
    }

    /// A text.
    pub fn text(&self, key: Key) -> Option<&'a str> {
        self.graph.text(self.entry(key).filter(|_| key.shape() == Shape::Text)?)
    }

    /// The element words of a list: how many there are, and where the first one is.
    fn list(&self, key: Key, shape: Shape) -> (u32, u32) {
        let entry = self.entry(key).filter(|_| key.shape() == shape);
        entry.and_then(|at| Some((word(self.graph.words, at)?, at.checked_add(1)?))).unwrap_or((0, 0))
    }

    /// Texts in order.
    pub fn texts(&self, key: Key) -> impl ExactSizeIterator<Item = &'a str> + use<'a> {
        let (count, first) = self.list(key, Shape::Texts);
        let graph = self.graph;
        (0..count as usize).map(move |number| {
            let at = first.saturating_add(number as u32);
            word(graph.words, at).and_then(|offset| graph.text(offset)).unwrap_or_default()
        })
    }

    /// Indices of units in ascending order.
    pub fn units(&self, key: Key) -> impl ExactSizeIterator<Item = u32> + DoubleEndedIterator + use<'a> {
        let (count, first) = self.list(key, Shape::Units);
        let graph = self.graph;
        (0..count as usize)
            .map(move |number| word(graph.words, first.saturating_add(number as u32)).unwrap_or_default())
    }

    /// Numbers in order.
    pub fn numbers(&self, key: Key) -> impl ExactSizeIterator<Item = u64> + use<'a> {
        let (count, first) = self.list(key, Shape::Numbers);
        let graph = self.graph;
        (0..count as usize)
            .map(move |number| graph.number(first.saturating_add(number as u32 * 2)).unwrap_or_default())
    }

    /// (tag, text) pairs in order.
    pub fn tagged(&self, key: Key) -> impl ExactSizeIterator<Item = (u32, &'a str)> + use<'a> {
        let (count, first) = self.list(key, Shape::Tagged);
        let graph = self.graph;
        (0..count as usize).map(move |number| {
            let at = first.saturating_add(number as u32 * 2);
            let tag = word(graph.words, at).unwrap_or_default();
            let text = word(graph.words, at.saturating_add(1)).and_then(|offset| graph.text(offset));
            (tag, text.unwrap_or_default())
        })
    }

    /// Command lines in order.
    pub fn commands(&self, key: Key) -> impl Iterator<Item = Command<'a>> + use<'a> {
        let (count, first) = self.list(key, Shape::Commands);
        let graph = self.graph;
        let mut at = first;
        (0..count).map(move |_| {
            let command = Command { graph, at };
            at = at.saturating_add(3).saturating_add(word(graph.words, at.saturating_add(2)).unwrap_or(0));
            command
        })
    }

    /// The command line of that number.
    pub fn command(&self, key: Key, number: usize) -> Option<Command<'a>> {
        self.commands(key).nth(number)
    }

    /// Checks the row, the order of its keys, and all that its entries point at. The inner error is an unknown key.
    fn check(&self) -> Option<Result<(), u16>> {
        let graph = self.graph;
        graph.text(self.row(0)?)?;
        UnitKind::from_number(self.row(1)?)?;
        let (first, count) = (self.row(2)?, self.row(3)?);
        let mut last = 0;
        for number in 0..count {
            let at = first.checked_add(number.checked_mul(2)?)?;
            let head = word(graph.words, at)?;
            let Some(key) = Key::from_number(u16::try_from(head >> 8).ok()?) else {
                return Some(Err((head >> 8) as u16));
            };
            if head & 0xff != u32::from(key.shape() as u8) || head >> 8 <= last {
                return None;
            }
            last = head >> 8;
            self.check_value(key.shape(), word(graph.words, at.checked_add(1)?)?)?;
        }
        Some(Ok(()))
    }

    fn check_value(&self, shape: Shape, at: u32) -> Option<()> {
        let graph = self.graph;
        let text_at = |at: u32| graph.text(word(graph.words, at)?);
        match shape {
            Shape::Text => {
                graph.text(at)?;
            }
            Shape::Number => {
                graph.number(at)?;
            }
            _ => {
                let count = word(graph.words, at)?;
                let mut next = at.checked_add(1)?;
                for _ in 0..count {
                    match shape {
                        Shape::Texts => {
                            text_at(next)?;
                            next = next.checked_add(1)?;
                        }
                        Shape::Units => {
                            if word(graph.words, next)? >= graph.count {
                                return None;
                            }
                            next = next.checked_add(1)?;
                        }
                        Shape::Numbers => {
                            graph.number(next)?;
                            next = next.checked_add(2)?;
                        }
                        Shape::Tagged => {
                            text_at(next.checked_add(1)?)?;
                            next = next.checked_add(2)?;
                        }
                        _ => {
                            text_at(next.checked_add(1)?)?;
                            let arguments = word(graph.words, next.checked_add(2)?)?;
                            next = next.checked_add(3)?;
                            for _ in 0..arguments {
                                text_at(next)?;
                                next = next.checked_add(1)?;
                            }
                        }
                    }
                }
            }
        }
        Some(())
    }
}

impl<'a> Command<'a> {
    /// A set of `key::command::*`.
    pub fn flags(&self) -> u32 {
        word(self.graph.words, self.at).unwrap_or(0)
    }

    /// The program's absolute path.
    pub fn program(&self) -> &'a CStr {
        let offset = word(self.graph.words, self.at.saturating_add(1));
        offset.and_then(|offset| self.graph.c_text(offset)).unwrap_or_default()
    }

    /// The arguments with `argv[0]`.
    pub fn arguments(&self) -> impl ExactSizeIterator<Item = &'a CStr> + use<'a> {
        let (graph, at) = (self.graph, self.at);
        let count = word(graph.words, at.saturating_add(2)).unwrap_or(0) as usize;
        (0..count).map(move |number| {
            let offset = word(graph.words, at.saturating_add(3).saturating_add(number as u32));
            offset.and_then(|offset| graph.c_text(offset)).unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::builder::{BuildError, CommandLine, GraphBuilder, Settings, Value};
    use super::super::key::{command, flag};
    use super::*;

    fn names(list: &[&str]) -> Value {
        Value::Units(list.iter().map(|name| (*name).to_owned()).collect())
    }

    fn example() -> GraphBuilder {
        let mut builder = GraphBuilder::default();
        let mut target = Settings::new();
        target.insert(Key::Wants, names(&["a.service", "b.service"]));
        target.insert(Key::After, names(&["a.service", "b.service"]));
        builder.add("multi-user.target", target);
        let mut service = Settings::new();
        service.insert(Key::Description, Value::Text("Ä service".into()));
        service.insert(Key::Flags, Value::Number(flag::REMAIN_AFTER_EXIT | flag::TEMPLATE));
        service.insert(Key::After, names(&["b.service"]));
        service.insert(Key::Environment, Value::Texts(vec!["A=1".into(), "B=".into()]));
        service.insert(Key::EnvironmentFiles, Value::Tagged(vec![(1, "/etc/default/a".into())]));
        service.insert(Key::Limits, Value::Numbers(vec![7, 1024, u64::MAX]));
        let line = |flags, words: &[&str]| CommandLine {
            flags,
            program: words[0].into(),
            arguments: words.iter().map(|word| (*word).into()).collect(),
        };
        service.insert(
            Key::ExecStart,
            Value::Commands(vec![
                line(0, &["/bin/a", "x y", ""]),
                line(command::IGNORE_FAILURE, &["/bin/b"]),
            ]),
        );
        builder.add("a.service", service);
        builder.add("b.service", Settings::new());
        builder
    }

    #[test]
    fn all_shapes_read_back() {
        let file = example().build().unwrap();
        let graph = Graph::load(&file).unwrap();
        assert_eq!(
            graph.units().map(|unit| unit.name()).collect::<Vec<_>>(),
            ["b.service", "a.service", "multi-user.target"]
        );
        let unit = graph.find("a.service").unwrap();
        assert_eq!(unit.kind(), UnitKind::Service);
        assert_eq!(unit.text(Key::Description), Some("Ä service"));
        assert!(unit.flag(flag::TEMPLATE) && !unit.flag(flag::DELEGATE));
        assert_eq!(unit.texts(Key::Environment).collect::<Vec<_>>(), ["A=1", "B="]);
        assert_eq!(unit.tagged(Key::EnvironmentFiles).collect::<Vec<_>>(), [(1, "/etc/default/a")]);
        assert_eq!(unit.numbers(Key::Limits).collect::<Vec<_>>(), [7, 1024, u64::MAX]);
        let commands: Vec<_> = unit.commands(Key::ExecStart).collect();
        assert_eq!(commands.len(), 2);
        assert_eq!(commands[0].arguments().collect::<Vec<_>>(), [c"/bin/a", c"x y", c""]);
        assert_eq!((commands[1].flags(), commands[1].program()), (command::IGNORE_FAILURE, c"/bin/b"));
        assert_eq!(graph.find("b.service").unwrap().units(Key::WantedBy).collect::<Vec<_>>(), [2]);
        assert_eq!(graph.find("b.service").unwrap().units(Key::Before).collect::<Vec<_>>(), [1, 2]);
        assert!(graph.find("c.service").is_none());
        assert_eq!(file, example().build().unwrap(), "the same units give the same bytes");
    }

    #[test]
    fn circles_and_unknown_units_are_refused_by_name() {
        let mut builder = example();
        builder.add("b.service", Settings::from([(Key::After, names(&["multi-user.target"]))]));
        let BuildError::Cycle(path) = builder.build().unwrap_err() else { panic!("no cycle") };
        assert_eq!(path.first(), path.last());
        assert!(path.len() >= 3, "{path:?}");
        let mut builder = example();
        builder.add("b.service", Settings::from([(Key::Requires, names(&["gone.service"]))]));
        assert_eq!(
            builder.build().unwrap_err().to_string(),
            "b.service: Requires=gone.service: there is no such unit"
        );
    }

    #[test]
    fn damaged_files_are_refused() {
        let file = example().build().unwrap();
        for length in 0..file.len() {
            assert!(Graph::load(&file[..length]).is_err(), "length {length}");
        }
        for position in 0..file.len() {
            let mut damaged = file.clone();
            damaged[position] ^= 0x41;
            assert!(Graph::load(&damaged).is_err(), "byte {position}");
        }
    }

    /// Damage that carries a right checksum, as only malice makes it: refused or read, never a panic or a wild read.
    #[test]
    fn hostile_files_do_no_harm() {
        let file = example().build().unwrap();
        let mut loaded = 0;
        for position in HEADER_BYTES..file.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut hostile = file.clone();
                hostile[position] = value;
                let sum = checksum(&hostile[..HEADER_BYTES - 8], &hostile[HEADER_BYTES..]);
                hostile[HEADER_BYTES - 8..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
                let Ok(graph) = Graph::load(&hostile) else { continue };
                loaded += 1;
                for unit in graph.units() {
                    for key in unit.keys() {
                        let read = (
                            unit.number(key),
                            unit.text(key),
                            unit.texts(key).count(),
                            unit.numbers(key).count(),
                        );
                        assert!(read.2 + read.3 <= hostile.len());
                        assert!(unit.units(key).all(|index| index < graph.len()));
                        let words: usize =
                            unit.commands(key).map(|command| command.arguments().count()).sum();
                        assert!(words <= hostile.len());
                    }
                }
            }
        }
        assert!(loaded > 0, "the checksum was never right");
    }
}
