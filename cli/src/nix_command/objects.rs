//! `nix store …`: objects added, deleted, shown.

use crate::nix_front::{Arguments, Front, layout};
use crate::nix_store::{print_collected, print_deleted};
use anyhow::{Context as _, Result, bail};
use formats::content_address::Method;
use formats::hash::Algorithm;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use store::CollectOptions;

/// Flags (with their values, if they take one) and words.
struct Given {
    flags: BTreeMap<String, String>,
    words: Vec<String>,
}

/// Takes the command line apart; flags that end in `=` here take a value.
fn read(front: &mut Front, arguments: &mut Arguments, own: &[&str]) -> Result<Given> {
    let mut given = Given { flags: BTreeMap::new(), words: Vec::new() };
    while let Some(argument) = arguments.next() {
        if own.contains(&argument.as_str()) {
            given.flags.insert(argument, String::new());
        } else if own.iter().any(|flag| flag.strip_suffix('=') == Some(&argument)) {
            let value = arguments.value(&argument)?;
            given.flags.insert(argument, value);
        } else if front.take(&argument, arguments)? {
        } else if argument.starts_with('-') && argument.len() > 1 {
            bail!("unrecognised flag '{argument}'");
        } else {
            given.words.push(argument);
        }
    }
    Ok(given)
}

fn add_by(front: &mut Front, arguments: &mut Arguments, method: Method) -> Result<ExitCode> {
    let own = ["--name=", "-n=", "--dry-run", "--mode=", "--hash-algo="];
    let given = read(front, arguments, &own)?;
    let flag = |names: [&str; 2]| names.iter().find_map(|name| given.flags.get(*name)).cloned();
    let method = match flag(["--mode", "--mode"]).as_deref() {
        None => method,
        Some("flat") => Method::Flat,
        Some("nar") => Method::Recursive,
        Some("text") => Method::Text,
        Some(other) => bail!("unknown content-address method '{other}'"),
    };
    let algorithm = match given.flags.get("--hash-algo") {
        Some(name) => name.parse()?,
        None => Algorithm::Sha256,
    };
    let store = front.open()?;
    for word in &given.words {
        let path = Path::new(word);
        let name = if let Some(name) = flag(["--name", "-n"]) {
            name
        } else {
            let name = std::path::absolute(path)?.file_name().map(|name| name.to_string_lossy().into_owned());
            name.with_context(|| format!("'{word}' has no name; give one with --name"))?
        };
        let added = if method == Method::Text {
            let text = std::fs::read(path).with_context(|| format!("reading {word}"))?;
            store.add_text(&name, &text, &BTreeSet::new())?
        } else {
            store.add_path(path, &name, method, algorithm)?
        };
        writeln!(std::io::stdout(), "{}", store.dir().print(&added))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix store add`.
pub(super) fn add(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    add_by(front, arguments, Method::Recursive)
}

/// `nix store add-path`.
pub(super) fn add_path(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    add_by(front, arguments, Method::Recursive)
}

/// `nix store add-file`.
pub(super) fn add_file(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    add_by(front, arguments, Method::Flat)
}

/// `nix store delete`.
pub(super) fn delete(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let given = read(front, arguments, &["--ignore-liveness"])?;
    let store = front.open()?;
    let mut paths = BTreeSet::new();
    for word in &given.words {
        paths.insert(crate::store::resolve(&store, word)?);
    }
    let collected = if given.flags.contains_key("--ignore-liveness") {
        store.delete_paths_alive_or_not(&paths)
    } else {
        store.delete_paths(&paths)
    };
    print_deleted(&store, collected)?;
    Ok(ExitCode::SUCCESS)
}

/// `nix store gc`.
pub(super) fn collect(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let given = read(front, arguments, &["--max=", "--dry-run"])?;
    let store = front.open()?;
    let options = CollectOptions {
        dry_run: given.flags.contains_key("--dry-run"),
        max_freed: given.flags.get("--max").and_then(|text| text.parse().ok()),
        keep_outputs: front.conf.flag("keep-outputs", false),
        keep_derivations: front.conf.flag("keep-derivations", true),
    };
    print_collected(&store, &store.collect_garbage(&options)?)?;
    Ok(ExitCode::SUCCESS)
}

/// `nix store optimise`.
pub(super) fn optimise(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    read(front, arguments, &[])?;
    front.open()?.optimise(&|_| {})?;
    Ok(ExitCode::SUCCESS)
}

/// `nix store ping`.
pub(super) fn ping(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let given = read(front, arguments, &["--json"])?;
    let store = front.open()?;
    let address = front.store_address();
    if given.flags.contains_key("--json") {
        let value =
            serde_json::json!({"url": address, "version": crate::store::daemon::VERSION, "trusted": true});
        writeln!(std::io::stdout(), "{value}")?;
    } else {
        writeln!(std::io::stderr(), "Store URL: {address}")?;
        writeln!(std::io::stderr(), "Version: {}", crate::store::daemon::VERSION)?;
    }
    drop(store);
    Ok(ExitCode::SUCCESS)
}

/// `nix store path-from-hash-part`.
pub(super) fn path_from_hash_part(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let given = read(front, arguments, &[])?;
    let store = front.open()?;
    for word in &given.words {
        let path = store
            .by_hash_part(word)?
            .with_context(|| format!("there is no store path corresponding to '{word}'"))?;
        writeln!(std::io::stdout(), "{}", store.dir().print(&path))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix store dump-path` and `nix nar pack`.
pub(super) fn dump_path(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let given = read(front, arguments, &[])?;
    let store = front.open()?;
    let [word] = given.words.as_slice() else { bail!("name one path") };
    let place = store.layout().real_of_logical(Path::new(word));
    store::tree::dump(&place, std::io::BufWriter::new(std::io::stdout().lock()))?.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// `nix store cat`.
pub(super) fn cat(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let given = read(front, arguments, &[])?;
    let store = front.open()?;
    for word in &given.words {
        if !store.has_files() {
            let (path, inside) = store.dir().parse_below(word)?;
            super::listing::cat_elsewhere(&store, &path, inside)?;
            continue;
        }
        let place = store.layout().real_of_logical(Path::new(word));
        let mut file =
            std::fs::File::open(&place).with_context(|| format!("path '{word}' does not exist"))?;
        std::io::copy(&mut file, &mut std::io::stdout().lock())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix store verify`: contents, and how many trusted signatures there are.
pub(super) fn verify(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let own = ["--all", "-r", "--recursive", "--no-contents", "--no-trust", "--sigs-needed=", "-n="];
    let given = read(front, arguments, &own)?;
    let has = |flag: &str| given.flags.contains_key(flag);
    let store = front.open()?;
    let mut paths = BTreeSet::new();
    for word in &given.words {
        paths.insert(crate::store::resolve(&store, word)?);
    }
    if has("--all") {
        paths = store.all_valid()?;
    } else if has("-r") || has("--recursive") {
        paths = store.closure(paths)?;
    }
    let mut corrupted = false;
    if !has("--no-contents") {
        for path in &paths {
            if let Some(problem) = store.verify_path(path)? {
                writeln!(std::io::stderr(), "{problem}")?;
                corrupted = true;
            }
        }
    }
    let wanted: Option<usize> =
        ["-n", "--sigs-needed"].iter().find_map(|flag| given.flags.get(*flag)?.parse().ok());
    let mut untrusted = false;
    if !has("--no-trust") {
        let keys = &store.options().trust.keys;
        for path in &paths {
            let info = store.path_info(path)?;
            let signed = store::trust::signers(&info, store.dir(), keys).count();
            let vouched = info.ultimate || store::trust::has_own_address(&info, store.dir());
            // A number asked for is asked of everything but what is named after its content.
            let enough = match wanted {
                Some(wanted) => signed >= wanted || store::trust::has_own_address(&info, store.dir()),
                None => vouched || signed > 0,
            };
            if !enough {
                writeln!(std::io::stderr(), "path '{}' is untrusted", store.dir().print(path))?;
                untrusted = true;
            }
        }
    }
    // A bit for each: 1 corrupted, 2 untrusted.
    Ok(ExitCode::from(u8::from(corrupted) | u8::from(untrusted) << 1))
}

/// `nix store repair`.
pub(super) fn repair(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let given = read(front, arguments, &[])?;
    let store = front.open()?;
    let options = front.build_options(&store);
    for word in &given.words {
        store.repair_path(&crate::store::resolve(&store, word)?, &options)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `nix store sign`.
pub(super) fn sign(front: &mut Front, arguments: &mut Arguments) -> Result<ExitCode> {
    let given = read(front, arguments, &["-k=", "--key-file=", "-r", "--recursive", "--all"])?;
    let file = ["-k", "--key-file"].iter().find_map(|flag| given.flags.get(*flag));
    let key = store::trust::read_secret_key(Path::new(file.context("give the secret key with --key-file")?))?;
    if let Some(cache) = front.cache()? {
        let directory = layout(None)?.store_dir;
        for word in &given.words {
            cache.sign(&directory.parse_below(word)?.0, &key)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let store = front.open()?;
    let mut paths = BTreeSet::new();
    for word in &given.words {
        paths.insert(crate::store::resolve(&store, word)?);
    }
    if given.flags.contains_key("--all") {
        paths = store.all_valid()?;
    } else if given.flags.contains_key("-r") || given.flags.contains_key("--recursive") {
        paths = store.closure(paths)?;
    }
    for path in &paths {
        store.sign_path(path, &key)?;
    }
    Ok(ExitCode::SUCCESS)
}
