//! The stream of `nix-store --export` and `--import`: objects with their references, each `1`, its NAR, a magic number, its
//! path, references and deriver, and `0`; a `0` ends the stream. Nix manual, "Store Object", "Nix Archive … export".

use crate::daemon::wire::{Answer, read_number, read_text, read_texts};
use crate::error::{Error, Result};
use crate::open::Store;
use crate::tree::Nothing;
use formats::hash::{Algorithm, HashingReader, HashingWriter};
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek as _, Write};

/// "NIXE".
const MAGIC: u64 = 0x4558_494e;

impl Store {
    /// Writes valid paths, each behind those that it refers to. A path whose content is not what was registered is not
    /// spread any further.
    pub fn export_paths(&self, paths: &BTreeSet<StorePath>, output: &mut dyn Write) -> Result<()> {
        let broken = || Error::file("exporting to", "standard output");
        for path in self.sort_by_references(paths)? {
            let info = self.path_info(&path)?;
            output.write_all(&1_u64.to_le_bytes()).map_err(broken())?;
            let mut hashing = HashingWriter::new(&mut *output, Algorithm::Sha256);
            self.archive(&path, &mut hashing)?;
            let (_, hash, _) = hashing.finish();
            if hash != info.nar_hash {
                return Err(Error::HashMismatch {
                    what: format!("`{}`, which has changed since it was registered", self.dir().print(&path)),
                    specified: Box::new(info.nar_hash),
                    got: Box::new(hash),
                });
            }
            let references: Vec<String> = info.references.iter().map(|path| self.dir().print(path)).collect();
            let deriver = info.deriver.as_ref().map(|path| self.dir().print(path)).unwrap_or_default();
            let mut rest = Answer::default();
            rest.number(MAGIC)
                .text(&self.dir().print(&path))
                .texts(references.iter())
                .text(&deriver)
                .number(0);
            output.write_all(&rest.0).map_err(broken())?;
        }
        output.write_all(&0_u64.to_le_bytes()).map_err(broken())
    }

    /// Adds what a stream holds; the paths in its order. Nobody vouches for them but who calls this.
    pub fn import_paths(&self, input: &mut dyn Read) -> Result<Vec<StorePath>> {
        let mut imported = Vec::new();
        loop {
            match read_number(input)? {
                0 => return Ok(imported),
                1 => {}
                _ => {
                    return Err(Error::Invalid(
                        "input doesn't look like something created by `nix-store --export`".to_owned(),
                    ));
                }
            }
            imported.push(self.import_path(input)?);
        }
    }

    fn import_path(&self, input: &mut dyn Read) -> Result<StorePath> {
        let spool = &self.layout.state;
        // What the NAR is called comes behind it: it waits in a file without a name.
        let mut archive = unnamed_file(spool)?;
        let mut reader = HashingReader::new(Tee { input, copy: &mut archive }, Algorithm::Sha256);
        formats::nar::read(&mut reader, &mut Nothing).map_err(Error::nar("importing a path"))?;
        let (_, hash, size) = reader.finish();
        if read_number(input)? != MAGIC {
            return Err(Error::Invalid(
                "the stream to import is corrupt: a NAR has no description".to_owned(),
            ));
        }
        let mut info = PathInfo::new(self.dir().parse(&read_text(input)?)?, hash, size);
        for reference in read_texts(input)? {
            info.references.insert(self.dir().parse(&reference)?);
        }
        let deriver = read_text(input)?;
        if !deriver.is_empty() {
            info.deriver = Some(self.dir().parse(&deriver)?);
        }
        if read_number(input)? == 1 {
            read_text(input)?; // a signature, in old days
        }
        archive.rewind().map_err(Error::file("reading back from", spool))?;
        self.add_nar(&info, &mut io::BufReader::with_capacity(64 * 1024, archive))?;
        Ok(info.path)
    }
}

/// A file that is gone when it is closed.
fn unnamed_file(directory: &std::path::Path) -> Result<File> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    openat(CWD, directory, flags, Mode::RUSR | Mode::WUSR)
        .map(File::from)
        .map_err(Error::call("creating a file in", directory))
}

/// Reads, and keeps a copy.
struct Tee<'a> {
    input: &'a mut dyn Read,
    copy: &'a mut File,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.copy.write_all(buffer.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_round_and_changed_ones_stay() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (Store::open(from.path()).unwrap(), Store::open(to.path()).unwrap());
        let one = from.add_text("one", b"first", &BTreeSet::new()).unwrap();
        let two = from.add_text("two", b"second", &[one.clone()].into()).unwrap();
        let mut stream = Vec::new();
        from.export_paths(&from.closure([two.clone()]).unwrap(), &mut stream).unwrap();
        assert_eq!(to.import_paths(&mut stream.as_slice()).unwrap(), [one.clone(), two.clone()]);
        assert_eq!(to.path_info(&two).unwrap().references, [one.clone()].into());
        for end in (0..stream.len()).step_by(7) {
            let empty = tempfile::tempdir().unwrap();
            let empty = Store::open(empty.path()).unwrap();
            assert!(empty.import_paths(&mut &stream[..end]).is_err(), "cut at {end}");
            // What came whole may stay; nothing else is valid.
            assert!(empty.verify(true, &|_| {}).unwrap().is_empty());
        }
        let real = from.real_path(&one);
        std::fs::remove_file(&real).unwrap();
        std::fs::write(&real, "changed").unwrap();
        assert!(matches!(from.export_paths(&[one].into(), &mut Vec::new()), Err(Error::HashMismatch { .. })));
    }
}
