//! SHA-256 of the files that go on the boot partition. Kernels are large and stay for months, so what they hash to is
//! remembered from one update to the next, in a file below /var/lib/firn: a line for each,
//! `HASH SIZE DEVICE INODE MODIFIED CHANGED PATH`, and a last line `end COUNT`. A line counts as long as the file is the same
//! one by all of these (the kernel sets the moment of change, nobody else can); a file that is torn or strange counts as none.

use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::Metadata;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Where an installation keeps them.
pub const REMEMBERED: &str = "/var/lib/firn/boot-file-hashes";

/// What a file hashes to, and its size.
type Found = ([u8; 32], u64);

/// Hashes files once each.
#[derive(Debug, Default)]
pub struct Hasher {
    /// By the file's identity, as it stands in its line behind the hash.
    remembered: BTreeMap<String, [u8; 32]>,
    /// What was asked for: identity, hash and size.
    used: BTreeMap<PathBuf, (String, Found)>,
}

impl Hasher {
    /// One that knows what an earlier one saved in this file.
    pub fn remembering(file: &Path) -> Self {
        let remembered = std::fs::read_to_string(file).ok().and_then(|text| parse(&text)).unwrap_or_default();
        Self { remembered, used: BTreeMap::new() }
    }

    /// SHA-256 and size of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn hash(&mut self, place: &Path) -> std::io::Result<Found> {
        if let Some((_, found)) = self.used.get(place) {
            return Ok(*found);
        }
        let metadata = std::fs::metadata(place)?;
        let identity = identity(place, &metadata);
        let found = match self.remembered.get(&identity) {
            Some(hash) => (*hash, metadata.len()),
            None => hash_file(place)?,
        };
        self.used.insert(place.to_path_buf(), (identity, found));
        Ok(found)
    }

    /// Saves what was asked for. Without it the next update hashes again, so a failure is none.
    pub fn save(&self, file: &Path) {
        let lines: BTreeMap<&String, &[u8; 32]> =
            self.used.values().map(|(identity, (hash, _))| (identity, hash)).collect();
        if lines.iter().map(|(identity, hash)| (*identity, *hash)).eq(&self.remembered) {
            return;
        }
        // A name with a line break would be two lines.
        let mut lines: Vec<String> = lines
            .iter()
            .filter(|(identity, _)| !identity.contains('\n'))
            .map(|(identity, hash)| format!("{} {identity}\n", hex(*hash)))
            .collect();
        lines.push(format!("end {}\n", lines.len()));
        let new = file.with_extension("new");
        let written = std::fs::write(&new, lines.concat()).and_then(|()| std::fs::rename(&new, file));
        if let Err(error) = written {
            log::debug!("{}: {error}", file.display());
        }
    }
}

fn identity(place: &Path, metadata: &Metadata) -> String {
    let mut text = format!("{} {} {}", metadata.len(), metadata.dev(), metadata.ino());
    // Writing to a String cannot fail.
    let written = write!(
        text,
        " {}.{:09} {}.{:09} {}",
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
        place.display()
    );
    debug_assert!(written.is_ok());
    text
}

/// All lines, when all are there.
fn parse(text: &str) -> Option<BTreeMap<String, [u8; 32]>> {
    let (lines, end) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let lines: Vec<&str> = lines.lines().collect();
    if end != format!("end {}", lines.len()) {
        return None;
    }
    lines
        .iter()
        .map(|line| line.split_once(' ').and_then(|(hash, rest)| Some((rest.to_owned(), bytes(hash)?))))
        .collect()
}

fn bytes(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (place, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// SHA-256 and size of a file.
pub(crate) fn hash_file(place: &Path) -> std::io::Result<Found> {
    let mut file = std::fs::File::open(place)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    let mut size = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hasher.finalize().into(), size));
        }
        size += read as u64;
        hasher.update(&buffer[..read]);
    }
}

/// Hexadecimal of the first bytes of a hash: lower case, since FAT does not tell case apart.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        if write!(text, "{byte:02x}").is_err() {
            text.clear();
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_hashed_is_known_until_the_file_changes() {
        let directory = tempfile::tempdir().unwrap();
        let (kernel, file) = (directory.path().join("kernel"), directory.path().join("hashes"));
        std::fs::write(&kernel, "a kernel").unwrap();
        let mut first = Hasher::remembering(&file);
        let found = first.hash(&kernel).unwrap();
        assert_eq!(found, hash_file(&kernel).unwrap());
        first.save(&file);

        // It is taken from the file: a lie in there is believed.
        let text = std::fs::read_to_string(&file).unwrap();
        let lie = text.replacen(&hex(&found.0), &"ab".repeat(32), 1);
        std::fs::write(&file, &lie).unwrap();
        assert_eq!(Hasher::remembering(&file).hash(&kernel).unwrap(), ([0xab; 32], 8));

        // Another file of that name, though as large and as old.
        let times = std::fs::metadata(&kernel).unwrap().modified().unwrap();
        std::fs::write(&kernel, "b kernel").unwrap();
        std::fs::File::options().write(true).open(&kernel).unwrap().set_modified(times).unwrap();
        assert_eq!(Hasher::remembering(&file).hash(&kernel).unwrap(), hash_file(&kernel).unwrap());
    }

    #[test]
    fn a_torn_or_strange_file_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let (kernel, file) = (directory.path().join("kernel"), directory.path().join("hashes"));
        std::fs::write(&kernel, "a kernel").unwrap();
        let mut first = Hasher::default();
        let found = first.hash(&kernel).unwrap();
        first.save(&file);
        let text = std::fs::read_to_string(&file).unwrap().replacen(&hex(&found.0), &"ab".repeat(32), 1);
        assert!(parse(&text).is_some_and(|all| all.len() == 1));
        for cut in 0..text.len() {
            std::fs::write(&file, &text[..cut]).unwrap();
            assert_eq!(Hasher::remembering(&file).hash(&kernel).unwrap(), found, "cut at {cut}");
        }
        for strange in ["end 0\n", "end 1\n", "\n", "xx yy\nend 1\n", "é\nend 1\n"] {
            std::fs::write(&file, strange).unwrap();
            assert_eq!(Hasher::remembering(&file).hash(&kernel).unwrap(), found, "{strange:?}");
        }
        // And one that cannot be written is no reason to stop.
        first.save(Path::new("/nonexistent/hashes"));
    }
}
