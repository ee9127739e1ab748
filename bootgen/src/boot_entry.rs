//! One line of the boot menu, whatever the loader: what is loaded and how it is called.

use crate::file_hashes::{Hasher, hex};
use crate::generations::{Generation, resolve};
use formats::bootspec::BootspecV1;
use std::path::{Path, PathBuf};

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
}

/// The entries of a generation: its own first, then its specialisations by name.
///
/// # Errors
/// With a sentence naming the file that cannot be read.
pub fn of_generation(
    root: &Path,
    token: &str,
    generation: &Generation,
    hasher: &mut Hasher,
) -> Result<Vec<BootEntry>, String> {
    let mut entries = vec![entry(root, token, generation, None, &generation.bootspec.boot, hasher)?];
    for (name, document) in &generation.bootspec.specialisations {
        entries.push(entry(root, token, generation, Some(name), &document.boot, hasher)?);
    }
    Ok(entries)
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
    })
}

/// Entries are lines: what would begin another one becomes a blank.
fn one_line(text: &str) -> String {
    text.replace(|character: char| character.is_control(), " ").trim().to_owned()
}

/// `2026-11-23` of seconds since 1970, in UTC (days to civil, Gregorian calendar).
fn date(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_gregorian() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_795_392_000, "2026-11-23"),
            (-1, "1969-12-31"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(seconds), expected);
        }
    }
}
