//! `builtin:unpack-channel`: unpacks a channel's archive (`nixexprs.tar.xz`, any compression) and gives its one directory
//! the channel's name. nix-channel(1).

use super::FailureKind;
use super::builtin::{out, required};
use super::one::Job;
use crate::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

/// Unpacks.
pub(super) fn build(job: &Job<'_>) -> Result<(), FailureKind> {
    let (source, name) = (required(job, "src")?, required(job, "channelName")?);
    if name.contains('/') || name.starts_with('.') || name.is_empty() {
        return Err(FailureKind::Unsupported(format!("`{name}` cannot be the name of a channel")));
    }
    let source = job.store.layout().real_of_logical(Path::new(&source));
    let target = out(job)?;
    fs::create_dir_all(&target).map_err(Error::file("creating", &target))?;
    let mut archive = tar::Archive::new(decompress(&source)?);
    archive.set_overwrite(false);
    archive.unpack(&target).map_err(Error::file("unpacking", &source))?;
    let only = only_entry(&target)?;
    let named = target.join(name);
    if only != named {
        fs::rename(&only, &named).map_err(Error::file("renaming", &only))?;
    }
    Ok(())
}

/// Reads a file through what its first bytes say that it is compressed with.
fn decompress(source: &Path) -> Result<Box<dyn Read>, Error> {
    let opening = || Error::file("reading", source);
    let mut file = BufReader::new(File::open(source).map_err(opening())?);
    let head = file.fill_buf().map_err(opening())?.get(..6).unwrap_or_default().to_vec();
    Ok(match head.as_slice() {
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Box::new(liblzma::read::XzDecoder::new_multi_decoder(file)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::read::MultiBzDecoder::new(file)),
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::new(file).map_err(opening())?),
        _ => Box::new(file),
    })
}

fn only_entry(directory: &Path) -> Result<PathBuf, FailureKind> {
    let entries: Vec<_> = fs::read_dir(directory)
        .and_then(Iterator::collect::<io::Result<_>>)
        .map_err(Error::file("reading directory", directory))?;
    match entries.as_slice() {
        [one] => Ok(one.path()),
        entries => Err(FailureKind::Output(format!(
            "a channel's archive holds one directory; this one holds {} files",
            entries.len()
        ))),
    }
}
