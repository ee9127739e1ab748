//! `nix flake show`: the tree of a flake's outputs. nix3-flake-show(1). Sets are entered where something is known to be in
//! them, and packages of other systems are not evaluated.

use super::Call;
use crate::eval::explain;
use crate::nix_front::{Arguments, Front};
use anyhow::{Result, bail};
use evaluator::{Evaluator, Handle};
use serde_json::{Map, Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

/// Sets of systems, in which sets of things are.
const OF_SYSTEMS: [&str; 4] = ["apps", "checks", "devShells", "packages"];

/// Sets that are entered once.
const SETS: [&str; 8] = [
    "defaultApp",
    "defaultPackage",
    "devShell",
    "formatter",
    "nixosConfigurations",
    "nixosModules",
    "overlays",
    "templates",
];

/// `nix flake show`.
pub(crate) fn show(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut call = Call::read(front, arguments, &["--json", "--legacy", "--all-systems"])?;
    call.request.options.push(("allow-import-from-derivation".to_owned(), "false".to_owned()));
    call.with_flake(front, |call, evaluator, locked, _| {
        let system = call.request.evaluator_options()?.system;
        let mut tree = Tree {
            system,
            as_json: call.has("--json"),
            legacy: call.has("--legacy"),
            all_systems: call.has("--all-systems"),
            colours: std::io::stdout().is_terminal(),
        };
        let flake = evaluator.call_flake(&locked).map_err(|error| crate::eval::explained(&error))?;
        let outputs = evaluator.attribute(flake, "outputs");
        let outputs = outputs.map_err(|error| crate::eval::explained(&error))?.unwrap_or(flake);
        let header = tree.bold(&locked.flake.locked.to_string());
        let json = tree.visit(evaluator, outputs, &[], &header, "")?;
        if tree.as_json {
            writeln!(std::io::stdout(), "{json}")?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct Tree {
    system: String,
    as_json: bool,
    legacy: bool,
    all_systems: bool,
    colours: bool,
}

impl Tree {
    fn coloured(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn bold(&self, text: &str) -> String {
        self.coloured("1", text)
    }

    fn line(&self, text: &str) -> Result<()> {
        if !self.as_json {
            writeln!(std::io::stdout(), "{text}")?;
        }
        Ok(())
    }

    /// Shows what is at a path among the outputs; as JSON it is handed back.
    fn visit<'a>(
        &mut self,
        evaluator: &mut Evaluator<'a>,
        value: Handle<'a>,
        path: &[String],
        header: &str,
        prefix: &str,
    ) -> Result<Value> {
        let first = path.first().map_or("", String::as_str);
        match (path.len(), first) {
            (0, _) => self.set(evaluator, value, path, header, prefix),
            (1 | 2, name) if OF_SYSTEMS.contains(&name) => self.set(evaluator, value, path, header, prefix),
            (1, name) if SETS.contains(&name) => self.set(evaluator, value, path, header, prefix),
            (2, "defaultPackage" | "devShell" | "formatter") | (3, "checks" | "devShells" | "packages") => {
                if self.is_other_system(path) {
                    return self.omitted(path, header, "--all-systems");
                }
                if !is_derivation(evaluator, value)? {
                    bail!("flake output '{}' should be a derivation", path.join("."));
                }
                self.derivation(evaluator, value, path, header)
            }
            (_, "hydraJobs") => {
                if is_derivation(evaluator, value)? {
                    return self.derivation(evaluator, value, path, header);
                }
                self.set(evaluator, value, path, header, prefix)
            }
            (1, "legacyPackages") => self.set(evaluator, value, path, header, prefix),
            (_, "legacyPackages") => self.legacy(evaluator, value, path, header, prefix),
            (2, "defaultApp") | (3, "apps") => self.app(evaluator, value, path, header),
            (1, "defaultTemplate") | (2, "templates") => {
                let description = text(evaluator, value, "description")?.unwrap_or_default();
                self.line(&format!("{header}: template: {}", self.bold(&description)))?;
                Ok(json!({"type": "template", "description": description}))
            }
            (depth, name) => {
                let (kind, words) = match (depth, name) {
                    (1, "overlay") | (2, "overlays") => ("nixpkgs-overlay", "Nixpkgs overlay"),
                    (2, "nixosConfigurations") => ("nixos-configuration", "NixOS configuration"),
                    (1, "nixosModule") | (2, "nixosModules") => ("nixos-module", "NixOS module"),
                    _ => ("unknown", "unknown"),
                };
                self.line(&format!("{header}: {}", self.coloured("35;1", words)))?;
                Ok(json!({"type": kind}))
            }
        }
    }

    fn is_other_system(&self, path: &[String]) -> bool {
        !self.all_systems && path.get(1) != Some(&self.system)
    }

    fn omitted(&self, path: &[String], header: &str, flag: &str) -> Result<Value> {
        if self.as_json {
            log::warn!("{} omitted (use '{flag}' to show)", path.join("."));
        }
        self.line(&format!("{header} {} (use '{flag}' to show)", self.coloured("35;1", "omitted")))?;
        Ok(json!({}))
    }

    fn set<'a>(
        &mut self,
        evaluator: &mut Evaluator<'a>,
        value: Handle<'a>,
        path: &[String],
        header: &str,
        prefix: &str,
    ) -> Result<Value> {
        self.line(header)?;
        let Some(names) = evaluator.attribute_names(value) else {
            bail!("flake output '{}' should be a set but is a {}", path.join("."), evaluator.type_of(value));
        };
        let mut kept = Vec::new();
        for name in names {
            let mut inner = path.to_vec();
            inner.push(name.clone());
            if has_content(evaluator, value, &name, &inner) {
                kept.push((name, inner));
            }
        }
        let mut json = Map::new();
        let count = kept.len();
        for (index, (name, inner)) in kept.into_iter().enumerate() {
            let is_last = index + 1 == count;
            let branch = if is_last { "└───" } else { "├───" };
            let header =
                format!("{}{}", self.coloured("32;1", &format!("{prefix}{branch}")), self.bold(&name));
            let below = format!("{prefix}{}", if is_last { "    " } else { "│   " });
            // What is of another system is not even looked at.
            let is_hidden = self.is_other_system(&inner)
                && (matches!(
                    (inner.len(), first_of(&inner)),
                    (2, "defaultPackage" | "devShell" | "formatter")
                ) || matches!((inner.len(), first_of(&inner)), (3, "checks" | "devShells" | "packages")));
            let shown = if is_hidden {
                self.omitted(&inner, &header, "--all-systems")?
            } else {
                match evaluator.attribute(value, &name) {
                    Ok(Some(found)) => self.visit(evaluator, found, &inner, &header, &below)?,
                    Ok(None) => continue,
                    // Among these some are always broken.
                    Err(_) if first_of(path) == "legacyPackages" => json!({}),
                    Err(error) => return Err(explain(error)),
                }
            };
            json.insert(name, shown);
        }
        Ok(Value::Object(json))
    }

    fn legacy<'a>(
        &mut self,
        evaluator: &mut Evaluator<'a>,
        value: Handle<'a>,
        path: &[String],
        header: &str,
        prefix: &str,
    ) -> Result<Value> {
        if !self.legacy {
            return self.omitted(path, header, "--legacy");
        }
        if self.is_other_system(path) {
            return self.omitted(path, header, "--all-systems");
        }
        match is_derivation(evaluator, value) {
            Ok(true) => self.derivation(evaluator, value, path, header),
            Ok(false) if path.len() <= 2 => self.set(evaluator, value, path, header, prefix),
            // What cannot be evaluated there is passed over.
            _ => Ok(json!({})),
        }
    }

    fn derivation<'a>(
        &self,
        evaluator: &mut Evaluator<'a>,
        value: Handle<'a>,
        path: &[String],
        header: &str,
    ) -> Result<Value> {
        let name = text(evaluator, value, "name")?.unwrap_or_default();
        let what = match (path.len(), first_of(path)) {
            (2, "devShell") | (_, "devShells") => "development environment",
            (3, "checks") | (_, "hydraJobs") => "derivation",
            _ => "package",
        };
        self.line(&format!("{header}: {what} '{name}'"))?;
        if !self.as_json {
            return Ok(Value::Null);
        }
        let description = description(evaluator, value)?.unwrap_or_default();
        Ok(json!({"type": "derivation", "name": name, "description": description}))
    }

    fn app<'a>(
        &self,
        evaluator: &mut Evaluator<'a>,
        value: Handle<'a>,
        path: &[String],
        header: &str,
    ) -> Result<Value> {
        if text(evaluator, value, "type")?.as_deref() != Some("app") {
            bail!("flake output '{}' is not an app definition", path.join("."));
        }
        let description = description(evaluator, value)?;
        let shown = self.bold(description.as_deref().unwrap_or("no description"));
        self.line(&format!("{header}: app: {shown}"))?;
        Ok(match description {
            Some(description) => json!({"type": "app", "description": description}),
            None => json!({"type": "app"}),
        })
    }
}

fn first_of(path: &[String]) -> &str {
    path.first().map_or("", String::as_str)
}

/// Whether there is something to show: sets without anything in them are left out.
fn has_content<'a>(evaluator: &mut Evaluator<'a>, set: Handle<'a>, name: &str, path: &[String]) -> bool {
    let first = first_of(path);
    let is_entered = match path.len() {
        1 => {
            OF_SYSTEMS.contains(&first)
                || matches!(
                    first,
                    "legacyPackages" | "formatter" | "nixosConfigurations" | "nixosModules" | "overlays"
                )
        }
        2 => OF_SYSTEMS.contains(&first) || first == "legacyPackages",
        _ => false,
    };
    if !is_entered {
        return true;
    }
    let Ok(Some(value)) = evaluator.attribute(set, name) else { return true };
    let Some(names) = evaluator.attribute_names(value) else { return true };
    names.into_iter().any(|name| {
        let mut inner = path.to_vec();
        inner.push(name.clone());
        has_content(evaluator, value, &name, &inner)
    })
}

/// Whether a value is a derivation.
pub(super) fn is_derivation<'a>(evaluator: &mut Evaluator<'a>, value: Handle<'a>) -> Result<bool> {
    Ok(text(evaluator, value, "type")?.as_deref() == Some("derivation"))
}

/// A string in a set; nothing if there is none of that name.
pub(super) fn text<'a>(
    evaluator: &mut Evaluator<'a>,
    value: Handle<'a>,
    name: &str,
) -> Result<Option<String>> {
    let Some(found) = evaluator.attribute(value, name).map_err(explain)? else { return Ok(None) };
    Ok(evaluator.as_string(found).map(|text| String::from_utf8_lossy(text).into_owned()))
}

/// `meta.description`.
fn description<'a>(evaluator: &mut Evaluator<'a>, value: Handle<'a>) -> Result<Option<String>> {
    match evaluator.attribute(value, "meta").map_err(explain)? {
        Some(meta) => text(evaluator, meta, "description"),
        None => Ok(None),
    }
}
