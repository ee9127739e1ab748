//! `derivationStrict`: from attributes to a store derivation. Nix manual, "Derivations" and "Advanced attributes"; how
//! the outputs get their paths is in `formats::derivation`.

mod json_by_hand;
mod made;

use super::{Builtin, builtin};
use crate::attrs::Attrs;
use crate::coerce::Coercion;
use crate::context::{ContextBuilder, Element};
use crate::error::{ErrorKind, Eval, What};
use crate::evaluator::Evaluator;
use crate::position::Pos;
use crate::symbol::{Known, Symbol};
use crate::value::Value;
use formats::content_address::{ContentAddress, Method};
use formats::derivation::{Derivation, Draft, Finished, ModuloHash, Output};
use formats::hash::{Algorithm, Hash};
use formats::store_path::{StoreDir, StorePath, StorePathError, downstream_placeholder};
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

pub(super) const TABLE: &[Builtin] = &[builtin(
    "derivationStrict",
    1,
    1,
    strict,
    "attrs: makes a store derivation; derivation is what people call",
)];

/// What is known of derivations made or read so far.
#[derive(Debug, Default)]
pub(crate) struct DerivationCache<'a> {
    made: made::Made<'a>,
    hashes: HashMap<StorePath, Rc<ModuloHash>>,
    /// Those that had to be read.
    read: HashMap<StorePath, Rc<Derivation>>,
}

/// An error on the way to a hash.
enum HashFailure {
    Path(StorePathError),
    Other(String),
}

impl From<StorePathError> for HashFailure {
    fn from(error: StorePathError) -> Self {
        Self::Path(error)
    }
}

/// The attributes that are not plain variables.
#[expect(clippy::struct_excessive_bools, reason = "each is an attribute of its own")]
struct Special<'a> {
    structured: bool,
    ignore_nulls: bool,
    content_addressed: bool,
    impure: bool,
    output_hash: Option<&'a [u8]>,
    output_hash_algo: Option<&'a [u8]>,
    output_hash_mode: Option<Method>,
    outputs: Vec<String>,
    /// With `__structuredAttrs`: the attributes as JSON, one behind the other.
    json: Vec<u8>,
    platform: Vec<u8>,
    builder: Vec<u8>,
    /// The texts of arguments and variables, one behind the other.
    texts: Vec<u8>,
    args: Vec<Range<usize>>,
    env: Vec<(&'a [u8], Range<usize>)>,
}

/// What a derivation needs: outputs of other derivations, and store objects.
#[derive(Default)]
struct Inputs<'a> {
    drvs: Vec<(StorePath, &'a str)>,
    sources: Vec<StorePath>,
}

fn strict<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let attrs = e.expect_attrs(args[0], pos)?;
    let slot = e.required(attrs, Known::NAME, pos)?;
    let value = e.force(slot)?;
    let name = String::from_utf8_lossy(e.expect_plain(value, pos)?).into_owned();
    let made = make(e, attrs, &name, pos);
    made.map_err(|error| {
        let pos = attrs.get_attr(Known::NAME).map_or(pos, |attr| attr.pos);
        let name = e.arena.alloc_str(&name);
        error.within(e.arena, What::Derivation { name, attribute: None }, pos)
    })
}

fn make<'a>(e: &mut Evaluator<'a>, attrs: &'a Attrs<'a>, name: &str, pos: Pos) -> Eval<'a, Value<'a>> {
    if let Err(error) = formats::store_path::check_name(name) {
        return e.fail(ErrorKind::Other, pos, &format!("invalid derivation name: {error}"));
    }
    let mut special = Special {
        structured: flag(e, attrs, Known::STRUCTURED_ATTRS)?,
        ignore_nulls: flag(e, attrs, Known::IGNORE_NULLS)?,
        content_addressed: false,
        impure: false,
        output_hash: None,
        output_hash_algo: None,
        output_hash_mode: None,
        outputs: vec!["out".to_owned()],
        json: Vec::new(),
        platform: Vec::new(),
        builder: Vec::new(),
        texts: Vec::with_capacity(4096),
        args: Vec::new(),
        env: Vec::with_capacity(48),
    };
    let mut context = ContextBuilder::default();
    for attr in e.by_name(attrs) {
        if attr.name == Known::IGNORE_NULLS {
            continue;
        }
        let result = attribute(e, name, &mut special, attr.name, attr.slot, attr.pos, &mut context);
        result.map_err(|error| {
            let name = e.arena.alloc_str(name);
            error.within(e.arena, What::Derivation { name, attribute: Some(attr.name) }, attr.pos)
        })?;
    }
    if special.structured {
        if special.json.is_empty() {
            special.json.push(b'{');
        }
        special.json.push(b'}');
        let start = special.texts.len();
        special.texts.append(&mut special.json);
        special.env.push((b"__json", start..special.texts.len()));
    }
    if special.builder.is_empty() {
        return e.fail(ErrorKind::Other, pos, "required attribute 'builder' missing");
    }
    if special.platform.is_empty() {
        return e.fail(ErrorKind::Other, pos, "required attribute 'system' missing");
    }
    if name.as_bytes().ends_with(b".drv")
        && !(special.output_hash_mode == Some(Method::Text) && special.outputs == ["out"])
    {
        let message =
            "derivation names are allowed to end in '.drv' only if they produce a single derivation file";
        return e.fail(ErrorKind::Other, pos, message);
    }
    context.normalize();
    let print = e.derivations.made.print(name, &special, &context);
    if let Some(attrs) = made::again(e, print) {
        return Ok(Value::Attrs(attrs));
    }
    let inputs = inputs(e, &context, pos)?;
    let outputs = outputs(e, &special, pos)?;
    let text = |range: &Range<usize>| special.texts.get(range.clone()).unwrap_or_default();
    let draft = Draft {
        name,
        outputs,
        input_drvs: inputs.drvs,
        input_srcs: inputs.sources,
        platform: &special.platform,
        builder: &special.builder,
        args: special.args.iter().map(text).collect(),
        env: special.env.iter().map(|(key, value)| (*key, text(value))).collect(),
    };
    let attrs = finish(e, draft, pos)?;
    // An empty hash is warned of each time.
    if special.output_hash.is_none_or(|hash| !hash.is_empty()) {
        e.derivations.made.insert(print, attrs);
    }
    Ok(Value::Attrs(attrs))
}

fn flag<'a>(e: &mut Evaluator<'a>, attrs: &'a Attrs<'a>, name: Symbol) -> Eval<'a, bool> {
    match attrs.get_attr(name) {
        Some(attr) => {
            let value = e.force(attr.slot)?;
            e.expect_bool(value, attr.pos)
        }
        None => Ok(false),
    }
}

/// Takes one attribute into the derivation.
fn attribute<'a>(
    e: &mut Evaluator<'a>,
    derivation: &str,
    special: &mut Special<'a>,
    name: Symbol,
    slot: &'a crate::value::Slot<'a>,
    pos: Pos,
    context: &mut ContextBuilder,
) -> Eval<'a, ()> {
    let value = e.force(slot)?;
    if special.ignore_nulls && matches!(value, Value::Null) {
        return Ok(());
    }
    match name {
        Known::CONTENT_ADDRESSED => {
            special.content_addressed = e.expect_bool(value, pos)?;
            if special.content_addressed {
                return e.require_feature("ca-derivations", pos);
            }
        }
        Known::IMPURE => {
            special.impure = e.expect_bool(value, pos)?;
            if special.impure {
                return e.require_feature("impure-derivations", pos);
            }
        }
        Known::ARGS => {
            for item in e.expect_list(value, pos)?.items() {
                let value = e.force(item)?;
                let start = special.texts.len();
                e.coerce_into(value, Coercion::ENVIRONMENT, pos, &mut special.texts, context)?;
                special.args.push(start..special.texts.len());
            }
            return Ok(());
        }
        _ => {}
    }
    if special.structured {
        return structured_attribute(e, derivation, special, name, value, pos, context);
    }
    let start = special.texts.len();
    e.coerce_into(value, Coercion::ENVIRONMENT, pos, &mut special.texts, context)?;
    let range = start..special.texts.len();
    let text = special.texts.get(range.clone()).unwrap_or_default();
    match name {
        Known::BUILDER => special.builder = text.to_vec(),
        Known::SYSTEM => special.platform = text.to_vec(),
        Known::OUTPUT_HASH => special.output_hash = Some(e.arena.alloc_slice_copy(text)),
        Known::OUTPUT_HASH_ALGO => special.output_hash_algo = Some(e.arena.alloc_slice_copy(text)),
        Known::OUTPUT_HASH_MODE => special.output_hash_mode = Some(hash_mode(e, text, pos)?),
        Known::OUTPUTS => {
            let text = String::from_utf8_lossy(text);
            special.outputs = text.split_ascii_whitespace().map(str::to_owned).collect();
            check_outputs(e, &special.outputs, pos)?;
        }
        _ if e.symbols.text(name) == b"__json" => {
            let written = json_by_hand::rewrite(e, derivation, text, pos)?;
            special.texts.truncate(start);
            special.texts.extend_from_slice(&written);
            special.env.push((e.symbols.text(name), start..special.texts.len()));
            return Ok(());
        }
        _ => {}
    }
    special.env.push((e.symbols.text(name), range));
    Ok(())
}

/// What `outputChecks` replaces when attributes are structured.
const IGNORED_WHEN_STRUCTURED: [&str; 6] = [
    "allowedReferences",
    "allowedRequisites",
    "disallowedReferences",
    "disallowedRequisites",
    "maxSize",
    "maxClosureSize",
];

/// The same with `__structuredAttrs`: everything goes into one JSON text.
fn structured_attribute<'a>(
    e: &mut Evaluator<'a>,
    derivation: &str,
    special: &mut Special<'a>,
    name: Symbol,
    value: Value<'a>,
    pos: Pos,
    context: &mut ContextBuilder,
) -> Eval<'a, ()> {
    if name == Known::STRUCTURED_ATTRS {
        return Ok(());
    }
    let text = e.symbols.text(name);
    if IGNORED_WHEN_STRUCTURED.iter().any(|ignored| ignored.as_bytes() == text) {
        let ignored = String::from_utf8_lossy(text);
        e.io.message(&format!(
            "warning: In a derivation named '{derivation}', 'structuredAttrs' disables the effect of the derivation attribute \
             '{ignored}'; use 'outputChecks.<output>.{ignored}' instead"
        ));
    }
    // The attributes come in the order of their names, which is the order of the text.
    if special.json.is_empty() {
        special.json.reserve(4096);
    }
    special.json.push(if special.json.is_empty() { b'{' } else { b',' });
    json_name(text, &mut special.json);
    e.write_json(value, pos, true, &mut special.json, context)?;
    match name {
        Known::BUILDER => {
            special.builder = e.expect_string_value(value, pos, context)?;
        }
        Known::SYSTEM => special.platform = e.expect_plain(value, pos)?.to_vec(),
        Known::OUTPUT_HASH => special.output_hash = Some(e.expect_plain(value, pos)?),
        Known::OUTPUT_HASH_ALGO => {
            special.output_hash_algo = match value {
                Value::Null => None,
                value => Some(e.expect_plain(value, pos)?),
            }
        }
        Known::OUTPUT_HASH_MODE => {
            let text = e.expect_plain(value, pos)?;
            special.output_hash_mode = Some(hash_mode(e, text, pos)?);
        }
        Known::OUTPUTS => {
            special.outputs.clear();
            for item in e.expect_list(value, pos)?.items() {
                let value = e.force(item)?;
                special.outputs.push(String::from_utf8_lossy(e.expect_plain(value, pos)?).into_owned());
            }
            check_outputs(e, &special.outputs, pos)?;
        }
        _ => {}
    }
    Ok(())
}

impl<'a> Evaluator<'a> {
    /// Fails unless that experimental feature of Nix's is on.
    fn require_feature(&self, feature: &str, pos: Pos) -> Eval<'a, ()> {
        if self.options.features.contains(feature) {
            return Ok(());
        }
        let message = format!(
            "experimental Nix feature '{feature}' is disabled; add '--extra-experimental-features {feature}' to enable it"
        );
        self.fail(ErrorKind::Other, pos, &message)
    }

    /// A value coerced to a string, with its context.
    fn expect_string_value(
        &mut self,
        value: Value<'a>,
        pos: Pos,
        context: &mut ContextBuilder,
    ) -> Eval<'a, Vec<u8>> {
        let mut text = Vec::new();
        self.coerce_into(value, Coercion::ENVIRONMENT, pos, &mut text, context)?;
        Ok(text)
    }
}

/// `"name":`, as Nix writes it.
fn json_name(name: &[u8], json: &mut Vec<u8>) {
    json.push(b'"');
    if name.iter().all(|&byte| byte.is_ascii() && !matches!(byte, b'"' | b'\\')) {
        json.extend_from_slice(name);
    } else {
        let name = String::from_utf8_lossy(name).replace('\\', "\\\\").replace('"', "\\\"");
        json.extend_from_slice(name.as_bytes());
    }
    json.extend_from_slice(b"\":");
}

fn hash_mode<'a>(e: &Evaluator<'a>, text: &[u8], pos: Pos) -> Eval<'a, Method> {
    match text {
        b"flat" => Ok(Method::Flat),
        b"recursive" | b"nar" => Ok(Method::Recursive),
        b"text" => e.require_feature("dynamic-derivations", pos).map(|()| Method::Text),
        b"git" => {
            let message = "'outputHashMode = \"git\"' needs Nix's experimental feature 'git-hashing', which Firn does not have";
            e.fail(ErrorKind::Other, pos, message)
        }
        other => {
            let message =
                format!("invalid value '{}' for 'outputHashMode' attribute", String::from_utf8_lossy(other));
            e.fail(ErrorKind::Other, pos, &message)
        }
    }
}

fn check_outputs<'a>(e: &Evaluator<'a>, outputs: &[String], pos: Pos) -> Eval<'a, ()> {
    let mut seen = BTreeSet::new();
    for output in outputs {
        if !seen.insert(output) {
            return e.fail(ErrorKind::Other, pos, &format!("duplicate derivation output '{output}'"));
        }
        // The set that `derivation` makes has the path of the derivation under that name.
        if output == "drvPath" {
            return e.fail(ErrorKind::Other, pos, "invalid derivation output name 'drvPath'");
        }
    }
    if outputs.is_empty() {
        return e.fail(ErrorKind::Other, pos, "derivation cannot have an empty set of outputs");
    }
    Ok(())
}

/// Sorts the context of all attributes, in order and without duplicates, into the kinds of inputs.
fn inputs<'a>(e: &mut Evaluator<'a>, context: &ContextBuilder, pos: Pos) -> Eval<'a, Inputs<'a>> {
    let mut inputs = Inputs::default();
    for &number in &context.elements {
        let (element, path) = e.context_object(number, pos)?;
        match element {
            Element::Opaque(_) => inputs.sources.push(path),
            Element::Built { output, .. } => inputs.drvs.push((path, output_name(e, output))),
            Element::DrvDeep(_) => closure(e, &mut inputs, path, pos)?,
        }
    }
    Ok(inputs)
}

fn output_name<'a>(e: &Evaluator<'a>, name: &'a [u8]) -> &'a str {
    std::str::from_utf8(name).unwrap_or_else(|_| e.arena.alloc_str(&String::from_utf8_lossy(name)))
}

/// Everything that a derivation file leads to: sources, and all outputs of all derivations.
fn closure<'a>(e: &mut Evaluator<'a>, inputs: &mut Inputs<'a>, path: StorePath, pos: Pos) -> Eval<'a, ()> {
    let mut seen = BTreeSet::new();
    let mut queue = vec![path];
    while let Some(path) = queue.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        inputs.sources.push(path.clone());
        if path.is_derivation() {
            let inner = known_derivation(e, &path).or_else(|error| e.fail(ErrorKind::Other, pos, &error))?;
            for output in inner.outputs.keys() {
                let output: &'a str = e.arena.alloc_str(output);
                inputs.drvs.push((path.clone(), output));
            }
            queue.extend(inner.references());
        } else {
            let io = Rc::clone(&e.io);
            let references = io.references(&path).map_err(|error| e.io_error(&error, pos))?;
            queue.extend(references.into_iter().flatten());
        }
    }
    Ok(())
}

/// A derivation of the store: one made here, or read.
fn known_derivation(e: &mut Evaluator<'_>, path: &StorePath) -> Result<Rc<Derivation>, String> {
    if let Some(known) = e.derivations.read.get(path) {
        return Ok(Rc::clone(known));
    }
    let store = StoreDir::new(e.io.store_dir());
    let printed = store.print(path);
    let text = e.io.read_file(printed.as_bytes()).map_err(|error| error.to_string())?;
    let name = path.name().strip_suffix(".drv").unwrap_or(path.name());
    let derivation = formats::derivation::parse(&text, name, &store)
        .map_err(|error| format!("error parsing derivation '{printed}': {error}"))?;
    let derivation = Rc::new(derivation);
    e.derivations.read.insert(path.clone(), Rc::clone(&derivation));
    Ok(derivation)
}

/// The memoised hash of a derivation as its users see it.
fn hash_of(e: &mut Evaluator<'_>, store: &StoreDir, path: &StorePath) -> Result<Rc<ModuloHash>, HashFailure> {
    if let Some(hash) = e.derivations.hashes.get(path) {
        return Ok(Rc::clone(hash));
    }
    let derivation = known_derivation(e, path).map_err(HashFailure::Other)?;
    let hash = stacker::maybe_grow(64 * 1024, 1024 * 1024, || {
        derivation
            .hash_modulo(store, &mut |input: &StorePath| hash_of(e, store, input).map(|hash| (*hash).clone()))
    })
    .map(Rc::new)?;
    e.derivations.hashes.insert(path.clone(), Rc::clone(&hash));
    Ok(hash)
}

/// The outputs, as far as they are known before anything is computed.
fn outputs<'a>(e: &mut Evaluator<'a>, special: &Special<'a>, pos: Pos) -> Eval<'a, BTreeMap<String, Output>> {
    let mut outputs = BTreeMap::new();
    if let Some(text) = special.output_hash {
        if special.outputs != ["out"] {
            let message = "multiple outputs are not supported in fixed-output derivations";
            return e.fail(ErrorKind::Other, pos, message);
        }
        // A name that is none counts as not given, as in Nix: the hash then has to say what it is.
        let algorithm = special.output_hash_algo.and_then(|name| String::from_utf8_lossy(name).parse().ok());
        let text = String::from_utf8_lossy(text).into_owned();
        let hash = match (text.is_empty(), algorithm) {
            (true, Some(algorithm)) => {
                let zero = Hash::zero(algorithm);
                e.io.message(&format!("warning: found empty hash, assuming '{}'", zero.sri()));
                zero
            }
            (true, None) => {
                return e.fail(ErrorKind::Other, pos, "empty hash requires explicit hash algorithm");
            }
            _ => match Hash::parse_any(&text, algorithm) {
                Ok(hash) => hash,
                Err(error) => return e.fail(ErrorKind::Other, pos, &error.to_string()),
            },
        };
        let address = ContentAddress { method: special.output_hash_mode.unwrap_or(Method::Flat), hash };
        outputs.insert("out".to_owned(), Output::Fixed(address));
    } else {
        let kind = open_output(e, special, pos)?;
        for output in &special.outputs {
            outputs.insert(output.clone(), kind.clone());
        }
    }
    Ok(outputs)
}

/// What an output without a given hash is.
fn open_output<'a>(e: &Evaluator<'a>, special: &Special<'a>, pos: Pos) -> Eval<'a, Output> {
    if !special.content_addressed && !special.impure {
        return Ok(Output::Deferred);
    }
    if special.content_addressed && special.impure {
        return e.fail(ErrorKind::Other, pos, "derivation cannot be both content-addressed and impure");
    }
    let algorithm = special.output_hash_algo.and_then(|name| String::from_utf8_lossy(name).parse().ok());
    let algorithm = algorithm.unwrap_or(Algorithm::Sha256);
    let method = special.output_hash_mode.unwrap_or(Method::Recursive);
    Ok(if special.impure {
        Output::Impure { method, algorithm }
    } else {
        Output::Floating { method, algorithm }
    })
}

/// Enters the derivation in the store and says where it and its outputs are.
fn finish<'a>(e: &mut Evaluator<'a>, draft: Draft<'_>, pos: Pos) -> Eval<'a, &'a Attrs<'a>> {
    let store = StoreDir::new(e.io.store_dir());
    let name = format!("{}.drv", draft.name);
    let finished: Finished = match draft.finish(&store, &mut |path: &StorePath| hash_of(e, &store, path)) {
        Ok(finished) => finished,
        Err(HashFailure::Path(error)) => return e.fail(ErrorKind::Other, pos, &error.to_string()),
        Err(HashFailure::Other(message)) => return e.fail(ErrorKind::Other, pos, &message),
    };
    let io = Rc::clone(&e.io);
    let path =
        io.add_text(&name, &finished.text, &finished.references).map_err(|error| e.io_error(&error, pos))?;
    // The hash is what its users need; the rest is in the store should anybody ask.
    e.derivations.hashes.entry(path.clone()).or_insert(Rc::new(finished.hash));
    let mut texts = finished.output_texts;
    for (output, text) in &mut texts {
        if finished.outputs.get(output).is_some_and(|kind| !kind.has_path()) {
            *text = downstream_placeholder(&path, output);
        }
    }
    Ok(result(e, &store.print(&path), &texts))
}

/// `{ drvPath, out, … }`.
fn result<'a>(e: &mut Evaluator<'a>, printed: &str, outputs: &BTreeMap<String, String>) -> &'a Attrs<'a> {
    let printed = printed.as_bytes();
    let drv_path = e.string_needing(printed, Element::DrvDeep(printed));
    let mut attrs = vec![(Known::DRV_PATH, Pos::NONE, drv_path)];
    for (output, text) in outputs {
        let element = Element::Built { drv: printed, output: output.as_bytes() };
        let value = e.string_needing(text.as_bytes(), element);
        let name = e.symbols.intern(output.as_bytes());
        attrs.push((name, Pos::NONE, value));
    }
    Attrs::from_unsorted(&e.shapes, &mut attrs)
}

/// `import` of a derivation file: a set as `derivation` would give it. `None` if the path is no derivation of the store.
pub(super) fn import_derivation<'a>(
    e: &mut Evaluator<'a>,
    path: &[u8],
    pos: Pos,
) -> Eval<'a, Option<Value<'a>>> {
    if !path.ends_with(b".drv") {
        return Ok(None);
    }
    let store = StoreDir::new(e.io.store_dir());
    let Ok(object) = store.parse(&String::from_utf8_lossy(path)) else { return Ok(None) };
    let Ok(derivation) = known_derivation(e, &object) else { return Ok(None) };
    let mut outputs = BTreeMap::new();
    for name in derivation.outputs.keys() {
        let text = match derivation.output_path(&store, name) {
            Ok(Some(path)) => store.print(&path),
            Ok(None) => downstream_placeholder(&object, name),
            Err(error) => return e.fail(ErrorKind::Other, pos, &error.to_string()),
        };
        outputs.insert(name.clone(), text);
    }
    let strict = result(e, &store.print(&object), &outputs);
    let names: Vec<Value<'a>> = derivation.outputs.keys().map(|name| e.new_string(name.as_bytes())).collect();
    let outputs = e.new_list(&names);
    let name = e.new_string(derivation.name.as_bytes());
    let origin = crate::position::Origin::Internal("imported-drv-to-derivation.nix");
    let function = e.eval_text(IMPORTED.as_bytes(), origin, b"/")?;
    let mut extra = [(Known::NAME, Pos::NONE, name), (Known::OUTPUTS, Pos::NONE, outputs)];
    let extra = Attrs::from_unsorted(&e.shapes, &mut extra);
    let argument = Value::Attrs(Attrs::update(&e.shapes, strict, extra));
    e.call1(function, argument, pos).map(Some)
}

/// Lays out an imported derivation: without `outputs`, as Nix 2.34 does it.
const IMPORTED: &str = r#"
attrs@{ drvPath, outputs, name, ... }:
let
  shared = removeAttrs attrs [ "outputs" ] // builtins.listToAttrs perOutput // { all = map (output: output.value) perOutput; type = "derivation"; };
  perOutput = map (outputName: {
    name = outputName;
    value = shared // { outPath = builtins.getAttr outputName attrs; inherit drvPath outputName; };
  }) outputs;
in
(builtins.head perOutput).value
"#;
