//! A whole disk as one file: partition table, GRUB for a BIOS where wanted, EFI system partition, root file system. Both ways of booting
//! lead to the same generations. No root rights, no loop devices, no mounts; the bytes depend on the inputs alone. The same on
//! a disk that is there and may have held something, for the installer.

use crate::ext4::{self, Ext4Error};
use crate::fat::{self, FatError};
use crate::file_tree::FileTree;
use crate::gpt::{self, ALIGNMENT, GptError, Partition, PartitionType, SECTOR};
use crate::identity::Uuid;
use crate::region::{Region, create_sparse};
use std::fs::File;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What goes on the disk.
#[derive(Debug, Clone)]
pub struct DiskImage {
    /// The files of the EFI system partition: loaders, menu entries, kernels.
    pub boot: FileTree,
    /// The root file system's files.
    pub root: FileTree,
    /// How the root file system can be found.
    pub root_identity: Identity,
    /// How the EFI system partition can be found; its file system's number is the first four bytes of the UUID.
    pub boot_identity: Identity,
    /// Bytes of the EFI system partition; larger when its files need more.
    pub boot_size: u64,
    /// Bytes of the whole disk; `None`: what the files need and `free` more.
    pub size: Option<u64>,
    /// Bytes left on the root file system when `size` is not given.
    pub free: u64,
    /// GRUB for a BIOS: boot.img and core.img.
    pub grub: Option<(PathBuf, PathBuf)>,
    /// What the identifiers are made of: the same seed, the same identifiers.
    pub seed: Vec<u8>,
    /// The time of everything that has no time of its own, seconds since 1970.
    pub time: u64,
}

/// By what a partition and its file system can be found. What is not given is made of the image's seed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// `LABEL=`.
    pub label: String,
    /// `UUID=`.
    pub uuid: Option<Uuid>,
    /// `PARTLABEL=`.
    pub partition_name: String,
    /// `PARTUUID=`.
    pub partition_uuid: Option<Uuid>,
}

impl Identity {
    /// A label and a partition's name.
    pub fn new(label: &str, partition_name: &str) -> Self {
        Self { label: label.to_owned(), partition_name: partition_name.to_owned(), ..Self::default() }
    }
}

/// Why no image was written.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The partition table.
    #[error("{}: {source}", path.display())]
    Table {
        /// The image.
        path: PathBuf,
        /// Why.
        source: GptError,
    },
    /// The EFI system partition.
    #[error("{}: the EFI system partition: {source}", path.display())]
    Boot {
        /// The image.
        path: PathBuf,
        /// Why.
        source: FatError,
    },
    /// The root file system.
    #[error("{}: the root partition: {source}", path.display())]
    Root {
        /// The image.
        path: PathBuf,
        /// Why.
        source: Ext4Error,
    },
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A size that has no room for a root partition.
    #[error(
        "a disk of {} MiB is too small: the boot partition and the tables take {} MiB of it",
        size >> 20, taken.div_ceil(1 << 20)
    )]
    TooSmall {
        /// What was asked for.
        size: u64,
        /// What is needed besides the root partition.
        taken: u64,
    },
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// Bytes of the disk.
    pub size: u64,
    /// Its partitions.
    pub partitions: Vec<Partition>,
    /// UUID of the root file system.
    pub root_uuid: Uuid,
    /// Bytes free on the root file system.
    pub root_free: u64,
    /// Bytes free on the EFI system partition.
    pub boot_free: u64,
}

impl DiskImage {
    /// An image of these files with the usual sizes.
    pub fn new(boot: FileTree, root: FileTree, seed: &[u8]) -> Self {
        Self {
            boot,
            root,
            root_identity: Identity::new("firn", "root"),
            boot_identity: Identity::new("ESP", "esp"),
            boot_size: 256 << 20,
            size: None,
            free: 1 << 30,
            grub: None,
            seed: seed.to_vec(),
            time: 1,
        }
    }

    /// Writes the disk to a new sparse file.
    ///
    /// # Errors
    /// When it does not fit or a file cannot be read or written. The unfinished image is removed.
    pub fn write(&self, path: &Path) -> Result<Written, ImageError> {
        let result = self.write_parts(path);
        if result.is_err()
            && let Err(error) = std::fs::remove_file(path)
        {
            log::debug!("{}: {error}", path.display());
        }
        result
    }

    fn write_parts(&self, path: &Path) -> Result<Written, ImageError> {
        let (size, _) = self.layout()?;
        let file =
            create_sparse(path, size).map_err(|source| ImageError::File { path: path.to_owned(), source })?;
        self.fill(&file, path, Region::new)
    }

    /// Writes it over a disk of the size that was given, whatever that holds; `path` is what errors call it. What was
    /// written is on the disk afterwards.
    ///
    /// # Errors
    /// When it does not fit, which is found before the first write, or a file or the disk cannot be read or written.
    pub fn write_over(&self, disk: &File, path: &Path) -> Result<Written, ImageError> {
        let failed = |source| ImageError::File { path: path.to_owned(), source };
        let (size, partitions) = self.layout()?;
        let edge =
            |start: u64, length: u64| Region::of_used(disk, start, length).clear(0, length).map_err(failed);
        // What programs tell file systems, volumes and RAIDs by lies at an edge of the disk or of a partition.
        edge(0, gpt::FIRST)?;
        edge(size - ALIGNMENT, ALIGNMENT)?;
        for partition in &partitions {
            edge(partition.start, ALIGNMENT)?;
            edge(partition.start + partition.length - ALIGNMENT, ALIGNMENT)?;
        }
        let written = self.fill(disk, path, Region::of_used)?;
        disk.sync_all().map_err(failed)?;
        Ok(written)
    }

    /// The root file system's options, its UUID among them.
    pub fn root_options(&self) -> ext4::Options {
        let usual = ext4::Options::new(&self.root_identity.label, &self.seed, self.time);
        ext4::Options {
            uuid: self.root_identity.uuid.unwrap_or_else(|| Uuid::derive(&self.seed, "root file system")),
            // Places for inodes are written out: on a large disk a fourth of them is plenty.
            bytes_per_inode: usual.bytes_per_inode * if self.size > Some(64 << 30) { 4 } else { 1 },
            ..usual
        }
    }

    /// The number of the EFI system partition's file system, `UUID=` without its hyphen.
    pub fn boot_serial(&self) -> u32 {
        let uuid = self.boot_identity.uuid;
        let bytes = uuid.unwrap_or_else(|| Uuid::derive(&self.seed, "EFI system partition")).0;
        u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    fn fill<'a>(
        &self,
        file: &'a File,
        path: &Path,
        region: impl Fn(&'a File, u64, u64) -> Region<'a>,
    ) -> Result<Written, ImageError> {
        let root_options = self.root_options();
        let (size, partitions) = self.layout()?;
        let disk = region(file, 0, size);
        let table = |source| ImageError::Table { path: path.to_owned(), source };
        gpt::write(&disk, Uuid::derive(&self.seed, "disk"), &partitions).map_err(table)?;
        let (mut root_free, mut boot_free) = (0, 0);
        for partition in &partitions {
            let region = region(file, partition.start, partition.length);
            match partition.kind {
                PartitionType::BiosBoot => {
                    let Some((boot, core)) = &self.grub else { continue };
                    let read = |path: &PathBuf| {
                        std::fs::read(path).map_err(|source| ImageError::File { path: path.clone(), source })
                    };
                    gpt::install_grub(&disk, &read(boot)?, &read(core)?, partition).map_err(table)?;
                }
                PartitionType::EfiSystem => {
                    let options = fat::Options {
                        label: self.boot_identity.label.clone(),
                        serial: self.boot_serial(),
                        hidden_sectors: (partition.start / SECTOR) as u32,
                        time: self.time,
                    };
                    let summary = fat::write(&self.boot, &region, &options)
                        .map_err(|source| ImageError::Boot { path: path.to_owned(), source })?;
                    boot_free = summary.free_clusters * summary.cluster_bytes;
                }
                PartitionType::LinuxRootX86_64 | PartitionType::LinuxFileSystem => {
                    let summary = ext4::write(&self.root, &region, &root_options)
                        .map_err(|source| ImageError::Root { path: path.to_owned(), source })?;
                    root_free = summary.free_blocks * ext4::BLOCK as u64;
                }
            }
        }
        Ok(Written { size, partitions, root_uuid: root_options.uuid, root_free, boot_free })
    }

    /// The disk's size and its partitions: BIOS boot (always, so that GRUB can be added later), EFI system, root.
    ///
    /// # Errors
    /// When there is no room for a root partition.
    pub fn layout(&self) -> Result<(u64, Vec<Partition>), ImageError> {
        let boot_length = fat::size_for(&self.boot, 0).max(self.boot_size).next_multiple_of(ALIGNMENT);
        let root_start = gpt::FIRST + ALIGNMENT + boot_length;
        let size = match self.size {
            Some(size) => size / SECTOR * SECTOR,
            // The copy of the table takes less than the last MiB.
            None => root_start + ext4::size_for(&self.root, &self.root_options(), self.free) + ALIGNMENT,
        };
        let end = gpt::usable_end(size) / ALIGNMENT * ALIGNMENT;
        if end < root_start + (8 << 20) {
            return Err(ImageError::TooSmall { size, taken: root_start + (9 << 20) });
        }
        let partition = |kind, identity: &Identity, start, length| Partition {
            kind,
            uuid: identity.partition_uuid.unwrap_or_else(|| {
                Uuid::derive(&self.seed, &format!("partition {}", identity.partition_name))
            }),
            name: identity.partition_name.clone(),
            start,
            length,
        };
        let bios = Identity::new("", "bios");
        let partitions = vec![
            partition(PartitionType::BiosBoot, &bios, gpt::FIRST, ALIGNMENT),
            partition(PartitionType::EfiSystem, &self.boot_identity, gpt::FIRST + ALIGNMENT, boot_length),
            partition(PartitionType::LinuxRootX86_64, &self.root_identity, root_start, end - root_start),
        ];
        Ok((size, partitions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker;
    use crate::file_tree::{Attributes, Contents, Kind};

    fn tree(name: &str, size: usize) -> FileTree {
        let mut tree = FileTree::new(Attributes::root(0o755, 1));
        let contents = Contents::Bytes((0..size).map(|n| (n % 249) as u8).collect());
        tree.add(name, Kind::File(contents), Attributes::root(0o644, 1)).unwrap();
        tree
    }

    #[test]
    fn same_bytes_twice() {
        let directory = tempfile::tempdir().unwrap();
        let mut image =
            DiskImage::new(tree("EFI/BOOT/BOOTX64.EFI", 70_000), tree("init", 3_000_000), b"seed");
        image.boot_size = 36 << 20;
        image.free = 16 << 20;
        let one = image.write(&directory.path().join("one")).unwrap();
        image.write(&directory.path().join("two")).unwrap();
        let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
        assert!(read("one") == read("two"));
        assert!(one.root_free >= 16 << 20 && one.boot_free > 30 << 20, "{one:?}");
        image.seed = b"other".to_vec();
        let other = image.write(&directory.path().join("other")).unwrap();
        assert_ne!(one.root_uuid, other.root_uuid);
    }

    #[test]
    fn over_a_disk_that_held_something() {
        let directory = tempfile::tempdir().unwrap();
        let (new, used) = (directory.path().join("new"), directory.path().join("used"));
        let mut image =
            DiskImage::new(tree("EFI/BOOT/BOOTX64.EFI", 70_001), tree("init", 3_000_001), b"seed");
        image.boot_size = 36 << 20;
        image.size = Some(128 << 20);
        let partitions = image.write(&new).unwrap().partitions;
        std::fs::write(&used, vec![0x5a; 128 << 20]).unwrap();
        let disk = File::options().read(true).write(true).open(&used).unwrap();
        let written = image.write_over(&disk, &used).unwrap();
        assert_eq!(written.partitions, partitions);
        // Each partition by itself, as the kernel shows them.
        for (path, name) in [(&new, "of-new"), (&used, "of-used")] {
            for partition in &partitions {
                let bytes = std::fs::read(path).unwrap();
                let (start, length) = (partition.start as usize, partition.length as usize);
                let place = directory.path().join(format!("{name}-{}", partition.name));
                std::fs::write(place, &bytes[start..start + length]).unwrap();
            }
        }
        let part = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        if let Some((clean, text)) = checker::run("e2fsck", "e2fsprogs", ["-fn", &part("of-used-root")]) {
            assert!(clean && !text.contains("Fix?"), "{text}");
        }
        if let Some((clean, text)) = checker::run("fsck.fat", "dosfstools", ["-n", &part("of-used-esp")]) {
            assert!(clean, "{text}");
        }
        if let Some((_, text)) = checker::run("sgdisk", "gdisk", ["-v", used.to_str().unwrap()]) {
            assert!(text.contains("No problems found"), "{text}");
        }
        // What is free is not cleared; the tables, names and files are as on a new disk.
        let (one, other) =
            (std::fs::read(part("of-new-esp")).unwrap(), std::fs::read(part("of-used-esp")).unwrap());
        let in_use = one.iter().rposition(|byte| *byte != 0).unwrap();
        assert!(one[..in_use] == other[..in_use], "the EFI system partition differs");
        let dump = |name: &str| checker::run("debugfs", "e2fsprogs", ["-R", "cat /init", &part(name)]);
        assert_eq!(dump("of-new-root"), dump("of-used-root"));
        assert!(std::fs::read(&used).unwrap()[512..1 << 20] == std::fs::read(&new).unwrap()[512..1 << 20]);
    }

    #[test]
    fn too_small_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let mut image = DiskImage::new(tree("x", 10), tree("y", 60_000_000), b"seed");
        image.boot_size = 36 << 20;
        for size in [10 << 20, 60 << 20] {
            image.size = Some(size);
            let error = image.write(&path).unwrap_err();
            assert!(error.to_string().contains("too small"), "{error}");
            assert!(!path.exists());
        }
    }
}
