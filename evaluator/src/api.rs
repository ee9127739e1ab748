//! What a program that uses the evaluator calls. Values stay in the arena; errors stand alone.

use crate::attrs::Attrs;
use crate::coerce::Coercion;
use crate::context::{ContextBuilder, Element};
use crate::diagnostic::EvalError;
use crate::error::{ErrorKind, Eval};
use crate::evaluator::Evaluator;
use crate::paths::canonical;
use crate::position::{Origin, Pos};
use crate::print_value::Style;
use crate::symbol::{Known, Symbol};
use crate::value::{Slot, Value};
use std::collections::BTreeSet;

/// A value: a handle, cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Handle<'a>(pub(crate) Value<'a>);

/// A store object that a string needs, as in `builtins.getContext`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency {
    /// A store path as it is.
    Path(String),
    /// A derivation file and all that it leads to.
    Derivation(String),
    /// An output of a derivation.
    Output {
        /// The derivation's path.
        derivation: String,
        /// The output's name.
        output: String,
    },
}

/// A derivation that a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivationInfo {
    /// The path of the derivation file.
    pub drv_path: String,
    /// Which of its outputs the value stands for.
    pub output: String,
    /// That output's path.
    pub out_path: String,
    /// The derivation's name.
    pub name: String,
}

/// Counters of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Calls of functions.
    pub calls: u64,
    /// Calls of builtins.
    pub builtin_calls: u64,
    /// Evaluations of `//`.
    pub updates: u64,
    /// Values that waited and were needed.
    pub forced: u64,
    /// Source files read.
    pub files: u64,
    /// Bytes of source text read.
    pub source_bytes: u64,
    /// Bytes in the arena.
    pub arena_bytes: u64,
    /// Distinct names.
    pub symbols: u64,
}

/// A result for callers.
pub type Result<T> = std::result::Result<T, EvalError>;

impl<'a> Evaluator<'a> {
    pub(crate) fn outward<T>(&mut self, result: Eval<'a, T>) -> Result<T> {
        self.depth = 0;
        self.cycle = None;
        result.map_err(|error| self.explain(error))
    }

    /// As long as this is set, every evaluation ends with [`crate::ErrorKind::Interrupted`] at its next call. What was
    /// being evaluated then can be asked for again. A signal handler may set it.
    pub fn interrupt_flag(&self) -> std::sync::Arc<std::sync::atomic::AtomicBool> {
        std::sync::Arc::clone(&self.interrupted)
    }

    /// Evaluates a file (or a directory's `default.nix`) given by its absolute path.
    pub fn eval_file(&mut self, path: &[u8]) -> Result<Handle<'a>> {
        self.measure_stack();
        let result = self.import_file(&canonical(path), Pos::NONE);
        self.outward(result.map(Handle))
    }

    /// Evaluates a text; relative paths in it start at `directory`.
    pub fn eval_str(&mut self, text: &str, directory: &[u8]) -> Result<Handle<'a>> {
        self.eval_bytes(text.as_bytes(), false, directory)
    }

    /// Evaluates a text that may be any bytes, from the command line or standard input.
    pub fn eval_bytes(&mut self, text: &[u8], from_stdin: bool, directory: &[u8]) -> Result<Handle<'a>> {
        self.measure_stack();
        let origin = if from_stdin { Origin::Stdin } else { Origin::Text };
        let result = self.eval_text(text, origin, &canonical(directory));
        self.outward(result.map(Handle))
    }

    /// Evaluates a text in which the attributes of a set are variables (the REPL).
    pub fn eval_in_scope(&mut self, text: &str, directory: &[u8], scope: Handle<'a>) -> Result<Handle<'a>> {
        self.measure_stack();
        let result = self.in_scope(text, directory, scope);
        self.outward(result.map(Handle))
    }

    /// The same, evaluated when it is needed; only the syntax is checked now.
    pub fn lazy_in_scope(&mut self, text: &str, directory: &[u8], scope: Handle<'a>) -> Result<Handle<'a>> {
        self.measure_stack();
        let result = self.waiting_in_scope(text, directory, scope);
        self.outward(result.map(Handle))
    }

    fn waiting_in_scope(&mut self, text: &str, directory: &[u8], scope: Handle<'a>) -> Eval<'a, Value<'a>> {
        let attrs = self.expect_attrs(scope.0, Pos::NONE)?;
        let (names, env) = self.scope_of(attrs);
        let code = self.compile(text.as_bytes(), Origin::Text, &canonical(directory), Some(&names))?;
        let number = self.codes.push(*code);
        self.code_places.push(Pos::NONE);
        let thunk = Value::Thunk(number, env);
        Ok(Value::Ref(Slot::alone(self.arena, thunk)))
    }

    fn in_scope(&mut self, text: &str, directory: &[u8], scope: Handle<'a>) -> Eval<'a, Value<'a>> {
        let attrs = self.expect_attrs(scope.0, Pos::NONE)?;
        let (names, env) = self.scope_of(attrs);
        let code = self.compile(text.as_bytes(), Origin::Text, &canonical(directory), Some(&names))?;
        self.eval(code, env)
    }

    /// The syntax tree of a text as `nix-instantiate --parse` prints it.
    pub fn parse_to_text(&mut self, text: &[u8], path: Option<&[u8]>, directory: &[u8]) -> Result<Vec<u8>> {
        let origin = path.map_or(Origin::Stdin, |path| Origin::File(path.to_vec()));
        let result = self.parsed_text(text, origin, &canonical(directory));
        self.outward(result)
    }

    /// Turns a text into code without running it; tells whether it is a program at all.
    pub fn check_syntax(&mut self, text: &str) -> Result<()> {
        let result = self.compile(text.as_bytes(), Origin::Text, b"/", None);
        self.outward(result.map(|_| ()))
    }

    /// A string value.
    pub fn make_string(&self, text: &[u8]) -> Handle<'a> {
        Handle(self.new_string(text))
    }

    /// A set of the given attributes; the last of a name wins.
    pub fn make_attrs(&mut self, attrs: &[(String, Handle<'a>)]) -> Handle<'a> {
        let mut list: Vec<(Symbol, Pos, Value<'a>)> = Vec::new();
        for (name, value) in attrs.iter().rev() {
            let name = self.symbols.intern(name.as_bytes());
            if list.iter().all(|entry| entry.0 != name) {
                list.push((name, Pos::NONE, value.0));
            }
        }
        Handle(Value::Attrs(Attrs::from_unsorted(&self.shapes, &mut list)))
    }

    /// `left // right`.
    pub fn update_attrs(&mut self, left: Handle<'a>, right: Handle<'a>) -> Result<Handle<'a>> {
        let result = self
            .expect_attrs(left.0, Pos::NONE)
            .and_then(|left| Ok((left, self.expect_attrs(right.0, Pos::NONE)?)))
            .map(|(left, right)| Handle(Value::Attrs(Attrs::update(&self.shapes, left, right))));
        self.outward(result)
    }

    /// Calls a function.
    pub fn call(&mut self, function: Handle<'a>, argument: Handle<'a>) -> Result<Handle<'a>> {
        self.measure_stack();
        let result = self.call1(function.0, argument.0, Pos::NONE);
        self.outward(result.map(Handle))
    }

    /// Calls a function whose named arguments all have defaults or are given in `arguments`; any other value is handed back.
    pub fn auto_call(&mut self, function: Handle<'a>, arguments: Handle<'a>) -> Result<Handle<'a>> {
        self.measure_stack();
        let result = self.auto_called(function.0, arguments.0);
        self.outward(result.map(Handle))
    }

    fn auto_called(&mut self, function: Value<'a>, arguments: Value<'a>) -> Eval<'a, Value<'a>> {
        if let Value::Attrs(attrs) = function
            && let Some(functor) = attrs.get(Known::FUNCTOR)
        {
            let functor = self.force(functor)?;
            let called = self.call1(functor, function, Pos::NONE)?;
            return self.auto_called(called, arguments);
        }
        let Value::Lambda(number, _) = function else { return Ok(function) };
        let lambda = self.lambdas[number as usize];
        let Some(formals) = &lambda.formals else { return Ok(function) };
        let given = self.expect_attrs(arguments, Pos::NONE)?;
        let mut passed: Vec<(Symbol, Pos, Value<'a>)> = Vec::new();
        if formals.ellipsis {
            passed.extend(given.iter().map(|attr| (attr.name, attr.pos, crate::attrs::share(attr.slot))));
        } else {
            for formal in formals.list {
                match given.get_attr(formal.name) {
                    Some(attr) => passed.push((attr.name, attr.pos, crate::attrs::share(attr.slot))),
                    None if formal.default.is_some() => {}
                    None => {
                        let message = format!(
                            "cannot evaluate a function that has an argument without a value ('{}')",
                            self.symbols.show(formal.name)
                        );
                        let error =
                            crate::error::Error::new(self.arena, ErrorKind::Type, formal.pos, &message);
                        let hint = "give one with --arg or --argstr";
                        return Err(error.hint(self.arena, hint));
                    }
                }
            }
        }
        let argument = Value::Attrs(Attrs::from_sorted(&self.shapes, &passed));
        self.call1(function, argument, Pos::NONE)
    }

    /// Follows an attribute path such as `a.b."c.d".0`, calling functions on the way as [`Self::auto_call`] does.
    pub fn select(&mut self, value: Handle<'a>, path: &str, arguments: Handle<'a>) -> Result<Handle<'a>> {
        self.measure_stack();
        let result = self.selected(value.0, path, arguments.0);
        self.outward(result.map(Handle))
    }

    fn selected(&mut self, value: Value<'a>, path: &str, arguments: Value<'a>) -> Eval<'a, Value<'a>> {
        let mut value = value;
        let steps = split_path(path).or_else(|message| self.fail(ErrorKind::Other, Pos::NONE, &message))?;
        for step in steps {
            value = self.auto_called(value, arguments)?;
            value = match (value, step.parse::<usize>()) {
                (Value::List(list), Ok(index)) => {
                    if let Some(slot) = list.items().get(index) {
                        self.force(slot)?
                    } else {
                        let message =
                            format!("list index {index} in selection path '{path}' is out of range");
                        return self.fail(ErrorKind::MissingAttribute, Pos::NONE, &message);
                    }
                }
                (Value::Attrs(attrs), _) => {
                    let name = self.symbols.intern(step.as_bytes());
                    if let Some(slot) = attrs.get(name) {
                        self.force(slot)?
                    } else {
                        let error = self.missing_attribute(attrs, name, Pos::NONE);
                        let message = format!("attribute '{step}' in selection path '{path}' not found");
                        let made = crate::error::Error::new(
                            self.arena,
                            ErrorKind::MissingAttribute,
                            Pos::NONE,
                            &message,
                        );
                        return Err(match error.0.cause.hint {
                            Some(hint) => made.hint(self.arena, hint),
                            None => made,
                        });
                    }
                }
                (other, _) => {
                    let message = format!(
                        "the value before '{step}' in selection path '{path}' should be a set but is {}",
                        other.describe_type()
                    );
                    return self.fail(ErrorKind::Type, Pos::NONE, &message);
                }
            };
        }
        Ok(value)
    }

    /// Evaluates everything in a value.
    pub fn force_deep_value(&mut self, value: Handle<'a>) -> Result<()> {
        self.measure_stack();
        let result = self.force_everything(value.0, Pos::NONE);
        self.outward(result)
    }

    /// The value as JSON with what it depends on; everything in it is evaluated, paths are copied to the store with `copy`.
    pub fn to_json(&mut self, value: Handle<'a>, copy: bool) -> Result<(String, BTreeSet<Dependency>)> {
        self.measure_stack();
        let mut text = Vec::new();
        let mut context = ContextBuilder::default();
        let result = self.write_json(value.0, Pos::NONE, copy, &mut text, &mut context);
        self.outward(result)?;
        let dependencies = self.dependencies(&context);
        Ok((String::from_utf8_lossy(&text).into_owned(), dependencies))
    }

    /// The value as XML.
    pub fn to_xml(&mut self, value: Handle<'a>, strict: bool, locations: bool) -> Result<Vec<u8>> {
        self.measure_stack();
        let mut context = ContextBuilder::default();
        let result = self.write_xml(value.0, strict, locations, &mut context, Pos::NONE);
        self.outward(result)
    }

    /// The value coerced to a string as in an interpolation, with what it depends on.
    pub fn coerce_to_string(&mut self, value: Handle<'a>) -> Result<(Vec<u8>, BTreeSet<Dependency>)> {
        self.measure_stack();
        let mut text = Vec::new();
        let mut context = ContextBuilder::default();
        let result = self.coerce_into(value.0, Coercion::INTERPOLATION, Pos::NONE, &mut text, &mut context);
        self.outward(result)?;
        let dependencies = self.dependencies(&context);
        Ok((text, dependencies))
    }

    /// The text of a string value, exactly.
    pub fn as_string(&self, value: Handle<'a>) -> Option<&'a [u8]> {
        match value.0 {
            Value::String(string) => Some(string.bytes()),
            _ => None,
        }
    }

    /// The names of a set's attributes, sorted; `None` if the value is no set.
    pub fn attribute_names(&self, value: Handle<'a>) -> Option<Vec<String>> {
        match value.0 {
            Value::Attrs(attrs) => {
                Some(self.by_name(attrs).iter().map(|attr| self.symbols.show(attr.name)).collect())
            }
            _ => None,
        }
    }

    /// The attribute of a set, evaluated; `None` if there is none.
    pub fn attribute(&mut self, value: Handle<'a>, name: &str) -> Result<Option<Handle<'a>>> {
        self.measure_stack();
        let Value::Attrs(attrs) = value.0 else { return Ok(None) };
        let Some(slot) = self.symbols.find(name.as_bytes()).and_then(|name| attrs.get(name)) else {
            return Ok(None);
        };
        let result = self.force(slot);
        self.outward(result.map(|value| Some(Handle(value))))
    }

    /// A list's items, unevaluated until asked for; `None` if the value is no list.
    pub fn items(&mut self, value: Handle<'a>) -> Result<Option<Vec<Handle<'a>>>> {
        self.measure_stack();
        let Value::List(list) = value.0 else { return Ok(None) };
        let result =
            list.items().iter().map(|slot| self.force(slot).map(Handle)).collect::<Eval<'a, Vec<_>>>();
        self.outward(result.map(Some))
    }

    /// Whether the value is `true`.
    pub fn is_true(&self, value: Handle<'a>) -> bool {
        matches!(value.0, Value::Bool(true))
    }

    /// The name of the value's type, as `builtins.typeOf`.
    pub fn type_of(&self, value: Handle<'a>) -> &'static str {
        value.0.type_name()
    }

    /// The name of a function's argument; none if it takes a set apart, or is no function written in Nix.
    pub fn argument_name(&self, function: Handle<'a>) -> Option<String> {
        let Value::Lambda(number, _) = function.0 else { return None };
        let lambda = self.lambdas[number as usize];
        let name = lambda.argument.filter(|_| lambda.formals.is_none())?;
        Some(self.symbols.show(name))
    }

    /// The value as text; what is not evaluated is printed as such.
    pub fn print(&self, value: Handle<'a>, style: Style) -> Vec<u8> {
        self.print_value(value.0, style)
    }

    /// The derivation that a value is, if it is one.
    pub fn derivation_info(&mut self, value: Handle<'a>) -> Result<Option<DerivationInfo>> {
        self.measure_stack();
        let result = self.derivation_of(value.0);
        self.outward(result)
    }

    fn derivation_of(&mut self, value: Value<'a>) -> Eval<'a, Option<DerivationInfo>> {
        if !self.is_derivation(value)? {
            return Ok(None);
        }
        let attrs = self.expect_attrs(value, Pos::NONE)?;
        let text = |evaluator: &mut Self, name: Symbol| -> Eval<'a, String> {
            let Some(slot) = attrs.get(name) else { return Ok(String::new()) };
            let value = evaluator.force(slot)?;
            let text = evaluator.coerce(value, Coercion::PLAIN, Pos::NONE)?;
            Ok(String::from_utf8_lossy(text.bytes()).into_owned())
        };
        let drv_path = text(self, Known::DRV_PATH)?;
        let output = text(self, Known::OUTPUT_NAME)?;
        let out_path = text(self, Known::OUT_PATH)?;
        let name = text(self, Known::NAME)?;
        let output = if output.is_empty() { "out".to_owned() } else { output };
        Ok(Some(DerivationInfo { drv_path, output, out_path, name }))
    }

    fn dependencies(&self, context: &ContextBuilder) -> BTreeSet<Dependency> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.elements_of(&context.elements)
            .into_iter()
            .map(|element| match element {
                Element::Opaque(path) => Dependency::Path(text(path)),
                Element::DrvDeep(path) => Dependency::Derivation(text(path)),
                Element::Built { drv, output } => {
                    Dependency::Output { derivation: text(drv), output: text(output) }
                }
            })
            .collect()
    }

    /// Looks a name up in the search path, as `<name>` does.
    pub fn find_in_search_path(&mut self, name: &str) -> Result<Vec<u8>> {
        let entries = self.options.search_path.clone();
        let result = self.look_up(&entries, name.as_bytes(), Pos::NONE);
        self.outward(result)
    }

    /// What the evaluation has done so far.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            calls: self.statistics.calls,
            builtin_calls: self.statistics.builtin_calls,
            updates: self.statistics.updates,
            forced: self.statistics.forced,
            files: self.statistics.files,
            source_bytes: self.statistics.source_bytes,
            arena_bytes: self.arena.bytes() as u64,
            symbols: self.symbols.len() as u64,
        }
    }

    /// Forgets the values of files and what the search path led to, so that changed files are read again.
    pub fn forget_files(&mut self) {
        self.imported.clear();
        self.looked_up.clear();
        self.copied.clear();
    }

    /// An empty set.
    pub fn make_empty_attrs(&self) -> Handle<'a> {
        Handle(self.empty_attrs())
    }

    /// A value that imports a file when it is needed, for building arguments.
    pub fn make_lazy_text(&mut self, text: &str, directory: &[u8]) -> Result<Handle<'a>> {
        let compiled = self.compile(text.as_bytes(), Origin::Text, &canonical(directory), None);
        let code = self.outward(compiled)?;
        let number = self.codes.push(*code);
        self.code_places.push(Pos::NONE);
        let thunk = Value::Thunk(number, self.root);
        Ok(Handle(Value::Ref(Slot::alone(self.arena, thunk))))
    }
}

/// The steps of an attribute path; a step in quotes may hold dots.
fn split_path(path: &str) -> std::result::Result<Vec<String>, String> {
    let mut steps = Vec::new();
    let mut step = String::new();
    let mut quoted = false;
    if path.is_empty() {
        return Ok(steps);
    }
    for character in path.chars() {
        match character {
            '"' => quoted = !quoted,
            '.' if !quoted => steps.push(std::mem::take(&mut step)),
            other => step.push(other),
        }
    }
    if quoted {
        return Err(format!("missing closing quote in selection path '{path}'"));
    }
    steps.push(step);
    if steps.iter().any(String::is_empty) {
        return Err(format!("empty attribute name in selection path '{path}'"));
    }
    Ok(steps)
}
