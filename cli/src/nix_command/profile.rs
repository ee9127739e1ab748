//! `nix profile`: packages of a profile by name. The list of them, `manifest.json`, is Nix's own, version 3; the tree of links beside
//! it is built as `nix-env`'s is. nix3-profile(1).

use super::build::{FlakeSource, Installables};
use crate::nix_env::{environment, list_generations, own_profile, split_name};
use crate::nix_front::{Arguments, Front};
use anyhow::{Context as _, Result, bail};
use formats::flake::FlakeRef;
use formats::store_path::StorePath;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use store::Store;
use store::build::Wanted;
use store::profile::Profile;

/// The priority of a package that has none of its own.
const PRIORITY: i64 = 5;

/// What is installed, by name.
type Elements = BTreeMap<String, Element>;

/// One package of the list.
#[derive(Debug, Clone, PartialEq)]
struct Element {
    active: bool,
    priority: i64,
    paths: Vec<String>,
    /// What else Nix noted of it.
    rest: Map<String, Value>,
}

impl Element {
    fn read(value: &Value) -> Result<Self> {
        let mut rest = value.as_object().context("an element of it is no object")?.clone();
        let paths = rest.remove("storePaths").unwrap_or_default();
        let paths = paths.as_array().context("an element of it has no `storePaths`")?.iter();
        let paths = paths.map(|path| path.as_str().map(str::to_owned).context("a path of it is no string"));
        Ok(Self {
            active: rest.remove("active").and_then(|active| active.as_bool()).unwrap_or(true),
            priority: rest.remove("priority").and_then(|priority| priority.as_i64()).unwrap_or(PRIORITY),
            paths: paths.collect::<Result<_>>()?,
            rest,
        })
    }

    fn to_value(&self) -> Value {
        let mut value = self.rest.clone();
        value.insert("active".to_owned(), json!(self.active));
        value.insert("priority".to_owned(), json!(self.priority));
        value.insert("storePaths".to_owned(), json!(self.paths));
        Value::Object(value)
    }
}

/// Reads a list of any version.
fn read_manifest(text: &str) -> Result<Elements> {
    let manifest: Value = serde_json::from_str(text).context("it is no JSON")?;
    let mut elements = Elements::new();
    match (manifest.get("version").and_then(Value::as_u64), manifest.get("elements")) {
        (Some(1 | 2), Some(Value::Array(list))) => {
            for value in list {
                let element = Element::read(value)?;
                let attribute = element.rest.get("attrPath").and_then(Value::as_str).map(str::to_owned);
                let name = attribute.as_deref().and_then(|path| path.rsplit('.').next()).map(str::to_owned);
                let name = name.or_else(|| element.paths.first().map(|path| package_name(path)));
                insert(&mut elements, &name.unwrap_or_default(), element);
            }
        }
        (Some(3), Some(Value::Object(list))) => {
            for (name, value) in list {
                elements.insert(name.clone(), Element::read(value)?);
            }
        }
        (version, _) => bail!("its version is {version:?}; Firn knows 1, 2 and 3"),
    }
    Ok(elements)
}

fn write_manifest(elements: &Elements) -> Value {
    let elements: Map<String, Value> =
        elements.iter().map(|(name, element)| (name.clone(), element.to_value())).collect();
    json!({"version": 3, "elements": elements})
}

/// Adds a package, under another name if there is one of that name.
fn insert(elements: &mut Elements, name: &str, element: Element) {
    let mut free = name.to_owned();
    for number in 1.. {
        if !elements.contains_key(&free) {
            break;
        }
        free = format!("{name}-{number}");
    }
    elements.insert(free, element);
}

/// The name of a package without its version, from a path of it.
fn package_name(path: &str) -> String {
    let base = path.rsplit('/').next().unwrap_or(path);
    let name = base.split_once('-').map_or(base, |(_, name)| name);
    split_name(name).0
}

/// What every subcommand works on.
struct Session {
    store: Rc<Store>,
    profile: PathBuf,
}

impl Session {
    fn open(front: &Front, profile: Option<PathBuf>) -> Result<Self> {
        let profile = match profile {
            Some(profile) => std::path::absolute(profile)?,
            None => own_profile()?,
        };
        Ok(Self { store: Rc::new(front.open()?), profile })
    }

    fn generations(&self) -> Profile {
        Profile::at(&self.profile)
    }

    /// The packages of the current generation.
    fn elements(&self) -> Result<Elements> {
        let Ok(link) = std::fs::read_link(&self.profile) else { return Ok(Elements::new()) };
        let mut place = self.profile.parent().unwrap_or(Path::new("/")).join(link);
        // The generation is a link to a path as the store names it, and the list in it another.
        for _ in 0..2 {
            if let Ok(next) = std::fs::read_link(&place) {
                place = place.parent().unwrap_or(Path::new("/")).join(next);
            }
        }
        let layout = self.store.layout();
        let list = layout.real_of_logical(&place).join("manifest.json");
        if layout.real_of_logical(&place).join("manifest.nix").symlink_metadata().is_ok() {
            bail!("profile '{}' was made by 'nix-env'; change it with that", self.profile.display());
        }
        let list = std::fs::read_link(&list).map_or(list, |target| layout.real_of_logical(&target));
        match std::fs::read_to_string(&list) {
            Ok(text) => read_manifest(&text).with_context(|| format!("reading {}", list.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Elements::new()),
            Err(error) => Err(error).with_context(|| format!("reading {}", list.display())),
        }
    }

    /// Makes a generation of these packages the current one.
    fn set(&self, front: &Front, elements: &Elements) -> Result<()> {
        let dir = self.store.dir().clone();
        let (mut references, mut lines) = (BTreeSet::new(), Vec::new());
        for element in elements.values() {
            for path in &element.paths {
                references.insert(dir.parse(path)?);
            }
            let count = element.paths.len();
            lines.push(format!(
                "{} {} {count} {}",
                element.active,
                element.priority,
                element.paths.join(" ")
            ));
        }
        let text = write_manifest(elements).to_string();
        let list = self.store.add_text("manifest.json", text.as_bytes(), &references)?;
        let mut derivation = environment("profile", &dir.print(&list), list, &lines.join(" "));
        derivation.fill_output_paths::<store::Error>(&dir, &mut |path| {
            Err(store::Error::Invalid(format!("a profile does not depend on {path}")))
        })?;
        let path = self.store.add_derivation(&derivation)?;
        let requests = [(path.clone(), Wanted::All)];
        let report = Front::build(&self.store, &requests, &front.build_options(&self.store))?;
        let out = report.outputs.get(&path).and_then(|outputs| outputs.get("out"));
        self.generations().set(&self.store, out.context("the profile was not built")?)?;
        Ok(())
    }
}

/// Takes `--profile`. False when it is something else.
fn take_profile(argument: &str, arguments: &mut Arguments, profile: &mut Option<PathBuf>) -> Result<bool> {
    let is = argument == "--profile";
    if is {
        *profile = Some(arguments.value(argument)?.into());
    }
    Ok(is)
}

/// `nix profile install`, `nix profile add`.
pub(super) fn install(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (mut installables, mut profile, mut priority) = (Installables::default(), None, PRIORITY);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--priority" => {
                priority = arguments.value(&argument)?.parse().context("'--priority' takes a number")?;
            }
            _ if take_profile(&argument, arguments, &mut profile)? => {}
            _ if installables.take(front, &argument, arguments)? => {}
            other => bail!("unrecognised flag '{other}'"),
        }
    }
    let session = Session::open(front, profile)?;
    let mut elements = session.elements()?;
    let requests = installables.requests(front, &session.store)?;
    let builds: Vec<_> = requests.iter().filter(|(path, _)| path.is_derivation()).cloned().collect();
    let report = Front::build(&session.store, &builds, &front.build_options(&session.store))?;
    for (path, wanted) in &requests {
        let mut paths: Vec<StorePath> = match report.outputs.get(path) {
            Some(outputs) => outputs
                .iter()
                .filter(|(name, _)| wanted.contains(name))
                .map(|(_, path)| path.clone())
                .collect(),
            None => vec![path.clone()],
        };
        paths.retain(|path| !path.is_derivation());
        let Some(first) = paths.first() else { bail!("'{path}' has no output to install") };
        let source = installables.source_of(path);
        let name = source
            .and_then(|source| name_in_url(&source.original, &source.attribute))
            .unwrap_or_else(|| package_name(first.base_name()));
        let rest = source.map(noted).unwrap_or_default();
        let paths = paths.iter().map(|path| session.store.dir().print(path)).collect();
        if elements.values().any(|known| known.paths == paths) {
            writeln!(std::io::stderr(), "warning: '{name}' is already added")?;
            continue;
        }
        insert(&mut elements, &name, Element { active: true, priority, paths, rest });
    }
    session.set(front, &elements)?;
    Ok(ExitCode::SUCCESS)
}

/// What is noted of a package that a flake has, so that it can be looked for again.
fn noted(source: &FlakeSource) -> Map<String, Value> {
    let outputs = source.outputs.as_deref().map(|outputs| outputs.split(',').collect::<Vec<_>>());
    let fields = [
        ("attrPath", json!(source.attribute)),
        ("originalUrl", json!(source.original.to_string())),
        ("outputs", json!(outputs)),
        ("url", json!(source.locked.to_string())),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The name that a package gets from where it is: its directory, the attribute unless that is the default, its repository.
fn name_in_url(flake: &FlakeRef, attribute: &str) -> Option<String> {
    let is_name = |text: &&str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    if !flake.subdir.is_empty() {
        return Some(flake.subdir.clone());
    }
    let parts: Vec<&str> = attribute.split('.').collect();
    let last = parts.last().copied().filter(|last| *last != "default" && parts.iter().all(is_name));
    if let Some(last) = last.filter(|_| parts.first() != Some(&"defaultPackage")) {
        return Some(last.to_owned());
    }
    let url = flake.to_url().ok()?;
    let segments = url.segments();
    let found = match url.scheme.as_str() {
        "github" | "gitlab" | "sourcehut" => segments.get(1).copied(),
        _ if segments.len() > 1 || url.path.len() > 1 => segments.last().copied(),
        _ => None,
    };
    found.filter(is_name).map(str::to_owned)
}

/// Flags that all the others have, and words.
fn words(front: &mut Front, arguments: &mut Arguments, own: &[&str]) -> Result<(Session, Vec<String>)> {
    let (mut words, mut profile) = (Vec::new(), None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            known if own.contains(&known) => words.push(argument),
            _ if take_profile(&argument, arguments, &mut profile)? => {}
            _ if front.take(&argument, arguments)? => {}
            flag if flag.starts_with("--") => bail!("unrecognised flag '{flag}'"),
            _ => words.push(argument),
        }
    }
    Ok((Session::open(front, profile)?, words))
}

/// `nix profile list`.
pub(super) fn list(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (session, flags) = words(front, arguments, &["--json"])?;
    let elements = session.elements()?;
    let mut out = std::io::stdout().lock();
    if flags.iter().any(|flag| flag == "--json") {
        writeln!(out, "{}", write_manifest(&elements))?;
        return Ok(ExitCode::SUCCESS);
    }
    for (number, (name, element)) in elements.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        writeln!(out, "Name:               {name}")?;
        for (field, label) in [
            ("attrPath", "Flake attribute:"),
            ("originalUrl", "Original flake URL:"),
            ("url", "Locked flake URL:"),
        ] {
            if let Some(text) = element.rest.get(field).and_then(Value::as_str) {
                writeln!(out, "{label:<19} {text}")?;
            }
        }
        writeln!(out, "Store paths:        {}", element.paths.join(" "))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix profile remove`: by name, by a path of it, or `--all`.
pub(super) fn remove(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (session, words) = words(front, arguments, &["--all"])?;
    if words.is_empty() {
        bail!("No packages specified.");
    }
    let mut elements = session.elements()?;
    let before = elements.len();
    for word in &words {
        let count = elements.len();
        elements.retain(|name, element| word != "--all" && name != word && !element.paths.contains(word));
        if elements.len() == count {
            writeln!(
                std::io::stderr(),
                "warning: Package name '{word}' does not match any packages in the profile."
            )?;
        }
    }
    writeln!(
        std::io::stderr(),
        "removed {} packages, kept {} packages",
        before - elements.len(),
        elements.len()
    )?;
    if elements.len() < before {
        session.set(front, &elements)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix profile upgrade`: what came from a flake, as that is now.
pub(super) fn upgrade(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (session, words) = words(front, arguments, &["--all"])?;
    if words.is_empty() {
        bail!("No packages specified.");
    }
    // What is asked for is what there is now.
    crate::nix_conf::NixConf::override_with("tarball-ttl", "0");
    let mut elements = session.elements()?;
    for word in words.iter().filter(|word| *word != "--all" && !elements.contains_key(*word)) {
        log::warn!("Package name '{word}' does not match any packages in the profile.");
    }
    let mut upgraded = 0;
    for (name, element) in &mut elements {
        if !words.contains(name) && !words.iter().any(|word| word == "--all") {
            continue;
        }
        let text = |field: &str| element.rest.get(field).and_then(Value::as_str);
        let (Some(flake), Some(attribute)) = (text("originalUrl"), text("attrPath")) else {
            log::warn!("'{name}' is not upgraded: it was not added from a flake");
            continue;
        };
        let outputs = element.rest.get("outputs").and_then(Value::as_array).map(|outputs| {
            let names: Vec<&str> = outputs.iter().filter_map(Value::as_str).collect();
            format!("^{}", names.join(","))
        });
        let word = format!("{flake}#.{attribute}{}", outputs.unwrap_or_default());
        let mut installables = Installables::of_words(vec![word]);
        let requests = installables.requests(front, &session.store)?;
        let [(path, wanted)] = requests.as_slice() else { bail!("'{name}' is no longer one package") };
        let source = installables.source_of(path).context("what was a flake's package is none any more")?;
        let locked = source.locked.to_string();
        if text("url") == Some(&locked) {
            continue;
        }
        log::info!("upgrading '{name}' from flake '{}' to '{locked}'", text("url").unwrap_or_default());
        let rest = noted(source);
        let report = Front::build(&session.store, &requests, &front.build_options(&session.store))?;
        let outputs = report.outputs.get(path).into_iter().flatten();
        let paths = outputs.filter(|(output, _)| wanted.contains(output));
        element.paths = paths.map(|(_, path)| session.store.dir().print(path)).collect();
        element.rest = rest;
        upgraded += 1;
    }
    if upgraded > 0 {
        session.set(front, &elements)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix profile history`: its generations.
pub(super) fn history(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (session, _) = words(front, arguments, &[])?;
    list_generations(&session.generations())?;
    Ok(ExitCode::SUCCESS)
}

/// `nix profile rollback [--to N]`.
pub(super) fn rollback(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (session, words) = words(front, arguments, &["--to"])?;
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => drop(session.generations().rollback()?),
        ["--to", number] => {
            session
                .generations()
                .switch(number.parse().context("'--to' takes the number of a generation")?)?;
        }
        words => bail!("'nix profile rollback' does not take '{}'", words.join(" ")),
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix profile wipe-history [--older-than Nd]`.
pub(super) fn wipe_history(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (session, words) = words(front, arguments, &["--older-than", "--dry-run"])?;
    let mut age = None;
    if let Some(at) = words.iter().position(|word| word == "--older-than") {
        let days = words
            .get(at + 1)
            .and_then(|word| word.strip_suffix('d'))
            .and_then(|days| days.parse::<u64>().ok());
        age = Some(Duration::from_secs(days.context("'--older-than' takes days, such as 30d")? * 24 * 3600));
    }
    let generations = session.generations();
    let old = generations.old_generations(age)?;
    for number in &old {
        writeln!(std::io::stderr(), "removing profile version {number}")?;
    }
    if !words.iter().any(|word| word == "--dry-run") {
        generations.delete(&old)?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_every_version() {
        let old = r#"{"version": 2, "elements": [
            {"active": true, "priority": 5, "storePaths": ["/nix/store/x-hello-2.12"]},
            {"active": false, "attrPath": "legacyPackages.x86_64-linux.hello", "storePaths": ["/nix/store/y-hello-2.10"]}]}"#;
        let elements = read_manifest(old).unwrap();
        let names: Vec<&str> = elements.keys().map(String::as_str).collect();
        assert_eq!(names, ["hello", "hello-1"]);
        assert!(!elements["hello-1"].active);
        // What is written is read the same, with what only Nix knows.
        assert_eq!(read_manifest(&write_manifest(&elements).to_string()).unwrap(), elements);
        assert!(read_manifest(r#"{"version": 4, "elements": {}}"#).is_err());
        assert!(read_manifest("[]").is_err());
    }

    #[test]
    fn names_by_where_packages_are() {
        for (flake, attribute, name) in [
            ("github:owner/repo", "packages.x86_64-linux.default", Some("repo")),
            ("github:owner/repo", "packages.x86_64-linux.hello", Some("hello")),
            ("github:owner/repo?dir=sub", "packages.x86_64-linux.hello", Some("sub")),
            ("path:/a/b", "defaultPackage.x86_64-linux", Some("b")),
            ("git+file:///a/b", "packages.x86_64-linux.default", Some("b")),
            ("nixpkgs", "legacyPackages.x86_64-linux.hello", Some("hello")),
            ("nixpkgs", "packages.x86_64-linux.default", None),
        ] {
            let flake = FlakeRef::parse(flake, true, false).unwrap();
            assert_eq!(name_in_url(&flake, attribute).as_deref(), name, "{flake} {attribute}");
        }
    }

    #[test]
    fn names_without_versions() {
        assert_eq!(package_name("/nix/store/abc-hello-2.12.1"), "hello");
        assert_eq!(package_name("abc-nix-prefetch-git"), "nix-prefetch-git");
    }
}
