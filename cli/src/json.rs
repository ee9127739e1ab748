//! JSON for programs: the flag `--json`, which every command that reads has, and one document on standard output.

use anyhow::Result;
use clap::{Arg, ArgAction};
use formats::store_path::StorePath;
use serde::Serialize;
use serde_json::Value;
use std::io::Write as _;
use store::Store;

/// The flag.
pub(crate) fn argument() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON")
}

/// Prints a document.
pub(crate) fn print(document: &impl Serialize) -> Result<()> {
    let mut output = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut output, document)?;
    writeln!(output)?;
    Ok(())
}

/// Paths, whole, in a list.
pub(crate) fn paths<'a>(store: &Store, paths: impl IntoIterator<Item = &'a StorePath>) -> Value {
    paths.into_iter().map(|path| store.dir().print(path)).collect()
}
