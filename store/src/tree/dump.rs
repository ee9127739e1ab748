//! Writes a file tree as a NAR: names sorted bytewise, the executable bit, nothing else of the metadata.

use super::{OPEN_DIRECTORY, OPEN_FILE, type_name};
use crate::error::{Error, Result};
use formats::hash::{Algorithm, Hash, Hasher, HashingWriter};
use formats::nar::{NarError, Writer};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, fstat, openat, readlinkat, statat};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

/// Writes the tree at `path` (which may itself be a link: then it is the link).
pub fn dump<W: Write>(path: &Path, output: W) -> Result<W> {
    let mut writer = Writer::new(output).map_err(Error::nar(path.display().to_string()))?;
    node(&mut writer, CWD, path.as_os_str(), path)?;
    writer.finish().map_err(Error::nar(path.display().to_string()))
}

/// The NAR's hash and size, without keeping the NAR.
pub fn hash_tree(path: &Path, algorithm: Algorithm) -> Result<(Hash, u64)> {
    let buffered = io::BufWriter::with_capacity(64 * 1024, HashingWriter::new(io::sink(), algorithm));
    let buffered = dump(path, buffered)?;
    let writer = buffered.into_inner().map_err(|error| Error::file("hashing", path)(error.into_error()))?;
    let (_, hash, size) = writer.finish();
    Ok((hash, size))
}

/// The hash of a file's contents.
pub fn hash_file(path: &Path, algorithm: Algorithm) -> Result<Hash> {
    let mut file = File::open(path).map_err(Error::file("opening", path))?;
    let mut hasher = Hasher::new(algorithm);
    io::copy(&mut file, &mut hasher).map_err(Error::file("reading", path))?;
    Ok(hasher.finish())
}

/// The names in a directory, sorted as a NAR wants them.
pub(super) fn sorted_names(directory: BorrowedFd<'_>, place: &Path) -> Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).map_err(Error::call("reading directory", place))? {
        let entry = entry.map_err(Error::call("reading directory", place))?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn node<W: Write>(
    writer: &mut Writer<W>,
    directory: BorrowedFd<'_>,
    name: &OsStr,
    place: &Path,
) -> Result<()> {
    let nar = || Error::nar(place.display().to_string());
    let found =
        statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(Error::call("examining", place))?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => {
            let file =
                openat(directory, name, OPEN_FILE, Mode::empty()).map_err(Error::call("opening", place))?;
            let found = fstat(&file).map_err(Error::call("examining", place))?;
            if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
                return Err(Error::Invalid(format!("`{}` changed while it was read", place.display())));
            }
            writer.file(found.st_mode & 0o100 != 0, found.st_size as u64, &mut File::from(file)).map_err(
                |error| match error {
                    NarError::Size { .. } => {
                        Error::Invalid(format!("`{}` became shorter while it was read", place.display()))
                    }
                    other => nar()(other),
                },
            )
        }
        FileType::Symlink => {
            let target =
                readlinkat(directory, name, Vec::new()).map_err(Error::call("reading link", place))?;
            writer.symlink(target.as_bytes()).map_err(nar())
        }
        FileType::Directory => {
            let inner = openat(directory, name, OPEN_DIRECTORY, Mode::empty())
                .map_err(Error::call("opening", place))?;
            writer.begin_directory().map_err(nar())?;
            for entry in sorted_names(inner.as_fd(), place)? {
                writer.entry(entry.as_bytes()).map_err(nar())?;
                let entry = std::ffi::OsString::from_vec(entry.into_bytes());
                node(writer, inner.as_fd(), &entry, &place.join(&entry))?;
            }
            writer.end_directory().map_err(nar())
        }
        other => Err(Error::FileType { path: place.to_owned(), kind: type_name(other) }),
    }
}
