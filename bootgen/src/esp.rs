//! Whether a directory is the boot partition that it should be. Writing kernels into an empty mount point would fill the
//! root file system with files that the firmware never sees (nixpkgs#51834, #121572), so it is refused.

use std::path::{Path, PathBuf};

/// Why a directory is not taken for the boot partition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EspError {
    /// There is no such directory.
    #[error("{} does not exist: mount the boot partition there, or set boot.loader.efi.efiSysMountPoint", .0.display())]
    Missing(PathBuf),
    /// Nothing is mounted there.
    #[error("{} is not a mount point, so the firmware would never see what is written there: mount the EFI system partition first", .0.display())]
    NotMounted(PathBuf),
    /// It is of a file system that firmware cannot read.
    #[error("{} is not a FAT file system, which UEFI firmware needs: mount the EFI system partition there", .0.display())]
    NotFat(PathBuf),
    /// It cannot be written.
    #[error("{} is mounted read-only (a FAT file system turns read-only when it finds errors: check it with fsck.vfat)", .0.display())]
    ReadOnly(PathBuf),
    /// It cannot be looked at.
    #[error("cannot look at {}: {}", .0.display(), .1)]
    Unreadable(PathBuf, String),
}

/// The type of FAT file systems in statfs(2).
const MSDOS_SUPER_MAGIC: i64 = 0x4d44;

/// Checks a directory. `firmware_reads_it`: it has to be FAT and a mount of its own; a /boot that only GRUB for a BIOS
/// reads may be a plain directory.
///
/// # Errors
/// With what is not as it should be.
pub fn check(directory: &Path, firmware_reads_it: bool) -> Result<(), EspError> {
    use std::os::unix::fs::MetadataExt as _;
    let path = || directory.to_path_buf();
    let found = match directory.metadata() {
        Ok(found) if found.is_dir() => found,
        Ok(_) => return Err(EspError::Missing(path())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(EspError::Missing(path())),
        Err(error) => return Err(EspError::Unreadable(path(), error.to_string())),
    };
    let system = nix::sys::statvfs::statvfs(directory)
        .map_err(|errno| EspError::Unreadable(path(), errno.to_string()))?;
    if system.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY) {
        return Err(EspError::ReadOnly(path()));
    }
    if !firmware_reads_it {
        return Ok(());
    }
    let parent =
        directory.join("..").metadata().map_err(|error| EspError::Unreadable(path(), error.to_string()))?;
    if parent.dev() == found.dev() {
        return Err(EspError::NotMounted(path()));
    }
    let kind = nix::sys::statfs::statfs(directory)
        .map_err(|errno| EspError::Unreadable(path(), errno.to_string()))?;
    if kind.filesystem_type().0 != MSDOS_SUPER_MAGIC {
        return Err(EspError::NotFat(path()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_are_no_boot_partition() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(check(&directory.path().join("x"), true), Err(EspError::Missing(_))));
        assert!(matches!(check(directory.path(), true), Err(EspError::NotMounted(_))));
        assert_eq!(check(directory.path(), false), Ok(()));
        assert!(matches!(check(Path::new("/proc"), true), Err(EspError::NotFat(_))));
    }
}
