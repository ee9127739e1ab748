//! An installation medium as one file that machines boot from a CD and from a USB stick, through a BIOS and through UEFI: an ISO 9660 file
//! system with a boot catalogue (for CDs), in whose first sectors lie a boot sector and a partition table (for sticks). All four ways end in
//! the same GRUB menu. No root rights, no mounts; the bytes depend on the inputs alone.
//!
//! Facts of GRUB 2.06: an image for El Torito is cdboot.img (2 KiB) and then the core as it would lie on a disk. cdboot.S reads mkisofs'
//! boot information table at 8 of it; diskboot.S reads the list of sectors at 500 of the core. So one copy serves CDs and sticks.

use crate::fat::{self, FatError};
use crate::file_tree::FileTree;
use crate::gpt::{self, GptError, Partition, PartitionType};
use crate::identity::Uuid;
use crate::iso9660::{self, Iso9660Error, Plan, SECTOR};
use crate::region::{Region, create_sparse};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Bytes of cdboot.img, which stands before the core.
const CDBOOT: usize = 2048;
/// The least that a FAT file system takes.
const SMALLEST_FAT: u64 = 4 << 20;

/// What goes on the medium.
#[derive(Debug, Clone)]
pub struct IsoImage {
    /// The files that one sees when it is mounted.
    pub files: FileTree,
    /// Its label.
    pub volume_id: String,
    /// GRUB for a BIOS, if it boots from one.
    pub bios: Option<BiosLoader>,
    /// The files of the EFI system partition, if it boots from UEFI.
    pub efi: Option<FileTree>,
    /// Whether it boots when it is written to a disk or a stick.
    pub usb: bool,
    /// What the identifiers are made of: the same seed, the same identifiers.
    pub seed: Vec<u8>,
    /// The time of everything that has no time of its own, seconds since 1970.
    pub time: u64,
}

/// GRUB for a BIOS.
#[derive(Debug, Clone)]
pub struct BiosLoader {
    /// grub-mkimage's output for i386-pc-eltorito.
    pub el_torito: PathBuf,
    /// boot.img, the boot sector of sticks.
    pub boot_sector: PathBuf,
}

/// Why no medium was written.
#[derive(Debug, Error)]
pub enum IsoImageError {
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file system.
    #[error(transparent)]
    FileSystem(#[from] Iso9660Error),
    /// The EFI system partition.
    #[error("the EFI system partition: {0}")]
    Efi(#[from] FatError),
    /// The partition table.
    #[error(transparent)]
    Table(#[from] GptError),
    /// Something else than GRUB's image.
    #[error("{} is no GRUB image for CDs: it has {size} bytes, and cdboot.img alone has {CDBOOT}", path.display())]
    Loader {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: usize,
    },
}

impl IsoImage {
    /// Writes the medium to a new file; gives its size.
    ///
    /// # Errors
    /// When something cannot be read or written. The unfinished file is removed.
    pub fn write(&self, path: &Path) -> Result<u64, IsoImageError> {
        let result = self.write_parts(path);
        if result.is_err()
            && let Err(error) = std::fs::remove_file(path)
        {
            log::debug!("{}: {error}", path.display());
        }
        result
    }

    fn write_parts(&self, path: &Path) -> Result<u64, IsoImageError> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|source| IsoImageError::File { path: path.clone(), source })
        };
        let el_torito = self.bios.as_ref().map(|bios| read(&bios.el_torito)).transpose()?;
        let efi_size = self.efi.as_ref().map(|efi| fat::size_for(efi, 0).max(SMALLEST_FAT));
        let options = iso9660::Options {
            volume_id: self.volume_id.clone(),
            time: self.time,
            bios_image: el_torito.as_ref().map(|bytes| bytes.len() as u64),
            efi_image: efi_size,
        };
        let plan = Plan::new(&self.files, &options)?;
        let size = plan.size();
        let file = create_sparse(path, size)
            .map_err(|source| IsoImageError::File { path: path.to_owned(), source })?;
        let disk = Region::new(&file, 0, size);
        plan.write(&disk)?;
        let mut partitions = Vec::new();
        if let (Some(tree), Some(length)) = (&self.efi, efi_size) {
            let start = u64::from(plan.efi_image()) * SECTOR;
            let uuid = Uuid::derive(&self.seed, "EFI system partition");
            let options = fat::Options {
                label: "ESP".to_owned(),
                serial: u32::from_be_bytes([uuid.0[0], uuid.0[1], uuid.0[2], uuid.0[3]]),
                hidden_sectors: u32::try_from(start / gpt::SECTOR).unwrap_or(0),
                time: self.time,
            };
            fat::write(tree, &Region::new(&file, start, length), &options)?;
            partitions.push(Partition {
                kind: PartitionType::EfiSystem,
                uuid: Uuid::derive(&self.seed, "partition esp"),
                name: "esp".to_owned(),
                start,
                length,
            });
        }
        if self.usb {
            gpt::write(&disk, Uuid::derive(&self.seed, "disk"), &partitions)?;
        }
        if let (Some(bios), Some(image)) = (&self.bios, el_torito) {
            let image = place_el_torito(image, plan.bios_image())
                .map_err(|size| IsoImageError::Loader { path: bios.el_torito.clone(), size })?;
            let start = u64::from(plan.bios_image()) * SECTOR;
            disk.write(start, &image).map_err(Iso9660Error::from)?;
            if self.usb {
                let core = (start + CDBOOT as u64) / gpt::SECTOR;
                gpt::install_boot_sector(&disk, &read(&bios.boot_sector)?, core)?;
            }
        }
        Ok(size)
    }
}

/// The image told where it lies, which the loader from a CD and the one from a disk look up in different places. Fails with the size
/// of an image that is none.
fn place_el_torito(mut image: Vec<u8>, sector: u32) -> Result<Vec<u8>, usize> {
    let length = image.len();
    if length < CDBOOT + 512 {
        return Err(length);
    }
    // The core's first sector says where the rest lies on a disk.
    let first = u64::from(sector) * (SECTOR / gpt::SECTOR) + (CDBOOT / 512) as u64;
    let rest = (length - CDBOOT).div_ceil(512) - 1;
    image[CDBOOT + 500..CDBOOT + 508].copy_from_slice(&(first + 1).to_le_bytes());
    image[CDBOOT + 508..CDBOOT + 510].copy_from_slice(&u16::try_from(rest).unwrap_or(u16::MAX).to_le_bytes());
    // The table (mkisofs(8), -boot-info-table): where the primary descriptor and this image are, its length, the sum of its
    // words from 64 on.
    let sum = image[64..].chunks(4).fold(0_u32, |sum, word| {
        let mut bytes = [0; 4];
        bytes.iter_mut().zip(word).for_each(|(to, from)| *to = *from);
        sum.wrapping_add(u32::from_le_bytes(bytes))
    });
    image[8..64].fill(0);
    for (place, number) in [(8, 16), (12, sector), (16, length as u32), (20, sum)] {
        image[place..place + 4].copy_from_slice(&number.to_le_bytes());
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker;
    use crate::file_tree::{Attributes, Contents, Kind};

    fn medium(directory: &Path) -> IsoImage {
        let attributes = Attributes::root(0o755, 1);
        let mut tree = FileTree::new(attributes);
        tree.add("nix/store/x", Kind::File(Contents::Bytes(vec![5; 3000])), attributes).unwrap();
        let mut efi = FileTree::new(attributes);
        efi.add("EFI/BOOT/BOOTX64.EFI", Kind::File(Contents::Bytes(vec![6; 70_000])), attributes).unwrap();
        let bios =
            BiosLoader { el_torito: directory.join("eltorito"), boot_sector: directory.join("boot.img") };
        std::fs::write(&bios.el_torito, vec![0x22; CDBOOT + 1000]).unwrap();
        std::fs::write(&bios.boot_sector, [0x11; 512]).unwrap();
        IsoImage {
            files: tree,
            volume_id: "FIRN".to_owned(),
            bios: Some(bios),
            efi: Some(efi),
            usb: true,
            seed: b"seed".to_vec(),
            time: 1,
        }
    }

    #[test]
    fn same_bytes_and_every_number_in_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let medium = medium(directory.path());
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        let size = medium.write(&one).unwrap();
        medium.write(&two).unwrap();
        let bytes = std::fs::read(&one).unwrap();
        assert!(bytes == std::fs::read(&two).unwrap());
        assert_eq!(bytes.len() as u64, size);
        // The boot sector leads to the core behind cdboot.img, in the first sector behind the catalogue.
        let start = 20 * SECTOR as usize;
        assert_eq!(bytes[0x5c..0x64], (20 * 4 + 4_u64).to_le_bytes());
        assert_eq!(bytes[start + CDBOOT + 500..start + CDBOOT + 510], [85, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(bytes[start + 8..start + 16], [16, 0, 0, 0, 20, 0, 0, 0]);
        assert_eq!(bytes[start + 24..start + 64], [0; 40]);
        assert_eq!(bytes[510..520], *b"\x55\xaaEFI PART");
    }

    #[test]
    fn xorriso_and_sgdisk_see_both_ways() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("medium.iso");
        medium(directory.path()).write(&path).unwrap();
        let path = path.to_str().unwrap();
        let words = ["-abort_on", "SORRY", "-indev", path, "-report_el_torito", "plain"];
        if let Some((success, text)) = checker::run("xorriso", "xorriso", words) {
            assert!(success, "{text}");
            for line in
                ["El Torito boot img :   1  BIOS  y   none", "El Torito boot img :   2  UEFI  y   none"]
            {
                assert!(text.contains(line), "{text}");
            }
        }
        let Some((_, text)) = checker::run("sgdisk", "gdisk", ["-v", "-p", path]) else { return };
        assert!(text.contains("No problems found") && text.contains("EF00"), "{text}");
    }

    #[test]
    fn what_is_no_loader_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let medium = medium(directory.path());
        std::fs::write(directory.path().join("eltorito"), [0; 100]).unwrap();
        let path = directory.path().join("medium.iso");
        let error = medium.write(&path).unwrap_err().to_string();
        assert!(error.contains("no GRUB image for CDs: it has 100 bytes"), "{error}");
        assert!(!path.exists());
    }
}
