//! The boot partition as it is: the files of this installation (known by its token), the loaders' settings and programs.

use crate::file_hashes::hash_file;
use crate::plan::Expected;
use crate::secure_boot::authenticode;
use crate::systemd_boot::{ENTRIES, EntryFile};
use crate::{grub, loader_conf};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

/// The suffix of files that are being written.
pub const TEMPORARY: &str = ".firn-tmp";
/// Programs that the firmware starts.
pub(crate) const PROGRAMS: [&str; 3] =
    ["EFI/systemd/systemd-bootx64.efi", "EFI/grub/grubx64.efi", "EFI/BOOT/BOOTX64.EFI"];
/// Small files with fixed places.
pub(crate) const SETTINGS: [&str; 3] = [loader_conf::PATH, "loader/entries.srel", grub::PATH];

/// What is there.
#[derive(Debug, Clone, Default)]
pub struct Partition {
    /// Kernels and initrds of this installation, by path, with their sizes.
    pub data: BTreeMap<String, u64>,
    /// Its menu entries for systemd-boot.
    pub entries: Vec<EntryFile>,
    /// The text of the loaders' settings, by path.
    pub settings: BTreeMap<String, String>,
    /// Hashes of the loaders' programs, by path.
    pub programs: BTreeMap<String, [u8; 32]>,
    /// Files that an interrupted run left behind.
    pub leftovers: BTreeSet<String>,
}

impl Partition {
    /// Nothing yet: a new disk.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads what is below this directory.
    ///
    /// # Errors
    /// When something that is there cannot be read.
    pub fn read(directory: &Path, token: &str) -> std::io::Result<Self> {
        let mut partition = Self::default();
        let own = format!("EFI/{token}");
        for (name, size) in list(&directory.join(&own))? {
            let path = format!("{own}/{name}");
            if name.ends_with(TEMPORARY) {
                partition.leftovers.insert(path);
            } else {
                partition.data.insert(path, size);
            }
        }
        let prefix = format!("{token}-");
        for (name, _) in list(&directory.join(ENTRIES))? {
            if !name.starts_with(&prefix) {
                continue;
            }
            let path = format!("{ENTRIES}/{name}");
            if name.ends_with(TEMPORARY) {
                partition.leftovers.insert(path);
                continue;
            }
            // An entry that is no text is damaged: it matches nothing wanted, so it goes.
            let text = String::from_utf8_lossy(&std::fs::read(directory.join(&path))?).into_owned();
            partition.entries.extend(EntryFile::parse(&name, text));
        }
        for path in SETTINGS {
            if let Some(bytes) = read_if_there(&directory.join(path))? {
                partition.settings.insert(path.to_owned(), String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        for path in PROGRAMS {
            match hash_file(&directory.join(path)) {
                Ok((hash, _)) => {
                    partition.programs.insert(path.to_owned(), hash);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        for path in SETTINGS.into_iter().chain(PROGRAMS) {
            let temporary = format!("{path}{TEMPORARY}");
            if directory.join(&temporary).symlink_metadata().is_ok() {
                partition.leftovers.insert(temporary);
            }
        }
        Ok(partition)
    }

    /// Takes files whose bytes are not those that their names promise as missing, so that they are written again.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn forget_damaged(
        &mut self,
        directory: &Path,
        paths: &BTreeMap<String, Expected>,
    ) -> std::io::Result<()> {
        for (path, expected) in paths {
            if self.data.contains_key(path) && !is_as_expected(&directory.join(path), expected)? {
                self.data.remove(path);
            }
        }
        Ok(())
    }
}

fn is_as_expected(path: &Path, expected: &Expected) -> std::io::Result<bool> {
    match expected {
        Expected::Sha256(sha256) => Ok(hash_file(path)?.0 == *sha256),
        Expected::Signed(size, certificate) => {
            let program = std::fs::read(path)?;
            let trusted = std::slice::from_ref(certificate.as_ref());
            Ok(program.len() as u64 == *size && authenticode::verify(&program, trusted).is_ok())
        }
    }
}

/// Names and sizes of a directory's files; nothing when there is no such directory.
fn list(directory: &Path) -> std::io::Result<Vec<(String, u64)>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let found = entry.metadata()?;
        if let (true, Ok(name)) = (found.is_file(), entry.file_name().into_string()) {
            files.push((name, found.len()));
        }
    }
    files.sort();
    Ok(files)
}

fn read_if_there(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
