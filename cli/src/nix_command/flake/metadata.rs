//! `nix flake metadata`: where a flake is from, and the tree of its inputs. nix3-flake-metadata(1).

use super::Call;
use crate::nix_front::{Arguments, Front};
use anyhow::Result;
use evaluator::flake::LockedFlake;
use formats::flake::attributes::to_json;
use formats::flake::lock::print_input_path;
use formats::flake::{Attribute, Edge, LockFile};
use formats::hash::Hash;
use formats::time_zone::{TimeZone, civil_from_days};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;
use store::Store;

/// `nix flake info`, as it was called once.
pub(crate) fn info(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    log::warn!("'nix flake info' is a deprecated alias for 'nix flake metadata'");
    metadata(front, arguments)
}

/// `nix flake metadata`.
pub(crate) fn metadata(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut call = Call::read(front, arguments, &["--json"])?;
    call.with_flake(front, |call, _, locked, store| {
        let mut out = std::io::stdout().lock();
        if call.has("--json") {
            writeln!(out, "{}", as_json(&locked, store)?)?;
        } else {
            print(&locked, store, &mut out)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The store object that a flake is in.
pub(super) fn store_object(locked: &LockedFlake, store: &Store) -> Result<String> {
    let (path, _) = store.dir().parse_below(&locked.flake.directory)?;
    Ok(store.dir().print(&path))
}

/// What stands for everything that an evaluation of the flake depends on; nothing if that is not known.
fn fingerprint(locked: &LockedFlake) -> Option<String> {
    if locked.lock.unlocked_input().is_some() {
        return None;
    }
    let input = &locked.flake.locked.input;
    let mut text = match input.kind() {
        "git" => {
            let revision = input.text("rev").or_else(|| input.text("narHash"))?;
            let mark =
                |name: &str, mark: &str| if input.truth(name) { mark.to_owned() } else { String::new() };
            format!(
                "{revision}{}{}{}",
                mark("submodules", ";s"),
                mark("exportIgnore", ";e"),
                mark("lfs", ";l")
            )
        }
        "github" | "gitlab" | "sourcehut" => input.text("rev")?.to_owned(),
        _ => input.text("narHash")?.to_owned(),
    };
    text.extend([";", &locked.flake.locked.subdir, ";", &locked.lock.to_text()]);
    for name in ["revCount", "lastModified"] {
        if let Some(number) = input.number(name) {
            text.extend([format!(";{name}={number}")]);
        }
    }
    Some(Hash::sha256(text).digits16())
}

fn as_json(locked: &LockedFlake, store: &Store) -> Result<Value> {
    let flake = &locked.flake;
    let mut json = Map::new();
    let mut set = |name: &str, value: Value| json.insert(name.to_owned(), value);
    if let Some(description) = &flake.description {
        set("description", Value::from(description.as_str()));
    }
    set("originalUrl", Value::from(flake.original.to_string()));
    set("original", to_json(&flake.original.to_attributes()));
    set("resolvedUrl", Value::from(flake.resolved.to_string()));
    set("resolved", to_json(&flake.resolved.to_attributes()));
    set("url", Value::from(flake.locked.to_string()));
    let mut attributes = flake.locked.to_attributes();
    attributes.insert("__final".to_owned(), Attribute::Bool(true));
    set("locked", to_json(&attributes));
    let input = &flake.locked.input;
    for (name, key) in [("rev", "revision"), ("dirtyRev", "dirtyRevision")] {
        if let Some(text) = input.text(name) {
            set(key, Value::from(text));
        }
    }
    for name in ["revCount", "lastModified"] {
        if let Some(number) = input.number(name) {
            set(name, Value::from(number));
        }
    }
    set("path", Value::from(store_object(locked, store)?));
    set("locks", locked.lock.to_json().0);
    if let Some(fingerprint) = fingerprint(locked) {
        set("fingerprint", Value::from(fingerprint));
    }
    Ok(Value::Object(json))
}

/// A time as clocks here tell it.
fn local(seconds: i64) -> i64 {
    let file = match std::env::var("TZ") {
        Ok(name) if !name.is_empty() && !name.starts_with(':') => format!("/usr/share/zoneinfo/{name}"),
        _ => "/etc/localtime".to_owned(),
    };
    let zone = std::fs::read(file).ok().and_then(|file| TimeZone::parse(&file));
    zone.map_or(seconds, |zone| zone.to_local(seconds))
}

fn time(seconds: i64) -> String {
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let rest = seconds.rem_euclid(86_400);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Bold where somebody looks.
fn bold(text: &str) -> String {
    let looks = std::io::IsTerminal::is_terminal(&std::io::stdout());
    if looks { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
}

fn print(locked: &LockedFlake, store: &Store, out: &mut dyn Write) -> Result<()> {
    let flake = &locked.flake;
    let input = &flake.locked.input;
    let mut row = |name: &str, value: &str| writeln!(out, "{} {value}", bold(&format!("{name:14}")));
    row("Resolved URL:", &flake.resolved.to_string())?;
    if input.is_locked() {
        row("Locked URL:", &flake.locked.to_string())?;
    }
    if let Some(description) = &flake.description {
        row("Description:", description)?;
    }
    row("Path:", &store_object(locked, store)?)?;
    for name in ["rev", "dirtyRev"] {
        if let Some(text) = input.text(name) {
            row("Revision:", text)?;
        }
    }
    if let Some(number) = input.number("revCount") {
        row("Revisions:", &number.to_string())?;
    }
    if let Some(seconds) = input.number("lastModified") {
        row("Last modified:", &time(local(seconds)))?;
    }
    if let Some(fingerprint) = fingerprint(locked) {
        row("Fingerprint:", &fingerprint)?;
    }
    if locked.lock.nodes.first().is_some_and(|root| !root.inputs.is_empty()) {
        writeln!(out, "{}", bold("Inputs:"))?;
        print_inputs(&locked.lock, 0, "", &mut BTreeSet::from([0]), out)?;
    }
    Ok(())
}

fn print_inputs(
    lock: &LockFile,
    index: usize,
    prefix: &str,
    visited: &mut BTreeSet<usize>,
    out: &mut dyn Write,
) -> Result<()> {
    let Some(node) = lock.nodes.get(index) else { return Ok(()) };
    for (number, (name, edge)) in node.inputs.iter().enumerate() {
        let is_last = number + 1 == node.inputs.len();
        let branch = if is_last { "└───" } else { "├───" };
        match edge {
            Edge::Follows(path) => {
                writeln!(out, "{prefix}{branch}{} follows input '{}'", bold(name), print_input_path(path))?;
            }
            Edge::Node(child) => {
                let Some(locked) = lock.nodes.get(*child).and_then(|node| node.locked.as_ref()) else {
                    continue;
                };
                let when = locked.locked.input.number("lastModified");
                let when = when.map_or_else(String::new, |seconds| format!(" ({})", time(seconds)));
                writeln!(out, "{prefix}{branch}{}: {}{when}", bold(name), locked.locked)?;
                if visited.insert(*child) {
                    let inner = if is_last { "    " } else { "│   " };
                    print_inputs(lock, *child, &format!("{prefix}{inner}"), visited, out)?;
                }
            }
        }
    }
    Ok(())
}
