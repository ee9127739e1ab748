//! `nix flake archive`, `nix flake prefetch`, `nix flake clone`: a flake's trees in the store, in another store, or as a
//! repository to work in. nix3-flake-archive(1) and its sisters.

use super::Call;
use super::metadata::store_object;
use crate::eval_io::StoreIo;
use crate::flakes::registries;
use crate::nix_front::{Arguments, Front};
use anyhow::{Context as _, Result, bail};
use evaluator::io::{TreeAttribute, TreeInput};
use formats::flake::attributes::to_json;
use formats::flake::url::Url;
use formats::flake::{Edge, FlakeRef, Input, LockFile};
use formats::store_path::StorePath;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::rc::Rc;

/// `nix flake archive`.
pub(crate) fn archive(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut to = None;
    let own = ["--json", "--dry-run", "--no-check-sigs"];
    let mut call = Call::read_with(front, arguments, &own, &mut |flag, arguments| {
        if flag == "--to" {
            to = Some(arguments.value(flag)?);
        }
        Ok(flag == "--to")
    })?;
    call.with_flake(front, |call, _, locked, store| {
        let io = StoreIo::new(Rc::clone(store), front.build_options(store));
        let path = store_object(&locked, store)?;
        let mut sources = BTreeSet::from([store.dir().parse(&path)?]);
        let inputs = inputs(&locked.lock, 0, &io, call.has("--dry-run"), &mut sources)?;
        if call.has("--json") {
            writeln!(std::io::stdout(), "{}", json!({"path": path, "inputs": inputs}))?;
        }
        if let Some(to) = to.filter(|_| !call.has("--dry-run")) {
            let target = front.open_at(&to, front.conf.store_options()?)?;
            let closure = store.closure(sources)?;
            store.copy_to(&target, &closure, !call.has("--no-check-sigs"), &|_| {})?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The trees of a node's inputs, fetched.
fn inputs(
    lock: &LockFile,
    index: usize,
    io: &StoreIo,
    dry_run: bool,
    sources: &mut BTreeSet<StorePath>,
) -> Result<Value> {
    let fetcher = io.fetcher();
    let mut found = Map::new();
    for (name, edge) in lock.nodes.get(index).into_iter().flat_map(|node| &node.inputs) {
        let Edge::Node(child) = edge else { continue };
        let Some(locked) = lock.nodes.get(*child).and_then(|node| node.locked.as_ref()) else { continue };
        let mut entry = Map::new();
        let input = &locked.locked.input;
        if input.relative_path().is_none() {
            let path = match input.nar_hash()?.filter(|_| dry_run) {
                Some(hash) => fetcher.store.dir().make_fixed_output_path(
                    input.text("name").unwrap_or("source"),
                    formats::content_address::Method::Recursive,
                    &hash,
                    &BTreeSet::new(),
                    false,
                )?,
                None => fetcher.fetch_tree(&TreeInput::of(input, true))?.path,
            };
            entry.insert("path".to_owned(), Value::from(fetcher.store.dir().print(&path)));
            sources.insert(path);
        }
        entry.insert("inputs".to_owned(), inputs(lock, *child, io, dry_run, sources)?);
        found.insert(name.clone(), Value::Object(entry));
    }
    Ok(Value::Object(found))
}

/// `nix flake prefetch`.
pub(crate) fn prefetch(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut out_link = None;
    let call = Call::read_with(front, arguments, &["--json"], &mut |flag, arguments| {
        let is_link = matches!(flag, "-o" | "--out-link");
        if is_link {
            out_link = Some(arguments.value(flag)?);
        }
        Ok(is_link)
    })?;
    let store = Rc::new(front.open()?);
    let io = StoreIo::new(Rc::clone(&store), front.build_options(&store));
    let fetcher = io.fetcher();
    let resolved = resolved(&call, &io)?;
    let tree = fetcher.fetch_tree(&TreeInput::of(&resolved.input, false))?;
    let hash = fetcher.store.path_info(&tree.path)?.nar_hash;
    let mut attributes = tree.attributes;
    attributes.insert("type".to_owned(), TreeAttribute::from(resolved.input.kind()));
    let locked = FlakeRef { input: Input::from_attributes(attributes)?, subdir: resolved.subdir.clone() };
    let path = fetcher.store.dir().print(&tree.path);
    if let Some(link) = out_link {
        fetcher.store.add_permanent_root(&tree.path, &std::path::absolute(link)?)?;
    }
    if call.has("--json") {
        let mut found = locked.to_attributes();
        found.insert("__final".to_owned(), TreeAttribute::Bool(true));
        let value = json!({
            "hash": hash.sri(), "locked": to_json(&found), "original": to_json(&resolved.to_attributes()),
            "storePath": path,
        });
        writeln!(std::io::stdout(), "{value}")?;
    } else {
        crate::progress::say(&format!("Downloaded '{locked}' to '{path}' (hash '{}').", hash.sri()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The flake that is named, after a look at the registries.
fn resolved(call: &Call, io: &StoreIo) -> Result<FlakeRef> {
    let reference = call.reference()?;
    if reference.input.is_direct() {
        return Ok(reference);
    }
    Ok(registries::look_up(&io.fetcher(), &reference, true)?)
}

/// `nix flake clone`.
pub(crate) fn clone(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut target = None;
    let call = Call::read_with(front, arguments, &[], &mut |flag, arguments| {
        let is_target = matches!(flag, "-f" | "--dest");
        if is_target {
            target = Some(arguments.value(flag)?);
        }
        Ok(is_target)
    })?;
    let target = target.context("missing flag '--dest'")?;
    let store = Rc::new(front.open()?);
    let io = StoreIo::new(Rc::clone(&store), front.build_options(&store));
    let reference = resolved(&call, &io)?;
    let input = &reference.input;
    if input.text("rev").is_some() {
        bail!("cloning a specific revision is not implemented");
    }
    let url = repository(input)?;
    if Path::new(&target).exists() {
        bail!("'{target}' exists already");
    }
    let mut git = Command::new("git");
    git.args(["clone", "--"]).arg(url).arg(&target);
    if let Some(branch) = input.text("ref") {
        git = Command::new("git");
        git.args(["clone", "--branch", branch, "--"]).arg(repository(input)?).arg(&target);
    }
    let status = git.status().context("starting git")?;
    if !status.success() {
        bail!("git clone failed: {status}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The address of the repository behind an input.
fn repository(input: &Input) -> Result<String> {
    let text = |name: &str| input.text(name).unwrap_or_default();
    Ok(match input.kind() {
        "git" => {
            let url = Url::parse(text("url"))?;
            if url.scheme == "file" { url.path_text() } else { url.to_string() }
        }
        "github" => {
            let host = input.text("host").unwrap_or("github.com");
            format!("https://{host}/{}/{}.git", text("owner"), text("repo"))
        }
        "gitlab" => {
            let host = input.text("host").unwrap_or("gitlab.com");
            format!("https://{host}/{}/{}.git", text("owner"), text("repo"))
        }
        "sourcehut" => {
            let host = input.text("host").unwrap_or("git.sr.ht");
            format!("https://{host}/{}/{}", text("owner"), text("repo"))
        }
        _ => bail!("do not know how to clone input '{input}'"),
    })
}
