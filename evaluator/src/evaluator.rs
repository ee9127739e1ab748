//! The state of an evaluation: the arena, the symbols, the code read so far, the caches.

use crate::arena::Arena;
use crate::code::{Code, Codes, LambdaCode};
use crate::context::Contexts;
use crate::error::{Error, ErrorKind, Eval, What};
use crate::io::EvalIo;
use crate::options::Options;
use crate::parser::{Surroundings, SyntaxError, parse};
use crate::paths::{canonical, dir_name};
use crate::position::{Location, Origin, Pos, Sources, line_and_column};
use crate::resolve::{Resolver, Scopes};
use crate::shapes::Shapes;
use crate::symbol::{Symbol, Symbols};
use crate::value::slot::NUMBER_BITS;
use crate::value::{Env, List, Slot, Str, Value};
use bumpalo::Bump;
use hashbrown::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Counters, for `--stats`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) calls: u64,
    pub(crate) builtin_calls: u64,
    pub(crate) files: u64,
    pub(crate) source_bytes: u64,
    pub(crate) updates: u64,
    pub(crate) forced: u64,
}

/// The memory of syntax trees up to this size is used for the next one.
const KEPT_TREE: usize = 1 << 20;

/// Evaluates the Nix language. Everything it makes lives in the arena that it was given.
pub struct Evaluator<'a> {
    pub(crate) arena: &'a Arena,
    pub(crate) io: Rc<dyn EvalIo>,
    pub(crate) options: Options,
    pub(crate) symbols: Symbols<'a>,
    pub(crate) sources: Sources,
    pub(crate) shapes: Shapes<'a>,
    /// Where strings are put together.
    pub(crate) buffer: Vec<u8>,
    /// And what they depend on.
    pub(crate) context_buffer: crate::context::ContextBuilder,
    /// Where syntax trees live until they are code.
    trees: Bump,
    /// And what is known there while names are looked up.
    scopes: Scopes,
    pub(crate) codes: Codes<'a>,
    /// Where the binding of each of them was written.
    pub(crate) code_places: Vec<Pos>,
    pub(crate) lambdas: Vec<&'a LambdaCode<'a>>,
    pub(crate) globals: HashMap<Symbol, Value<'a>>,
    pub(crate) contexts: Contexts<'a>,
    pub(crate) empty_list: &'a List<'a>,
    pub(crate) empty_string: &'a Str<'a>,
    pub(crate) root: &'a Env<'a>,
    pub(crate) depth: u32,
    pub(crate) stack_limit: usize,
    pub(crate) statistics: Counters,
    /// Set from outside when the evaluation is to end; looked at by every call.
    pub(crate) interrupted: Arc<AtomicBool>,
    /// Where the time goes, if somebody wants to know.
    pub(crate) profile: Option<Box<crate::profile::Profile>>,
    /// The slot whose evaluation turned out to need itself, until the error has passed it.
    pub(crate) cycle: Option<&'a Slot<'a>>,
    /// Files evaluated already, by the resolved path.
    pub(crate) imported: HashMap<Vec<u8>, &'a Slot<'a>>,
    /// Paths copied to the store already.
    pub(crate) copied: HashMap<Vec<u8>, &'a [u8]>,
    pub(crate) regexes: HashMap<Vec<u8>, Rc<crate::regex::Regex>>,
    pub(crate) derivations: crate::builtins::DerivationCache<'a>,
    /// The list of names that `removeAttrs` had last, if it is long, and these names in order.
    pub(crate) removed: Option<(&'a List<'a>, &'a [Symbol])>,
    pub(crate) looked_up: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl std::fmt::Debug for Evaluator<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Evaluator").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<'a> Evaluator<'a> {
    /// An evaluator that touches the world through `io` only.
    pub fn new(arena: &'a Arena, io: Rc<dyn EvalIo>, options: Options) -> Self {
        let root = Env::root(arena);
        let mut evaluator = Self {
            arena,
            io,
            options,
            symbols: Symbols::new(arena),
            sources: Sources::default(),
            shapes: Shapes::new(arena),
            buffer: Vec::new(),
            context_buffer: crate::context::ContextBuilder::default(),
            trees: Bump::new(),
            scopes: Scopes::default(),
            codes: Codes::new(arena),
            code_places: Vec::with_capacity(4096),
            lambdas: Vec::with_capacity(4096),
            globals: HashMap::new(),
            contexts: Contexts::default(),
            empty_list: List::over(arena, &[]),
            empty_string: arena.alloc(Str::new(&[], None)),
            root,
            depth: 0,
            stack_limit: 0,
            statistics: Counters::default(),
            interrupted: Arc::default(),
            profile: None,
            cycle: None,
            imported: HashMap::new(),
            copied: HashMap::new(),
            regexes: HashMap::new(),
            derivations: crate::builtins::DerivationCache::default(),
            removed: None,
            looked_up: HashMap::new(),
        };
        evaluator.measure_stack();
        evaluator.define_globals();
        evaluator
    }

    /// Turns a text into code.
    pub(crate) fn compile(
        &mut self,
        text: &[u8],
        origin: Origin,
        directory: &[u8],
        scope: Option<&[(Symbol, u32)]>,
    ) -> Eval<'a, &'a Code<'a>> {
        let kept = if matches!(origin, Origin::File(_)) { None } else { Some(text.to_vec()) };
        let Some(base) = self.sources.add(origin, text.len(), kept) else {
            return self.fail(
                ErrorKind::Other,
                Pos::NONE,
                "more than four gigabytes of source text have been read",
            );
        };
        // The small trees follow each other in one piece of memory; the memory of a large one goes with it.
        let mut tree = std::mem::take(&mut self.trees);
        let compiled = self.compile_into(text, base, directory, scope, &tree);
        if tree.allocated_bytes() < KEPT_TREE {
            tree.reset();
            self.trees = tree;
        }
        compiled
    }

    fn compile_into(
        &mut self,
        text: &[u8],
        base: u32,
        directory: &[u8],
        scope: Option<&[(Symbol, u32)]>,
        tree: &Bump,
    ) -> Eval<'a, &'a Code<'a>> {
        self.statistics.files += 1;
        self.statistics.source_bytes += text.len() as u64;
        let home = || if self.options.pure { None } else { self.io.env(b"HOME") };
        let surroundings = Surroundings { directory, home: &home, pipes: self.options.pipe_operators };
        let expression = match parse(text, base, surroundings, &mut self.symbols, tree) {
            Ok(outcome) => {
                self.warn_of_old_or(&outcome.old_or, text, base);
                outcome.expression
            }
            Err(error) => return Err(self.syntax_error(&error)),
        };
        self.scopes.clear();
        if let Some(names) = scope {
            self.scopes.enter(names);
        }
        let mut resolver = Resolver {
            arena: self.arena,
            symbols: &self.symbols,
            codes: &mut self.codes,
            code_places: &mut self.code_places,
            lambdas: &mut self.lambdas,
            globals: &self.globals,
            scopes: &mut self.scopes,
        };
        match resolver.code(&expression) {
            Ok(code) => {
                if self.codes.len().max(self.lambdas.len()) < 1 << NUMBER_BITS {
                    return Ok(self.arena.alloc(code));
                }
                let message = "more has been read than 16 million functions and delayed expressions";
                self.fail(ErrorKind::Other, Pos::NONE, message)
            }
            Err(error) => Err(self.unresolved(&error)),
        }
    }

    /// Parses a text and prints the tree.
    pub(crate) fn parsed_text(&mut self, text: &[u8], origin: Origin, directory: &[u8]) -> Eval<'a, Vec<u8>> {
        // The names are resolved as well: what is wrong with them is wrong with the text.
        let tree = Bump::new();
        let kept = Some(text.to_vec());
        let Some(base) = self.sources.add(origin, text.len(), kept) else {
            return self.fail(
                ErrorKind::Other,
                Pos::NONE,
                "more than four gigabytes of source text have been read",
            );
        };
        let home = || self.io.env(b"HOME");
        let surroundings = Surroundings { directory, home: &home, pipes: self.options.pipe_operators };
        let expression = match parse(text, base, surroundings, &mut self.symbols, &tree) {
            Ok(outcome) => {
                self.warn_of_old_or(&outcome.old_or, text, base);
                outcome.expression
            }
            Err(error) => return Err(self.syntax_error(&error)),
        };
        self.scopes.clear();
        let mut resolver = Resolver {
            arena: self.arena,
            symbols: &self.symbols,
            codes: &mut self.codes,
            code_places: &mut self.code_places,
            lambdas: &mut self.lambdas,
            globals: &self.globals,
            scopes: &mut self.scopes,
        };
        if let Err(error) = resolver.code(&expression) {
            return Err(self.unresolved(&error));
        }
        Ok(crate::print_ast::print(&expression, &self.symbols))
    }

    /// Says which uses of `or` will mean something else one day.
    fn warn_of_old_or(&self, places: &[(Pos, Pos)], text: &[u8], base: u32) {
        for (start, end) in places {
            let range = (start.0 - base) as usize..(end.0 - base) as usize;
            let snippet = String::from_utf8_lossy(text.get(range).unwrap_or_default());
            self.io.message(&format!(
                "warning: at {}: This expression uses `or` as an identifier in a way that will change in a future Nix release.\n\
                 Wrap this entire expression in parentheses to preserve its current meaning:\n    ({snippet})\n\
                 Give feedback at https://github.com/NixOS/nix/pull/11121",
                self.show_position(*start)
            ));
        }
    }

    fn syntax_error(&self, error: &SyntaxError) -> Error<'a> {
        let raised = Error::new(self.arena, ErrorKind::Syntax, error.pos, &error.message);
        match error.other {
            Some((pos, what)) => {
                let hint = format!("{what}: {}", self.show_position(pos));
                raised.hint(self.arena, &hint)
            }
            None => raised,
        }
    }

    fn unresolved(&self, error: &SyntaxError) -> Error<'a> {
        let raised = Error::new(self.arena, ErrorKind::UndefinedVariable, error.pos, &error.message);
        match &error.hint {
            Some(hint) => raised.hint(self.arena, hint),
            None => raised,
        }
    }

    /// Compiles and runs a text in the global scope.
    pub(crate) fn eval_text(&mut self, text: &[u8], origin: Origin, directory: &[u8]) -> Eval<'a, Value<'a>> {
        let code = self.compile(text, origin, directory, None)?;
        self.eval(code, self.root)
    }

    /// The value of a file, evaluated once.
    pub(crate) fn import_file(&mut self, path: &[u8], pos: Pos) -> Eval<'a, Value<'a>> {
        let resolved = self.resolve_expression_path(path, pos)?;
        if let Some(slot) = self.imported.get(&resolved) {
            return self.force(slot);
        }
        let slot = Slot::alone(self.arena, Value::Blackhole);
        self.imported.insert(resolved.clone(), slot);
        let result = self.eval_file_at(&resolved, pos);
        match result {
            Ok(value) => slot.set(self.arena, value),
            Err(error) => {
                slot.set(self.arena, Value::Failed(error));
                if error.kind() == ErrorKind::Interrupted {
                    self.imported.remove(&resolved);
                }
            }
        }
        result
    }

    fn eval_file_at(&mut self, path: &[u8], pos: Pos) -> Eval<'a, Value<'a>> {
        let text = self.read_file(path, pos)?;
        let directory = dir_name(path).to_vec();
        let code = self.compile(&text, Origin::File(path.to_vec()), &directory, None)?;
        self.eval(code, self.root).map_err(|error| {
            let path = self.arena.alloc_str(&String::from_utf8_lossy(path));
            error.within(self.arena, What::File(path), Pos::NONE)
        })
    }

    /// Follows links and finds `default.nix` in directories.
    pub(crate) fn resolve_expression_path(&mut self, path: &[u8], pos: Pos) -> Eval<'a, Vec<u8>> {
        let path = canonical(path);
        self.check_access(&path, pos)?;
        let failed = |error: &crate::io::IoError| self.io_error(error, pos);
        // Only a link at the end is followed: `..` in the file means the directory that the path names.
        let mut path = path;
        for _ in 0..1024 {
            if self.io.file_type(&path).map_err(|error| failed(&error))? != Some(crate::io::FileType::Symlink)
            {
                break;
            }
            let target = self.io.read_link(&path).map_err(|error| failed(&error))?;
            let mut joined =
                if target.first() == Some(&b'/') { Vec::new() } else { dir_name(&path).to_vec() };
            joined.push(b'/');
            joined.extend_from_slice(&target);
            path = canonical(&joined);
        }
        if self.io.file_type(&path).map_err(|error| failed(&error))? == Some(crate::io::FileType::Directory) {
            path.extend_from_slice(b"/default.nix");
        }
        Ok(path)
    }

    /// Reads a file through the one door.
    pub(crate) fn read_file(&mut self, path: &[u8], pos: Pos) -> Eval<'a, Vec<u8>> {
        self.check_access(path, pos)?;
        self.io.read_file(path).map_err(|error| self.io_error(&error, pos))
    }

    #[cold]
    pub(crate) fn io_error(&self, error: &crate::io::IoError, pos: Pos) -> Error<'a> {
        let kind = if matches!(error, crate::io::IoError::Mismatch(_)) {
            ErrorKind::Mismatch
        } else {
            ErrorKind::Io
        };
        Error::new(self.arena, kind, pos, &error.to_string())
    }

    /// Refuses paths that pure or restricted evaluation may not read.
    pub(crate) fn check_access(&self, path: &[u8], pos: Pos) -> Eval<'a, ()> {
        if !self.options.pure && !self.options.restricted {
            return Ok(());
        }
        let allowed = self.options.allowed_paths.iter().any(|allowed| crate::paths::is_below(path, allowed))
            || crate::paths::is_below(path, self.io.store_dir().as_bytes());
        if allowed {
            return Ok(());
        }
        let mode = if self.options.pure {
            "pure evaluation mode (use '--impure' to override)"
        } else {
            "restricted mode"
        };
        let message =
            format!("access to absolute path '{}' is forbidden in {mode}", String::from_utf8_lossy(path));
        self.fail(ErrorKind::Restricted, pos, &message)
    }

    /// A position spelled out.
    pub(crate) fn location(&self, pos: Pos) -> Option<Location> {
        let source = self.sources.source_of(pos)?;
        let offset = (pos.0 - source.base) as usize;
        let read;
        let text: &[u8] = match (&source.text, &source.origin) {
            (Some(text), _) => text,
            (None, Origin::File(path)) => {
                read = self.io.read_file(path).unwrap_or_default();
                &read
            }
            _ => &[],
        };
        let file = match &source.origin {
            Origin::File(path) => String::from_utf8_lossy(path).into_owned(),
            Origin::Text => "«string»".to_owned(),
            Origin::Stdin => "«stdin»".to_owned(),
            Origin::Internal(name) => format!("«internal {name}»"),
        };
        let (line, column, source_line) = line_and_column(text, offset);
        Some(Location { file, line, column, source_line })
    }

    /// `file:line:column`, for messages.
    pub(crate) fn show_position(&self, pos: Pos) -> String {
        self.location(pos).map_or_else(
            || "an unknown place".to_owned(),
            |location| format!("{}:{}:{}", location.file, location.line, location.column),
        )
    }

    /// `{ file, line, column }`, or null.
    pub(crate) fn position_value(&mut self, pos: Pos) -> Value<'a> {
        use crate::symbol::Known;
        let file = match self.sources.source_of(pos).map(|source| &source.origin) {
            Some(Origin::File(path)) => path.clone(),
            _ => return Value::Null,
        };
        // Lines are counted when they are asked for: that reads the file once more.
        let place = [Value::Int(i64::from(pos.0))];
        let mut attrs = [
            (Known::FILE, Pos::NONE, self.new_string(&file)),
            (Known::LINE, Pos::NONE, self.apply_later(Value::Builtin(&crate::builtins::LINE), &place)),
            (Known::COLUMN, Pos::NONE, self.apply_later(Value::Builtin(&crate::builtins::COLUMN), &place)),
        ];
        Value::Attrs(crate::attrs::Attrs::from_unsorted(&self.shapes, &mut attrs))
    }

    /// A string without context.
    pub(crate) fn new_string(&self, bytes: &[u8]) -> Value<'a> {
        if bytes.is_empty() {
            return Value::String(self.empty_string);
        }
        let bytes = self.arena.alloc_slice_copy(bytes);
        Value::String(self.arena.alloc(Str::new(bytes, None)))
    }

    /// A path value.
    pub(crate) fn new_path(&self, bytes: &[u8]) -> Value<'a> {
        let bytes = self.arena.alloc_slice_copy(bytes);
        Value::Path(self.arena.alloc(Str::new(bytes, None)))
    }

    /// A list of values.
    pub(crate) fn new_list(&self, values: &[Value<'a>]) -> Value<'a> {
        if values.is_empty() {
            return Value::List(self.empty_list);
        }
        let slot = |index: usize| Slot::new(self.arena, values[index]);
        Value::List(List::filled(self.arena, values.len(), slot))
    }
}
