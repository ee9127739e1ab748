//! `nix flake check`: whether a flake's outputs are what they should be, and its checks build. nix3-flake-check(1). With
//! `--keep-going` every error is told, otherwise the first ends it.

use super::Call;
use super::show::{is_derivation, text};
use crate::eval::explain;
use crate::nix_front::{Arguments, Front};
use anyhow::{Context as _, Result, anyhow, bail};
use evaluator::{Evaluator, Handle};
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::process::ExitCode;
use store::Store;
use store::build::Wanted;

/// Outputs of others that are known here, and not looked into.
const UNCHECKED: [&str; 10] = [
    "darwinConfigurations",
    "darwinModules",
    "flakeModule",
    "flakeModules",
    "herculesCI",
    "homeConfigurations",
    "homeModule",
    "homeModules",
    "lib",
    "nixopsConfigurations",
];

/// Outputs that were called otherwise once.
const RENAMED: [(&str, &str); 7] = [
    ("defaultApp", "apps.<system>.default"),
    ("defaultBundler", "bundlers.<system>.default"),
    ("defaultPackage", "packages.<system>.default"),
    ("defaultTemplate", "templates.default"),
    ("devShell", "devShells.<system>.default"),
    ("nixosModule", "nixosModules.default"),
    ("overlay", "overlays.default"),
];

/// `nix flake check`.
pub(crate) fn check(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut call = Call::read(front, arguments, &["--no-build", "--all-systems"])?;
    if call.has("--no-build") {
        call.request.options.push(("allow-import-from-derivation".to_owned(), "false".to_owned()));
    }
    let (checks, store) = call.with_flake(front, |call, evaluator, locked, store| {
        let mut check = Check {
            system: call.request.evaluator_options()?.system,
            all_systems: call.has("--all-systems"),
            keep_going: front.conf.flag("keep-going", false),
            failed: false,
            omitted: BTreeSet::new(),
            checks: Vec::new(),
        };
        let flake = evaluator.call_flake(&locked).map_err(explain)?;
        let outputs = evaluator.attribute(flake, "outputs").map_err(explain)?.unwrap_or(flake);
        check.outputs(evaluator, outputs, store)?;
        Ok((check, std::rc::Rc::clone(store)))
    })?;
    if !call.has("--no-build") && !checks.checks.is_empty() {
        crate::progress::say(&format!("running {} flake checks...", checks.checks.len()));
        let requests: Vec<_> = checks.checks.into_iter().map(|path| (path, Wanted::All)).collect();
        Front::build(&store, &requests, &front.build_options(&store))?;
    }
    if checks.failed {
        bail!("some errors were encountered during the evaluation");
    }
    if !checks.omitted.is_empty() {
        let omitted: Vec<String> = checks.omitted.into_iter().collect();
        log::warn!(
            "The check omitted these incompatible systems: {}\nUse '--all-systems' to check all.",
            omitted.join(", ")
        );
    }
    Ok(ExitCode::SUCCESS)
}

struct Check {
    system: String,
    all_systems: bool,
    keep_going: bool,
    failed: bool,
    omitted: BTreeSet<String>,
    /// The checks of this system, to be built.
    checks: Vec<StorePath>,
}

type Members<'a> = Vec<(String, Handle<'a>)>;

impl Check {
    /// Tells an error, or ends the check with it.
    fn judge(&mut self, result: Result<()>, what: &str, path: &str) -> Result<()> {
        let Err(error) = result else { return Ok(()) };
        let error = anyhow!("{error:#}\n       … while checking {what} '{path}'");
        if !self.keep_going {
            return Err(error);
        }
        log::warn!("error (ignored): error: {error:#}");
        self.failed = true;
        Ok(())
    }

    fn outputs<'a>(
        &mut self,
        evaluator: &mut Evaluator<'a>,
        outputs: Handle<'a>,
        store: &Store,
    ) -> Result<()> {
        for name in evaluator.attribute_names(outputs).context("a flake's outputs should be a set")? {
            if let Some((_, instead)) = RENAMED.iter().find(|(old, _)| *old == name) {
                log::warn!("flake output attribute '{name}' is deprecated; use '{instead}' instead");
            }
            let result = self.output(evaluator, outputs, &name, store);
            self.judge(result, "flake output", &name)?;
        }
        Ok(())
    }

    fn output<'a>(
        &mut self,
        evaluator: &mut Evaluator<'a>,
        outputs: Handle<'a>,
        name: &str,
        store: &Store,
    ) -> Result<()> {
        let Some(value) = evaluator.attribute(outputs, name).map_err(explain)? else { return Ok(()) };
        match name {
            "checks" | "packages" | "devShells" => {
                for (system, set) in self.systems(evaluator, value, name)? {
                    for (inner, value) in members(evaluator, set, &format!("{name}.{system}"))? {
                        let path = format!("{name}.{system}.{inner}");
                        let is_check = name == "checks" && system == self.system;
                        let result = self.derivation(evaluator, value, &path, store, is_check);
                        self.judge(result, "the derivation", &path)?;
                    }
                }
            }
            "formatter" | "defaultPackage" | "devShell" => {
                for (system, value) in self.systems(evaluator, value, name)? {
                    let path = format!("{name}.{system}");
                    let result = self.derivation(evaluator, value, &path, store, false);
                    self.judge(result, "the derivation", &path)?;
                }
            }
            "apps" | "bundlers" => {
                for (system, set) in self.systems(evaluator, value, name)? {
                    for (inner, value) in members(evaluator, set, &format!("{name}.{system}"))? {
                        self.app_or_bundler(evaluator, value, &format!("{name}.{system}.{inner}"))?;
                    }
                }
            }
            "defaultApp" | "defaultBundler" => {
                for (system, value) in self.systems(evaluator, value, name)? {
                    self.app_or_bundler(evaluator, value, &format!("{name}.{system}"))?;
                }
            }
            "legacyPackages" => drop(self.systems(evaluator, value, name)?),
            "overlay" => {
                let result = overlay(evaluator, value);
                self.judge(result, "the overlay", name)?;
            }
            "overlays" => {
                for (inner, value) in members(evaluator, value, name)? {
                    let result = overlay(evaluator, value);
                    self.judge(result, "the overlay", &format!("{name}.{inner}"))?;
                }
            }
            "nixosModules" => drop(members(evaluator, value, name)?),
            "nixosConfigurations" => {
                for (inner, value) in members(evaluator, value, name)? {
                    let result = configuration(evaluator, value);
                    self.judge(result, "the NixOS configuration", &format!("{name}.{inner}"))?;
                }
            }
            "hydraJobs" => {
                let result = self.jobs(evaluator, value, name, store);
                self.judge(result, "the Hydra jobset", name)?;
            }
            "defaultTemplate" => {
                let result = template(evaluator, value, name);
                self.judge(result, "the template", name)?;
            }
            "templates" => {
                for (inner, value) in members(evaluator, value, name)? {
                    let path = format!("{name}.{inner}");
                    let result = template(evaluator, value, &path);
                    self.judge(result, "the template", &path)?;
                }
            }
            "nixosModule" => {}
            name if UNCHECKED.contains(&name) => {}
            other => log::warn!("unknown flake output '{other}'"),
        }
        Ok(())
    }

    /// The members of a set of systems that are looked at.
    fn systems<'a>(
        &mut self,
        evaluator: &mut Evaluator<'a>,
        value: Handle<'a>,
        path: &str,
    ) -> Result<Members<'a>> {
        let Some(names) = evaluator.attribute_names(value) else {
            bail!("flake output '{path}' should be a set but is a {}", evaluator.type_of(value));
        };
        let mut kept = Vec::new();
        for name in names {
            if !name.contains('-') {
                let result = Err(anyhow!("'{name}' is not a valid system type"));
                self.judge(result, "flake output", path)?;
            }
            if !self.all_systems && name != self.system {
                self.omitted.insert(name);
            } else if let Some(value) = evaluator.attribute(value, &name).map_err(explain)? {
                kept.push((name, value));
            }
        }
        Ok(kept)
    }

    fn derivation<'a>(
        &mut self,
        evaluator: &mut Evaluator<'a>,
        value: Handle<'a>,
        path: &str,
        store: &Store,
        is_check: bool,
    ) -> Result<()> {
        let Some(derivation) = evaluator.derivation_info(value).map_err(explain)? else {
            bail!("flake attribute '{path}' is not a derivation");
        };
        if is_check {
            self.checks.push(store.dir().parse(&derivation.drv_path)?);
        }
        Ok(())
    }

    fn app_or_bundler<'a>(
        &mut self,
        evaluator: &mut Evaluator<'a>,
        value: Handle<'a>,
        path: &str,
    ) -> Result<()> {
        if path.starts_with("apps.") || path.starts_with("defaultApp.") {
            let result = app(evaluator, value, path);
            return self.judge(result, "the app definition", path);
        }
        let result = if evaluator.type_of(value) == "lambda" {
            Ok(())
        } else {
            Err(anyhow!("bundler must be a function"))
        };
        self.judge(result, "the bundler", path)
    }

    fn jobs<'a>(
        &mut self,
        evaluator: &mut Evaluator<'a>,
        value: Handle<'a>,
        path: &str,
        store: &Store,
    ) -> Result<()> {
        if is_derivation(evaluator, value)? {
            bail!("jobset should not be a derivation at top-level");
        }
        for (name, value) in members(evaluator, value, path)? {
            let path = format!("{path}.{name}");
            let result = if is_derivation(evaluator, value)? {
                self.derivation(evaluator, value, &path, store, false)
            } else {
                self.jobs(evaluator, value, &path, store)
            };
            self.judge(result, "the Hydra job", &path)?;
        }
        Ok(())
    }
}

/// What is in a set.
fn members<'a>(evaluator: &mut Evaluator<'a>, value: Handle<'a>, path: &str) -> Result<Members<'a>> {
    let Some(names) = evaluator.attribute_names(value) else {
        bail!("flake output '{path}' should be a set but is a {}", evaluator.type_of(value));
    };
    let mut found = Vec::new();
    for name in names {
        if let Some(value) = evaluator.attribute(value, &name).map_err(explain)? {
            found.push((name, value));
        }
    }
    Ok(found)
}

fn overlay<'a>(evaluator: &mut Evaluator<'a>, value: Handle<'a>) -> Result<()> {
    if evaluator.type_of(value) != "lambda" {
        bail!("overlay is not a function, but a {} instead", evaluator.type_of(value));
    }
    let name = evaluator.argument_name(value);
    if !matches!(name.as_deref(), Some("final" | "_final" | "_")) {
        bail!("overlay does not take an argument named 'final'");
    }
    Ok(())
}

fn configuration<'a>(evaluator: &mut Evaluator<'a>, value: Handle<'a>) -> Result<()> {
    let nothing = evaluator.make_empty_attrs();
    let toplevel = evaluator.select(value, "config.system.build.toplevel", nothing).map_err(explain)?;
    if !is_derivation(evaluator, toplevel)? {
        bail!("attribute 'config.system.build.toplevel' is not a derivation");
    }
    Ok(())
}

fn app<'a>(evaluator: &mut Evaluator<'a>, value: Handle<'a>, path: &str) -> Result<()> {
    let found = members(evaluator, value, path)?;
    for name in ["type", "program"] {
        let member = found.iter().find(|(known, _)| known == name);
        let Some((_, member)) = member else { bail!("app '{path}' lacks attribute '{name}'") };
        if evaluator.as_string(*member).is_none() {
            bail!("attribute '{name}' of app '{path}' should be a string");
        }
    }
    match found.iter().find(|(name, _)| name == "meta") {
        None => log::warn!("app '{path}' lacks attribute 'meta'"),
        Some((_, meta)) => {
            if text(evaluator, *meta, "description")?.is_none() {
                log::warn!("app '{path}' lacks attribute 'meta.description'");
            }
        }
    }
    match found.iter().find(|(name, _)| !matches!(name.as_str(), "type" | "program" | "meta")) {
        Some((name, _)) => bail!("app '{path}' has unsupported attribute '{name}'"),
        None => Ok(()),
    }
}

fn template<'a>(evaluator: &mut Evaluator<'a>, value: Handle<'a>, path: &str) -> Result<()> {
    let found = members(evaluator, value, path)?;
    let member = |name: &str| found.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    let Some(place) = member("path") else { bail!("template '{path}' lacks attribute 'path'") };
    let exists = evaluator.eval_str("builtins.pathExists", b"/").map_err(explain)?;
    let exists = evaluator.call(exists, place).map_err(explain)?;
    if !evaluator.is_true(exists) {
        let shown = evaluator.print(place, evaluator::Style::Plain);
        bail!("template '{path}' refers to a non-existent path '{}'", String::from_utf8_lossy(&shown));
    }
    if member("description").is_none() {
        bail!("template '{path}' lacks attribute 'description'");
    }
    match found.iter().find(|(name, _)| !matches!(name.as_str(), "path" | "description" | "welcomeText")) {
        Some((name, _)) => bail!("template '{path}' has unsupported attribute '{name}'"),
        None => Ok(()),
    }
}
