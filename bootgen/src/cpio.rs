//! cpio archives in the "newc" format, as the kernel unpacks them into the initial root
//! (kernel Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! A header is 110 bytes of ASCII (magic `070701`, thirteen 8-digit hexadecimal numbers), then the NUL-terminated name and the
//! contents, each padded to four bytes; an entry named `TRAILER!!!` ends the archive. The kernel does not create missing
//! parent directories, so they are written before what lies in them. The bytes depend on the entries alone: times are the
//! one given, inode numbers count up, owner is root.

use std::collections::BTreeMap;
use thiserror::Error;

/// An entry's kind with its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory with its permission bits.
    Directory {
        /// Permission bits.
        mode: u32,
    },
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// What is in it.
        contents: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: String,
    },
    /// A character device.
    CharDevice {
        /// Permission bits.
        mode: u32,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// What cannot be put in an archive.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CpioError {
    /// Two entries of one name that are not the same.
    #[error("the initrd has two different files at /{0}")]
    Twice(String),
    /// A path that leaves the archive or names nothing.
    #[error("`{0}` is not a path within an initrd")]
    Path(String),
    /// A file of more than 4 GiB.
    #[error("/{0} is too large for a cpio archive (4 GiB at most)")]
    TooLarge(String),
}

/// An archive under construction: entries by path, parents before children.
#[derive(Debug, Default, Clone)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry and the directories (mode 0755) above it.
    ///
    /// # Errors
    /// When the path is empty, has `.` or `..` in it, or holds something else already.
    pub fn add(&mut self, path: &str, entry: Entry) -> Result<(), CpioError> {
        let path = path.trim_matches('/');
        if path.is_empty() || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(CpioError::Path(path.to_owned()));
        }
        for (end, _) in path.match_indices('/') {
            let parent = path.get(..end).unwrap_or_default();
            let made = self.entries.entry(parent.to_owned()).or_insert(Entry::Directory { mode: 0o755 });
            if !matches!(made, Entry::Directory { .. }) {
                return Err(CpioError::Twice(parent.to_owned()));
            }
        }
        match self.entries.get(path) {
            Some(old) if *old != entry => Err(CpioError::Twice(path.to_owned())),
            Some(_) => Ok(()),
            None => {
                self.entries.insert(path.to_owned(), entry);
                Ok(())
            }
        }
    }

    /// The entries in the order in which they are written: directories and devices, `/init`, the other files, and last
    /// `/stage1.conf`. So of an archive that is cut short the program that says so is the likeliest to be whole, and a
    /// whole `/stage1.conf` proves that everything is there.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        let rank = |path: &str, entry: &Entry| match (path, entry) {
            (_, Entry::Directory { .. } | Entry::CharDevice { .. }) => 0,
            ("init", _) => 1,
            ("stage1.conf", _) => 3,
            _ => 2,
        };
        (0..4).flat_map(move |turn| {
            self.entries
                .iter()
                .map(|(path, entry)| (path.as_str(), entry))
                .filter(move |(path, entry)| rank(path, entry) == turn)
        })
    }

    /// The archive's bytes; every time in it is `time` (seconds since 1970).
    ///
    /// # Errors
    /// When a file is larger than the format can say.
    pub fn to_bytes(&self, time: u32) -> Result<Vec<u8>, CpioError> {
        let mut out = Vec::new();
        for (number, (path, entry)) in self.entries().enumerate() {
            let inode = u32::try_from(number + 1).unwrap_or(u32::MAX);
            let (mode, links, device, contents): (u32, u32, (u32, u32), &[u8]) = match entry {
                Entry::Directory { mode } => (0o040_000 | mode, 2, (0, 0), &[]),
                Entry::File { mode, contents } => (0o100_000 | mode, 1, (0, 0), contents),
                Entry::Symlink { target } => (0o120_777, 1, (0, 0), target.as_bytes()),
                Entry::CharDevice { mode, major, minor } => (0o020_000 | mode, 1, (*major, *minor), &[]),
            };
            let size = u32::try_from(contents.len()).map_err(|_| CpioError::TooLarge(path.to_owned()))?;
            header(&mut out, path, [inode, mode, 0, 0, links, time, size, 0, 0, device.0, device.1]);
            out.extend_from_slice(contents);
            pad(&mut out, 4);
        }
        header(&mut out, "TRAILER!!!", [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        pad(&mut out, 512);
        Ok(out)
    }
}

/// Writes a header and the name: inode, mode, uid, gid, links, time, size, device, special device.
fn header(out: &mut Vec<u8>, name: &str, fields: [u32; 11]) {
    out.extend_from_slice(b"070701");
    let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
    // The last field is a checksum that this variant of the format leaves at 0.
    for field in fields.into_iter().chain([name_size, 0]) {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    pad(out, 4);
}

/// Zeros up to a multiple of `to`.
fn pad(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_first_and_aligned() {
        let mut archive = Archive::new();
        archive.add("/lib/modules/a.ko", Entry::File { mode: 0o644, contents: b"hello".to_vec() }).unwrap();
        archive.add("init", Entry::Symlink { target: "lib/x".to_owned() }).unwrap();
        let names: Vec<&str> = archive.entries().map(|(path, _)| path).collect();
        assert_eq!(names, ["lib", "lib/modules", "init", "lib/modules/a.ko"]);
        let bytes = archive.to_bytes(1).unwrap();
        assert_eq!(bytes.len() % 512, 0);
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(bytes, archive.to_bytes(1).unwrap());
        assert_ne!(bytes, archive.to_bytes(2).unwrap());
    }

    #[test]
    fn refuses_what_is_not_a_path() {
        for path in ["", "/", "a//b", "../x", "a/./b"] {
            let result = Archive::new().add(path, Entry::Directory { mode: 0o755 });
            assert!(matches!(result, Err(CpioError::Path(_))), "{path}");
        }
    }

    #[test]
    fn same_twice_is_once() {
        let mut archive = Archive::new();
        let file = |text: &str| Entry::File { mode: 0o644, contents: text.as_bytes().to_vec() };
        archive.add("a", file("1")).unwrap();
        archive.add("a", file("1")).unwrap();
        assert_eq!(archive.add("a", file("2")), Err(CpioError::Twice("a".to_owned())));
        assert_eq!(archive.add("a/b", file("2")), Err(CpioError::Twice("a".to_owned())));
    }
}
