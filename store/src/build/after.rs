//! What follows a registration: equal files linked, the post-build hook run. Nix manual, "nix.conf", `auto-optimise-store`
//! and `post-build-hook`.

use super::{BuildOptions, Event, FailureKind};
use crate::error::{Error, Result};
use crate::open::Store;
use formats::store_path::StorePath;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Does what the options say with outputs that became valid. A hook that fails fails the build; its outputs stay.
pub(super) fn registered(
    derivation: &StorePath,
    outputs: &BTreeMap<String, StorePath>,
    store: &Store,
    options: &BuildOptions,
) -> Result<(), FailureKind> {
    if options.auto_optimise {
        store.optimise_paths(outputs.values())?;
    }
    match &options.post_build_hook {
        Some(hook) => {
            // What the hook calls may be a Nix that wants the store for itself, to add its tables of realisations.
            store.database().yield_lock()?;
            let done = run_hook(hook, derivation, outputs, store, options);
            store.database().take_lock_back()?;
            done
        }
        None => Ok(()),
    }
}

fn run_hook(
    hook: &Path,
    derivation: &StorePath,
    outputs: &BTreeMap<String, StorePath>,
    store: &Store,
    options: &BuildOptions,
) -> Result<(), FailureKind> {
    let paths: Vec<String> = outputs.values().map(|path| store.dir().print(path)).collect();
    let (reader, writer) = std::io::pipe().map_err(Error::file("running", hook))?;
    let errors = writer.try_clone().map_err(Error::file("running", hook))?;
    let mut command = Command::new(hook);
    command
        .env("DRV_PATH", store.dir().print(derivation))
        .env("OUT_PATHS", paths.join(" "))
        .env("NIX_CONFIG", &options.hook_settings)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors);
    let mut child = command.spawn().map_err(Error::file("running the post-build hook", hook))?;
    // The command holds the pipe's other end open as well.
    drop(command);
    let mut lines = BufReader::new(reader);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).map_err(Error::file("reading from", hook))? > 0 {
        let text = String::from_utf8_lossy(&line);
        options.progress.event(&Event::HookLine { derivation, line: text.trim_end() });
        line.clear();
    }
    let status = child.wait().map_err(Error::file("waiting for", hook))?;
    if status.success() {
        return Ok(());
    }
    Err(FailureKind::Hook(format!("the post-build hook `{}` failed: {status}", hook.display())))
}
