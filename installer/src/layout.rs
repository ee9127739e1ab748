//! How a whole disk is divided: a place for GRUB, the EFI system partition as /boot, the rest as root. Both layouts have the same
//! partitions, so that a disk can be moved between machines with a BIOS and with UEFI; they differ in who starts the kernel.
//! Identifiers are chosen before anything is written, so that a configuration with them can be built and checked first.

use crate::configuration::Loader;
use crate::file_systems::{FileSystem, Found};
use bootgen::file_tree::{Attributes, FileTree};
use bootgen::image::{DiskImage, Identity, ImageError};

/// A layout's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// GPT, EFI system partition, ext4; started by UEFI.
    EfiExt4,
    /// The same, started by a BIOS through GRUB.
    BiosExt4,
}

/// All of them, by the names that users write.
pub const LAYOUTS: [(&str, Layout); 2] = [("efi-ext4", Layout::EfiExt4), ("bios-ext4", Layout::BiosExt4)];

/// Bytes of the EFI system partition: kernels and initrds of some ten generations.
const BOOT: u64 = 512 << 20;

/// A disk's division with its identifiers.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Which.
    pub layout: Layout,
    /// The disk's node, by which a BIOS machine's GRUB is configured.
    pub disk: String,
    image: DiskImage,
}

impl Plan {
    /// Divides a disk of that many bytes. The identifiers come of the seed, which must not come twice.
    ///
    /// # Errors
    /// When it is too small.
    pub fn new(layout: Layout, disk: &str, size: u64, seed: &[u8], time: u64) -> Result<Self, ImageError> {
        let empty = || FileTree::new(Attributes::root(0o755, time));
        let mut image = DiskImage::new(empty(), empty(), seed);
        image.boot_size = BOOT.min(size / 4);
        image.size = Some(size);
        image.time = time;
        image.root_identity = Identity::new("firn", "root");
        image.boot_identity = Identity::new("BOOT", "boot");
        image.layout()?;
        Ok(Self { layout, disk: disk.to_owned(), image })
    }

    /// What is written.
    pub fn image(&self) -> &DiskImage {
        &self.image
    }

    /// The root file system's UUID.
    pub fn root_uuid(&self) -> String {
        self.image.root_options().uuid.to_string()
    }

    /// The boot partition's, as blkid(8) writes it.
    pub fn boot_uuid(&self) -> String {
        let serial = self.image.boot_serial();
        format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)
    }

    /// What will be mounted.
    pub fn file_systems(&self) -> Found {
        let file_system = |mount_point: &str, uuid: String, fs_type: &str, options: &[&str]| FileSystem {
            mount_point: mount_point.to_owned(),
            device: format!("/dev/disk/by-uuid/{uuid}"),
            fs_type: fs_type.to_owned(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        };
        let device = self.disk.trim_start_matches("/dev/").to_owned();
        Found {
            file_systems: vec![
                file_system("/", self.root_uuid(), "ext4", &[]),
                file_system("/boot", self.boot_uuid(), "vfat", &["fmask=0077", "dmask=0077"]),
            ],
            devices: vec![device],
            ..Found::default()
        }
    }

    /// How it is started.
    pub fn loader(&self) -> Loader {
        match self.layout {
            Layout::EfiExt4 => Loader::Efi,
            Layout::BiosExt4 => Loader::Bios { disk: Some(self.disk.clone()) },
        }
    }

    /// Bytes that files can take on the root file system.
    ///
    /// # Errors
    /// When the disk is too small.
    pub fn room(&self) -> Result<u64, ImageError> {
        let (_, partitions) = self.image.layout()?;
        let root = partitions.last().map_or(0, |partition| partition.length);
        let taken = bootgen::ext4::overhead(root, &self.image.root_options()).unwrap_or(root);
        Ok(root.saturating_sub(taken))
    }

    /// The partitions for people, a line each.
    pub fn lines(&self) -> Vec<String> {
        let partitions = self.image.layout().map(|(_, partitions)| partitions).unwrap_or_default();
        let what =
            [("(GRUB's core)", ""), ("vfat, mounted at /boot", "UUID="), ("ext4, mounted at /", "UUID=")];
        let ids = [String::new(), self.boot_uuid(), self.root_uuid()];
        partitions
            .iter()
            .zip(what)
            .zip(ids)
            .map(|((partition, (what, prefix)), id)| {
                format!("{:<5} {:>8} MiB  {what}  {prefix}{id}", partition.name, partition.length >> 20)
                    .trim_end()
                    .to_owned()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_configuration_names_is_what_is_written() {
        use formats::superblock;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let size = 256 << 20;
        std::fs::write(&path, vec![0xff; size]).unwrap();
        let plan = Plan::new(Layout::EfiExt4, "/dev/vda", size as u64, b"seed", 7).unwrap();
        let disk = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        let written = plan.image().write_over(&disk, &path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mut found = Vec::new();
        for partition in &written.partitions[1..] {
            let (start, length) = (partition.start as usize, partition.length as usize);
            let mut part = std::io::Cursor::new(&bytes[start..start + length]);
            let block = superblock::identify(&mut part).unwrap();
            found.push((format!("/dev/disk/by-uuid/{}", block.uuid), block.fs_type.to_owned()));
        }
        found.reverse();
        let wanted = plan.file_systems().file_systems;
        let wanted: Vec<_> = wanted.into_iter().map(|entry| (entry.device, entry.fs_type)).collect();
        assert_eq!(found, wanted);
        // Within a block's rounding, what is promised is what is there.
        assert!(written.root_free <= plan.room().unwrap());
        assert!(
            plan.room().unwrap() - written.root_free < 1 << 20,
            "{} {}",
            plan.room().unwrap(),
            written.root_free
        );
        assert!(Plan::new(Layout::EfiExt4, "/dev/vda", 12 << 20, b"seed", 7).is_err());
    }
}
