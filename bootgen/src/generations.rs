//! The generations of a system profile: `system-N-link` in the profiles' directory, each with the `boot.json` of its toplevel.
//! One that is broken is reported and never keeps the others out of the menu.

use formats::bootloader::Bootloader;
use formats::bootspec::Bootspec;
use std::path::{Path, PathBuf};

/// Where the profiles are.
pub const PROFILES: &str = "/nix/var/nix/profiles";

/// One generation that can be booted.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Its number in the profile.
    pub number: u64,
    /// The toplevel's store path.
    pub toplevel: PathBuf,
    /// When it was made, seconds since 1970, if that is known: shown in the menu.
    pub made: Option<i64>,
    /// What it needs in order to boot.
    pub bootspec: Bootspec,
}

/// One generation that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenGeneration {
    /// Its number.
    pub number: u64,
    /// Why not.
    pub reason: String,
}

/// All generations, ascending.
#[derive(Debug, Clone, Default)]
pub struct Generations {
    /// Those that can be booted.
    pub good: Vec<Generation>,
    /// Those that cannot be read: their files on the boot partition stay.
    pub broken: Vec<BrokenGeneration>,
}

impl Generations {
    /// Reads the generations of the profile `name` below a root directory.
    ///
    /// # Errors
    /// When the profiles' directory cannot be listed.
    pub fn read(root: &Path, name: &str) -> std::io::Result<Self> {
        let directory = in_root(root, Path::new(PROFILES));
        let mut generations = Self::default();
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let number = file_name
                .to_str()
                .and_then(|text| text.strip_prefix(name)?.strip_prefix('-')?.strip_suffix("-link"))
                .and_then(|number| number.parse::<u64>().ok());
            let Some(number) = number else { continue };
            match Generation::read(root, number, &entry.path()) {
                Ok(generation) => generations.good.push(generation),
                Err(reason) => generations.broken.push(BrokenGeneration { number, reason }),
            }
        }
        generations.good.sort_by_key(|generation| generation.number);
        generations.broken.sort_by_key(|generation| generation.number);
        Ok(generations)
    }

    /// The generation of that number.
    pub fn get(&self, number: u64) -> Option<&Generation> {
        self.good.iter().find(|generation| generation.number == number)
    }
}

impl Generation {
    /// Reads one generation through its link.
    ///
    /// # Errors
    /// With a sentence that says what is missing.
    pub fn read(root: &Path, number: u64, link: &Path) -> Result<Self, String> {
        use std::os::unix::fs::MetadataExt as _;
        let toplevel = std::fs::read_link(link).map_err(|error| format!("{}: {error}", link.display()))?;
        // A link made by an image writer has no date worth showing.
        let made =
            link.symlink_metadata().ok().map(|found| found.mtime()).filter(|made| *made > 1_000_000_000);
        Self::of_toplevel(root, number, &toplevel, made)
    }

    /// A generation that need not be in a profile yet, as an image writer has it.
    ///
    /// # Errors
    /// With a sentence that says what is missing.
    pub fn of_toplevel(root: &Path, number: u64, toplevel: &Path, made: Option<i64>) -> Result<Self, String> {
        let place = in_root(root, toplevel).join("boot.json");
        let bytes = std::fs::read(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        let bootspec = Bootspec::parse(&bytes).map_err(|error| format!("{}: {error}", toplevel.display()))?;
        let documents = std::iter::once(&bootspec).chain(bootspec.specialisations.values());
        for file in documents
            .flat_map(|document| [Some(&document.boot.kernel), document.boot.initrd.as_ref()])
            .flatten()
        {
            let place = resolve(root, Path::new(file));
            match place.metadata() {
                Ok(found) if found.is_file() && found.len() > 0 => {}
                Ok(_) => return Err(format!("{file} is empty or no file")),
                Err(error) => return Err(format!("{file}: {error}")),
            }
        }
        Ok(Self { number, toplevel: toplevel.to_path_buf(), made, bootspec })
    }

    /// Its `bootloader.json`.
    ///
    /// # Errors
    /// With a sentence that names the file.
    pub fn bootloader(&self, root: &Path) -> Result<Bootloader, String> {
        let place = resolve(root, &self.toplevel.join("bootloader.json"));
        let bytes = std::fs::read(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        Bootloader::parse(&bytes).map_err(|error| format!("{}: {error}", self.toplevel.display()))
    }
}

/// An absolute path below a root directory, links not followed.
pub(crate) fn in_root(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// An absolute path below a root directory, links followed inside it.
pub(crate) fn resolve(root: &Path, path: &Path) -> PathBuf {
    let mut current = PathBuf::from("/");
    let mut pending: Vec<std::ffi::OsString> = path.iter().rev().map(Into::into).collect();
    let mut links = 0;
    while let Some(part) = pending.pop() {
        if part == "/" || part == "." {
            continue;
        }
        if part == ".." {
            current.pop();
            continue;
        }
        let next = current.join(&part);
        match std::fs::read_link(in_root(root, &next)) {
            Ok(target) if links < 40 => {
                links += 1;
                if target.is_absolute() {
                    current = PathBuf::from("/");
                }
                pending.extend(target.iter().rev().map(std::ffi::OsString::from));
            }
            _ => current = next,
        }
    }
    in_root(root, &current)
}
