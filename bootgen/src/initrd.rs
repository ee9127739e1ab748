//! The initial root: `/init`, `/stage1.conf`, the modules that stage 1 inserts and nothing else, as one compressed cpio
//! archive (kernel Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! The bytes are a function of the specification and the files that it names. stage1.conf is written by
//! `formats::stage1`, which also reads it in stage 1.

mod compression;

pub use compression::{Compression, compress};

use crate::cpio::{Archive, CpioError, Entry};
use crate::module_tree::{ModuleError, ModuleTree, normalise};
use formats::stage1::{self, Source, Stage1};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Where the rescue shell's busybox lies in the image.
const RESCUE: &str = "bin/busybox";

/// What goes into an initrd.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InitrdSpec {
    /// The program that becomes `/init`.
    pub init: PathBuf,
    /// A directory with `lib/modules/VERSION`; needed when modules are.
    #[serde(default)]
    pub modules_tree: Option<PathBuf>,
    /// Modules to insert in stage 1 (dependencies are found): a name or alias, with parameters after a blank.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Modules to insert where the kernel has them; no error where it has not.
    #[serde(default)]
    pub available_modules: Vec<String>,
    /// File systems to mount, in order, `/` first.
    pub mounts: Vec<Mount>,
    /// Seconds to wait for a device.
    #[serde(default = "ten")]
    pub timeout: u32,
    /// A static busybox for the rescue shell.
    #[serde(default)]
    pub rescue_shell: Option<PathBuf>,
    /// Further files.
    #[serde(default)]
    pub extra_files: Vec<ExtraFile>,
    /// How the archive is compressed.
    #[serde(default)]
    pub compression: Compression,
}

fn ten() -> u32 {
    10
}

/// A file system that stage 1 mounts below the new root.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// `/dev/x`, `UUID=`, `LABEL=`, `PARTUUID=`, `PARTLABEL=`, or a word for file systems without a device.
    pub source: String,
    /// Where, seen from the new root.
    pub target: String,
    /// The file system's type.
    pub fs_type: String,
    /// Mount options.
    #[serde(default)]
    pub options: Vec<String>,
}

/// A file to take along.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtraFile {
    /// Its path in the initrd.
    pub target: String,
    /// The file.
    pub source: PathBuf,
}

/// Why an initrd could not be made.
#[derive(Debug, Error)]
pub enum InitrdError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A module is missing or broken.
    #[error("the initrd's modules: {0}")]
    Module(#[from] ModuleError),
    /// Modules are wanted and there is no tree to take them from.
    #[error("the initrd wants kernel modules ({0}) and no modulesTree is given")]
    NoTree(String),
    /// A path is unusable or taken twice.
    #[error(transparent)]
    Archive(#[from] CpioError),
    /// No file system for `/`.
    #[error(
        "the initrd has nothing to mount at /: `mounts` must begin with the target \"/\"; set fileSystems.\"/\""
    )]
    NoRoot,
    /// The compressor failed.
    #[error("compressing the initrd: {0}")]
    Compress(std::io::Error),
}

/// An initrd before compression.
#[derive(Debug, Clone)]
pub struct Initrd {
    archive: Archive,
    /// The text of `/stage1.conf`.
    pub stage1: String,
}

impl Initrd {
    /// Collects what the specification asks for.
    ///
    /// # Errors
    /// When a file cannot be read, a module does not exist, or nothing is to be mounted at `/`.
    pub fn collect(spec: &InitrdSpec) -> Result<Self, InitrdError> {
        if spec.mounts.first().is_none_or(|mount| mount.target != "/") {
            return Err(InitrdError::NoRoot);
        }
        let mut archive = Archive::new();
        for directory in ["dev", "proc", "sys", "run", "sysroot"] {
            archive.add(directory, Entry::Directory { mode: 0o755 })?;
        }
        // The kernel opens /dev/console before anything is mounted there.
        archive.add("dev/console", Entry::CharDevice { mode: 0o600, major: 5, minor: 1 })?;
        archive.add("dev/null", Entry::CharDevice { mode: 0o666, major: 1, minor: 3 })?;
        archive.add("init", program(&spec.init)?)?;
        let mut stage1 = stage1_of(&spec.mounts, spec.timeout, spec.rescue_shell.is_some());
        add_modules(spec, &mut archive, &mut stage1)?;
        if let Some(busybox) = &spec.rescue_shell {
            archive.add(RESCUE, program(busybox)?)?;
            archive.add("bin/sh", Entry::Symlink { target: "busybox".to_owned() })?;
        }
        for file in &spec.extra_files {
            archive.add(&file.target, extra_file(&file.source)?)?;
        }
        let stage1 = stage1.to_string();
        archive.add("stage1.conf", Entry::File { mode: 0o644, contents: stage1.clone().into_bytes() })?;
        Ok(Self { archive, stage1 })
    }

    /// The finished image. All times in it are `time` (seconds since 1970).
    ///
    /// # Errors
    /// When the archive's format cannot hold a file or the compressor fails.
    pub fn to_bytes(&self, compression: Compression, time: u32) -> Result<Vec<u8>, InitrdError> {
        compress(&self.archive.to_bytes(time)?, compression).map_err(InitrdError::Compress)
    }

    /// The files, for a listing beside the image.
    pub fn contents(&self) -> Vec<Listed> {
        self.archive
            .entries()
            .map(|(path, entry)| {
                let (kind, size, target) = match entry {
                    Entry::Directory { .. } => ("directory", 0, None),
                    Entry::File { contents, .. } => ("file", contents.len(), None),
                    Entry::Symlink { target } => ("symlink", 0, Some(target.clone())),
                    Entry::CharDevice { .. } => ("device", 0, None),
                };
                Listed { path: format!("/{path}"), kind, size, target }
            })
            .collect()
    }
}

/// What stage 1 does instead of what an initrd's own `/stage1.conf` says.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    /// A directory with `lib/modules/VERSION`.
    pub modules_tree: Option<PathBuf>,
    /// Modules to insert where the kernel has them as files.
    pub available_modules: Vec<String>,
    /// File systems to mount, `/` first.
    pub mounts: Vec<Mount>,
    /// Seconds to wait for a device.
    pub timeout: u32,
    /// Whether the initrd below has a busybox for a rescue shell.
    pub rescue: bool,
}

impl Overlay {
    /// A second archive that the kernel unpacks over an initrd's: another `/stage1.conf` and the modules that it names. A boot
    /// loader or an emulator gives it after the first one, so that a generation can be started with other mounts than those it
    /// was built with, its own files untouched. The archive is not compressed: the kernel wants such a one at a
    /// multiple of four bytes after what stands before it.
    ///
    /// # Errors
    /// As [`Initrd::collect`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, InitrdError> {
        let spec = InitrdSpec {
            init: PathBuf::new(),
            modules_tree: self.modules_tree.clone(),
            modules: Vec::new(),
            available_modules: self.available_modules.clone(),
            mounts: self.mounts.clone(),
            timeout: self.timeout,
            rescue_shell: None,
            extra_files: Vec::new(),
            compression: Compression::None,
        };
        let mut archive = Archive::new();
        let mut stage1 = stage1_of(&self.mounts, self.timeout, self.rescue);
        add_modules(&spec, &mut archive, &mut stage1)?;
        let contents = stage1.to_string().into_bytes();
        archive.add("stage1.conf", Entry::File { mode: 0o644, contents })?;
        Ok(archive.to_bytes(0)?)
    }
}

/// One line of the listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Path in the initrd.
    pub path: String,
    /// `directory`, `file`, `symlink` or `device`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Bytes.
    pub size: usize,
    /// Where a link points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Stage 1's configuration, its modules still to be added.
fn stage1_of(mounts: &[Mount], timeout: u32, rescue: bool) -> Stage1 {
    Stage1 {
        modules: Vec::new(),
        mounts: mounts
            .iter()
            .map(|mount| stage1::Mount {
                source: Source::parse(&mount.source),
                target: mount.target.clone(),
                fs_type: mount.fs_type.clone(),
                options: if mount.options.is_empty() {
                    "defaults".to_owned()
                } else {
                    mount.options.join(",")
                },
            })
            .collect(),
        timeout,
        rescue: rescue.then(|| RESCUE.to_owned()),
    }
}

/// Adds the modules and a line for each, in the order of insertion.
fn add_modules(spec: &InitrdSpec, archive: &mut Archive, stage1: &mut Stage1) -> Result<(), InitrdError> {
    let Some(root) = &spec.modules_tree else {
        return if spec.modules.is_empty() {
            Ok(())
        } else {
            Err(InitrdError::NoTree(spec.modules.join(", ")))
        };
    };
    let tree = ModuleTree::open(root)?;
    let split = |wanted: &str| match wanted.trim().split_once(char::is_whitespace) {
        Some((name, parameters)) => (name.to_owned(), parameters.trim().to_owned()),
        None => (wanted.trim().to_owned(), String::new()),
    };
    let wanted: Vec<(String, String)> = spec.modules.iter().map(|wanted| split(wanted)).collect();
    // A file system that is to be mounted is wanted too; `tmpfs` and the like are in every kernel and in no list.
    let file_systems =
        spec.mounts.iter().map(|mount| mount.fs_type.as_str()).filter(|name| tree.has_file(name));
    let available = spec.available_modules.iter().map(String::as_str).filter(|name| tree.has_file(name));
    let names = wanted.iter().map(|(name, _)| name.as_str()).chain(file_systems).chain(available);
    for module in tree.insertion_order(names)? {
        let path = format!("lib/modules/{}/{}", tree.version(), module.path);
        let parameters = wanted
            .iter()
            .find(|(name, _)| normalise(name) == module.name)
            .map(|(_, parameters)| parameters.as_str());
        archive.add(&path, Entry::File { mode: 0o644, contents: module.bytes })?;
        stage1.modules.push(stage1::Module { path, parameters: parameters.unwrap_or_default().to_owned() });
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, InitrdError> {
    std::fs::read(path).map_err(|source| InitrdError::Read { path: path.to_owned(), source })
}

/// A file that is executed.
fn program(path: &Path) -> Result<Entry, InitrdError> {
    Ok(Entry::File { mode: 0o755, contents: read(path)? })
}

/// A file with the permissions that it has in the store: readable, and executable if it is.
fn extra_file(path: &Path) -> Result<Entry, InitrdError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata =
        std::fs::metadata(path).map_err(|source| InitrdError::Read { path: path.to_owned(), source })?;
    let mode = if metadata.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
    Ok(Entry::File { mode, contents: read(path)? })
}

#[cfg(test)]
mod tests;
