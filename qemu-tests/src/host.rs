//! What the driver needs of the host: programs and firmware, each error with the Debian package that has it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};

/// Finds a program in PATH (and the sbin directories, where mkfs lives).
pub(crate) fn program(name: &str, package: &'static str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/bin", "/usr/sbin", "/sbin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or(Error::Missing { what: name.to_owned(), package })
}

/// The first of these files that exists.
pub(crate) fn file(candidates: &[&str], package: &'static str) -> Result<PathBuf> {
    let found = candidates.iter().map(Path::new).find(|path| path.is_file());
    found.map(Path::to_owned).ok_or_else(|| Error::Missing { what: candidates.join(" or "), package })
}

/// Runs a command to its end; what it said is the error when it fails.
pub(crate) fn run(command: &mut Command) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(Error::file("cannot run", &program))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let detail = format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    Err(Error::Program { program, detail })
}
