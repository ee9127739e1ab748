//! Volume descriptors (ECMA-119 section 8), path tables (9.4) and the boot catalogue ("El Torito" Bootable CD-ROM Format 1.0; UEFI
//! specification 13.3.2.1 for its platform number).

use super::record::{both16, both32};
use crate::calendar::Moment;

/// Bytes of a sector.
pub(super) const SECTOR: usize = 2048;

/// What the primary volume descriptor says.
#[derive(Debug)]
pub(super) struct Primary<'a> {
    pub(super) volume_id: &'a str,
    pub(super) sectors: u32,
    pub(super) path_table_size: u32,
    pub(super) path_table_little: u32,
    pub(super) path_table_big: u32,
    /// The root's own directory record.
    pub(super) root: &'a [u8],
    pub(super) time: u64,
}

impl Primary<'_> {
    /// The descriptor's sector.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = descriptor(1);
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        // Texts are filled up with blanks: system, volume, volume set, publisher, preparer, application, three files.
        for (from, to) in [(8, 72), (190, 813)] {
            put(from, &vec![b' '; to - from]);
        }
        put(8, b"LINUX");
        put(40, self.volume_id.as_bytes());
        put(80, &both32(self.sectors));
        put(120, &both16(1));
        put(124, &both16(1));
        put(128, &both16(SECTOR as u16));
        put(132, &both32(self.path_table_size));
        put(140, &self.path_table_little.to_le_bytes());
        put(148, &self.path_table_big.to_be_bytes());
        put(156, self.root);
        put(574, b"FIRN");
        let time = long_date(self.time);
        put(813, &time);
        put(830, &time);
        put(847, b"0000000000000000\0");
        put(864, b"0000000000000000\0");
        put(881, &[1]);
        bytes
    }
}

/// The descriptor that leads to the boot catalogue.
pub(super) fn boot_record(catalogue: u32) -> Vec<u8> {
    let mut bytes = descriptor(0);
    bytes[7..30].copy_from_slice(b"EL TORITO SPECIFICATION");
    bytes[71..75].copy_from_slice(&catalogue.to_le_bytes());
    bytes
}

/// The descriptor that ends their list.
pub(super) fn terminator() -> Vec<u8> {
    descriptor(255)
}

fn descriptor(kind: u8) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR];
    bytes[0] = kind;
    bytes[1..7].copy_from_slice(b"CD001\x01");
    bytes
}

/// Date and time in digits (section 8.4.26.1).
fn long_date(seconds: u64) -> Vec<u8> {
    let moment = Moment::of(i64::try_from(seconds).unwrap_or(i64::MAX).min(253_402_300_799));
    let Moment { year, month, day, hour, minute, second } = moment;
    let mut bytes = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}00").into_bytes();
    bytes.push(0);
    bytes
}

/// A directory in the path tables.
#[derive(Debug)]
pub(super) struct PathEntry<'a> {
    pub(super) name: &'a [u8],
    pub(super) sector: u32,
    /// The number of the directory above, from 1.
    pub(super) parent: u16,
}

/// A path table in both byte orders.
pub(super) fn path_tables<'a>(entries: impl Iterator<Item = PathEntry<'a>>) -> (Vec<u8>, Vec<u8>) {
    let (mut little, mut big) = (Vec::new(), Vec::new());
    for entry in entries {
        for (table, sector, parent) in [
            (&mut little, entry.sector.to_le_bytes(), entry.parent.to_le_bytes()),
            (&mut big, entry.sector.to_be_bytes(), entry.parent.to_be_bytes()),
        ] {
            table.extend([entry.name.len() as u8, 0]);
            table.extend(sector);
            table.extend(parent);
            table.extend(entry.name);
            if entry.name.len() % 2 == 1 {
                table.push(0);
            }
        }
    }
    (little, big)
}

/// An image that firmware starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct BootEntry {
    /// First sector.
    pub(super) sector: u32,
    /// How many pieces of 512 bytes the firmware loads, or may read.
    pub(super) count: u16,
}

const PLATFORM_BIOS: u8 = 0;
const PLATFORM_EFI: u8 = 0xef;

/// The boot catalogue: the BIOS' entry is the default where there is one, UEFI's follows in a section of its own.
pub(super) fn boot_catalogue(bios: Option<BootEntry>, efi: Option<BootEntry>) -> Vec<u8> {
    let (platform, default, section) = match (bios, efi) {
        (Some(bios), efi) => (PLATFORM_BIOS, Some(bios), efi),
        (None, efi) => (PLATFORM_EFI, efi, None),
    };
    let mut bytes = vec![0; SECTOR];
    bytes[..2].copy_from_slice(&[1, platform]);
    bytes[30..32].copy_from_slice(&[0x55, 0xaa]);
    let sum = |bytes: &[u8]| {
        bytes
            .chunks_exact(2)
            .fold(0_u16, |sum, pair| sum.wrapping_add(u16::from_le_bytes([pair[0], pair[1]])))
    };
    let checksum = 0_u16.wrapping_sub(sum(&bytes[..32]));
    bytes[28..30].copy_from_slice(&checksum.to_le_bytes());
    if let Some(entry) = default {
        bytes[32..64].copy_from_slice(&catalogue_entry(entry));
    }
    if let Some(entry) = section {
        // The last header, with one entry.
        bytes[64..68].copy_from_slice(&[0x91, PLATFORM_EFI, 1, 0]);
        bytes[96..128].copy_from_slice(&catalogue_entry(entry));
    }
    bytes
}

/// Bootable, without the emulation of a floppy or hard disk.
fn catalogue_entry(entry: BootEntry) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = 0x88;
    bytes[6..8].copy_from_slice(&entry.count.to_le_bytes());
    bytes[8..12].copy_from_slice(&entry.sector.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_adds_up_to_nothing() {
        let entry = BootEntry { sector: 20, count: 4 };
        for (bios, efi) in [(Some(entry), Some(entry)), (None, Some(entry)), (Some(entry), None)] {
            let bytes = boot_catalogue(bios, efi);
            let sum = bytes[..32].chunks(2).map(|p| u32::from(p[0]) | u32::from(p[1]) << 8).sum::<u32>();
            assert_eq!(sum & 0xffff, 0);
            assert_eq!(bytes[32], 0x88);
        }
    }
}
