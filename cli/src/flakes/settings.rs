//! `nixConfig`: settings that a flake asks for. Some are harmless; the others are taken only if the user agrees, for they
//! can make Nix run or trust what the flake's author likes. What was agreed to can be remembered
//! (`~/.local/share/nix/trusted-settings.json`). Nix manual, `nix flake`, "Flake format"; `accept-flake-config`.

use crate::nix_conf::NixConf;
use evaluator::flake::Setting;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Settings that do no harm.
const HARMLESS: [&str; 5] =
    ["bash-prompt", "bash-prompt-prefix", "bash-prompt-suffix", "flake-registry", "commit-lock-file-summary"];

/// What was agreed to in this process.
static APPLIED: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// The settings of flakes that count.
pub(crate) fn applied() -> Vec<(String, String)> {
    APPLIED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Takes over the settings of a flake that count.
pub(crate) fn apply(settings: &BTreeMap<String, Setting>) {
    for (name, value) in accepted(settings) {
        NixConf::override_with(&name, &value);
        APPLIED.lock().unwrap_or_else(PoisonError::into_inner).push((name, value));
    }
}

fn text_of(setting: &Setting) -> String {
    match setting {
        Setting::Text(text) => text.clone(),
        Setting::Int(number) => number.to_string(),
        Setting::Bool(truth) => truth.to_string(),
        Setting::List(items) => items.join(" "),
    }
}

fn remembered_file() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")))?;
    Some(data.join("nix/trusted-settings.json"))
}

/// What was said of settings before: by name and value.
fn remembered() -> Map<String, Value> {
    let text = remembered_file().and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn remember(known: &Map<String, Value>) {
    let Some(file) = remembered_file() else { return };
    let written = file.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
        let new = file.with_extension("new");
        std::fs::write(&new, Value::Object(known.clone()).to_string())?;
        std::fs::rename(&new, &file)
    });
    if let Err(error) = written {
        log::warn!("what was said of the settings is not remembered: {}: {error}", file.display());
    }
}

fn ask(question: &str) -> bool {
    crate::progress::say(&format!("{question} (y/N)"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).is_ok() && answer.trim_start().starts_with(['y', 'Y'])
}

/// The settings of a flake that count, as `nix.conf` would write them.
fn accepted(settings: &BTreeMap<String, Setting>) -> Vec<(String, String)> {
    let conf = NixConf::load();
    let mut taken = Vec::new();
    let mut known = remembered();
    for (name, setting) in settings {
        let text = text_of(setting);
        let base = name.strip_prefix("extra-").unwrap_or(name);
        let mut agreed = HARMLESS.contains(&base);
        if !agreed {
            // nix.conf(5), accept-flake-config: true, false, or ask where somebody can answer.
            let before = known.get(name).and_then(|values| values.get(&text)).and_then(Value::as_bool);
            agreed = if conf.flag("accept-flake-config", false) {
                true
            } else if let Some(before) = before {
                log::info!("using what was said of the setting {name} before");
                before
            } else if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
                let agreed = ask(&format!(
                    "do you want to allow configuration setting '{name}' to be set to '{text}'"
                ));
                let what = if agreed { "trusted" } else { "untrusted" };
                if ask(&format!("do you want to permanently mark this value as {what}")) {
                    let values = known.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
                    if let Some(values) = values.as_object_mut() {
                        values.insert(text.clone(), Value::Bool(agreed));
                    }
                    remember(&known);
                }
                agreed
            } else {
                false
            };
        }
        if agreed {
            taken.push((name.clone(), text));
        } else {
            log::warn!(
                "ignoring untrusted flake configuration setting '{name}'.\nPass '--accept-flake-config' to trust it"
            );
        }
    }
    taken
}
