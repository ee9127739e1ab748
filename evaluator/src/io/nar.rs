//! Trees as NAR, read through [`EvalIo`]: what `builtins.path` hashes.

use super::{EvalIo, FileType, Filter, Ingestion, IoError};
use formats::hash::{Algorithm, Hash, HashingWriter};
use formats::nar::{NarError, Writer};
use std::io::Write;

fn nar_error(error: &NarError) -> IoError {
    IoError::Store(error.to_string())
}

/// Writes a file or tree as NAR. The filter is asked for everything but the root, in the order of the archive.
pub fn write_tree<W: Write>(
    io: &(impl EvalIo + ?Sized),
    path: &[u8],
    filter: Option<&mut Filter<'_>>,
    output: W,
) -> Result<W, IoError> {
    let mut writer = Writer::new(output).map_err(|error| nar_error(&error))?;
    let mut filter = filter;
    node(io, path, &mut filter, &mut writer)?;
    writer.finish().map_err(|error| nar_error(&error))
}

fn node<W: Write>(
    io: &(impl EvalIo + ?Sized),
    path: &[u8],
    filter: &mut Option<&mut Filter<'_>>,
    writer: &mut Writer<W>,
) -> Result<(), IoError> {
    match io.file_type(path)? {
        None => return Err(IoError::Missing(String::from_utf8_lossy(path).into_owned())),
        Some(FileType::Unknown) => {
            let path = String::from_utf8_lossy(path);
            return Err(IoError::Unsupported(format!("file '{path}' has an unsupported type")));
        }
        Some(FileType::Regular) => {
            let contents = io.read_file(path)?;
            let executable = io.is_executable(path)?;
            writer.file(executable, contents.len() as u64, &mut contents.as_slice())
        }
        Some(FileType::Symlink) => writer.symlink(&io.read_link(path)?),
        Some(FileType::Directory) => {
            writer.begin_directory().map_err(|error| nar_error(&error))?;
            let mut entries = io.read_dir(path)?;
            entries.sort();
            for (name, kind) in entries {
                let mut inner = path.to_vec();
                if inner != b"/" {
                    inner.push(b'/');
                }
                inner.extend_from_slice(&name);
                if let Some(filter) = filter.as_mut()
                    && !filter(&inner, kind)?
                {
                    continue;
                }
                writer.entry(&name).map_err(|error| nar_error(&error))?;
                stacker::maybe_grow(64 * 1024, 1024 * 1024, || node(io, &inner, filter, writer))?;
            }
            writer.end_directory()
        }
    }
    .map_err(|error| nar_error(&error))
}

/// The hash of a tree's NAR.
pub fn hash_tree(
    io: &(impl EvalIo + ?Sized),
    path: &[u8],
    filter: Option<&mut Filter<'_>>,
    algorithm: Algorithm,
) -> Result<Hash, IoError> {
    let writer = write_tree(io, path, filter, HashingWriter::new(std::io::sink(), algorithm))?;
    Ok(writer.finish().1)
}

/// The hash of a path as it would enter the store.
pub fn hash_file(
    io: &(impl EvalIo + ?Sized),
    path: &[u8],
    ingestion: Ingestion,
    filter: Option<&mut Filter<'_>>,
    algorithm: Algorithm,
) -> Result<Hash, IoError> {
    match ingestion {
        Ingestion::Flat => Ok(Hash::of(algorithm, io.read_file(path)?)),
        Ingestion::Nar => hash_tree(io, path, filter, algorithm),
    }
}
