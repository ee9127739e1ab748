//! Copies a tree canonical and hashes it, in one walk: each byte is read once, and what is hashed is what is written.

use super::dump::{BUFFER, Beside, dump_beside};
use super::restore::Tree;
use crate::error::{Error, Result};
use formats::hash::{Algorithm, Hash, HashingWriter};
use formats::nar::Visitor as _;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// What was copied: its NAR's hash and size, and how many files, links and directories it has.
pub(crate) type Copied = (Hash, u64, usize);

/// Copies the tree at `source` to `target`, which must not exist.
pub(crate) fn copy(source: &Path, target: &Path, algorithm: Algorithm) -> Result<Copied> {
    let mut copy = Copy { tree: Tree::new(target), target, file: None };
    let output = io::BufWriter::with_capacity(BUFFER, HashingWriter::new(io::sink(), algorithm));
    let output = dump_beside(source, output, &mut copy)?;
    let output = output.into_inner().map_err(|error| Error::file("hashing", source)(error.into_error()))?;
    let (_, hash, size) = output.finish();
    Ok((hash, size, copy.tree.entries))
}

struct Copy<'a> {
    tree: Tree<'a>,
    target: &'a Path,
    /// The file begun last.
    file: Option<File>,
}

impl Copy<'_> {
    fn failed<T>(&self, doing: &'static str, name: &OsStr, result: io::Result<T>) -> Result<T> {
        result.map_err(|error| Error::file(doing, self.target.join(name))(error))
    }
}

impl Beside for Copy<'_> {
    fn begin_directory(&mut self, name: &OsStr) -> Result<()> {
        let made = self.tree.begin_directory(Some(name.as_bytes()));
        self.failed("creating directory", name, made)
    }

    fn end_directory(&mut self) -> Result<()> {
        self.tree.end_directory().map_err(Error::file("closing a directory in", self.target))
    }

    fn begin_file<'a>(
        &'a mut self,
        name: &OsStr,
        executable: bool,
        contents: File,
    ) -> Result<impl Read + 'a> {
        let created = self.tree.create(Some(name.as_bytes()), executable);
        let file = self.failed("creating", name, created)?;
        Ok(Both { contents, copy: self.file.insert(file) })
    }

    fn end_file(&mut self) -> Result<()> {
        match self.file.take() {
            Some(file) => self.tree.seal(&file).map_err(Error::file("closing a file in", self.target)),
            None => Ok(()),
        }
    }

    fn symlink(&mut self, name: &OsStr, target: &OsStr) -> Result<()> {
        let made = self.tree.symlink(Some(name.as_bytes()), target.as_bytes());
        self.failed("linking", name, made)
    }
}

/// What is read from a file goes into its copy.
struct Both<'a> {
    contents: File,
    copy: &'a mut File,
}

impl Read for Both<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.contents.read(buffer)?;
        self.copy.write_all(buffer.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash_tree;
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    #[test]
    fn a_copy_is_canonical_and_has_the_hash_of_its_source() {
        let directory = tempfile::tempdir().unwrap();
        let (source, target) = (directory.path().join("source"), directory.path().join("target"));
        fs::create_dir_all(source.join("a/b")).unwrap();
        fs::write(source.join("a/large"), vec![7; 300_000]).unwrap();
        fs::write(source.join("a/b/run"), "#!/bin/sh\n").unwrap();
        fs::write(source.join("empty"), "").unwrap();
        fs::set_permissions(source.join("a/b/run"), Permissions::from_mode(0o4711)).unwrap();
        fs::set_permissions(source.join("a/large"), Permissions::from_mode(0o600)).unwrap();
        symlink("nowhere", source.join("link")).unwrap();
        let (hash, size, entries) = copy(&source, &target, Algorithm::Sha256).unwrap();
        assert_eq!((hash, size), hash_tree(&source, Algorithm::Sha256).unwrap());
        assert_eq!((hash, size), hash_tree(&target, Algorithm::Sha256).unwrap());
        assert_eq!(entries, 7);
        let mode = |name: &str| fs::metadata(target.join(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode("a"), mode("a/b/run"), mode("a/large")), (0o555, 0o555, 0o444));
        assert_eq!(fs::symlink_metadata(target.join("link")).unwrap().mtime(), 1);
        assert_eq!(fs::metadata(target.join("a/large")).unwrap().mtime(), 1);
        super::super::remove(&target).unwrap();
    }

    #[test]
    fn a_file_and_a_link_alone_are_copied_as_well() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("file"), "contents").unwrap();
        symlink("file", path("link")).unwrap();
        for name in ["file", "link"] {
            let target = path(&format!("{name}-copy"));
            let copied = copy(&path(name), &target, Algorithm::Sha256).unwrap();
            assert_eq!((copied.0, copied.1), hash_tree(&target, Algorithm::Sha256).unwrap());
            assert_eq!(fs::symlink_metadata(&target).unwrap().is_symlink(), name == "link");
        }
    }
}
