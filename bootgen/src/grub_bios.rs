//! GRUB for a BIOS on a disk in use: core.img into the BIOS boot partition, then boot.img into the first sector, each only
//! when it differs and synced before the next. GRUB 2.06's i386-pc `boot.S` and `diskboot.S` say where the numbers go;
//! the partition table is read as UEFI 2.10 §5.3 lays it out.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const SECTOR: u64 = 512;
/// 21686148-6449-6E6F-744E-656564454649 as it lies on disk: "Hah!IdontNeedEFI".
const BIOS_BOOT: [u8; 16] = *b"Hah!IdontNeedEFI";

/// Why GRUB was not installed.
#[derive(Debug, thiserror::Error)]
pub enum GrubBiosError {
    /// A file or disk.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The disk has no GPT.
    #[error("{} has no GPT partition table; boot.loader.grub.devices must name whole disks", .0.display())]
    NoTable(PathBuf),
    /// The disk has no BIOS boot partition.
    #[error("{} has no BIOS boot partition (1 MiB, type ef02 in gdisk); GRUB has nowhere to go", .0.display())]
    NoPartition(PathBuf),
    /// The core does not fit.
    #[error("GRUB's core of {size} bytes does not fit in the BIOS boot partition of {} ({room} bytes)", disk.display())]
    TooLarge {
        /// The disk.
        disk: PathBuf,
        /// The core's size.
        size: u64,
        /// The partition's.
        room: u64,
    },
    /// boot.img is not one sector.
    #[error("{} is no boot sector: it has {size} bytes instead of 512", path.display())]
    NoBootSector {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: usize,
    },
}

/// Whether a disk already holds these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was as it should be.
    Unchanged,
    /// It was (or would be) written.
    Written,
}

/// Installs GRUB on a disk, unless `dry_run`.
///
/// # Errors
/// See [`GrubBiosError`]; the disk's first sector is written last.
pub fn install(
    disk: &Path,
    boot_img: &Path,
    core_img: &Path,
    dry_run: bool,
) -> Result<Outcome, GrubBiosError> {
    let read = |path: &Path| std::fs::read(path).map_err(failed("read", path));
    let (boot, core) = (read(boot_img)?, read(core_img)?);
    if boot.len() as u64 != SECTOR {
        return Err(GrubBiosError::NoBootSector { path: boot_img.to_path_buf(), size: boot.len() });
    }
    let handle = File::options().read(true).write(!dry_run).open(disk).map_err(failed("open", disk))?;
    let (start, length) = bios_boot_partition(&handle, disk)?;
    if core.len() as u64 > length || (core.len() as u64) < SECTOR {
        return Err(GrubBiosError::TooLarge {
            disk: disk.to_path_buf(),
            size: core.len() as u64,
            room: length,
        });
    }
    let core = place_core(core, start / SECTOR);
    let mut first = [0; SECTOR as usize];
    handle.read_exact_at(&mut first, 0).map_err(failed("read", disk))?;
    let sector = place_boot(&first, &boot, start / SECTOR);
    let mut present = vec![0; core.len()];
    handle.read_exact_at(&mut present, start).map_err(failed("read", disk))?;
    if present == core && first == sector {
        return Ok(Outcome::Unchanged);
    }
    if !dry_run {
        for (bytes, offset) in [(core.as_slice(), start), (&sector, 0)] {
            handle.write_all_at(bytes, offset).map_err(failed("write", disk))?;
            handle.sync_all().map_err(failed("write out", disk))?;
        }
    }
    Ok(Outcome::Written)
}

/// core.img told where its second sector and the following lie.
fn place_core(mut core: Vec<u8>, sector: u64) -> Vec<u8> {
    core.resize(core.len().next_multiple_of(SECTOR as usize), 0);
    let rest = core.len() as u64 / SECTOR - 1;
    core[500..508].copy_from_slice(&(sector + 1).to_le_bytes());
    core[508..510].copy_from_slice(&u16::try_from(rest).unwrap_or(u16::MAX).to_le_bytes());
    core
}

/// boot.img told where the core lies, with the disk's own signature and partition entries.
fn place_boot(first: &[u8; 512], boot: &[u8], sector: u64) -> [u8; 512] {
    let mut result = *first;
    result[..0x1b8].copy_from_slice(&boot[..0x1b8]);
    result[0x5c..0x64].copy_from_slice(&sector.to_le_bytes());
    result[0x66..0x68].copy_from_slice(&[0x90, 0x90]);
    result
}

/// Start and length in bytes.
fn bios_boot_partition(disk: &File, path: &Path) -> Result<(u64, u64), GrubBiosError> {
    let mut header = [0; 92];
    disk.read_exact_at(&mut header, SECTOR).map_err(failed("read the partition table of", path))?;
    if &header[..8] != b"EFI PART" {
        return Err(GrubBiosError::NoTable(path.to_path_buf()));
    }
    let long = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    let (table, count, size) = (long(&header[72..80]), long(&header[80..84]), long(&header[84..88]));
    for number in 0..count.min(1024) {
        let mut entry = [0; 48];
        let offset = table.saturating_mul(SECTOR).saturating_add(number * size);
        disk.read_exact_at(&mut entry, offset).map_err(failed("read the partition table of", path))?;
        if entry[..16] == BIOS_BOOT {
            let (first, last) = (long(&entry[32..40]), long(&entry[40..48]));
            return Ok((first * SECTOR, (last + 1).saturating_sub(first) * SECTOR));
        }
    }
    Err(GrubBiosError::NoPartition(path.to_path_buf()))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GrubBiosError {
    move |source| GrubBiosError::File { doing, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpt::{self, Partition, PartitionType};
    use crate::identity::Uuid;
    use crate::region::{Region, create_sparse};

    #[test]
    fn a_disk_is_written_once_and_keeps_its_partitions() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let disk = create_sparse(&path("disk"), 8 << 20).unwrap();
        let partition = Partition {
            kind: PartitionType::BiosBoot,
            uuid: Uuid::derive(b"x", "bios"),
            name: "bios".to_owned(),
            start: 1 << 20,
            length: 1 << 20,
        };
        gpt::write(&Region::new(&disk, 0, 8 << 20), Uuid::derive(b"x", "disk"), &[partition]).unwrap();
        std::fs::write(path("boot.img"), [0xeb; 512]).unwrap();
        std::fs::write(path("core.img"), [7; 1300]).unwrap();
        let before = std::fs::read(path("disk")).unwrap();
        let install = |dry_run| install(&path("disk"), &path("boot.img"), &path("core.img"), dry_run);
        assert_eq!(install(true).unwrap(), Outcome::Written);
        assert_eq!(std::fs::read(path("disk")).unwrap(), before, "a dry run writes nothing");
        assert_eq!(install(false).unwrap(), Outcome::Written);
        assert_eq!(install(false).unwrap(), Outcome::Unchanged);
        let after = std::fs::read(path("disk")).unwrap();
        assert_eq!(after[0x1b8..512], before[0x1b8..512], "the partition table's sector");
        assert_eq!(after[0x5c..0x64], 2048u64.to_le_bytes());
        assert_eq!(after[(1 << 20) + 500..(1 << 20) + 510], [1, 8, 0, 0, 0, 0, 0, 0, 2, 0]);
        assert_eq!(after[2 << 20..], before[2 << 20..]);
        std::fs::write(path("core.img"), vec![7; 2 << 20]).unwrap();
        assert!(install(false).unwrap_err().to_string().contains("does not fit"));
        let raw = create_sparse(&path("raw"), 1 << 20).unwrap();
        drop(raw);
        let error = super::install(&path("raw"), &path("boot.img"), &path("core.img"), false).unwrap_err();
        assert!(error.to_string().contains("no GPT"), "{error}");
    }
}
