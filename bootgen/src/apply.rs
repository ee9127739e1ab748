//! Carries a boot plan out. Each file: write a temporary one, fsync, rename, fsync the file again, fsync the directory. On
//! FAT the second fsync is what makes the new name's size and first cluster durable, and only then may the directory be
//! synced (measured: this order alone left no broken prefix; syncfs flushes nothing on vfat). Kernels are read back.

use crate::file_hashes::hash_file;
use crate::partition::TEMPORARY;
use crate::plan::{BootPlan, Contents, PlannedFile, Space, Step};
use crate::secure_boot::unified_kernel::UnifyError;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// What is about to happen to the partition; tests cut the power between two of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// A directory is made.
    MakeDirectory(&'a Path),
    /// The temporary file is made and filled.
    Write(&'a Path),
    /// A file is synced.
    Sync(&'a Path),
    /// A file gets its name.
    Rename(&'a Path),
    /// A directory is synced.
    SyncDirectory(&'a Path),
    /// A file is read back and compared.
    Verify(&'a Path),
    /// A file is removed.
    Remove(&'a Path),
}

/// What went wrong; the old state still boots.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A file operation.
    #[error("cannot {doing} {}: {source}; the boot partition still boots as before, run `firn bootmenu` again once that is mended", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A generation's signed program could not be put together.
    #[error("cannot make {}: {source}; the boot partition still boots as before, run `firn bootmenu` again once that is mended", path.display())]
    Unify {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<UnifyError>,
    },
    /// A file does not hold what was written.
    #[error("{} reads back other bytes than were written: the disk or its file system is damaged; no menu entry for it was made", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// Carries out all steps below this directory. The observer is told before each operation and may stop everything.
///
/// # Errors
/// With the operation that failed; a new run goes on from there.
pub fn apply(
    plan: &BootPlan,
    directory: &Path,
    observer: &mut dyn FnMut(Operation<'_>) -> std::io::Result<()>,
) -> Result<(), ApplyError> {
    let mut run = Run { directory, observer };
    plan.steps.iter().try_for_each(|step| match step {
        Step::Write(file) => run.write(file),
        Step::Remove { path } => run.remove(path),
    })
}

/// An observer that lets everything pass.
///
/// # Errors
/// Never.
pub fn unobserved(_: Operation<'_>) -> std::io::Result<()> {
    Ok(())
}

/// The free space of the file system that holds a directory.
///
/// # Errors
/// When it cannot be asked.
pub fn space(directory: &Path) -> std::io::Result<Space> {
    let found = nix::sys::statvfs::statvfs(directory)?;
    let cluster = found.fragment_size();
    Ok(Space { free: found.blocks_available() * cluster, cluster })
}

struct Run<'a> {
    directory: &'a Path,
    observer: &'a mut dyn FnMut(Operation<'_>) -> std::io::Result<()>,
}

impl Run<'_> {
    fn tell(&mut self, doing: &'static str, operation: Operation<'_>, path: &Path) -> Result<(), ApplyError> {
        (self.observer)(operation).map_err(failed(doing, path))
    }

    fn write(&mut self, file: &PlannedFile) -> Result<(), ApplyError> {
        let place = self.directory.join(&file.path);
        let parent = place.parent().unwrap_or(self.directory).to_path_buf();
        self.make_directory(&parent)?;
        let temporary = self.directory.join(format!("{}{TEMPORARY}", file.path));
        self.tell("write", Operation::Write(&temporary), &temporary)?;
        let mut handle = File::create(&temporary).map_err(failed("create", &temporary))?;
        let (written, sha256) = match &file.contents {
            Contents::Text(text) => (handle.write_all(text.as_bytes()), None),
            Contents::File { source, sha256, .. } => {
                let mut source = File::open(source).map_err(failed("read", source))?;
                (std::io::copy(&mut source, &mut handle).map(|_| ()), Some(*sha256))
            }
            Contents::Signed { bytes, sha256 } => (handle.write_all(bytes), Some(*sha256)),
            Contents::Unified(kernel) => {
                let bytes = kernel
                    .bytes()
                    .map_err(|source| ApplyError::Unify { path: place.clone(), source: Box::new(source) })?;
                (handle.write_all(&bytes), Some(Sha256::digest(&bytes).into()))
            }
        };
        written.map_err(failed("write", &temporary))?;
        self.tell("write out", Operation::Sync(&temporary), &temporary)?;
        handle.sync_all().map_err(failed("write out", &temporary))?;
        if let Some(sha256) = sha256 {
            self.verify(&temporary, &handle, &sha256)?;
        }
        self.tell("rename", Operation::Rename(&place), &place)?;
        std::fs::rename(&temporary, &place).map_err(failed("rename", &place))?;
        self.tell("write out", Operation::Sync(&place), &place)?;
        handle.sync_all().map_err(failed("write out", &place))?;
        self.sync_directory(&parent)
    }

    /// Reads the bytes back from the disk, not from the cache.
    fn verify(&mut self, path: &Path, handle: &File, expected: &[u8; 32]) -> Result<(), ApplyError> {
        use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
        self.tell("read back", Operation::Verify(path), path)?;
        posix_fadvise(handle, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
            .map_err(|errno| failed("drop from the cache", path)(errno.into()))?;
        let (found, _) = hash_file(path).map_err(failed("read back", path))?;
        if found == *expected { Ok(()) } else { Err(ApplyError::Damaged { path: path.to_path_buf() }) }
    }

    fn make_directory(&mut self, path: &Path) -> Result<(), ApplyError> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(self.directory).to_path_buf();
        self.make_directory(&parent)?;
        self.tell("make the directory", Operation::MakeDirectory(path), path)?;
        std::fs::create_dir(path).map_err(failed("make the directory", path))?;
        self.sync_directory(&parent)
    }

    fn remove(&mut self, path: &str) -> Result<(), ApplyError> {
        let place = self.directory.join(path);
        self.tell("remove", Operation::Remove(&place), &place)?;
        match std::fs::remove_file(&place) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("remove", &place)(error)),
            _ => {}
        }
        self.sync_directory(place.parent().unwrap_or(self.directory))
    }

    fn sync_directory(&mut self, path: &Path) -> Result<(), ApplyError> {
        self.tell("write out", Operation::SyncDirectory(path), path)?;
        let directory = File::open(path).map_err(failed("open", path))?;
        directory.sync_all().map_err(failed("write out", path))
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ApplyError {
    move |source| ApplyError::File { doing, path: path.to_path_buf(), source }
}
