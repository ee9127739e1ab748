//! Making a profile's next generation from a list of packages: building them, writing the manifest, building the tree of
//! links (`builtin:buildenv`), switching. Nix manual, "Profiles".

use super::package::Package;
use super::{Session, shown_missing};
use crate::nix_front::Front;
use anyhow::{Context as _, Result, bail};
use formats::derivation::{Derivation, Output};
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use store::build::Wanted;

/// What an installed package's line in the manifest and in the environment says.
struct Element {
    manifest: String,
    /// `active priority count output…`.
    line: String,
    references: BTreeSet<StorePath>,
}

impl<'a> Session<'_, 'a> {
    /// Makes these packages the profile's current generation. False if somebody else changed the profile meanwhile.
    pub(super) fn install(&mut self, packages: &[Package<'a>], before: Option<&PathBuf>) -> Result<bool> {
        let built = self.build(packages)?;
        let mut manifest = "[ ".to_owned();
        let (mut lines, mut references) = (Vec::new(), BTreeSet::new());
        for package in packages {
            let element = self.element(package, &built)?;
            manifest.push_str(&element.manifest);
            manifest.push(' ');
            lines.push(element.line);
            references.extend(element.references);
        }
        manifest.push(']');
        let manifest = self.store.add_text("env-manifest.nix", manifest.as_bytes(), &references)?;
        let derivation =
            environment("user-environment", &self.store.dir().print(&manifest), manifest, &lines.join(" "));
        let mut derivation = derivation;
        let dir = self.store.dir().clone();
        derivation.fill_output_paths::<store::Error>(&dir, &mut |path| {
            Err(store::Error::Invalid(format!("a user environment does not depend on {path}")))
        })?;
        let path = self.store.add_derivation(&derivation)?;
        let requests = [(path.clone(), Wanted::All)];
        let report = Front::build(&self.store, &requests, &self.front.build_options(&self.store))?;
        let out = report.outputs.get(&path).and_then(|outputs| outputs.get("out"));
        let out = out.context("the user environment was not built")?;
        if super::current_target(&self.profile).as_ref() != before {
            writeln_error("profile changed while we were busy; restarting")?;
            return Ok(false);
        }
        store::profile::Profile::at(&self.profile).set(&self.store, out)?;
        Ok(true)
    }

    /// Builds what packages need; the outputs of each derivation.
    fn build(
        &mut self,
        packages: &[Package<'a>],
    ) -> Result<BTreeMap<StorePath, BTreeMap<String, StorePath>>> {
        let mut requests: Vec<(StorePath, Wanted)> = Vec::new();
        let mut plain = BTreeSet::new();
        for package in packages {
            match package.derivation(&mut self.ask())? {
                Some(derivation) => {
                    let outputs = package.outputs(&mut self.ask(), true)?.into_iter().collect();
                    requests.push((self.store.dir().parse(&derivation)?, Wanted::Outputs(outputs)));
                }
                None => {
                    for output in package.outputs(&mut self.ask(), false)? {
                        let path = package.output_path(&mut self.ask(), &output)?;
                        plain.extend(path.map(|path| self.store.dir().parse(&path)).transpose()?);
                    }
                }
            }
        }
        self.io.flush()?;
        shown_missing(&self.store, &requests)?;
        let options = self.front.build_options(&self.store);
        if !plain.is_empty() {
            self.store.substitute(&plain, &options)?;
        }
        for path in &plain {
            self.store.path_info(path)?;
        }
        Ok(Front::build(&self.store, &requests, &options)?.outputs)
    }

    fn element(
        &mut self,
        package: &Package<'a>,
        built: &BTreeMap<StorePath, BTreeMap<String, StorePath>>,
    ) -> Result<Element> {
        let quoted = crate::eval::Request::quoted;
        let dir = self.store.dir().clone();
        let derivation = package.derivation(&mut self.ask())?.map(|path| dir.parse(&path)).transpose()?;
        let mut paths: Vec<(String, StorePath)> = Vec::new();
        for output in package.outputs(&mut self.ask(), true)? {
            let made = derivation.as_ref().and_then(|path| built.get(path)?.get(&output)).cloned();
            let path = match (made, package.output_path(&mut self.ask(), &output)?) {
                (Some(path), _) => path,
                (None, Some(path)) => dir.parse(&path)?,
                (None, None) => bail!("derivation '{}' has no output '{output}'", package.name),
            };
            paths.push((output, path));
        }
        let Some((_, first)) = paths.first() else { bail!("'{}' has no output to install", package.name) };
        let meta = package.meta(&mut self.ask())?;
        let mut attributes: BTreeMap<String, String> = BTreeMap::new();
        let mut inner = "{ ".to_owned();
        for (name, value) in &meta {
            write!(inner, "{} = {}; ", attribute_name(name), value.expression)?;
        }
        inner.push('}');
        attributes.insert("meta".to_owned(), inner);
        attributes.insert("name".to_owned(), quoted(&package.name));
        attributes.insert("outPath".to_owned(), quoted(&dir.print(first)));
        attributes.insert("type".to_owned(), quoted("derivation"));
        let system = package.system(&mut self.ask())?;
        if !system.is_empty() && system != "unknown" {
            attributes.insert("system".to_owned(), quoted(&system));
        }
        let names: Vec<String> = paths.iter().map(|(output, _)| quoted(output)).collect();
        attributes.insert("outputs".to_owned(), format!("[ {} ]", names.join(" ")));
        for (output, path) in &paths {
            attributes.insert(output.clone(), format!("{{ outPath = {}; }}", quoted(&dir.print(path))));
        }
        let mut references: BTreeSet<StorePath> = paths.iter().map(|(_, path)| path.clone()).collect();
        if self.front.conf.flag("keep-env-derivations", false)
            && let Some(derivation) = derivation
        {
            attributes.insert("drvPath".to_owned(), quoted(&dir.print(&derivation)));
            references.insert(derivation);
        }
        let mut manifest = "{ ".to_owned();
        for (name, value) in attributes {
            write!(manifest, "{} = {value}; ", attribute_name(&name))?;
        }
        manifest.push('}');
        let active = match meta.get("active") {
            Some(flag) => flag.text.clone().unwrap_or_else(|| flag.json.to_string()),
            None => "true".to_owned(),
        };
        let mut line = format!("{active} {} {}", package.priority(&mut self.ask())?, paths.len());
        for (_, path) in &paths {
            write!(line, " {}", dir.print(path))?;
        }
        Ok(Element { manifest, line, references })
    }
}

/// The derivation whose output is the tree of links.
pub(crate) fn environment(name: &str, manifest: &str, path: StorePath, packages: &str) -> Derivation {
    let mut derivation = Derivation {
        name: name.to_owned(),
        platform: b"builtin".to_vec(),
        builder: b"builtin:buildenv".to_vec(),
        ..Derivation::default()
    };
    derivation.outputs.insert("out".to_owned(), Output::Deferred);
    derivation.input_srcs.insert(path);
    for (name, value) in [
        ("allowSubstitutes", ""),
        ("builder", "builtin:buildenv"),
        ("derivations", packages),
        ("manifest", manifest),
        ("name", name),
        ("preferLocalBuild", "1"),
        ("system", "builtin"),
    ] {
        derivation.env.insert(name.as_bytes().to_vec(), value.as_bytes().to_vec());
    }
    derivation
}

/// An attribute's name as it is written in a set.
fn attribute_name(name: &str) -> String {
    let letter = |character: char| character.is_ascii_alphabetic() || character == '_';
    let keyword =
        ["assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with"].contains(&name);
    let plain = name.starts_with(letter)
        && name.chars().all(|other| letter(other) || other.is_ascii_digit() || "'-".contains(other));
    if plain && !keyword { name.to_owned() } else { crate::eval::Request::quoted(name) }
}

fn writeln_error(text: &str) -> Result<()> {
    use std::io::Write as _;
    Ok(writeln!(std::io::stderr(), "{text}")?)
}
