//! File systems and partition tables told by their first bytes: type, id and label. Layouts after the kernel's headers:
//! ext4 (Documentation/filesystems/ext4), FAT (Microsoft's fatgen103), erofs (erofs_fs.h), ISO 9660 (ECMA-119), XFS, Btrfs,
//! F2FS (f2fs_fs.h), swap; LUKS (cryptsetup's on-disk format 1.2.3 and LUKS2 1.1), LVM's physical volumes, NTFS; GPT (UEFI
//! specification 5.3) and MBR. Stage 1 finds its root by them, the installer what a disk holds.

use std::io::{Read, Seek, SeekFrom};

/// What a file system says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Superblock {
    /// Its type, as mount(2) takes it; what cannot be mounted has blkid's name: `crypto_LUKS`, `LVM2_member`, `ntfs`.
    pub fs_type: &'static str,
    /// Its id, as `UUID=` names it; empty for none.
    pub uuid: String,
    /// Its label; empty for none.
    pub label: String,
}

/// One partition of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// Its id, as `PARTUUID=` names it.
    pub uuid: String,
    /// Its name in a GPT; empty for none.
    pub label: String,
}

/// A reader at given places; what cannot be read is absent.
fn bytes_at<const N: usize>(device: &mut (impl Read + Seek), offset: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    device.seek(SeekFrom::Start(offset)).ok()?;
    device.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn slice(bytes: &[u8], from: usize, length: usize) -> &[u8] {
    bytes.get(from..from + length).unwrap_or_default()
}

/// A label: up to the first NUL, without blanks at its end.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).trim_end().to_owned()
}

/// UTF-16 in little-endian pairs, up to the first 0.
fn utf16(pairs: &[[u8; 2]]) -> String {
    let units: Vec<u16> =
        pairs.iter().map(|pair| u16::from_le_bytes(*pair)).take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}

/// Sixteen bytes as 8-4-4-4-12.
fn uuid(bytes: &[u8]) -> String {
    let mut result = String::with_capacity(36);
    for (number, byte) in bytes.iter().enumerate() {
        if matches!(number, 4 | 6 | 8 | 10) {
            result.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            result.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    result
}

/// A GUID, whose first three fields are little-endian.
fn guid(bytes: &[u8]) -> String {
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    uuid(&order.map(|index| bytes.get(index).copied().unwrap_or(0)))
}

/// Tells the file system on a device.
pub fn identify(device: &mut (impl Read + Seek)) -> Option<Superblock> {
    let start: [u8; 2048] = bytes_at(device, 0)?;
    if let Some(found) = identify_container(&start) {
        return Some(found);
    }
    if slice(&start, 1080, 2) == [0x53, 0xef] {
        let (fs_type, uuid, label) =
            (ext_type(&start), uuid(slice(&start, 1128, 16)), text(slice(&start, 1144, 16)));
        return Some(Superblock { fs_type, uuid, label });
    }
    if slice(&start, 1024, 4) == 0xe0f5_e1e2_u32.to_le_bytes() {
        let (uuid, label) = (uuid(slice(&start, 1072, 16)), text(slice(&start, 1088, 16)));
        return Some(Superblock { fs_type: "erofs", uuid, label });
    }
    if slice(&start, 1024, 4) == 0xf2f5_2010_u32.to_le_bytes() {
        let (pairs, _) = slice(&start, 1148, 512).as_chunks::<2>();
        let label = utf16(pairs);
        return Some(Superblock { fs_type: "f2fs", uuid: uuid(slice(&start, 1132, 16)), label });
    }
    if slice(&start, 0, 4) == *b"XFSB" {
        let (uuid, label) = (uuid(slice(&start, 32, 16)), text(slice(&start, 108, 12)));
        return Some(Superblock { fs_type: "xfs", uuid, label });
    }
    if slice(&start, 0, 4) == *b"hsqs" {
        return Some(Superblock { fs_type: "squashfs", ..Superblock::default() });
    }
    if let Some(found) = identify_fat(&start) {
        return Some(found);
    }
    if bytes_at::<10>(device, 4086).as_ref() == Some(b"SWAPSPACE2") {
        let (uuid, label) = (uuid(slice(&start, 1036, 16)), text(slice(&start, 1052, 16)));
        return Some(Superblock { fs_type: "swap", uuid, label });
    }
    if let Some(volume) = bytes_at::<2048>(device, 32768).filter(|volume| slice(volume, 1, 5) == *b"CD001") {
        return Some(Superblock {
            fs_type: "iso9660",
            uuid: iso_uuid(slice(&volume, 830, 16), slice(&volume, 813, 16)),
            label: text(slice(&volume, 40, 32)),
        });
    }
    let btrfs: [u8; 0x400] = bytes_at(device, 0x1_0000)?;
    (slice(&btrfs, 0x40, 8) == *b"_BHRfS_M").then(|| Superblock {
        fs_type: "btrfs",
        uuid: uuid(slice(&btrfs, 0x20, 16)),
        label: text(slice(&btrfs, 0x12b, 256)),
    })
}

/// What holds other things than files that mount(2) could show.
fn identify_container(start: &[u8]) -> Option<Superblock> {
    if slice(start, 0, 6) == *b"LUKS\xba\xbe" {
        // Version 2 has a label; both have the id as text.
        let label = if slice(start, 6, 2) == [0, 2] { text(slice(start, 24, 48)) } else { String::new() };
        return Some(Superblock { fs_type: "crypto_LUKS", uuid: text(slice(start, 168, 40)), label });
    }
    let volume = (0..4).map(|sector| slice(start, sector * 512, 64));
    if let Some(volume) = volume
        .into_iter()
        .find(|label| slice(label, 0, 8) == *b"LABELONE" && slice(label, 24, 8) == *b"LVM2 001")
    {
        return Some(Superblock {
            fs_type: "LVM2_member",
            uuid: text(slice(volume, 32, 32)),
            ..Superblock::default()
        });
    }
    if slice(start, 3, 8) == *b"NTFS    " {
        let serial = slice(start, 72, 8).try_into().map_or(0, u64::from_le_bytes);
        return Some(Superblock { fs_type: "ntfs", uuid: format!("{serial:016X}"), ..Superblock::default() });
    }
    None
}

/// ext2, ext3 or ext4, by the features that only the newer have.
fn ext_type(start: &[u8]) -> &'static str {
    let word = |at: usize| slice(start, at, 4).try_into().map_or(0, u32::from_le_bytes);
    let (compatible, incompatible, read_only) = (word(1116), word(1120), word(1124));
    if incompatible & !0x16 != 0 || read_only & !0x7 != 0 {
        "ext4"
    } else if compatible & 0x4 != 0 {
        "ext3"
    } else {
        "ext2"
    }
}

/// FAT12, FAT16, FAT32: the serial number as XXXX-XXXX.
fn identify_fat(start: &[u8]) -> Option<Superblock> {
    if slice(start, 510, 2) != [0x55, 0xaa] {
        return None;
    }
    let is_fat32 = slice(start, 82, 5) == *b"FAT32";
    let is_fat16 = matches!(slice(start, 54, 5), b"FAT16" | b"FAT12");
    let (serial, label) = match (is_fat32, is_fat16) {
        (true, _) => (slice(start, 67, 4), slice(start, 71, 11)),
        (_, true) => (slice(start, 39, 4), slice(start, 43, 11)),
        _ => return None,
    };
    let serial: [u8; 4] = serial.try_into().ok()?;
    let [low0, low1, high0, high1] = serial;
    let label = text(label);
    Some(Superblock {
        fs_type: "vfat",
        uuid: format!("{:04X}-{:04X}", u16::from_le_bytes([high0, high1]), u16::from_le_bytes([low0, low1])),
        label: if label == "NO NAME" { String::new() } else { label },
    })
}

/// The date of modification, or of creation, as 2026-01-31-12-00-00-00.
fn iso_uuid(modified: &[u8], created: &[u8]) -> String {
    let digits = if modified.iter().all(u8::is_ascii_digit) && modified.iter().any(|digit| *digit != b'0') {
        modified
    } else {
        created
    };
    let mut result = String::new();
    for (number, digit) in digits.iter().enumerate() {
        if matches!(number, 4 | 6 | 8 | 10 | 12 | 14) {
            result.push('-');
        }
        result.push(char::from(*digit));
    }
    result
}

/// The partitions of a disk by its GPT, else its MBR (primary ones). `sector` is its logical block size.
pub fn partitions(device: &mut (impl Read + Seek), sector: u64) -> Vec<Partition> {
    gpt(device, sector).or_else(|| mbr(device)).unwrap_or_default()
}

fn gpt(device: &mut (impl Read + Seek), sector: u64) -> Option<Vec<Partition>> {
    let header: [u8; 92] = bytes_at(device, sector)?;
    if slice(&header, 0, 8) != *b"EFI PART" {
        return None;
    }
    let word = |at: usize| slice(&header, at, 4).try_into().map_or(0, u32::from_le_bytes);
    let table = u64::from(word(72)) | u64::from(word(76)) << 32;
    let (count, size) = (word(80).min(1024), u64::from(word(84)));
    let mut found = Vec::new();
    for index in 0..count {
        let entry: [u8; 128] =
            bytes_at(device, table.checked_mul(sector)?.checked_add(u64::from(index) * size)?)?;
        if slice(&entry, 0, 16).iter().any(|byte| *byte != 0) {
            let (pairs, _) = slice(&entry, 56, 72).as_chunks::<2>();
            let label = utf16(pairs);
            found.push(Partition { number: index + 1, uuid: guid(slice(&entry, 16, 16)), label });
        }
    }
    Some(found)
}

fn mbr(device: &mut (impl Read + Seek)) -> Option<Vec<Partition>> {
    let sector: [u8; 512] = bytes_at(device, 0)?;
    if slice(&sector, 510, 2) != [0x55, 0xaa] || identify_fat(&sector).is_some() {
        return None;
    }
    let signature = slice(&sector, 440, 4).try_into().map_or(0, u32::from_le_bytes);
    let used = (0..4_u32).filter(|number| slice(&sector, 446 + 16 * *number as usize + 4, 1) != [0]);
    let name = |number: u32| Partition {
        number,
        uuid: format!("{signature:08x}-{number:02x}"),
        label: String::new(),
    };
    Some(used.map(|number| name(number + 1)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Cursor;
    use std::path::Path;
    use std::process::Command;

    /// An image that a real mkfs made, and what it must say.
    fn check(name: &str, size: u64, command: &[&str], expected: &Superblock) {
        let directory = std::env::temp_dir().join(format!("firn-superblock-{}-{name}", std::process::id()));
        std::fs::create_dir_all(directory.join("tree")).unwrap();
        let image = directory.join("image");
        File::create(&image).unwrap().set_len(size).unwrap();
        let arguments: Vec<String> = command[1..]
            .iter()
            .map(|word| {
                word.replace("IMAGE", image.to_str().unwrap())
                    .replace("TREE", directory.join("tree").to_str().unwrap())
            })
            .collect();
        let program = ["/usr/sbin", "/sbin", "/usr/bin"]
            .iter()
            .map(|place| Path::new(place).join(command[0]))
            .find(|path| path.exists());
        let program = program.unwrap_or_else(|| panic!("{} is needed (ci/packages.txt)", command[0]));
        let output = Command::new(program).args(&arguments).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let found = identify(&mut File::open(&image).unwrap());
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(found.as_ref(), Some(expected), "{name}");
    }

    fn block(fs_type: &'static str, uuid: &str, label: &str) -> Superblock {
        Superblock { fs_type, uuid: uuid.into(), label: label.into() }
    }

    #[test]
    fn what_mkfs_made_is_read_back() {
        let id = "3c2b1a00-1122-3344-5566-778899aabbcc";
        check(
            "ext4",
            8 << 20,
            &["mkfs.ext4", "-q", "-U", id, "-L", "firn root", "IMAGE"],
            &block("ext4", id, "firn root"),
        );
        check("ext2", 8 << 20, &["mkfs.ext2", "-q", "-U", id, "IMAGE"], &block("ext2", id, ""));
        check(
            "fat32",
            64 << 20,
            &["mkfs.vfat", "-F", "32", "-i", "AB12CD34", "-n", "ESP", "IMAGE"],
            &block("vfat", "AB12-CD34", "ESP"),
        );
        check(
            "fat16",
            16 << 20,
            &["mkfs.vfat", "-F", "16", "-i", "00000001", "IMAGE"],
            &block("vfat", "0000-0001", ""),
        );
        check("erofs", 0, &["mkfs.erofs", "-U", id, "IMAGE", "TREE"], &block("erofs", id, ""));
        check("swap", 8 << 20, &["mkswap", "-q", "-U", id, "-L", "sw", "IMAGE"], &block("swap", id, "sw"));
    }

    #[test]
    fn partition_tables() {
        let image = std::env::temp_dir().join(format!("firn-table-{}", std::process::id()));
        for (script, expected) in [
            (
                "label: gpt\nsize=1M, name=\"EFI system\", uuid=00112233-4455-6677-8899-AABBCCDDEEFF\nsize=1M\n",
                Partition {
                    number: 1,
                    uuid: "00112233-4455-6677-8899-aabbccddeeff".into(),
                    label: "EFI system".into(),
                },
            ),
            (
                "label: dos\nlabel-id: 0xdeadbeef\nsize=1M\n",
                Partition { number: 1, uuid: "deadbeef-01".into(), label: String::new() },
            ),
        ] {
            File::create(&image).unwrap().set_len(8 << 20).unwrap();
            let mut child = Command::new("/usr/sbin/sfdisk")
                .args(["-q", image.to_str().unwrap()])
                .stdin(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            std::io::Write::write_all(child.stdin.as_mut().unwrap(), script.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success());
            let found = partitions(&mut File::open(&image).unwrap(), 512);
            assert_eq!(found.first(), Some(&expected));
        }
        std::fs::remove_file(&image).unwrap();
    }

    /// Bytes at their offsets on a device of 64 KiB.
    fn with(pieces: &[(usize, &[u8])]) -> Cursor<Vec<u8>> {
        let mut bytes = vec![0; 1 << 17];
        for (offset, piece) in pieces {
            bytes[*offset..offset + piece.len()].copy_from_slice(piece);
        }
        Cursor::new(bytes)
    }

    #[test]
    fn what_holds_other_things() {
        let id = "3c2b1a00-1122-3344-5566-778899aabbcc";
        let luks =
            |version| with(&[(0, b"LUKS\xba\xbe\0"), (7, &[version]), (24, b"secret"), (168, id.as_bytes())]);
        assert_eq!(identify(&mut luks(2)), Some(block("crypto_LUKS", id, "secret")));
        // Version 1 has the cipher's name where 2 has the label.
        assert_eq!(identify(&mut luks(1)), Some(block("crypto_LUKS", id, "")));
        let mut lvm =
            with(&[(512, b"LABELONE"), (536, b"LVM2 001"), (544, b"abcdefghijklmnopqrstuvwxyz012345")]);
        assert_eq!(identify(&mut lvm), Some(block("LVM2_member", "abcdefghijklmnopqrstuvwxyz012345", "")));
        let mut ntfs = with(&[
            (3, b"NTFS    "),
            (72, &[0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01]),
            (510, &[0x55, 0xaa]),
        ]);
        assert_eq!(identify(&mut ntfs), Some(block("ntfs", "0123456789ABCDEF", "")));
        let mut f2fs =
            with(&[(1024, &[0x10, 0x20, 0xf5, 0xf2]), (1132, &[0xab; 16]), (1148, b"d\0a\0t\0a\0")]);
        assert_eq!(identify(&mut f2fs), Some(block("f2fs", "abababab-abab-abab-abab-abababababab", "data")));
    }

    #[test]
    fn short_and_strange_devices_are_nothing() {
        for length in [0_usize, 1, 511, 512, 2048, 40_000, 70_000] {
            for fill in [0_u8, 0xff, 0x55] {
                let mut device = Cursor::new(vec![fill; length]);
                assert_eq!(identify(&mut device), None, "{length} bytes of {fill:#x}");
                assert!(partitions(&mut device, 512).is_empty());
            }
        }
    }
}
