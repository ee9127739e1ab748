//! Packages as `nix-env` sees them: derivations found in a value, elements of a profile's manifest, or paths of the
//! store. What a package is asked for is evaluated then and not before. nix-env(1), "Selectors".

use crate::eval::Request;
use anyhow::{Context as _, Result};
use evaluator::{ErrorKind, EvalError, Evaluator, Handle, Style};
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use store::Store;

/// One package.
#[derive(Clone)]
pub(super) struct Package<'a> {
    /// Its name with the version.
    pub(super) name: String,
    /// Where it was found: attributes and indices, with dots.
    pub(super) attribute: String,
    /// The set that describes it; none for a path of the store.
    value: Option<Handle<'a>>,
    derivation: Option<String>,
    output: Option<String>,
    /// Flags that `--set-flag` changed.
    flags: BTreeMap<String, String>,
}

/// One of a package's `meta` attributes.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    /// As the language writes it.
    pub(super) expression: String,
    /// A string's contents.
    pub(super) text: Option<String>,
    /// As JSON.
    pub(super) json: serde_json::Value,
}

/// Evaluates, and explains what went wrong.
pub(super) struct Asking<'e, 'a> {
    pub(super) evaluator: &'e mut Evaluator<'a>,
    pub(super) request: &'e Request,
}

impl<'a> Asking<'_, 'a> {
    pub(super) fn explained<T>(&self, result: std::result::Result<T, EvalError>) -> Result<T> {
        result.map_err(|error| self.request.explain(&error))
    }

    fn attribute(&mut self, value: Handle<'a>, name: &str) -> Result<Option<Handle<'a>>> {
        let result = self.evaluator.attribute(value, name);
        self.explained(result)
    }

    fn text(&mut self, value: Handle<'a>, name: &str) -> Result<Option<String>> {
        let Some(found) = self.attribute(value, name)? else { return Ok(None) };
        let result = self.evaluator.coerce_to_string(found);
        Ok(Some(String::from_utf8_lossy(&self.explained(result)?.0).into_owned()))
    }

    /// All packages in a value.
    pub(super) fn packages(
        &mut self,
        value: Handle<'a>,
        arguments: Handle<'a>,
        prefix: &str,
        found: &mut Vec<Package<'a>>,
    ) -> Result<()> {
        let result = self.evaluator.auto_call(value, arguments);
        let value = self.explained(result)?;
        if self.take(value, prefix, found)? {
            return Ok(());
        }
        let below = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        let result = self.evaluator.items(value);
        if let Some(items) = self.explained(result)? {
            for (index, item) in items.into_iter().enumerate() {
                let place = below(&index.to_string());
                if !self.take(item, &place, found)? {
                    self.packages(item, arguments, &place, found)?;
                }
            }
            return Ok(());
        }
        let Some(names) = self.evaluator.attribute_names(value) else {
            anyhow::bail!("expression does not evaluate to a derivation (or a set or list of those)");
        };
        let combines = names.iter().any(|name| name == super::sources::COMBINES);
        for name in names.iter().filter(|name| is_plain(name)) {
            let inner = match self.evaluator.attribute(value, name) {
                Ok(Some(inner)) => inner,
                Ok(None) => continue,
                Err(error) if error.kind == ErrorKind::Assertion => continue,
                Err(error) => return Err(self.request.explain(&error)),
            };
            let place = below(name);
            if combines || (!self.take(inner, &place, found)? && self.recurses(inner)?) {
                self.packages(inner, arguments, &place, found)?;
            }
        }
        Ok(())
    }

    fn recurses(&mut self, value: Handle<'a>) -> Result<bool> {
        if !self.has(value, "recurseForDerivations") {
            return Ok(false);
        }
        let recurse = self.attribute(value, "recurseForDerivations")?;
        Ok(recurse.is_some_and(|recurse| self.evaluator.is_true(recurse)))
    }

    fn has(&self, value: Handle<'a>, name: &str) -> bool {
        self.evaluator.attribute_names(value).is_some_and(|names| names.iter().any(|known| known == name))
    }

    /// Takes a value that is a package, or one whose assertions fail. False if it is neither.
    fn take(&mut self, value: Handle<'a>, attribute: &str, found: &mut Vec<Package<'a>>) -> Result<bool> {
        if !self.has(value, "type") {
            return Ok(false);
        }
        let kind = self.attribute(value, "type")?;
        if kind.and_then(|kind| self.evaluator.as_string(kind)) != Some(b"derivation".as_slice()) {
            return Ok(false);
        }
        let name = match self.evaluator.attribute(value, "name") {
            Ok(name) => name.context("a derivation has no name")?,
            Err(error) if error.kind == ErrorKind::Assertion => return Ok(true),
            Err(error) => return Err(self.request.explain(&error)),
        };
        let name = self.evaluator.as_string(name).context("a derivation's name must be a string")?;
        found.push(Package {
            name: String::from_utf8_lossy(name).into_owned(),
            attribute: attribute.to_owned(),
            value: Some(value),
            derivation: None,
            output: None,
            flags: BTreeMap::new(),
        });
        Ok(true)
    }
}

/// Whether an attribute's name is one that people can type.
fn is_plain(name: &str) -> bool {
    let letter = |character: char| character.is_ascii_alphabetic() || character == '_';
    name.starts_with(letter)
        && name
            .chars()
            .all(|character| letter(character) || "-+".contains(character) || character.is_ascii_digit())
}

impl<'a> Package<'a> {
    /// A path of the store, or a derivation of it, as a package.
    pub(super) fn of_path(store: &Store, path: &StorePath) -> Result<Self> {
        let printed = store.dir().print(path);
        let name = path.name();
        let (derivation, output) = if path.is_derivation() {
            let outputs = store.output_paths(&store.read_derivation(path)?)?;
            (
                Some(printed),
                outputs.get("out").or(outputs.values().next()).map(|path| store.dir().print(path)),
            )
        } else {
            (None, Some(printed))
        };
        Ok(Self {
            name: name.strip_suffix(".drv").unwrap_or(name).to_owned(),
            attribute: String::new(),
            value: None,
            derivation,
            output,
            flags: BTreeMap::new(),
        })
    }

    /// Gives one of its `meta` attributes another value.
    pub(super) fn set_flag(&mut self, name: &str, value: &str) {
        self.flags.insert(name.to_owned(), value.to_owned());
    }

    /// What it is built for.
    pub(super) fn system(&self, ask: &mut Asking<'_, 'a>) -> Result<String> {
        let Some(value) = self.value else { return Ok("unknown".to_owned()) };
        Ok(ask.text(value, "system")?.unwrap_or_else(|| "unknown".to_owned()))
    }

    /// The derivation's path, if it has one.
    pub(super) fn derivation(&self, ask: &mut Asking<'_, 'a>) -> Result<Option<String>> {
        match self.value {
            Some(value) if ask.has(value, "drvPath") => ask.text(value, "drvPath"),
            _ => Ok(self.derivation.clone()),
        }
    }

    /// The path of its first output.
    pub(super) fn out_path(&self, ask: &mut Asking<'_, 'a>) -> Result<Option<String>> {
        match self.value {
            Some(value) => ask.text(value, "outPath"),
            None => Ok(self.output.clone()),
        }
    }

    /// The name of its first output.
    pub(super) fn output_name(&self, ask: &mut Asking<'_, 'a>) -> Result<String> {
        let Some(value) = self.value.filter(|value| ask.has(*value, "outputName")) else {
            return Ok(String::new());
        };
        Ok(ask.text(value, "outputName")?.unwrap_or_default())
    }

    /// Its outputs' names; with `to_install` only those that an installation takes.
    pub(super) fn outputs(&self, ask: &mut Asking<'_, 'a>, to_install: bool) -> Result<Vec<String>> {
        let plain = || vec!["out".to_owned()];
        let Some(value) = self.value else { return Ok(plain()) };
        if to_install && ask.has(value, "outputSpecified") {
            let specified = ask.attribute(value, "outputSpecified")?;
            if specified.is_some_and(|specified| ask.evaluator.is_true(specified)) {
                return Ok(vec![self.output_name(ask)?]);
            }
        }
        let all = ask.strings(value, "outputs")?.unwrap_or_else(plain);
        if to_install
            && let Some(meta) = self.meta_value(ask)?
            && let Some(chosen) = ask.strings(meta, "outputsToInstall")?
        {
            let chosen: BTreeSet<String> = chosen.into_iter().collect();
            return Ok(all.into_iter().filter(|output| chosen.contains(output)).collect());
        }
        Ok(all)
    }

    /// The path of one output.
    pub(super) fn output_path(&self, ask: &mut Asking<'_, 'a>, output: &str) -> Result<Option<String>> {
        let Some(value) = self.value else { return Ok(self.output.clone()) };
        let inner = if ask.has(value, output) { ask.attribute(value, output)? } else { None };
        match inner {
            Some(inner) => ask.text(inner, "outPath"),
            None => self.out_path(ask),
        }
    }

    fn meta_value(&self, ask: &mut Asking<'_, 'a>) -> Result<Option<Handle<'a>>> {
        match self.value.filter(|value| ask.has(*value, "meta")) {
            Some(value) => ask.attribute(value, "meta"),
            None => Ok(None),
        }
    }

    /// Its `meta` attributes; those that are no data are left out.
    pub(super) fn meta(&self, ask: &mut Asking<'_, 'a>) -> Result<BTreeMap<String, Meta>> {
        let mut all = BTreeMap::new();
        if let Some(meta) = self.meta_value(ask)? {
            for name in ask.evaluator.attribute_names(meta).unwrap_or_default() {
                if let Some(value) = ask.attribute(meta, &name)?
                    && let Some(value) = ask.meta_of(value)
                {
                    all.insert(name, value);
                }
            }
        }
        for (name, flag) in &self.flags {
            let text = ask.evaluator.make_string(flag.as_bytes());
            all.extend(ask.meta_of(text).map(|value| (name.clone(), value)));
        }
        Ok(all)
    }

    /// `meta.priority`: lower wins.
    pub(super) fn priority(&self, ask: &mut Asking<'_, 'a>) -> Result<i64> {
        let priority = self.meta(ask)?.remove("priority");
        let number = priority.and_then(|value| match value.text {
            Some(text) => text.parse().ok(),
            None => value.json.as_i64(),
        });
        Ok(number.unwrap_or(5))
    }
}

impl<'a> Asking<'_, 'a> {
    fn strings(&mut self, value: Handle<'a>, name: &str) -> Result<Option<Vec<String>>> {
        if !self.has(value, name) {
            return Ok(None);
        }
        let Some(list) = self.attribute(value, name)? else { return Ok(None) };
        let result = self.evaluator.items(list);
        let Some(items) = self.explained(result)? else { return Ok(None) };
        let mut texts = Vec::new();
        for item in items {
            let result = self.evaluator.coerce_to_string(item);
            texts.push(String::from_utf8_lossy(&self.explained(result)?.0).into_owned());
        }
        Ok(Some(texts))
    }

    /// A value that is data all through.
    fn meta_of(&mut self, value: Handle<'a>) -> Option<Meta> {
        self.evaluator.force_deep_value(value).ok()?;
        let (json, dependencies) = self.evaluator.to_json(value, false).ok()?;
        // A derivation or path is no plain data.
        if !dependencies.is_empty() {
            return None;
        }
        Some(Meta {
            expression: String::from_utf8_lossy(&self.evaluator.print(value, Style::Plain)).into_owned(),
            text: self.evaluator.as_string(value).map(|text| String::from_utf8_lossy(text).into_owned()),
            json: serde_json::from_str(&json).ok()?,
        })
    }
}
