//! systemd-boot's entries: Boot Loader Specification type 1 files with boot counting
//! (uapi-group.org/specifications/specs/boot_loader_specification, systemd-boot(7)).
//!
//! A file is called `<token>-<generation>-<hash8>[+LEFT-DONE].conf`. Its hash is that of its contents, so a file is never
//! overwritten with other bytes, and what an entry is, is read from its contents, not its name.

use crate::boot_entry::BootEntry;
use crate::file_hashes::hex;
use sha2::{Digest as _, Sha256};

/// Where the entries lie.
pub const ENTRIES: &str = "loader/entries";

/// Tries left and tries done, as they stand in a file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Boots that remain.
    pub left: u32,
    /// Boots that failed.
    pub done: u32,
}

/// An entry's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryFile {
    /// The name without counter and `.conf`: the entry's identity.
    pub stem: String,
    /// The counter, if it has one.
    pub counter: Option<Counter>,
    /// The text.
    pub text: String,
}

impl EntryFile {
    /// The file's name. Both numbers are always there, so that counting never changes the name's length by its own digits
    /// appearing (uapi-group/specifications#168).
    pub fn file_name(&self) -> String {
        match self.counter {
            Some(Counter { left, done }) => format!("{}+{left}-{done}.conf", self.stem),
            None => format!("{}.conf", self.stem),
        }
    }

    /// Reads name and text. `None`: it is no entry's name.
    pub fn parse(file_name: &str, text: String) -> Option<Self> {
        let stem = file_name.strip_suffix(".conf")?;
        let (stem, counter) = split_counter(stem);
        Some(Self { stem: stem.to_owned(), counter, text })
    }

    /// The value of a key, the first if there are several.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values(key).into_iter().next()
    }

    /// All values of a key.
    pub fn values(&self, key: &str) -> Vec<&str> {
        let pairs = self.text.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
        pairs.filter(|(name, _)| *name == key).map(|(_, value)| value.trim()).collect()
    }

    /// The kernel and initrds that it loads, or the program that is both, relative to the partition.
    pub fn data_paths(&self) -> Vec<String> {
        let files = [self.values("linux"), self.values("initrd"), self.values("efi")].concat();
        files.into_iter().map(|path| path.trim_start_matches('/').to_owned()).collect()
    }

    /// The toplevel named by `init=`.
    pub fn toplevel(&self) -> Option<&str> {
        let init = self.value("options")?.split_whitespace().find_map(|word| word.strip_prefix("init="))?;
        init.strip_suffix("/init")
    }

    /// The generation's number, from the version line that Firn writes.
    pub fn generation(&self) -> Option<u64> {
        self.value("version")?.strip_prefix("Generation ")?.split([' ', '~']).next()?.parse().ok()
    }
}

/// Whether the entry sorts before those that are not the default: a default that is not the newest needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// By its version, newest first.
    ByVersion,
    /// Before all others.
    First,
}

/// The entry's file, without a counter.
pub fn render(entry: &BootEntry, token: &str, place: Place) -> EntryFile {
    let rank = match place {
        Place::First => '0',
        Place::ByVersion => '1',
    };
    let initrd = entry.initrd.as_ref().map(|initrd| format!("initrd /{}\n", initrd.path)).unwrap_or_default();
    let loaded = match &entry.unified {
        // `options` stays, since the entry is known by it; with Secure Boot on, the program takes its own alone.
        Some(unified) => format!("efi /{}\n", unified.path),
        None => format!("linux /{}\n{initrd}", entry.kernel.path),
    };
    let text = format!(
        "title {}\nversion {}\nsort-key {token}-{rank}\n{loaded}options {}\n",
        entry.title, entry.version, entry.options
    );
    let hash = hex(&Sha256::digest(text.as_bytes())[..4]);
    EntryFile { stem: format!("{token}-{}-{hash}", entry.generation), counter: None, text }
}

/// `name+3-1` → `name` and 3, 1; `name+3` → `name` and 3, 0 (Boot Loader Specification, "Boot counting").
fn split_counter(stem: &str) -> (&str, Option<Counter>) {
    let Some((name, counter)) = stem.rsplit_once('+') else { return (stem, None) };
    let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
    match (left.parse(), done.parse()) {
        (Ok(left), Ok(done)) => (name, Some(Counter { left, done })),
        _ => (stem, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_and_written() {
        for (name, stem, counter) in [
            ("a-1-x.conf", "a-1-x", None),
            ("a-1-x+3-0.conf", "a-1-x", Some(Counter { left: 3, done: 0 })),
            ("a-1-x+2.conf", "a-1-x", Some(Counter { left: 2, done: 0 })),
            ("a+something+-+that.conf", "a+something+-+that", None),
        ] {
            let file = EntryFile::parse(name, String::new()).unwrap();
            assert_eq!((file.stem.as_str(), file.counter), (stem, counter), "{name}");
        }
        let file = EntryFile {
            stem: "a".to_owned(),
            counter: Some(Counter { left: 3, done: 0 }),
            text: String::new(),
        };
        assert_eq!(file.file_name(), "a+3-0.conf");
        assert_eq!(EntryFile::parse("a.txt", String::new()), None);
    }

    #[test]
    fn an_entry_is_known_by_its_contents() {
        let text = "title x\nversion Generation 12 Firn\nlinux /EFI/t/k\ninitrd\t/EFI/t/i\noptions init=/nix/store/a/init quiet\n";
        let file = EntryFile::parse("renamed.conf", text.to_owned()).unwrap();
        assert_eq!(file.generation(), Some(12));
        assert_eq!(file.toplevel(), Some("/nix/store/a"));
        assert_eq!(file.data_paths(), ["EFI/t/k", "EFI/t/i"]);
    }
}
