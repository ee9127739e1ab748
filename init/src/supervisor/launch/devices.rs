//! DevicePolicy= and DeviceAllow= (systemd.resource-control(5)) as a program at the unit's cgroup.

use formats::service_graph::key::Key;
use formats::service_graph::view::Unit;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use sys::device_filter::{Device, allow_only};

const MAKE: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;

/// What DevicePolicy=closed leaves: the pseudo-devices and terminals of one's own.
const STANDARD: [(u32, u32); 7] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)];

/// Numbers of pseudo-terminals.
const PTS: u32 = 136;

/// Restricts the devices of the unit's processes, if it says so.
pub(super) fn restrict(unit: &Unit<'_>, cgroup: BorrowedFd<'_>) -> io::Result<()> {
    let policy = unit.number(Key::DevicePolicy).unwrap_or(0);
    if policy == 0 && !unit.has(Key::DeviceAllow) {
        return Ok(());
    }
    let mut allowed = Vec::new();
    // With a list and no policy, the pseudo-devices stay as well.
    if policy != 2 {
        let all = MAKE | READ | WRITE;
        let one = |(major, minor)| Device { is_block: false, major: Some(major), minor, access: all };
        allowed.extend(STANDARD.map(|(major, minor)| one((major, Some(minor)))));
        allowed.push(one((PTS, None)));
    }
    let known = std::fs::read_to_string("/proc/devices").unwrap_or_default();
    for text in unit.texts(Key::DeviceAllow) {
        let (node, letters) = text.split_once(' ').unwrap_or((text, "rwm"));
        let access = letters.bytes().fold(0, |access, letter| {
            access
                | match letter {
                    b'r' => READ,
                    b'w' => WRITE,
                    _ => MAKE,
                }
        });
        if let Some((is_block, name)) = [(false, "char-"), (true, "block-")]
            .into_iter()
            .find_map(|(block, prefix)| Some((block, node.strip_prefix(prefix)?)))
        {
            for major in majors(&known, is_block, name) {
                allowed.push(Device { is_block, major, minor: None, access });
            }
        } else if let Ok(meta) = std::fs::metadata(node) {
            let kind = meta.file_type();
            if kind.is_block_device() || kind.is_char_device() {
                let number = meta.rdev();
                let (major, minor) =
                    (nix::sys::stat::major(number) as u32, nix::sys::stat::minor(number) as u32);
                allowed.push(Device {
                    is_block: kind.is_block_device(),
                    major: Some(major),
                    minor: Some(minor),
                    access,
                });
            }
        }
        // A node that is not there: nothing to allow, as in systemd.
    }
    allow_only(cgroup, &allowed)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot restrict devices: {error}")))
}

/// The major numbers of a group's name in /proc/devices, `*` at its end for any that begins so; a group that is only a number is that,
/// `*` alone is all.
fn majors(known: &str, is_block: bool, name: &str) -> Vec<Option<u32>> {
    if name == "*" {
        return vec![None];
    }
    if let Ok(number) = name.parse() {
        return vec![Some(number)];
    }
    let mut in_blocks = false;
    let mut found = Vec::new();
    for line in known.lines() {
        in_blocks = if line.ends_with(':') { line.starts_with("Block") } else { in_blocks };
        let Some((number, group)) = line.trim().split_once(' ') else { continue };
        if in_blocks == is_block && crate::glob::matches(name.as_bytes(), group.trim().as_bytes()) {
            found.extend(number.parse().ok().map(Some));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_devices() {
        let known = "Character devices:\n  1 mem\n226 drm\n116 alsa\n136 pts\n\nBlock devices:\n  8 sd\n254 virtblk\n";
        assert_eq!(majors(known, false, "drm"), [Some(226)]);
        assert_eq!(majors(known, true, "virt*"), [Some(254)]);
        assert_eq!(majors(known, true, "drm"), []);
        assert_eq!(majors(known, false, "*"), [None]);
        assert_eq!(majors(known, false, "10"), [Some(10)]);
    }
}
