//! `nix log`, `nix path-info`, `nix why-depends`, `nix show-derivation`, `nix show-config`: what is known.

use super::build::Installables;
use crate::nix_front::{Arguments, Front, layout};
use anyhow::{Context as _, Result, bail};
use formats::path_info::PathInfo;
use formats::store_path::{StoreDir, StorePath};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write as _;
use std::process::ExitCode;
use std::rc::Rc;
use store::Store;
use store::cache::Cache;

/// Takes flags of the subcommand's own and installables, and opens the store.
fn read(
    front: &mut Front,
    arguments: &mut Arguments,
    own: &[&str],
) -> Result<(Rc<Store>, Installables, BTreeSet<String>)> {
    let (installables, flags) = parse(front, arguments, own)?;
    Ok((Rc::new(front.open()?), installables, flags))
}

fn parse(
    front: &mut Front,
    arguments: &mut Arguments,
    own: &[&str],
) -> Result<(Installables, BTreeSet<String>)> {
    let mut installables = Installables::default();
    let mut flags = BTreeSet::new();
    while let Some(argument) = arguments.next() {
        if own.contains(&argument.as_str()) {
            flags.insert(argument);
        } else if !installables.take(front, &argument, arguments)? {
            bail!("unrecognised flag '{argument}'");
        }
    }
    Ok((installables, flags))
}

/// The paths that installables stand for: of a derivation, its outputs.
pub(super) fn outputs(
    front: &Front,
    store: &Rc<Store>,
    installables: &mut Installables,
) -> Result<Vec<StorePath>> {
    let mut paths = Vec::new();
    for (path, wanted) in installables.requests(front, store)? {
        if !path.is_derivation() {
            paths.push(path);
            continue;
        }
        for (output, known) in store.known_outputs(&store.read_derivation(&path)?)? {
            paths.extend(known.filter(|_| wanted.contains(&output)));
        }
    }
    Ok(paths)
}

/// The derivation that a path is or was built by, as far as the store or the caches in use know.
fn derivation_of(store: &Store, path: StorePath) -> Result<Option<StorePath>> {
    if path.is_derivation() {
        return Ok(Some(path));
    }
    if let Some(info) = store.query_path_info(&path)? {
        return Ok(info.deriver);
    }
    let asked = BTreeSet::from([path.clone()]);
    let mut offers = store.options().substituters.query(store, &asked);
    Ok(offers.remove(&path).and_then(|offer| offer.narinfo.info.deriver))
}

/// `nix log`: of a build here, or that a cache has.
pub(super) fn log(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (store, mut installables, _) = read(front, arguments, &[])?;
    for (path, _) in installables.requests(front, &store)? {
        let derivation = derivation_of(&store, path.clone())?;
        let mut log = None;
        if let Some(derivation) = &derivation {
            log = store.build_log(derivation)?;
            for address in front.conf.words("substituters") {
                if log.is_none() {
                    log = front.open_at(address, store::Options::default())?.build_log(derivation)?;
                }
            }
        }
        let log =
            log.with_context(|| format!("build log of '{}' is not available", store.dir().print(&path)))?;
        std::io::stdout().lock().write_all(&log)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix store copy-log`.
pub(super) fn copy_log(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut installables = Installables::default();
    let (mut to, mut from) = (None, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--to" => to = Some(arguments.value(&argument)?),
            "--from" => from = Some(arguments.value(&argument)?),
            _ if installables.take(front, &argument, arguments)? => {}
            other => bail!("unrecognised flag '{other}'"),
        }
    }
    let ours = Rc::new(front.open()?);
    let open = |address: &str| front.open_at(address, store::Options::default()).map(Rc::new);
    let (source, target) = match (&from, &to) {
        (Some(from), None) => (open(from)?, Rc::clone(&ours)),
        (None, Some(to)) => (Rc::clone(&ours), open(to)?),
        (Some(from), Some(to)) => (open(from)?, open(to)?),
        (None, None) => bail!("'nix store copy-log' needs --to or --from"),
    };
    for (path, _) in installables.requests(front, &ours)? {
        let derivation = derivation_of(&ours, path.clone())?.unwrap_or_else(|| path.clone());
        let log = source.build_log(&derivation)?;
        let log =
            log.with_context(|| format!("build log of '{}' is not available", ours.dir().print(&path)))?;
        target.add_build_log(&derivation, &mut log.as_slice())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix realisation info`: which paths outputs of content-addressed derivations got.
pub(super) fn realisation_info(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (store, mut installables, flags) = read(front, arguments, &["--json"])?;
    let mut out = std::io::stdout().lock();
    let mut values = Vec::new();
    for (path, wanted) in installables.requests(front, &store)? {
        if !path.is_derivation() {
            values.push(json!({"opaquePath": store.dir().print(&path)}));
            continue;
        }
        let derivation = store.read_derivation(&path)?;
        for output in derivation.outputs.keys().filter(|output| wanted.contains(output)) {
            let id = store.realisation_id(&derivation, output)?;
            let found = store.realisation(&id)?;
            let found = found.with_context(|| format!("cannot find a realisation of '{id}'"))?;
            if flags.contains("--json") {
                values.push(found.to_json());
            } else {
                writeln!(out, "{id} {}", found.path)?;
            }
        }
    }
    if flags.contains("--json") {
        writeln!(out, "{}", Value::Array(values))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix doctor`: whether this program and the store in use go together.
pub(super) fn doctor(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    while let Some(argument) = arguments.next() {
        if !front.take(&argument, arguments)? {
            bail!("unrecognised flag '{argument}'");
        }
    }
    let mut well = true;
    let mut out = std::io::stdout().lock();
    match front.open() {
        Ok(store) => writeln!(out, "[PASS] The store {} answers ({})", front.store_address(), store.dir())?,
        Err(error) => {
            well = false;
            writeln!(out, "[FAIL] The store {} cannot be used: {error:#}", front.store_address())?;
        }
    }
    let found: Vec<std::path::PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|directory| directory.join("nix-env"))
        .filter(|program| program.exists())
        .filter_map(|program| program.canonicalize().ok())
        .collect();
    let different: BTreeSet<_> = found.iter().collect();
    if different.len() > 1 {
        // As in Nix a warning and not a failure.
        writeln!(out, "[WARN] Several programs called nix-env are in PATH: the first is used")?;
    } else {
        writeln!(out, "[PASS] PATH has one nix-env at most")?;
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

const PATH_INFO_FLAGS: [&str; 11] = [
    "--json",
    "-r",
    "--recursive",
    "-s",
    "--size",
    "-S",
    "--closure-size",
    "--sigs",
    "--all",
    "-h",
    "--human-readable",
];

/// `nix path-info`.
pub(super) fn path_info(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (mut installables, flags) = parse(front, arguments, &PATH_INFO_FLAGS)?;
    if let Some(cache) = front.cache()? {
        return cached_path_info(&cache, &layout(None)?.store_dir, installables.words(), &flags);
    }
    let store = Rc::new(front.open()?);
    let has = |short: &str, long: &str| flags.contains(short) || flags.contains(long);
    let mut paths = if flags.contains("--all") {
        store.all_valid()?.into_iter().collect()
    } else {
        outputs(front, &store, &mut installables)?
    };
    if has("-r", "--recursive") {
        paths = store.sort_by_references(&store.closure(paths)?)?;
    }
    let mut out = std::io::stdout().lock();
    let mut values = Vec::new();
    for path in paths {
        let print = |path: &StorePath| store.dir().print(path);
        let Some(info) = store.query_path_info(&path)? else {
            if flags.contains("--json") {
                values.push(json!({"path": print(&path), "valid": false}));
                continue;
            }
            bail!("path '{}' is not valid", print(&path));
        };
        let mut closure_size = None;
        if has("-S", "--closure-size") {
            let mut size = 0;
            for member in store.closure([path.clone()])? {
                size += store.path_info(&member)?.nar_size;
            }
            closure_size = Some(size);
        }
        if flags.contains("--json") {
            values.push(to_json(&info, closure_size, store.dir()));
            continue;
        }
        write!(out, "{}", print(&path))?;
        if has("-s", "--size") {
            write!(out, "\t{:>11}", info.nar_size)?;
        }
        if let Some(size) = closure_size {
            write!(out, "\t{size:>11}")?;
        }
        if flags.contains("--sigs") {
            let mut words: Vec<String> = info.signatures.iter().cloned().collect();
            words.extend(info.ultimate.then(|| "ultimate".to_owned()));
            words.extend(info.content_address.map(|address| format!("ca:{address}")));
            write!(out, "\t{}", words.join(" "))?;
        }
        writeln!(out)?;
    }
    if flags.contains("--json") {
        writeln!(out, "{}", Value::Array(values))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A description as JSON.
fn to_json(info: &PathInfo, closure_size: Option<u64>, store: &StoreDir) -> Value {
    let print = |path: &StorePath| store.print(path);
    let mut value = Map::new();
    value.insert("path".to_owned(), json!(print(&info.path)));
    value.insert("narHash".to_owned(), json!(info.nar_hash.sri()));
    value.insert("narSize".to_owned(), json!(info.nar_size));
    let references: Vec<String> = info.references.iter().map(print).collect();
    value.insert("references".to_owned(), json!(references));
    let optional = [
        ("ca", info.content_address.map(|address| json!(address.to_string()))),
        ("deriver", info.deriver.as_ref().map(|deriver| json!(print(deriver)))),
        ("registrationTime", Some(json!(info.registration_time))),
        ("ultimate", info.ultimate.then_some(json!(true))),
        ("signatures", (!info.signatures.is_empty()).then(|| json!(info.signatures))),
        ("closureSize", closure_size.map(|size| json!(size))),
    ];
    for (name, optional) in optional {
        value.extend(optional.map(|optional| (name.to_owned(), optional)));
    }
    Value::Object(value)
}

/// `nix path-info` of a cache.
fn cached_path_info(
    cache: &Cache,
    store: &StoreDir,
    words: &[String],
    flags: &BTreeSet<String>,
) -> Result<ExitCode> {
    let as_json = flags.contains("--json");
    if let Some(other) = flags.iter().find(|flag| *flag != "--json") {
        bail!("'nix path-info' of a cache does not take '{other}'");
    }
    let mut out = std::io::stdout().lock();
    let mut values = Vec::new();
    for word in words {
        let path = store.parse_below(word)?.0;
        match cache.narinfo(&path)? {
            Some(narinfo) if as_json => values.push(to_json(&narinfo.info, None, store)),
            Some(_) => writeln!(out, "{}", store.print(&path))?,
            None if as_json => values.push(json!({"path": store.print(&path), "valid": false})),
            None => bail!("path '{}' is not valid", store.print(&path)),
        }
    }
    if as_json {
        writeln!(out, "{}", Value::Array(values))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix why-depends`.
pub(super) fn why_depends(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let own = ["--all", "-a", "--precise"];
    let (store, mut installables, flags) = read(front, arguments, &own)?;
    let paths = outputs(front, &store, &mut installables)?;
    let [from, to] = paths.as_slice() else { bail!("'nix why-depends' needs two paths") };
    let mut parents: BTreeMap<StorePath, StorePath> = BTreeMap::new();
    let mut queue = VecDeque::from([from.clone()]);
    while let Some(path) = queue.pop_front() {
        for reference in store.path_info(&path)?.references {
            if reference != *from && !parents.contains_key(&reference) {
                parents.insert(reference.clone(), path.clone());
                queue.push_back(reference);
            }
        }
    }
    let mut out = std::io::stdout().lock();
    if !parents.contains_key(to) {
        let print = |path: &StorePath| store.dir().print(path);
        writeln!(std::io::stderr(), "'{}' does not depend on '{}'", print(from), print(to))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut chain = vec![to.clone()];
    while let Some(parent) = chain.last().and_then(|last| parents.get(last)) {
        chain.push(parent.clone());
    }
    chain.reverse();
    for (depth, path) in chain.iter().enumerate() {
        let arrow =
            if depth == 0 { String::new() } else { format!("{}└───", "    ".repeat(depth - 1)) };
        if let (true, Some(parent)) =
            (flags.contains("--precise"), depth.checked_sub(1).and_then(|at| chain.get(at)))
        {
            let place = mentioning_file(&store, parent, path)?;
            writeln!(out, "{}{place}", "    ".repeat(depth - 1))?;
        }
        writeln!(out, "{arrow}{}", store.dir().print(path))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The first file of a path that mentions another, with what stands there.
fn mentioning_file(store: &Store, path: &StorePath, mentioned: &StorePath) -> Result<String> {
    let root = store.real_path(path);
    let mut queue = vec![root.clone()];
    let digits = mentioned.hash_part().as_bytes();
    while let Some(place) = queue.pop() {
        let found = std::fs::symlink_metadata(&place)?;
        let shown =
            place.strip_prefix(&root).map(|inside| format!("/{}", inside.display())).unwrap_or_default();
        if found.is_symlink() {
            let target = std::fs::read_link(&place)?;
            if target.to_string_lossy().contains(mentioned.hash_part()) {
                return Ok(format!("{shown} -> {}", target.display()));
            }
        } else if found.is_dir() {
            for entry in std::fs::read_dir(&place)? {
                queue.push(entry?.path());
            }
        } else {
            let text = std::fs::read(&place)?;
            if let Some(at) = text.windows(digits.len()).position(|window| window == digits) {
                let start = at.saturating_sub(32);
                let around = text.get(start..(at + 64).min(text.len())).unwrap_or_default();
                let around = String::from_utf8_lossy(around).replace('\n', ".");
                return Ok(format!("{shown}: …{around}…"));
            }
        }
    }
    Ok(String::new())
}

/// `nix derivation show`.
pub(super) fn show_derivation(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let (store, mut installables, flags) = read(front, arguments, &["-r", "--recursive"])?;
    let mut derivations = BTreeSet::new();
    for (path, _) in installables.requests(front, &store)? {
        if path.is_derivation() {
            derivations.insert(path);
        } else {
            derivations.extend(store.path_info(&path)?.deriver);
        }
    }
    if flags.contains("-r") || flags.contains("--recursive") {
        derivations = store.closure(derivations)?.into_iter().filter(StorePath::is_derivation).collect();
    }
    writeln!(std::io::stdout(), "{:#}", crate::store::derivation::as_json(&store, derivations)?)?;
    Ok(ExitCode::SUCCESS)
}

/// `nix config show`.
pub(super) fn show_config(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    while let Some(argument) = arguments.next() {
        if !front.take(&argument, arguments)? {
            bail!("unrecognised flag '{argument}'");
        }
    }
    std::io::stdout().lock().write_all(front.conf.settings().to_text().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The settings of stores, by their kinds, with their defaults.
fn store_kinds() -> Value {
    let setting =
        |description: &str, default: Value| json!({"description": description, "defaultValue": default});
    let ssh = json!({
        "compress": setting("whether to compress the connection", json!(false)),
        "remote-program": setting("the program to start there", json!("nix-store")),
        "remote-store": setting("the store to use there", json!("")),
        "ssh-key": setting("the file with the key to log in with", json!("")),
        "store": setting("what the store's paths begin with", json!("/nix/store")),
    });
    let cache = json!({
        "compression": setting("xz, zstd, gzip, bzip2 or none", json!("zstd")),
        "compression-level": setting("how hard to compress", Value::Null),
        "priority": setting("which of several caches is asked first", json!(50)),
        "secret-key": setting("the file with the key to sign with", json!("")),
        "trusted": setting("whether its paths need no signature", json!(false)),
    });
    let local = json!({
        "root": setting("the directory below which the store is", json!("")),
        "real": setting("where the store's files are", json!("/nix/store")),
        "state": setting("where its database is", json!("/nix/var/nix")),
        "log": setting("where build logs are", json!("/nix/var/log/nix")),
        "require-sigs": setting("whether paths from elsewhere need signatures", json!(true)),
    });
    let mut daemon = ssh.clone();
    daemon["remote-program"] = setting("the program to start there", json!("nix-daemon"));
    json!({
        "Local Store": local,
        "Local Daemon Store": {"store": setting("what the store's paths begin with", json!("/nix/store"))},
        "Local Binary Cache Store": cache,
        "HTTP Binary Cache Store": cache,
        "SSH Store": ssh,
        "Experimental SSH Store": daemon,
    })
}

/// `nix describe-stores`.
pub(super) fn describe_stores(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let mut as_json = false;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => as_json = true,
            _ if front.take(&argument, arguments)? => {}
            other => bail!("unrecognised flag '{other}'"),
        }
    }
    let kinds = store_kinds();
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{kinds}")?;
        return Ok(ExitCode::SUCCESS);
    }
    for (kind, settings) in kinds.as_object().into_iter().flatten() {
        writeln!(out, "{kind}")?;
        for (name, setting) in settings.as_object().into_iter().flatten() {
            let text = setting.get("description").and_then(Value::as_str).unwrap_or_default();
            let default = setting.get("defaultValue").cloned().unwrap_or_default();
            writeln!(out, "  {name}: {text} [default: {default}]")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
