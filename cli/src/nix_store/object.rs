//! `nix-store`'s operations on single objects and on the database as text.

use super::{Call, real, standard_input};
use anyhow::{Context as _, Result, bail};
use formats::content_address::Method;
use formats::hash::{Algorithm, Hash};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use store::Store;

/// The name that a path gets in the store: its last part.
fn name_of(path: &Path) -> Result<String> {
    let name = std::path::absolute(path)?.file_name().map(|name| name.to_string_lossy().into_owned());
    name.with_context(|| format!("'{}' has no name that it could have in the store", path.display()))
}

fn print(store: &Store, path: &formats::store_path::StorePath) -> Result<()> {
    writeln!(std::io::stdout(), "{}", store.dir().print(path))?;
    Ok(())
}

/// `--add PATH…`.
pub(super) fn add(call: &mut Call) -> Result<ExitCode> {
    let store = call.front.open()?;
    for text in &call.arguments {
        let path = Path::new(text);
        print(&store, &store.add_path(path, &name_of(path)?, Method::Recursive, Algorithm::Sha256)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn method(call: &Call) -> Method {
    if call.has("--recursive") { Method::Recursive } else { Method::Flat }
}

/// `--add-fixed [--recursive] ALGORITHM PATH…`.
pub(super) fn add_fixed(call: &mut Call) -> Result<ExitCode> {
    let store = call.front.open()?;
    let Some((algorithm, paths)) = call.arguments.split_first() else {
        bail!("first argument must be hash algorithm");
    };
    let algorithm = algorithm.parse()?;
    for text in paths {
        let path = Path::new(text);
        print(&store, &store.add_path(path, &name_of(path)?, method(call), algorithm)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `--print-fixed-path [--recursive] ALGORITHM HASH NAME`.
pub(super) fn print_fixed_path(call: &mut Call) -> Result<ExitCode> {
    let [algorithm, hash, name] = call.arguments.as_slice() else {
        bail!("'--print-fixed-path' requires three arguments: algorithm, hash, name");
    };
    let store = call.front.open()?;
    let hash = Hash::parse_as(hash, algorithm.parse()?)?;
    let path = store.dir().make_fixed_output_path(name, method(call), &hash, &BTreeSet::new(), false)?;
    print(&store, &path)?;
    Ok(ExitCode::SUCCESS)
}

/// `--print-env DERIVATION`: its environment as shell assignments.
pub(super) fn print_env(call: &mut Call) -> Result<ExitCode> {
    let store = call.front.open()?;
    let [derivation] =
        call.paths(&store)?.try_into().ok().context("'--print-env' requires one derivation")?;
    let derivation = store.read_derivation(&derivation)?;
    let quote = |bytes: &[u8]| format!("'{}'", String::from_utf8_lossy(bytes).replace('\'', "'\\''"));
    let mut out = std::io::stdout().lock();
    for (name, value) in &derivation.env {
        let name = String::from_utf8_lossy(name);
        writeln!(out, "export {name}; {name}={}\n", quote(value))?;
    }
    let arguments: Vec<String> = derivation.args.iter().map(|argument| quote(argument)).collect();
    writeln!(out, "export _args; _args='{}'", arguments.join(" ").replace('\'', "'\\''"))?;
    Ok(ExitCode::SUCCESS)
}

/// `--read-log PATH…`.
pub(super) fn read_log(call: &mut Call) -> Result<ExitCode> {
    let store = call.front.open()?;
    for path in call.paths(&store)? {
        let derivation =
            if path.is_derivation() { Some(path.clone()) } else { store.path_info(&path)?.deriver };
        let log = match derivation {
            Some(derivation) => store.build_log(&derivation)?,
            None => None,
        };
        let log = log.with_context(|| {
            format!("build log of derivation '{}' is not available", store.dir().print(&path))
        })?;
        std::io::stdout().lock().write_all(&log)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `--dump-db [PATH…]`.
pub(super) fn dump_database(call: &mut Call) -> Result<ExitCode> {
    let store = call.front.open()?;
    let paths: BTreeSet<_> = call.paths(&store)?.into_iter().collect();
    let text = store.dump_database((!paths.is_empty()).then_some(&paths))?;
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// `--load-db`.
pub(super) fn load_database(call: &mut Call) -> Result<ExitCode> {
    call.front.open()?.load_registrations(&standard_input()?, true, false)?;
    Ok(ExitCode::SUCCESS)
}

/// `--register-validity [--hash-given]`.
pub(super) fn register_validity(call: &mut Call) -> Result<ExitCode> {
    let given = call.has("--hash-given");
    call.front.open()?.load_registrations(&standard_input()?, given, true)?;
    Ok(ExitCode::SUCCESS)
}

/// `--check-validity [--print-invalid] PATH…`.
pub(super) fn check_validity(call: &mut Call) -> Result<ExitCode> {
    let store = call.front.open()?;
    for path in call.paths(&store)? {
        if store.is_valid(&path)? {
            continue;
        }
        if call.has("--print-invalid") {
            print(&store, &path)?;
        } else {
            bail!("path '{}' is not valid", store.dir().print(&path));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `--dump PATH`.
pub(super) fn dump(call: &mut Call) -> Result<ExitCode> {
    let [path] = call.arguments.as_slice() else { bail!("'--dump' requires one path") };
    let place = match call.front.open() {
        Ok(store) => real(&store, path),
        Err(_) => path.into(),
    };
    let out = std::io::BufWriter::new(std::io::stdout().lock());
    store::tree::dump(&place, out)?.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// `--restore PATH`.
pub(super) fn restore(call: &mut Call) -> Result<ExitCode> {
    let [path] = call.arguments.as_slice() else { bail!("'--restore' requires one path") };
    store::tree::unpack(Path::new(path), &mut std::io::BufReader::new(std::io::stdin().lock()))?;
    Ok(ExitCode::SUCCESS)
}

/// `--verify [--check-contents]`.
pub(super) fn verify(call: &mut Call) -> Result<ExitCode> {
    let store = call.front.open()?;
    if call.has("--repair") {
        let options = call.front.build_options(&store);
        let contents = call.has("--check-contents");
        let store::Mended { left, repaired } =
            store.verify_and_repair(contents, &options, &|path| log::debug!("checking {path}"))?;
        for path in &repaired {
            writeln!(std::io::stderr(), "repaired path '{}'", store.dir().print(path))?;
        }
        for (problem, error) in &left {
            writeln!(std::io::stderr(), "{problem}\n  {error}")?;
        }
        return Ok(if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let problems = store.verify(call.has("--check-contents"), &|path| log::debug!("checking {path}"))?;
    for problem in &problems {
        writeln!(std::io::stderr(), "{problem}")?;
    }
    if problems.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(std::io::stderr(), "warning: not all store errors were fixed")?;
    Ok(ExitCode::FAILURE)
}

/// `--repair-path PATH…`.
pub(super) fn repair_path(call: &mut Call) -> Result<ExitCode> {
    let store = call.front.open()?;
    let options = call.front.build_options(&store);
    for path in call.paths(&store)? {
        store.repair_path(&path, &options)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `--verify-path PATH…`.
pub(super) fn verify_path(call: &mut Call) -> Result<ExitCode> {
    let store = call.front.open()?;
    let mut code = ExitCode::SUCCESS;
    for path in call.paths(&store)? {
        if let Some(problem) = store.verify_path(&path)? {
            writeln!(std::io::stderr(), "{problem}")?;
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// `--generate-binary-cache-key NAME SECRET PUBLIC`.
pub(super) fn generate_key(call: &mut Call) -> Result<ExitCode> {
    let [name, secret, public] = call.arguments.as_slice() else {
        bail!(
            "'--generate-binary-cache-key' requires three arguments: name, secret key file, public key file"
        );
    };
    let key = store::trust::generate_key(name)?;
    store::trust::write_key_pair(&key, Path::new(secret), Path::new(public))?;
    Ok(ExitCode::SUCCESS)
}

/// `--export PATH…`.
pub(super) fn export(call: &mut Call) -> Result<ExitCode> {
    let store = call.front.open()?;
    let paths: BTreeSet<_> = call.paths(&store)?.into_iter().collect();
    let mut out = std::io::BufWriter::with_capacity(64 * 1024, std::io::stdout().lock());
    store.export_paths(&paths, &mut out)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// `--import`.
pub(super) fn import(call: &mut Call) -> Result<ExitCode> {
    let store = call.front.open()?;
    let mut input = std::io::BufReader::with_capacity(64 * 1024, std::io::stdin().lock());
    for path in store.import_paths(&mut input)? {
        print(&store, &path)?;
    }
    Ok(ExitCode::SUCCESS)
}
