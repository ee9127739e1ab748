//! Parts of test machines that come from Debian: packages downloaded with apt-get and unpacked, not installed. The
//! suite and its mirror are the host's.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::host;

/// The tree of a package, unpacked once into a directory of its name and version below `cache`.
pub fn package(name: &str, cache: &Path) -> Result<PathBuf> {
    let mut trees = packages(&[name], cache)?;
    trees.pop().ok_or_else(|| unknown(name))
}

/// The trees of several packages, in order.
pub fn packages(names: &[&str], cache: &Path) -> Result<Vec<PathBuf>> {
    let records = host::run(Command::new("apt-cache").args(["show", "--no-all-versions"]).args(names))?;
    let records = String::from_utf8_lossy(&records);
    let field = |record: &str, name: &str| {
        record.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    };
    names
        .iter()
        .map(|name| {
            let record =
                records.split("\n\n").find(|record| field(record, "Package").as_deref() == Some(*name));
            let version = record.and_then(|record| field(record, "Version")).ok_or_else(|| unknown(name))?;
            unpack(name, &version, cache)
        })
        .collect()
}

fn unknown(name: &str) -> Error {
    Error::Program {
        program: "apt-cache show".to_owned(),
        detail: format!("it does not know {name}: run `apt-get update`"),
    }
}

fn unpack(name: &str, version: &str, cache: &Path) -> Result<PathBuf> {
    let unpacked = cache.join(format!("{name}_{}", version.replace(':', "%3a")));
    if unpacked.exists() {
        return Ok(unpacked);
    }
    std::fs::create_dir_all(cache).map_err(Error::file("cannot create", cache))?;
    let work = tempfile::tempdir_in(cache).map_err(Error::file("cannot create a directory in", cache))?;
    host::run(Command::new("apt-get").args(["download", "-q", name]).current_dir(work.path()))?;
    let entries = std::fs::read_dir(work.path()).map_err(Error::file("cannot read", work.path()))?;
    let deb =
        entries.flatten().map(|entry| entry.path()).find(|path| path.extension() == Some(OsStr::new("deb")));
    let deb = deb.ok_or_else(|| Error::Program {
        program: "apt-get download".to_owned(),
        detail: format!("it left no package of {name}"),
    })?;
    let tree = work.path().join("tree");
    host::run(Command::new("dpkg-deb").arg("-x").args([&deb, &tree]))?;
    // Another test program may have been faster; its tree is the same.
    match std::fs::rename(&tree, &unpacked) {
        Err(error) if !unpacked.exists() => Err(Error::file("cannot create", &unpacked)(error)),
        _ => Ok(unpacked),
    }
}

/// The trees of programs' packages and of all libraries that they depend on, unpacked. Packages that are no libraries
/// and are not named (debconf, dpkg …) are left out: nothing is configured.
pub fn with_libraries(names: &[&str], cache: &Path) -> Result<Vec<PathBuf>> {
    let closure = host::run(
        Command::new("apt-cache")
            .args([
                "depends",
                "--recurse",
                "--no-pre-depends",
                "--no-recommends",
                "--no-suggests",
                "--no-conflicts",
            ])
            .args(["--no-breaks", "--no-replaces", "--no-enhances"])
            .args(names),
    )?;
    let closure = String::from_utf8_lossy(&closure).into_owned();
    let is_wanted =
        |line: &&str| names.contains(line) || line.starts_with("lib") && !line.contains("installer");
    closure.lines().filter(is_wanted).map(|name| package(name, cache)).collect()
}

/// Debian's kernel for virtual machines.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// As Debian ships it.
    pub bzimage: PathBuf,
    /// The directory that holds its modules' directory.
    pub modules: PathBuf,
}

/// Debian's current cloud kernel.
pub fn cloud_kernel(cache: &Path) -> Result<Kernel> {
    let depends = host::run(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
    let depends = String::from_utf8_lossy(&depends);
    let name = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|word| word.starts_with("linux-image-"));
    let name = name.ok_or_else(|| Error::Program {
        program: "apt-cache depends".to_owned(),
        detail: "linux-image-cloud-amd64 names no kernel: run `apt-get update`".to_owned(),
    })?;
    let tree = package(name, cache)?;
    let boot = tree.join("boot");
    let entries = std::fs::read_dir(&boot).map_err(Error::file("cannot read", &boot))?;
    let bzimage = entries
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("vmlinuz"))
        .map(|entry| entry.path())
        .ok_or_else(|| Error::Format { path: boot, detail: "the package has no kernel".to_owned() })?;
    Ok(Kernel { bzimage, modules: tree.join("lib/modules") })
}
