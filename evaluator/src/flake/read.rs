//! Reading a `flake.nix`. It is data: what it says of inputs must be there as it stands, computed by nothing, so that
//! tools can tell where a flake leads without running it.

use super::{Flake, FlakeInput, FlakeInputs, Setting};
use crate::attrs::{Attr, Attrs};
use crate::code::Code;
use crate::coerce::Coercion;
use crate::error::{Error, ErrorKind, Eval, What};
use crate::evaluator::Evaluator;
use crate::io::TreeInput;
use crate::paths::dir_name;
use crate::position::{Origin, Pos};
use crate::value::Value;
use formats::flake::{Attribute, Attributes, FlakeError, FlakeRef, InputPath, lock};

/// Where a flake stands while it is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'p> {
    /// Its references: as asked for, resolved, locked.
    pub(super) references: [&'p FlakeRef; 3],
    /// Its directory in the store.
    pub(super) directory: &'p str,
    /// The way to it from the root, for what its inputs follow.
    pub(super) path: &'p InputPath,
}

/// What attributes of inputs `self` may have.
const OF_SELF: [&str; 2] = ["submodules", "lfs"];

impl<'a> Evaluator<'a> {
    /// Reads the `flake.nix` of a directory.
    pub(super) fn read_flake(&mut self, place: Place<'_>) -> Eval<'a, Flake> {
        let [original, resolved, locked] = place.references;
        let file = format!("{}/flake.nix", place.directory);
        let attrs = self.flake_attrs(&file, locked)?;
        let mut flake = Flake {
            original: original.clone(),
            resolved: resolved.clone(),
            locked: locked.clone(),
            directory: place.directory.to_owned(),
            description: None,
            settings: std::collections::BTreeMap::new(),
            inputs: FlakeInputs::new(),
            of_self: Attributes::new(),
        };
        let mut outputs = None;
        for attr in attrs.iter() {
            match self.symbols.show(attr.name).as_str() {
                "description" => flake.description = Some(self.literal_text(attr)?),
                "inputs" => flake.inputs = self.flake_inputs(attr, place, &mut flake.of_self)?,
                "outputs" => outputs = Some(attr),
                "nixConfig" => {
                    for setting in self.literal_attrs(attr)?.iter() {
                        let value = self.flake_setting(setting)?;
                        flake.settings.insert(self.symbols.show(setting.name), value);
                    }
                }
                other => {
                    let message = format!(
                        "flake '{resolved}' has an unsupported attribute '{other}', at {}",
                        self.show_position(attr.pos)
                    );
                    return self.flake_error(&message, attr.pos);
                }
            }
        }
        let Some(outputs) = outputs else {
            return self.flake_error(&format!("flake '{resolved}' lacks attribute 'outputs'"), Pos::NONE);
        };
        for name in self.names_of_arguments(outputs)? {
            if !flake.inputs.contains_key(&name) {
                flake.inputs.insert(name.clone(), FlakeInput::default());
            }
        }
        for (name, input) in &mut flake.inputs {
            if input.reference.is_none() && input.follows.is_none() {
                let reference = FlakeRef::parse(name, true, false);
                input.reference = Some(self.sound(reference, Pos::NONE)?);
            }
        }
        Ok(flake)
    }

    /// The set that a `flake.nix` is.
    fn flake_attrs(&mut self, file: &str, locked: &FlakeRef) -> Eval<'a, &'a Attrs<'a>> {
        let path = crate::paths::canonical(file.as_bytes());
        if self.io.file_type(&path).map_err(|error| self.io_error(&error, Pos::NONE))?.is_none() {
            let input = TreeInput::of(&locked.input, true);
            let within = if locked.subdir.is_empty() { String::new() } else { format!("{}/", locked.subdir) };
            let why = self.io.explain_missing(&input, &format!("{within}flake.nix"));
            let message =
                why.unwrap_or_else(|| format!("path '{}' does not exist", String::from_utf8_lossy(&path)));
            return self.flake_error(&message, Pos::NONE);
        }
        let text = self.read_file(&path, Pos::NONE)?;
        let code = self.compile(&text, Origin::File(path.clone()), dir_name(&path), None)?;
        let value = match code {
            Code::Attrs(_) | Code::RecAttrs(_) => self.eval(code, self.root)?,
            Code::Const(_) => match self.eval(code, self.root)? {
                value @ Value::Attrs(_) => value,
                _ => return self.no_set(file),
            },
            _ => return self.no_set(file),
        };
        self.expect_attrs(value, Pos::NONE)
    }

    fn no_set<T>(&mut self, file: &str) -> Eval<'a, T> {
        self.flake_error(&format!("file '{file}' must be an attribute set"), Pos::NONE)
    }

    #[cold]
    pub(super) fn flake_error<T>(&mut self, message: &str, pos: Pos) -> Eval<'a, T> {
        self.fail(ErrorKind::Other, pos, message)
    }

    /// An error of a reference as one of evaluation.
    pub(super) fn sound<T>(&mut self, result: Result<T, FlakeError>, pos: Pos) -> Eval<'a, T> {
        result.or_else(|error| self.flake_error(&error.to_string(), pos))
    }

    /// The value of an attribute if nothing has to be computed for it.
    fn literal(&mut self, attr: Attr<'a>) -> Eval<'a, Option<Value<'a>>> {
        let mut value = attr.slot.get();
        while let Value::Ref(slot) = value {
            value = slot.get();
        }
        match value {
            Value::Thunk(number, _) => match self.codes.get(number) {
                Code::Attrs(set) if set.more.is_none_or(|more| more.dynamic.is_empty()) => {}
                Code::RecAttrs(set) if set.dynamic.is_empty() => {}
                Code::Lambda(_) | Code::List(_) => {}
                _ => return Ok(None),
            },
            Value::Apply(_) | Value::Item(..) | Value::Blackhole => return Ok(None),
            _ => {}
        }
        self.force(attr.slot).map(Some)
    }

    fn expected<T>(&mut self, wanted: &str, found: Option<Value<'a>>, pos: Pos) -> Eval<'a, T> {
        let found = found.map_or("a thunk", |value| value.describe_type());
        let message = format!("expected {wanted} but got {found} at {}", self.show_position(pos));
        let hint = "what a flake.nix says of itself must stand there as it is: it is read without evaluating anything";
        let error = Error::new(self.arena, ErrorKind::Type, pos, &message);
        Err(if found == "a thunk" { error.hint(self.arena, hint) } else { error })
    }

    fn literal_text(&mut self, attr: Attr<'a>) -> Eval<'a, String> {
        match self.literal(attr)? {
            Some(Value::String(text)) => Ok(String::from_utf8_lossy(text.bytes()).into_owned()),
            other => self.expected("a string", other, attr.pos),
        }
    }

    fn literal_attrs(&mut self, attr: Attr<'a>) -> Eval<'a, &'a Attrs<'a>> {
        match self.literal(attr)? {
            Some(Value::Attrs(attrs)) => Ok(attrs),
            other => self.expected("a set", other, attr.pos),
        }
    }

    /// The names that the function of the outputs takes, without `self`.
    fn names_of_arguments(&mut self, outputs: Attr<'a>) -> Eval<'a, Vec<String>> {
        match self.literal(outputs)? {
            Some(Value::Lambda(number, _)) => {
                let formals = self.lambdas[number as usize].formals.as_ref();
                let names = formals.into_iter().flat_map(|formals| formals.list);
                let names = names.map(|formal| self.symbols.show(formal.name));
                Ok(names.filter(|name| name != "self").collect())
            }
            Some(Value::Builtin(_) | Value::Partial(_)) => Ok(Vec::new()),
            other => self.expected("a function", other, outputs.pos),
        }
    }

    fn flake_inputs(
        &mut self,
        attr: Attr<'a>,
        place: Place<'_>,
        of_self: &mut Attributes,
    ) -> Eval<'a, FlakeInputs> {
        let mut inputs = FlakeInputs::new();
        for attr in self.literal_attrs(attr)?.iter() {
            let name = self.symbols.show(attr.name);
            if name == "self" {
                self.attributes_of_self(attr, of_self)?;
            } else {
                inputs.insert(name, self.flake_input(attr, place)?);
            }
        }
        Ok(inputs)
    }

    fn attributes_of_self(&mut self, attr: Attr<'a>, of_self: &mut Attributes) -> Eval<'a, ()> {
        for attr in self.literal_attrs(attr)?.iter() {
            let name = self.symbols.show(attr.name);
            if !OF_SELF.contains(&name.as_str()) {
                return self
                    .flake_error(&format!("flake 'self' attribute '{name}' is not supported"), attr.pos);
            }
            let value = self.input_attribute(&name, attr)?;
            of_self.insert(name, value);
        }
        Ok(())
    }

    fn flake_input(&mut self, attr: Attr<'a>, place: Place<'_>) -> Eval<'a, FlakeInput> {
        let mut input = FlakeInput::default();
        let mut attributes = Attributes::new();
        for part in self.literal_attrs(attr)?.iter() {
            let name = self.symbols.show(part.name);
            self.flake_input_part(&name, part, place, &mut input, &mut attributes).map_err(|error| {
                let text = format!("while evaluating flake attribute '{name}'");
                error.within(self.arena, What::Context(self.arena.alloc_str(&text)), part.pos)
            })?;
        }
        if attributes.contains_key("type") {
            let reference = FlakeRef::from_attributes(attributes);
            input.reference = Some(self.sound(reference, attr.pos).map_err(|error| {
                error.within(self.arena, What::Context("while evaluating flake input"), attr.pos)
            })?);
            return Ok(input);
        }
        let url = attributes.remove("url");
        if let Some(name) = attributes.keys().next() {
            let message =
                format!("unexpected flake input attribute '{name}', at {}", self.show_position(attr.pos));
            return self.flake_error(&message, attr.pos);
        }
        if let Some(Attribute::Text(url)) = url {
            let reference = FlakeRef::parse(&url, !input.is_tree, true);
            input.reference = Some(self.sound(reference, attr.pos)?);
        }
        Ok(input)
    }

    fn flake_input_part(
        &mut self,
        name: &str,
        part: Attr<'a>,
        place: Place<'_>,
        input: &mut FlakeInput,
        attributes: &mut Attributes,
    ) -> Eval<'a, ()> {
        match name {
            "url" => {
                let url = match self.literal(part)? {
                    Some(Value::String(text)) => String::from_utf8_lossy(text.bytes()).into_owned(),
                    Some(Value::Path(path)) => {
                        let path = String::from_utf8_lossy(path.bytes()).into_owned();
                        format!("path:{}", relative(&path, place.directory))
                    }
                    other => return self.expected("a string or a path", other, part.pos),
                };
                attributes.insert("url".to_owned(), Attribute::Text(url));
            }
            "flake" => match self.literal(part)? {
                Some(Value::Bool(truth)) => input.is_tree = !truth,
                other => return self.expected("a Boolean", other, part.pos),
            },
            "inputs" => {
                input.overrides = self.flake_inputs(part, place, &mut Attributes::new())?;
            }
            "follows" => {
                let text = self.literal_text(part)?;
                let path = self.sound(lock::parse_input_path(&text), part.pos)?;
                input.follows = Some(place.path.iter().cloned().chain(path).collect());
            }
            _ => {
                let value = self.input_attribute(name, part)?;
                attributes.insert(name.to_owned(), value);
            }
        }
        Ok(())
    }

    fn input_attribute(&mut self, name: &str, attr: Attr<'a>) -> Eval<'a, Attribute> {
        match self.literal(attr)? {
            Some(Value::String(text)) => {
                Ok(Attribute::Text(String::from_utf8_lossy(text.bytes()).into_owned()))
            }
            Some(Value::Bool(truth)) => Ok(Attribute::Bool(truth)),
            Some(Value::Int(number)) if number >= 0 => Ok(Attribute::Int(number)),
            Some(Value::Int(number)) => {
                let message = format!("negative value given for flake input attribute {name}: {number}");
                self.flake_error(&message, attr.pos)
            }
            other => {
                let found = other.map_or("a thunk", |value| value.describe_type());
                let message = format!(
                    "flake input attribute '{name}' is {found} while a string, Boolean, or integer is expected"
                );
                self.fail(ErrorKind::Type, attr.pos, &message)
            }
        }
    }

    fn flake_setting(&mut self, attr: Attr<'a>) -> Eval<'a, Setting> {
        let name = self.symbols.show(attr.name);
        let value = self.literal(attr)?;
        Ok(match value {
            Some(Value::String(_)) => Setting::Text(self.literal_text(attr)?),
            Some(path @ Value::Path(_)) => {
                let text = self.coerce(path, Coercion::INTERPOLATION, attr.pos)?;
                Setting::Text(String::from_utf8_lossy(text.bytes()).into_owned())
            }
            Some(Value::Int(number)) => Setting::Int(number),
            Some(Value::Bool(truth)) => Setting::Bool(truth),
            Some(Value::List(list)) => {
                let mut items = Vec::new();
                for slot in list.items() {
                    let item = Attr { name: attr.name, pos: attr.pos, slot };
                    match self.literal(item)? {
                        Some(Value::String(text)) => {
                            items.push(String::from_utf8_lossy(text.bytes()).into_owned());
                        }
                        other => {
                            let found = other.map_or("a thunk", |value| value.describe_type());
                            let message = format!(
                                "list element in flake configuration setting '{name}' is {found} while a string is expected"
                            );
                            return self.fail(ErrorKind::Type, attr.pos, &message);
                        }
                    }
                }
                Setting::List(items)
            }
            other => {
                let found = other.map_or("a thunk", |value| value.describe_type());
                let message = format!("flake configuration setting '{name}' is {found}");
                return self.fail(ErrorKind::Type, attr.pos, &message);
            }
        })
    }
}

/// A path as seen from a directory.
fn relative(path: &str, directory: &str) -> String {
    let split = |text: &'_ str| -> Vec<String> {
        text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let (path, directory) = (split(path), split(directory));
    let common = path.iter().zip(&directory).take_while(|(one, other)| one == other).count();
    let up = directory.iter().skip(common).map(|_| "..".to_owned());
    let parts: Vec<String> = up.chain(path.into_iter().skip(common)).collect();
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}
