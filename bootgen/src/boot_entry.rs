//! One line of the boot menu, whatever the loader: what is loaded and how it is called.

use crate::calendar::Moment;
use crate::file_hashes::{Hasher, hex};
use crate::generations::{Generation, resolve};
use crate::secure_boot::unified_kernel::{Signing, UnifiedKernel};
use formats::bootspec::BootspecV1;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A kernel or initrd, known by its contents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DataFile {
    /// Its path on the boot partition, relative: `EFI/<token>/<hash>-kernel.efi`.
    pub path: String,
    /// Where its bytes are.
    pub source: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

/// One line of the menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootEntry {
    /// The generation's number.
    pub generation: u64,
    /// The specialisation's name, if it is one.
    pub specialisation: Option<String>,
    /// What the menu shows.
    pub title: String,
    /// The label, the date: shown where titles are alike, and what entries are sorted by.
    pub version: String,
    /// The kernel.
    pub kernel: DataFile,
    /// The initrd.
    pub initrd: Option<DataFile>,
    /// The kernel command line, `init=` first.
    pub options: String,
    /// With Secure Boot: the program that holds kernel, initrd and command line, instead of the files.
    pub unified: Option<UnifiedKernel>,
}

/// The entries of a generation: its own first, then its specialisations by name. With a key to sign with, each is one signed
/// program.
///
/// # Errors
/// With a sentence naming the file that cannot be read.
pub fn of_generation(
    root: &Path,
    token: &str,
    generation: &Generation,
    signing: Option<&Arc<Signing>>,
    hasher: &mut Hasher,
) -> Result<Vec<BootEntry>, String> {
    let specialisations = generation.bootspec.specialisations.iter();
    let specialisations = specialisations.map(|(name, document)| (Some(name), &document.boot));
    std::iter::once((None, &generation.bootspec.boot))
        .chain(specialisations)
        .map(|(specialisation, boot)| {
            let mut entry = entry(root, token, generation, specialisation, boot, hasher)?;
            if let Some(signing) = signing {
                let unified = signing.unify(root, token, Path::new(&boot.toplevel), &entry);
                entry.unified = Some(unified.map_err(|error| error.to_string())?);
            }
            Ok(entry)
        })
        .collect()
}

fn entry(
    root: &Path,
    token: &str,
    generation: &Generation,
    specialisation: Option<&String>,
    boot: &BootspecV1,
    hasher: &mut Hasher,
) -> Result<BootEntry, String> {
    let mut data = |file: &str, suffix: &str| -> Result<DataFile, String> {
        let source = resolve(root, Path::new(file));
        let (sha256, size) = hasher.hash(&source).map_err(|error| format!("{file}: {error}"))?;
        let path = format!("EFI/{token}/{}-{suffix}", hex(&sha256[..16]));
        Ok(DataFile { path, source, size, sha256 })
    };
    let number = generation.number;
    let kernel = data(&boot.kernel, "kernel.efi")?;
    let initrd = boot.initrd.as_ref().map(|initrd| data(initrd, "initrd")).transpose()?;
    let variant = specialisation.map(|name| format!(", {}", one_line(name))).unwrap_or_default();
    let date = generation.made.map(|seconds| format!(", {}", date(seconds))).unwrap_or_default();
    let mut words = vec![format!("init={}", boot.init)];
    words.extend(boot.kernel_params.iter().cloned());
    Ok(BootEntry {
        generation: number,
        specialisation: specialisation.cloned(),
        title: format!("Firn (Generation {number}{variant})"),
        // `~` sorts before everything in a version comparison: a specialisation comes right after its generation and
        // never becomes the default by itself.
        version: match specialisation {
            Some(name) => format!("Generation {number}~{} {}{date}", one_line(name), one_line(&boot.label)),
            None => format!("Generation {number} {}{date}", one_line(&boot.label)),
        },
        kernel,
        initrd,
        options: one_line(&words.join(" ")),
        unified: None,
    })
}

/// Entries are lines: what would begin another one becomes a blank.
fn one_line(text: &str) -> String {
    text.replace(|character: char| character.is_control(), " ").trim().to_owned()
}

/// `2026-11-23` of seconds since 1970, in UTC.
fn date(seconds: i64) -> String {
    let Moment { year, month, day, .. } = Moment::of(seconds);
    format!("{year:04}-{month:02}-{day:02}")
}
