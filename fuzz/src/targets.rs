//! What is fuzzed: each target takes any bytes and must come back, quickly and without a panic. Where there is a way back
//! (print what was read and read it again), what comes back must be the same. The fuzzer calls these, and so does the
//! evaluator's test that replays what the fuzzer found.

use evaluator::io::MemoryIo;
use evaluator::trace::Trace;
use evaluator::{Arena, Evaluator, Options, regex::Regex};
use formats::derivation;
use formats::log_record::Records;
use formats::nar::{NarError, Visitor, Writer};
use formats::narinfo::{CacheInfo, NarInfo};
use formats::service_graph::view::Graph;
use formats::stage1::Stage1;
use formats::store_path::StoreDir;
use std::io::Read;
use std::rc::Rc;

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 3] = [("parser", parser), ("regex", regex), ("formats", formats)];

fn evaluator(arena: &Arena) -> Evaluator<'_> {
    let options = Options { pipe_operators: true, max_call_depth: 100, ..Options::default() };
    Evaluator::new(arena, Rc::new(MemoryIo::default()), options)
}

/// A Nix expression: parsed, resolved, printed; an error is rendered.
fn parser(bytes: &[u8]) {
    let arena = Arena::new();
    let mut evaluator = evaluator(&arena);
    match evaluator.parse_to_text(bytes, Some(b"/file.nix"), b"/") {
        Ok(printed) => assert!(!printed.is_empty()),
        Err(error) => drop(error.render(true)),
    }
}

/// A regular expression up to the first newline, then a text.
fn regex(bytes: &[u8]) {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let (pattern, text) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let Ok(regex) = Regex::new(pattern) else { return };
    if let Ok(Some(groups)) = regex.full_match(text) {
        assert_eq!(groups.len(), regex.group_count());
        assert!(groups.into_iter().flatten().all(|range| text.get(range).is_some()));
    }
    // The pieces and what lies between them are the text.
    let Ok(pieces) = regex.split(text) else { return };
    let mut at = 0;
    for piece in pieces {
        if let evaluator::regex::Piece::Text(range) = piece {
            assert!(range.start >= at && range.end <= text.len(), "pieces overlap");
            at = range.end;
        }
    }
    assert_eq!(at, text.len(), "the end is missing");
}

/// One of the formats; the first byte says which.
fn formats(bytes: &[u8]) {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    let store = StoreDir::new("/nix/store");
    match which {
        b'n' => nar(bytes),
        b'd' => {
            if let Ok(read) = derivation::parse(bytes, "name", &store)
                && let Ok(printed) = read.unparse(&store)
                // Nix writes the system as it is: with one of these another one is read back. The store does not take such a text.
                && !read.platform.iter().any(|byte| matches!(byte, b'"' | b'\\'))
            {
                assert_eq!(derivation::parse(&printed, "name", &store).as_ref(), Ok(&read));
            }
        }
        b'i' => {
            if let Ok(read) = NarInfo::parse(&text, &store) {
                let printed = read.print(&store);
                let again = NarInfo::parse(&printed, &store).map(|read| read.print(&store));
                assert_eq!(again.ok().as_deref(), Some(printed.as_str()));
            }
            drop(CacheInfo::parse(&text));
        }
        b'j' => builtin("builtins.fromJSON", bytes, true),
        b't' => builtin("builtins.fromTOML", bytes, false),
        b'e' => drop(Trace::decode(bytes)),
        b'l' => assert!(Records::new(bytes).count() <= bytes.len()),
        b'g' => {
            if let Ok(graph) = Graph::load(bytes) {
                assert_eq!(graph.units().count() as u32, graph.len());
            }
        }
        b's' => drop(Stage1::parse(&text)),
        _ => {}
    }
}

/// What a builtin makes of a text; as JSON it must read back the same.
fn builtin(name: &str, bytes: &[u8], and_back: bool) {
    let arena = Arena::new();
    let mut evaluator = evaluator(&arena);
    let function = evaluator.eval_str(name, b"/").expect("the builtin is there");
    let text = evaluator.make_string(bytes);
    let value = match evaluator.call(function, text) {
        Ok(value) => value,
        Err(error) => return drop(error.render(true)),
    };
    if !and_back {
        return;
    }
    let Ok((json, _)) = evaluator.to_json(value, false) else { return };
    let again = evaluator.make_string(json.as_bytes());
    let again = evaluator.call(function, again).expect("what was printed can be read");
    let (again, _) = evaluator.to_json(again, false).expect("what was read can be printed");
    assert_eq!(json, again);
}

/// An archive; written anew from what was read, it must be the same bytes.
fn nar(bytes: &[u8]) {
    let mut copy = Copy(Some(Writer::new(Vec::new()).expect("memory can be written")));
    let mut rest = bytes;
    if formats::nar::read(&mut rest, &mut copy).is_ok() {
        let written =
            copy.0.take().and_then(|writer| writer.finish().ok()).expect("a whole archive was read");
        assert_eq!(written, &bytes[..bytes.len() - rest.len()]);
    }
}

struct Copy(Option<Writer<Vec<u8>>>);

impl Copy {
    /// Names a node and writes it.
    fn node(
        &mut self,
        name: Option<&[u8]>,
        write: impl FnOnce(&mut Writer<Vec<u8>>) -> Result<(), NarError>,
    ) -> std::io::Result<()> {
        let writer = self.0.as_mut().expect("the writer is there until the end");
        name.map_or(Ok(()), |name| writer.entry(name))
            .and_then(|()| write(writer))
            .map_err(std::io::Error::other)
    }
}

impl Visitor for Copy {
    fn begin_directory(&mut self, name: Option<&[u8]>) -> std::io::Result<()> {
        self.node(name, Writer::begin_directory)
    }

    fn end_directory(&mut self) -> std::io::Result<()> {
        self.node(None, Writer::end_directory)
    }

    fn file(
        &mut self,
        name: Option<&[u8]>,
        executable: bool,
        size: u64,
        contents: &mut dyn Read,
    ) -> std::io::Result<()> {
        self.node(name, |writer| writer.file(executable, size, contents))
    }

    fn symlink(&mut self, name: Option<&[u8]>, target: &[u8]) -> std::io::Result<()> {
        self.node(name, |writer| writer.symlink(target))
    }
}
