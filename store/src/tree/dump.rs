//! Writes a file tree as a NAR: names sorted bytewise, the executable bit, nothing else of the metadata.

use super::{OPEN_DIRECTORY, OPEN_FILE, type_name};
use crate::error::{Error, Result};
use formats::hash::{Algorithm, Hash, Hasher, HashingWriter};
use formats::nar::{NarError, Writer};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, fstat, openat, readlinkat, statat};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Something that is made beside the archive while a tree is walked: a copy, or nothing.
pub(super) trait Beside {
    /// A directory begins.
    fn begin_directory(&mut self, name: &OsStr) -> Result<()>;
    /// The directory begun last ends.
    fn end_directory(&mut self) -> Result<()>;
    /// A file begins; what is read from the reader returned goes into it as well.
    fn begin_file<'a>(&'a mut self, name: &OsStr, executable: bool, contents: File)
    -> Result<impl Read + 'a>;
    /// The file begun last ends.
    fn end_file(&mut self) -> Result<()>;
    /// A symbolic link.
    fn symlink(&mut self, name: &OsStr, target: &OsStr) -> Result<()>;
}

/// Nothing beside the archive.
struct Alone;

impl Beside for Alone {
    fn begin_directory(&mut self, _: &OsStr) -> Result<()> {
        Ok(())
    }
    fn end_directory(&mut self) -> Result<()> {
        Ok(())
    }
    fn begin_file<'a>(&'a mut self, _: &OsStr, _: bool, contents: File) -> Result<impl Read + 'a> {
        Ok(contents)
    }
    fn end_file(&mut self) -> Result<()> {
        Ok(())
    }
    fn symlink(&mut self, _: &OsStr, _: &OsStr) -> Result<()> {
        Ok(())
    }
}

/// Writes the tree at `path` (which may itself be a link: then it is the link).
pub fn dump<W: Write>(path: &Path, output: W) -> Result<W> {
    dump_beside(path, output, &mut Alone)
}

/// The same, making something beside it in the same walk.
pub(super) fn dump_beside<W: Write>(path: &Path, output: W, beside: &mut impl Beside) -> Result<W> {
    let mut writer = Writer::new(output).map_err(Error::nar(path.display().to_string()))?;
    let mut place = path.to_owned();
    node(&mut writer, CWD, path.as_os_str(), FileType::Unknown, &mut place, beside)?;
    writer.finish().map_err(Error::nar(path.display().to_string()))
}

/// The NAR's hash and size, without keeping the NAR.
pub fn hash_tree(path: &Path, algorithm: Algorithm) -> Result<(Hash, u64)> {
    let buffered = io::BufWriter::with_capacity(BUFFER, HashingWriter::new(io::sink(), algorithm));
    let buffered = dump(path, buffered)?;
    let writer = buffered.into_inner().map_err(|error| Error::file("hashing", path)(error.into_error()))?;
    let (_, hash, size) = writer.finish();
    Ok((hash, size))
}

/// Between the walk and the hash: large enough to gather the words around a small file; what is longer is hashed where it was
/// read, without another copy.
pub(super) const BUFFER: usize = 4 * 1024;

/// The hash of a file's contents.
pub fn hash_file(path: &Path, algorithm: Algorithm) -> Result<Hash> {
    let mut file = File::open(path).map_err(Error::file("opening", path))?;
    let mut hasher = Hasher::new(algorithm);
    io::copy(&mut file, &mut hasher).map_err(Error::file("reading", path))?;
    Ok(hasher.finish())
}

/// The names in a directory, sorted as a NAR wants them.
pub(super) fn sorted_names(directory: BorrowedFd<'_>, place: &Path) -> Result<Vec<CString>> {
    Ok(sorted_entries(directory, place)?.into_iter().map(|(name, _)| name).collect())
}

/// The same, with the types as far as the file system says them.
fn sorted_entries(directory: BorrowedFd<'_>, place: &Path) -> Result<Vec<(CString, FileType)>> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(directory).map_err(Error::call("reading directory", place))? {
        let entry = entry.map_err(Error::call("reading directory", place))?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            entries.push((name.to_owned(), entry.file_type()));
        }
    }
    entries.sort_unstable_by(|left, right| left.0.cmp(&right.0));
    Ok(entries)
}

fn node<W: Write>(
    writer: &mut Writer<W>,
    directory: BorrowedFd<'_>,
    name: &OsStr,
    kind: FileType,
    place: &mut PathBuf,
    beside: &mut impl Beside,
) -> Result<()> {
    let kind = match kind {
        FileType::Unknown => FileType::from_raw_mode(
            statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(Error::call("examining", &**place))?
                .st_mode,
        ),
        known => known,
    };
    match kind {
        FileType::RegularFile => {
            let file = openat(directory, name, OPEN_FILE, Mode::empty())
                .map_err(Error::call("opening", &**place))?;
            let found = fstat(&file).map_err(Error::call("examining", &**place))?;
            if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
                return Err(Error::Invalid(format!("`{}` changed while it was read", place.display())));
            }
            let executable = found.st_mode & 0o100 != 0;
            let mut contents = beside.begin_file(name, executable, File::from(file))?;
            writer.file(executable, found.st_size as u64, &mut contents).map_err(|error| match error {
                NarError::Size { .. } => {
                    Error::Invalid(format!("`{}` became shorter while it was read", place.display()))
                }
                other => Error::nar(place.display().to_string())(other),
            })?;
            drop(contents);
            beside.end_file()
        }
        FileType::Symlink => {
            let target =
                readlinkat(directory, name, Vec::new()).map_err(Error::call("reading link", &**place))?;
            beside.symlink(name, OsStr::from_bytes(target.as_bytes()))?;
            writer.symlink(target.as_bytes()).map_err(Error::nar(place.display().to_string()))
        }
        FileType::Directory => {
            let inner = openat(directory, name, OPEN_DIRECTORY, Mode::empty())
                .map_err(Error::call("opening", &**place))?;
            beside.begin_directory(name)?;
            writer.begin_directory().map_err(Error::nar(place.display().to_string()))?;
            for (entry, kind) in sorted_entries(inner.as_fd(), place)? {
                let entry = OsStr::from_bytes(entry.to_bytes());
                place.push(entry);
                writer
                    .entry(entry.as_bytes())
                    .map_err(|error| Error::nar(place.display().to_string())(error))?;
                node(writer, inner.as_fd(), entry, kind, place, beside)?;
                place.pop();
            }
            writer.end_directory().map_err(|error| Error::nar(place.display().to_string())(error))?;
            beside.end_directory()
        }
        other => Err(Error::FileType { path: place.clone(), kind: type_name(other) }),
    }
}
