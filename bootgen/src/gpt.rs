//! A GUID partition table with its protective MBR (UEFI specification 2.10, chapter 5), and GRUB's boot sector for machines
//! with a BIOS in the same first sector.

use crate::checksum::crc32;
use crate::identity::Uuid;
use crate::region::Region;
use thiserror::Error;

/// Bytes in a sector.
pub const SECTOR: u64 = 512;
/// Where partitions may begin: at multiples of 1 MiB.
pub const ALIGNMENT: u64 = 1 << 20;
/// Entries in the table, 128 bytes each, behind the header; the copy lies at the disk's end.
const ENTRIES: usize = 128;
const ENTRY: usize = 128;
const TABLE_SECTORS: u64 = (ENTRIES * ENTRY) as u64 / SECTOR;

/// What a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionType {
    /// EFI system partition.
    EfiSystem,
    /// Where GRUB's core lies on a disk that a BIOS boots.
    BiosBoot,
    /// A root file system for x86-64 (Discoverable Partitions Specification).
    LinuxRootX86_64,
    /// Another Linux file system.
    LinuxFileSystem,
}

impl PartitionType {
    /// The type's GUID as it stands in the table.
    fn guid(self) -> [u8; 16] {
        let bytes = match self {
            Self::EfiSystem => 0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b_u128,
            Self::BiosBoot => 0x2168_6148_6449_6e6f_744e_6565_6445_4649,
            Self::LinuxRootX86_64 => 0x4f68_bce3_e8cd_4db1_96e7_fbca_f984_b709,
            Self::LinuxFileSystem => 0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4,
        };
        Uuid(bytes.to_be_bytes()).mixed_endian()
    }
}

/// A partition: where it lies and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// What for.
    pub kind: PartitionType,
    /// Its own GUID (`PARTUUID=`).
    pub uuid: Uuid,
    /// Its name (`PARTLABEL=`), at most 36 UTF-16 units.
    pub name: String,
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub length: u64,
}

/// Why a table cannot be written.
#[derive(Debug, Error)]
pub enum GptError {
    /// A partition that does not lie on whole sectors between the tables, or overlaps another.
    #[error("the partition `{0}` does not fit on the disk of {1} bytes, or overlaps the one before it")]
    Place(String, u64),
    /// More than 128.
    #[error("{0} partitions are more than the table's 128")]
    Many(usize),
    /// A boot sector of another size.
    #[error("GRUB's boot.img must be one sector of 512 bytes; it has {0}")]
    BootSector(usize),
    /// The image cannot be written.
    #[error("writing the partition table: {0}")]
    Write(#[from] std::io::Error),
}

/// Where the first partition may begin on any disk.
pub const FIRST: u64 = ALIGNMENT;

/// The end of what partitions may use on a disk of that many bytes.
pub fn usable_end(size: u64) -> u64 {
    (size / SECTOR).saturating_sub(TABLE_SECTORS + 1) * SECTOR
}

/// Writes the protective MBR, the table and its copy.
///
/// # Errors
/// When partitions overlap, lie outside or are too many, or the image cannot be written.
pub fn write(disk: &Region<'_>, uuid: Uuid, partitions: &[Partition]) -> Result<(), GptError> {
    if partitions.len() > ENTRIES {
        return Err(GptError::Many(partitions.len()));
    }
    let end = usable_end(disk.length());
    let mut free = (2 + TABLE_SECTORS) * SECTOR;
    let mut table = Vec::with_capacity(ENTRIES * ENTRY);
    for partition in partitions {
        let whole = partition.start.is_multiple_of(SECTOR) && partition.length.is_multiple_of(SECTOR);
        if !whole
            || partition.length == 0
            || partition.start < free
            || partition.start + partition.length > end
        {
            return Err(GptError::Place(partition.name.clone(), disk.length()));
        }
        free = partition.start + partition.length;
        table.extend_from_slice(&encode(partition));
    }
    table.resize(ENTRIES * ENTRY, 0);
    let last = disk.length() / SECTOR - 1;
    disk.clear(0, (2 + TABLE_SECTORS) * SECTOR)?;
    disk.clear((last - TABLE_SECTORS) * SECTOR, (TABLE_SECTORS + 1) * SECTOR)?;
    disk.write(0, &protective_mbr(last))?;
    disk.write(2 * SECTOR, &table)?;
    disk.write(SECTOR, &header(1, last, 2, last, uuid, &table))?;
    disk.write((last - TABLE_SECTORS) * SECTOR, &table)?;
    disk.write(last * SECTOR, &header(last, 1, last - TABLE_SECTORS, last, uuid, &table))?;
    Ok(())
}

/// An entry of the table.
fn encode(partition: &Partition) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    bytes[..16].copy_from_slice(&partition.kind.guid());
    bytes[16..32].copy_from_slice(&partition.uuid.mixed_endian());
    bytes[32..40].copy_from_slice(&(partition.start / SECTOR).to_le_bytes());
    bytes[40..48].copy_from_slice(&((partition.start + partition.length) / SECTOR - 1).to_le_bytes());
    for (place, unit) in bytes[56..].chunks_exact_mut(2).zip(partition.name.encode_utf16()) {
        place.copy_from_slice(&unit.to_le_bytes());
    }
    bytes
}

/// A header, the first one or its copy.
fn header(own: u64, other: u64, table_at: u64, last: u64, uuid: Uuid, table: &[u8]) -> [u8; 92] {
    let mut bytes = [0; 92];
    bytes[..8].copy_from_slice(b"EFI PART");
    bytes[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
    bytes[12..16].copy_from_slice(&92_u32.to_le_bytes());
    bytes[24..32].copy_from_slice(&own.to_le_bytes());
    bytes[32..40].copy_from_slice(&other.to_le_bytes());
    bytes[40..48].copy_from_slice(&(2 + TABLE_SECTORS).to_le_bytes());
    bytes[48..56].copy_from_slice(&(last - TABLE_SECTORS - 1).to_le_bytes());
    bytes[56..72].copy_from_slice(&uuid.mixed_endian());
    bytes[72..80].copy_from_slice(&table_at.to_le_bytes());
    bytes[80..84].copy_from_slice(&(ENTRIES as u32).to_le_bytes());
    bytes[84..88].copy_from_slice(&(ENTRY as u32).to_le_bytes());
    bytes[88..92].copy_from_slice(&crc32(table).to_le_bytes());
    let checksum = crc32(&bytes);
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// One partition of type EE over the whole disk, so that tools that know no GPT keep their hands off.
fn protective_mbr(last: u64) -> [u8; 512] {
    let mut bytes = [0; 512];
    let entry = &mut bytes[446..462];
    // From head 0, cylinder 0, sector 2 to the end of what cylinders can count.
    entry[..8].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
    entry[8..12].copy_from_slice(&1_u32.to_le_bytes());
    entry[12..].copy_from_slice(&u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes());
    bytes[510..].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

/// GRUB for a BIOS without its installer: boot.img into the first sector (the partition table in it stays), core.img into the BIOS boot
/// partition, each told where the rest lies.
///
/// Facts of GRUB 2.06's i386-pc boot.S and diskboot.S: boot.img has the core's first sector as a 64-bit number at 0x5c and, for disks,
/// two no-ops at 0x66; core.img's first sector ends with a list of where the rest lies, of which the first record stands at 500: 64-bit
/// sector, 16-bit count, 16-bit segment (0x820) that it is loaded to.
///
/// # Errors
/// When boot.img is not one sector, the core does not fit in its partition, or the image cannot be written.
pub fn install_grub(
    disk: &Region<'_>,
    boot: &[u8],
    core: &[u8],
    partition: &Partition,
) -> Result<(), GptError> {
    if core.len() as u64 > partition.length || core.len() < SECTOR as usize {
        return Err(GptError::Place(partition.name.clone(), core.len() as u64));
    }
    let sector = partition.start / SECTOR;
    install_boot_sector(disk, boot, sector)?;
    let mut core = core.to_vec();
    core.resize(core.len().next_multiple_of(SECTOR as usize), 0);
    let rest = core.len() as u64 / SECTOR - 1;
    core[500..508].copy_from_slice(&(sector + 1).to_le_bytes());
    core[508..510].copy_from_slice(&u16::try_from(rest).unwrap_or(u16::MAX).to_le_bytes());
    disk.write(partition.start, &core)?;
    Ok(())
}

/// GRUB's boot.img in the first sector, told in which sector the core begins. The partition table in it stays.
///
/// # Errors
/// When boot.img is not one sector, or the image cannot be written.
pub fn install_boot_sector(disk: &Region<'_>, boot: &[u8], core: u64) -> Result<(), GptError> {
    if boot.len() != SECTOR as usize {
        return Err(GptError::BootSector(boot.len()));
    }
    let mut mbr = [0; 512];
    disk.read(0, &mut mbr)?;
    // What lies from 0x1b8 on is the disk's: its signature and the partitions.
    mbr[..0x1b8].copy_from_slice(&boot[..0x1b8]);
    mbr[0x5c..0x64].copy_from_slice(&core.to_le_bytes());
    mbr[0x66..0x68].copy_from_slice(&[0x90, 0x90]);
    disk.write(0, &mbr)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker;
    use crate::region::create_sparse;

    fn partitions() -> Vec<Partition> {
        let partition = |kind, name: &str, start: u64, length: u64| Partition {
            kind,
            uuid: Uuid::derive(b"seed", name),
            name: name.to_owned(),
            start: start << 20,
            length: length << 20,
        };
        vec![
            partition(PartitionType::BiosBoot, "bios", 1, 1),
            partition(PartitionType::EfiSystem, "esp", 2, 30),
            partition(PartitionType::LinuxRootX86_64, "root", 32, 31),
        ]
    }

    #[test]
    fn sgdisk_finds_no_fault() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let file = create_sparse(&path, 64 << 20).unwrap();
        write(&Region::new(&file, 0, 64 << 20), Uuid::derive(b"seed", "disk"), &partitions()).unwrap();
        let arguments = ["-v", "-p", path.to_str().unwrap()];
        let Some((_, text)) = checker::run("sgdisk", "gdisk", arguments) else { return };
        assert!(text.contains("No problems found"), "{text}");
        for word in ["EF02", "EF00", "8304", "esp"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }

    #[test]
    fn overlap_and_end_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = create_sparse(&directory.path().join("disk"), 64 << 20).unwrap();
        let disk = Region::new(&file, 0, 64 << 20);
        let uuid = Uuid([0; 16]);
        let mut overlapping = partitions();
        overlapping[1].start -= 512;
        assert!(matches!(write(&disk, uuid, &overlapping), Err(GptError::Place(name, _)) if name == "esp"));
        let mut long = partitions();
        long[2].length += 1 << 20;
        assert!(matches!(write(&disk, uuid, &long), Err(GptError::Place(name, _)) if name == "root"));
    }

    #[test]
    fn grub_in_its_places() {
        let directory = tempfile::tempdir().unwrap();
        let file = create_sparse(&directory.path().join("disk"), 64 << 20).unwrap();
        let disk = Region::new(&file, 0, 64 << 20);
        let partitions = partitions();
        write(&disk, Uuid([0; 16]), &partitions).unwrap();
        install_grub(&disk, &[0x11; 512], &[0x22; 1000], &partitions[0]).unwrap();
        let mut mbr = [0; 512];
        disk.read(0, &mut mbr).unwrap();
        assert_eq!(mbr[0x5c..0x64], 2048_u64.to_le_bytes());
        assert_eq!(mbr[450], 0xee);
        assert_eq!(mbr[510..], [0x55, 0xaa]);
        let mut core = [0; 1024];
        disk.read(1 << 20, &mut core).unwrap();
        assert_eq!(core[500..508], 2049_u64.to_le_bytes());
        assert_eq!(core[508..510], [1, 0]);
        assert!(install_grub(&disk, &[0; 511], &[0; 1000], &partitions[0]).is_err());
    }
}
