//! Makes a file tree from a NAR, canonical at once: modes 0444 and 0555, times 1, nothing executable that is not marked.

use super::{CANONICAL_TIMES, OPEN_DIRECTORY};
use crate::error::{Error, Result};
use formats::nar::{self, Visitor};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fchmod, futimens, mkdirat, openat, symlinkat, utimensat};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Reads one NAR into `path`, which must not exist. Returns how many files, links and directories it made.
pub(crate) fn restore(path: &Path, input: &mut dyn Read) -> Result<usize> {
    let mut tree = Tree { root: path, open: Vec::new(), entries: 0 };
    nar::read(input, &mut tree).map_err(Error::nar(format!("restoring `{}`", path.display())))?;
    Ok(tree.entries)
}

struct Tree<'a> {
    root: &'a Path,
    open: Vec<OwnedFd>,
    entries: usize,
}

impl Tree<'_> {
    fn place<'b>(&'b self, name: Option<&'b [u8]>) -> (BorrowedFd<'b>, &'b OsStr) {
        match (self.open.last(), name) {
            (Some(directory), Some(name)) => (directory.as_fd(), OsStr::from_bytes(name)),
            _ => (CWD, self.root.as_os_str()),
        }
    }
}

impl Visitor for Tree<'_> {
    fn begin_directory(&mut self, name: Option<&[u8]>) -> io::Result<()> {
        let (parent, name) = self.place(name);
        mkdirat(parent, name, Mode::RWXU)?;
        let directory = openat(parent, name, OPEN_DIRECTORY, Mode::empty())?;
        self.open.push(directory);
        self.entries += 1;
        Ok(())
    }

    fn end_directory(&mut self) -> io::Result<()> {
        if let Some(directory) = self.open.pop() {
            fchmod(&directory, Mode::from_raw_mode(0o555))?;
            futimens(&directory, &CANONICAL_TIMES)?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        name: Option<&[u8]>,
        executable: bool,
        size: u64,
        contents: &mut dyn Read,
    ) -> io::Result<()> {
        let (parent, name) = self.place(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?);
        let mut left = size;
        let mut buffer = vec![0; usize::try_from(size).unwrap_or(usize::MAX).clamp(1, 128 * 1024)];
        while left > 0 {
            let count = contents.read(&mut buffer)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            io::Write::write_all(&mut file, buffer.get(..count).unwrap_or_default())?;
            left -= count as u64;
        }
        fchmod(&file, Mode::from_raw_mode(if executable { 0o555 } else { 0o444 }))?;
        futimens(&file, &CANONICAL_TIMES)?;
        self.entries += 1;
        Ok(())
    }

    fn symlink(&mut self, name: Option<&[u8]>, target: &[u8]) -> io::Result<()> {
        let (parent, name) = self.place(name);
        symlinkat(OsStr::from_bytes(target), parent, name)?;
        utimensat(parent, name, &CANONICAL_TIMES, AtFlags::SYMLINK_NOFOLLOW)?;
        self.entries += 1;
        Ok(())
    }
}
