//! Makes a file tree from a NAR, canonical at once: modes 0444 and 0555, times 1, nothing executable that is not marked.

use super::{CANONICAL_TIMES, OPEN_DIRECTORY};
use crate::error::{Error, Result};
use formats::nar::{self, Visitor};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, fchmod, fstat, futimens, mkdirat, openat, symlinkat, utimensat,
};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Reads one NAR into `path`, which must not exist. Returns how many files, links and directories it made.
pub(crate) fn restore(path: &Path, input: &mut dyn Read) -> Result<usize> {
    let mut tree = Tree::new(path);
    nar::read(input, &mut tree).map_err(Error::nar(format!("restoring `{}`", path.display())))?;
    Ok(tree.entries)
}

/// A tree being made.
pub(super) struct Tree<'a> {
    root: &'a Path,
    open: Vec<OwnedFd>,
    /// How many files, links and directories were made.
    pub(super) entries: usize,
    /// Whether files get, just by being created, the mode asked for: seen at the first of each kind.
    created_with_mode: [Option<bool>; 2],
}

impl<'a> Tree<'a> {
    pub(super) const fn new(root: &'a Path) -> Self {
        Self { root, open: Vec::new(), entries: 0, created_with_mode: [None, None] }
    }

    fn place<'b>(&'b self, name: Option<&'b [u8]>) -> (BorrowedFd<'b>, &'b OsStr) {
        match (self.open.last(), name) {
            (Some(directory), Some(name)) => (directory.as_fd(), OsStr::from_bytes(name)),
            _ => (CWD, self.root.as_os_str()),
        }
    }

    /// Creates a file to be written.
    pub(super) fn create(&mut self, name: Option<&[u8]>, executable: bool) -> io::Result<File> {
        let (parent, name) = self.place(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = file_mode(executable);
        let file = openat(parent, name, flags, mode)?;
        // Neither the umask nor an access list that directories hand down changes within one tree.
        let [plain, marked] = &mut self.created_with_mode;
        let right = if executable { marked } else { plain };
        let right = match *right {
            Some(right) => right,
            None => *right.insert(fstat(&file)?.st_mode & 0o7777 == mode.as_raw_mode()),
        };
        if !right {
            fchmod(&file, mode)?;
        }
        Ok(File::from(file))
    }

    /// Ends a file that was created and written.
    pub(super) fn seal(&mut self, file: &File) -> io::Result<()> {
        futimens(file, &CANONICAL_TIMES)?;
        self.entries += 1;
        Ok(())
    }
}

const fn file_mode(executable: bool) -> Mode {
    Mode::from_raw_mode(if executable { 0o555 } else { 0o444 })
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
        let mut file = self.create(name, executable)?;
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
        self.seal(&file)
    }

    fn symlink(&mut self, name: Option<&[u8]>, target: &[u8]) -> io::Result<()> {
        let (parent, name) = self.place(name);
        symlinkat(OsStr::from_bytes(target), parent, name)?;
        utimensat(parent, name, &CANONICAL_TIMES, AtFlags::SYMLINK_NOFOLLOW)?;
        self.entries += 1;
        Ok(())
    }
}
