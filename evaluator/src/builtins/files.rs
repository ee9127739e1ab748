//! Builtins on files, directories, the search path and the store.

use super::{Builtin, builtin};
use crate::attrs::Attrs;
use crate::coerce::Coercion;
use crate::context::{ContextBuilder, Element};
use crate::error::{ErrorKind, Eval};
use crate::evaluator::Evaluator;
use crate::io::{FileType, Ingestion, IoError, Realised, Wanted};
use crate::paths::canonical;
use crate::position::{Origin, Pos};
use crate::symbol::{Known, Symbol};
use crate::value::{Env, Value};
use formats::hash::{Algorithm, Hash};
use formats::store_path::{StoreDir, StorePath, downstream_placeholder};
use std::collections::BTreeSet;
use std::rc::Rc;

pub(super) const TABLE: &[Builtin] = &[
    builtin("import", 1, 1, import, "path: the value of a file"),
    builtin(
        "scopedImport",
        2,
        3 | Builtin::BACKWARDS,
        scoped_import,
        "scope path: the value of a file with more global names",
    ),
    builtin("__pathExists", 1, 1, path_exists, "path: whether there is something"),
    builtin("__readFile", 1, 1, read_file, "path: the contents of a file"),
    builtin("__readDir", 1, 1, read_dir, "path: a set from the names in a directory to their types"),
    builtin("__readFileType", 1, 1, read_file_type, "path: regular, directory, symlink or unknown"),
    builtin("__findFile", 2, 3, find_file, "search-path name: looks a file up, as <name> does"),
    builtin("__getEnv", 1, 1, get_env, "name: a variable of the environment, or an empty string"),
    builtin("__toPath", 1, 1, to_path, "s: an absolute path as a string"),
    builtin("__toFile", 2, 3, to_file, "name s: writes a text to the store"),
    builtin("__storePath", 1, 1, store_path, "path: a path that is in the store already"),
    builtin("__path", 1, 1, path, "{ path, name, filter, recursive, sha256 }: copies a path to the store"),
    builtin(
        "__filterSource",
        2,
        3 | Builtin::BACKWARDS,
        filter_source,
        "filter path: copies what of a path the filter admits to the store",
    ),
];

impl<'a> Evaluator<'a> {
    /// A path whose context exists: what a value depends on is built first.
    pub(crate) fn realised_path(&mut self, value: Value<'a>, pos: Pos) -> Eval<'a, Vec<u8>> {
        let mut context = ContextBuilder::default();
        let path = self.coerce_to_path(value, pos, &mut context)?;
        self.realised_text(path, &context, pos)
    }

    /// A text whose context exists: what it names is built first, and where a placeholder stands for something whose
    /// path only the build could tell, that path takes its place.
    pub(crate) fn realised_text(
        &mut self,
        text: Vec<u8>,
        context: &ContextBuilder,
        pos: Pos,
    ) -> Eval<'a, Vec<u8>> {
        let made = self.realise(context, pos)?;
        let mut text = text;
        for ((derivation, output), path) in made {
            let from = downstream_placeholder(&derivation, &output);
            let found = text.windows(from.len()).position(|window| window == from.as_bytes());
            let Some(at) = found else { continue };
            let to = format!("{}/{}", self.io.store_dir(), path.base_name());
            text.splice(at..at + from.len(), to.into_bytes());
        }
        Ok(text)
    }

    /// Makes sure that what a context names exists.
    fn realise(&mut self, context: &ContextBuilder, pos: Pos) -> Eval<'a, Realised> {
        if context.is_empty() {
            return Ok(Realised::new());
        }
        let store = StoreDir::new(self.io.store_dir());
        let mut wanted = Vec::new();
        let mut builds = None;
        for element in self.elements_of(&context.elements) {
            let path = match element {
                Element::Opaque(path) | Element::DrvDeep(path) | Element::Built { drv: path, .. } => path,
            };
            let parsed = store.parse(&String::from_utf8_lossy(path));
            let Ok(parsed) = parsed else { continue };
            match element {
                Element::Built { output, .. } => {
                    builds = Some(parsed.clone());
                    wanted.push(Wanted::Output(parsed, String::from_utf8_lossy(output).into_owned()));
                }
                _ => wanted.push(Wanted::Path(parsed)),
            }
        }
        if let Some(drv) = builds.as_ref().filter(|_| !self.options.allow_import_from_derivation) {
            let message = format!(
                "cannot build '{}' during evaluation because the option 'allow-import-from-derivation' is disabled",
                store.print(drv)
            );
            return self.fail(ErrorKind::Other, pos, &message);
        }
        // What was put into the store by this evaluation is there already.
        if builds.is_none() {
            return Ok(Realised::new());
        }
        let io = Rc::clone(&self.io);
        io.realise(&wanted).map_err(|error| self.io_error(&error, pos))
    }

    pub(crate) fn store_object(&self, path: &[u8], pos: Pos) -> Eval<'a, StorePath> {
        let store = StoreDir::new(self.io.store_dir());
        store
            .parse(&String::from_utf8_lossy(path))
            .or_else(|error| self.fail(ErrorKind::Other, pos, &error.to_string()))
    }

    /// Looks a name up in search-path entries of prefix and path.
    pub(crate) fn look_up(
        &mut self,
        entries: &[(Vec<u8>, Vec<u8>)],
        name: &[u8],
        pos: Pos,
    ) -> Eval<'a, Vec<u8>> {
        for (prefix, path) in entries {
            let suffix = if prefix.is_empty() {
                name
            } else {
                match name.strip_prefix(prefix.as_slice()) {
                    Some([]) => &[],
                    Some([b'/', rest @ ..]) => rest,
                    _ => continue,
                }
            };
            let Some(base) = self.search_path_entry(path) else { continue };
            let mut full = base;
            if !suffix.is_empty() {
                full.push(b'/');
                full.extend_from_slice(suffix);
            }
            let io = Rc::clone(&self.io);
            let resolved = io.resolve_links(&full).map_err(|error| self.io_error(&error, pos))?;
            if io.file_type(&resolved).map_err(|error| self.io_error(&error, pos))?.is_some() {
                return Ok(resolved);
            }
        }
        let shown = String::from_utf8_lossy(name);
        if shown == "nix/fetchurl.nix" {
            return Ok(super::fetching::FETCHURL_PATH.to_vec());
        }
        let message = if self.options.pure {
            format!("cannot look up '<{shown}>' in pure evaluation mode (use '--impure' to override)")
        } else {
            format!("file '{shown}' was not found in the Nix search path (add it using $NIX_PATH or -I)")
        };
        self.fail(ErrorKind::Throw, pos, &message)
    }

    /// Where an entry of the search path leads; `None` if it does not exist.
    fn search_path_entry(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        if let Some(known) = self.looked_up.get(path) {
            return known.clone();
        }
        let text = String::from_utf8_lossy(path).into_owned();
        let found = if let Some(flake) = text.strip_prefix("flake:") {
            match self.flake_tree(flake) {
                Ok(path) => Some(path),
                Err(error) => {
                    self.io.message(&format!(
                        "warning: Nix search path entry '{text}' cannot be fetched, ignoring: {error}"
                    ));
                    None
                }
            }
        } else if super::fetching::is_url(&text) {
            // What cannot be had is passed over, as a directory that is not there.
            match self.fetch_tarball(&text) {
                Ok(path) => Some(path),
                Err(error) => {
                    self.io.message(&format!(
                        "warning: Nix search path entry '{text}' cannot be downloaded, ignoring: {error}"
                    ));
                    None
                }
            }
        } else {
            let absolute = if path.first() == Some(&b'/') { path.to_vec() } else { self.absolute(path) };
            let absolute = canonical(&absolute);
            let there = self.io.file_type(&absolute).ok().flatten().is_some();
            if !there {
                self.io.message(&format!("warning: Nix search path entry '{text}' does not exist, ignoring"));
            }
            there.then_some(absolute)
        };
        self.looked_up.insert(path.to_vec(), found.clone());
        found
    }

    /// A relative path made absolute: from the directory that the environment calls the current one.
    fn absolute(&self, path: &[u8]) -> Vec<u8> {
        let mut absolute = self.io.env(b"PWD").unwrap_or_default();
        absolute.push(b'/');
        absolute.extend_from_slice(path);
        absolute
    }
}

fn import<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let path = e.realised_path(args[0], pos)?;
    if path == super::fetching::FETCHURL_PATH {
        return super::fetching::fetchurl_function(e);
    }
    if let Some(value) = super::derivation::import_derivation(e, &path, pos)? {
        return Ok(value);
    }
    e.import_file(&path, pos)
}

fn scoped_import<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let path = e.realised_path(args[1], pos)?;
    let attrs = e.expect_attrs(args[0], pos)?;
    let resolved = e.resolve_expression_path(&path, pos)?;
    let text = e.read_file(&resolved, pos)?;
    let directory = crate::paths::dir_name(&resolved).to_vec();
    let (names, env) = e.scope_of(attrs);
    let code = e.compile(&text, Origin::File(resolved), &directory, Some(&names))?;
    e.eval(code, env)
}

impl<'a> Evaluator<'a> {
    /// An environment that holds a set's attributes.
    pub(crate) fn scope_of(&self, attrs: &'a Attrs<'a>) -> (Vec<(Symbol, u32)>, &'a Env<'a>) {
        let list: Vec<_> = attrs.iter().collect();
        let names = list.iter().enumerate().map(|(slot, attr)| (attr.name, slot as u32)).collect();
        (names, Env::new(self.arena, self.root, list.len(), |index, _| list[index].slot.share()))
    }
}

fn path_exists<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    // "dir/" and "dir/." ask for a directory.
    let must_be_directory = match args[0] {
        Value::String(text) => text.bytes().ends_with(b"/") || text.bytes().ends_with(b"/."),
        _ => false,
    };
    let path = e.realised_path(args[0], pos)?;
    if let Err(error) = e.check_access(&path, pos) {
        return if error.kind() == ErrorKind::Restricted { Ok(Value::Bool(false)) } else { Err(error) };
    }
    if must_be_directory {
        let resolved = e.io.resolve_links(&path).map_err(|error| e.io_error(&error, pos))?;
        let kind = e.io.file_type(&resolved).map_err(|error| e.io_error(&error, pos))?;
        return Ok(Value::Bool(kind == Some(FileType::Directory)));
    }
    let kind = e.io.file_type(&path).map_err(|error| e.io_error(&error, pos))?;
    Ok(Value::Bool(kind.is_some()))
}

fn read_file<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let path = e.realised_path(args[0], pos)?;
    let contents = e.read_file(&path, pos)?;
    if contents.contains(&0) {
        let message = format!(
            "the contents of the file '{}' cannot be represented as a Nix string",
            String::from_utf8_lossy(&path)
        );
        return e.fail(ErrorKind::Other, pos, &message);
    }
    // A file of the store can mention what it refers to.
    let mut context = ContextBuilder::default();
    let store = StoreDir::new(e.io.store_dir());
    let shown = String::from_utf8_lossy(&path).into_owned();
    if let Ok((object, _)) = store.parse_below(&shown) {
        let references = e.io.references(&object).map_err(|error| e.io_error(&error, pos))?;
        for reference in references.into_iter().flatten() {
            let hash = reference.hash_part().as_bytes();
            if contents.windows(hash.len()).any(|window| window == hash) {
                let number = e.context_number(Element::Opaque(store.print(&reference).as_bytes()));
                context.elements.push(number);
            }
        }
    }
    Ok(e.string_with(&contents, context))
}

fn read_dir<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let path = e.realised_path(args[0], pos)?;
    e.check_access(&path, pos)?;
    let entries = e.io.read_dir(&path).map_err(|error| e.io_error(&error, pos))?;
    let mut attrs = Vec::with_capacity(entries.len());
    for (name, kind) in entries {
        let name = e.symbols.intern(&name);
        let kind = e.symbols.intern(kind.word().as_bytes());
        attrs.push((name, Pos::NONE, Value::String(e.symbols.string(kind))));
    }
    Ok(Value::Attrs(Attrs::from_unsorted(&e.shapes, &mut attrs)))
}

fn read_file_type<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let path = e.realised_path(args[0], pos)?;
    e.check_access(&path, pos)?;
    if let Some(kind) = e.io.file_type(&path).map_err(|error| e.io_error(&error, pos))? {
        Ok(e.new_string(kind.word().as_bytes()))
    } else {
        let error = IoError::Missing(String::from_utf8_lossy(&path).into_owned());
        Err(e.io_error(&error, pos))
    }
}

fn find_file<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let list = e.expect_list(args[0], pos)?;
    let name = e.expect_plain(args[1], pos)?;
    let mut entries = Vec::new();
    for item in list.items() {
        let value = e.force(item)?;
        let attrs = e.expect_attrs(value, pos)?;
        let prefix = match attrs.get(Known::PREFIX) {
            Some(slot) => {
                let value = e.force(slot)?;
                e.expect_plain(value, pos)?.to_vec()
            }
            None => Vec::new(),
        };
        let slot = e.required(attrs, Known::PATH, pos)?;
        let value = e.force(slot)?;
        let mut context = ContextBuilder::default();
        let mut text = Vec::new();
        e.coerce_into(value, Coercion::PLAIN, pos, &mut text, &mut context)?;
        let text = e.realised_text(text, &context, pos)?;
        entries.push((prefix, text));
    }
    let found = e.look_up(&entries, name, pos)?;
    Ok(e.new_path(&found))
}

fn get_env<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let name = e.expect_plain(args[0], pos)?;
    if e.options.pure || e.options.restricted {
        return Ok(e.new_string(b""));
    }
    let value = e.io.env(name).unwrap_or_default();
    Ok(e.new_string(&value))
}

fn to_path<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let mut context = ContextBuilder::default();
    let path = e.coerce_to_path(args[0], pos, &mut context)?;
    Ok(e.string_with(&path, context))
}

fn to_file<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let name = String::from_utf8_lossy(e.expect_plain(args[0], pos)?).into_owned();
    let contents = e.expect_string(args[1], pos)?;
    let mut references = BTreeSet::new();
    for element in e.context_elements(contents.context) {
        match element {
            Element::Opaque(path) => {
                references.insert(e.store_object(path, pos)?);
            }
            other => {
                let message = format!(
                    "files created by 'toFile' may not reference derivations, but '{name}' references {}",
                    super::show_element(&other)
                );
                return e.fail(ErrorKind::Other, pos, &message);
            }
        }
    }
    if let Err(error) = formats::store_path::check_name(&name) {
        return e.fail(ErrorKind::Other, pos, &error.to_string());
    }
    let io = Rc::clone(&e.io);
    let path = io.add_text(&name, contents.bytes(), &references).map_err(|error| e.io_error(&error, pos))?;
    let printed = format!("{}/{}", e.io.store_dir(), path.base_name());
    Ok(e.string_needing(printed.as_bytes(), Element::Opaque(printed.as_bytes())))
}

fn store_path<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    if e.options.pure {
        return e.fail(
            ErrorKind::Restricted,
            pos,
            "'builtins.storePath' is not allowed in pure evaluation mode",
        );
    }
    let mut context = ContextBuilder::default();
    let given = e.coerce_to_path(args[0], pos, &mut context)?;
    let store = StoreDir::new(e.io.store_dir());
    let mut path = given;
    if store.parse_below(&String::from_utf8_lossy(&path)).is_err() {
        path = e.io.resolve_links(&path).map_err(|error| e.io_error(&error, pos))?;
    }
    let shown = String::from_utf8_lossy(&path).into_owned();
    let Ok((object, _)) = store.parse_below(&shown) else {
        return e.fail(ErrorKind::Other, pos, &format!("path '{shown}' is not in the Nix store"));
    };
    let io = Rc::clone(&e.io);
    let valid = io.references(&object).map_err(|error| e.io_error(&error, pos))?.is_some();
    if !valid {
        io.realise(&[Wanted::Path(object.clone())]).map_err(|error| e.io_error(&error, pos))?;
    }
    let number = e.context_number(Element::Opaque(store.print(&object).as_bytes()));
    context.elements.push(number);
    Ok(e.string_with(&path, context))
}

/// What `path` and `filterSource` copy.
struct Copy<'a> {
    path: Vec<u8>,
    name: String,
    filter: Option<Value<'a>>,
    ingestion: Ingestion,
    expected: Option<Hash>,
    context: ContextBuilder,
}

fn copy<'a>(e: &mut Evaluator<'a>, mut request: Copy<'a>, pos: Pos) -> Eval<'a, Value<'a>> {
    e.check_access(&request.path, pos)?;
    // A link is copied as what it points to, unlike in an interpolation.
    request.path = e.io.resolve_links(&request.path).map_err(|error| e.io_error(&error, pos))?;
    if let Err(error) = formats::store_path::check_name(&request.name) {
        return e.fail(ErrorKind::Other, pos, &error.to_string());
    }
    let io = Rc::clone(&e.io);
    let mut failure = None;
    let stored = match request.filter {
        None => io.add_path(&request.name, &request.path, request.ingestion, None, request.expected.as_ref()),
        Some(function) => {
            let mut filter = |path: &[u8], kind: FileType| {
                let path = e.new_string(path);
                let kind = e.new_string(kind.word().as_bytes());
                let answer =
                    e.call_values(function, &[path, kind], pos).and_then(|value| e.expect_bool(value, pos));
                answer.map_err(|error| {
                    failure = Some(error);
                    IoError::Filter
                })
            };
            io.add_path(
                &request.name,
                &request.path,
                request.ingestion,
                Some(&mut filter),
                request.expected.as_ref(),
            )
        }
    };
    if let Some(error) = failure {
        return Err(error);
    }
    let stored = stored.map_err(|error| e.io_error(&error, pos))?;
    let printed = format!("{}/{}", e.io.store_dir(), stored.base_name());
    let mut context = request.context;
    let number = e.context_number(Element::Opaque(printed.as_bytes()));
    context.elements = vec![number];
    Ok(e.string_with(printed.as_bytes(), context))
}

fn filter_source<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let mut context = ContextBuilder::default();
    let path = e.coerce_to_path(args[1], pos, &mut context)?;
    let path = e.realised_text(path, &context, pos)?;
    e.expect_function(args[0], pos)?;
    let name = String::from_utf8_lossy(crate::paths::base_name(&path)).into_owned();
    let request =
        Copy { path, name, filter: Some(args[0]), ingestion: Ingestion::Nar, expected: None, context };
    copy(e, request, pos)
}

fn path<'a>(e: &mut Evaluator<'a>, args: &[Value<'a>], pos: Pos) -> Eval<'a, Value<'a>> {
    let attrs = e.expect_attrs(args[0], pos)?;
    let mut request = Copy {
        path: Vec::new(),
        name: String::new(),
        filter: None,
        ingestion: Ingestion::Nar,
        expected: None,
        context: ContextBuilder::default(),
    };
    for attr in attrs.iter() {
        let value = e.force(attr.slot)?;
        match attr.name {
            Known::PATH => {
                let mut context = ContextBuilder::default();
                let path = e.coerce_to_path(value, attr.pos, &mut context)?;
                request.path = e.realised_text(path, &context, attr.pos)?;
                request.context = context;
            }
            Known::NAME => {
                request.name = String::from_utf8_lossy(e.expect_plain(value, attr.pos)?).into_owned();
            }
            Known::FILTER => {
                e.expect_function(value, attr.pos)?;
                request.filter = Some(value);
            }
            Known::RECURSIVE => {
                let recursive = e.expect_bool(value, attr.pos)?;
                request.ingestion = if recursive { Ingestion::Nar } else { Ingestion::Flat };
            }
            Known::SHA256 => {
                let text = String::from_utf8_lossy(e.expect_plain(value, attr.pos)?).into_owned();
                match Hash::parse_any(&text, Some(Algorithm::Sha256)) {
                    Ok(hash) => request.expected = Some(hash),
                    Err(error) => return e.fail(ErrorKind::Other, attr.pos, &error.to_string()),
                }
            }
            other => {
                let message = format!("unsupported argument '{}' to 'builtins.path'", e.symbols.show(other));
                return e.fail(ErrorKind::Other, attr.pos, &message);
            }
        }
    }
    if request.path.is_empty() {
        return e.fail(
            ErrorKind::Other,
            pos,
            "missing required 'path' attribute in the first argument to 'builtins.path'",
        );
    }
    if request.name.is_empty() {
        request.name = String::from_utf8_lossy(crate::paths::base_name(&request.path)).into_owned();
    }
    copy(e, request, pos)
}
