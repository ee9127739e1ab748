//! `/proc/PID/mountinfo` (proc(5)): what is mounted where.

use std::path::Path;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Major and minor number of the file system's device.
    pub device: (u32, u32),
    /// The directory of the file system that is mounted; `/` unless it is a bind mount or a subvolume.
    pub root: String,
    /// Where.
    pub target: String,
    /// The mount's own options.
    pub options: String,
    /// The file system's type.
    pub fs_type: String,
    /// What was mounted: a device's node, or a name.
    pub source: String,
    /// The file system's options.
    pub super_options: String,
}

impl Mount {
    /// A path of this mount's device: `true` when the kernel has it on a disk.
    pub fn is_on_device(&self) -> bool {
        self.source.starts_with("/dev/")
    }

    /// The value of an option of the file system.
    pub fn super_option(&self, name: &str) -> Option<&str> {
        self.super_options.split(',').find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Reads the table, in the order of mounting. Lines of another shape are passed over.
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

/// The table of this process's mounts.
///
/// # Errors
/// When it cannot be read.
pub fn read(proc: &Path) -> std::io::Result<Vec<Mount>> {
    let bytes = std::fs::read(proc.join("self/mountinfo"))?;
    Ok(parse(&String::from_utf8_lossy(&bytes)))
}

fn parse_line(line: &str) -> Option<Mount> {
    // The number of optional fields varies; a lone hyphen ends them.
    let (fields, rest) = line.split_once(" - ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let mut rest = rest.split(' ');
    let (major, minor) = fields.get(2)?.split_once(':')?;
    Some(Mount {
        device: (major.parse().ok()?, minor.parse().ok()?),
        root: unescape(fields.get(3)?),
        target: unescape(fields.get(4)?),
        options: (*fields.get(5)?).to_owned(),
        fs_type: rest.next()?.to_owned(),
        source: unescape(rest.next()?),
        super_options: rest.next().unwrap_or_default().to_owned(),
    })
}

/// Blanks, tabs, newlines and backslashes stand as three octal digits.
pub(crate) fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut result = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let octal = bytes
            .get(at + 1..at + 4)
            .filter(|_| *byte == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        if let Some(value) = octal {
            result.push(value);
            at += 4;
        } else {
            result.push(*byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&result).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_the_kernel_writes_them() {
        let text = "26 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw\n\
                    31 26 0:28 /@home /my\\040home rw,noatime shared:2 master:3 - btrfs /dev/sda3 rw,subvolid=256,subvol=/@home\n\
                    nonsense\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[0].device, mounts[0].fs_type.as_str()), ((259, 2), "ext4"));
        assert_eq!(mounts[1].target, "/my home");
        assert_eq!(mounts[1].super_option("subvol"), Some("/@home"));
        assert_eq!(mounts[1].super_option("sub"), None);
        assert_eq!(unescape("a\\134b\\"), "a\\b\\");
    }
}
