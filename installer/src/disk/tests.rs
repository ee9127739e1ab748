//! Disks as sysfs shows them, in use and not.

use super::*;
use std::os::unix::fs::symlink;

/// A machine with `sda` (two partitions, the second an ext4 file system called `data`), `sdb` and a read-only `sr0`.
fn machine(mounts: &str, swaps: &str) -> (tempfile::TempDir, Places) {
    let directory = tempfile::tempdir().unwrap();
    let places = Places::below(directory.path());
    for path in ["proc/self", "dev/disk/by-id", "sys/class/block", "sys/dev/block"] {
        std::fs::create_dir_all(directory.path().join(path)).unwrap();
    }
    std::fs::write(places.proc.join("self/mountinfo"), mounts).unwrap();
    std::fs::write(places.proc.join("swaps"), format!("Filename Type\n{swaps}")).unwrap();
    for (path, number, files) in [
        ("sda", "8:0", &[("queue/logical_block_size", "512"), ("device/model", "Disk One")][..]),
        ("sda/sda1", "8:1", &[("partition", "1")]),
        ("sda/sda2", "8:2", &[("partition", "2")]),
        ("sdb", "8:16", &[("queue/logical_block_size", "4096")]),
        ("sr0", "11:0", &[("ro", "1")]),
    ] {
        let place = places.sys.join("devices/pci/host/block").join(path);
        let name = place.file_name().unwrap().to_owned();
        for (file, text) in files.iter().chain(&[("size", "4096")]) {
            let file = place.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, format!("{text}\n")).unwrap();
        }
        symlink(&place, places.sys.join("class/block").join(&name)).unwrap();
        symlink(&place, places.sys.join("dev/block").join(number)).unwrap();
        std::fs::write(places.dev.join(&name), vec![0; 1 << 17]).unwrap();
    }
    let mut bytes = vec![0; 1 << 17];
    bytes[1080..1082].copy_from_slice(&[0x53, 0xef]);
    bytes[1120] = 0x40;
    bytes[1144..1148].copy_from_slice(b"data");
    std::fs::write(places.dev.join("sda2"), bytes).unwrap();
    symlink("../../sda", places.dev.join("disk/by-id/one")).unwrap();
    (directory, places)
}

#[test]
fn what_would_be_lost() {
    let (_directory, places) = machine("20 1 0:20 / / rw - tmpfs tmpfs rw\n", "");
    let disk = examine(&places, "/dev/disk/by-id/one").unwrap();
    assert_eq!(disk.node, places.dev.join("sda"));
    assert_eq!(
        disk.contents(&places),
        [
            "/dev/sda            2 MiB  Disk One",
            "  /dev/sda1          2 MiB  (nothing that is known)",
            "  /dev/sda2          2 MiB  ext4 \"data\"",
        ]
    );
}

#[test]
fn disks_that_are_not_taken() {
    let refused = |mounts: &str, swaps: &str, node: &str| {
        let (_directory, places) = machine(mounts, swaps);
        examine(&places, node).unwrap_err().to_string()
    };
    assert_eq!(
        refused("", "", "/dev/sdx"),
        "/dev/sdx is no disk; there are /dev/sda (2 MiB), /dev/sdb (2 MiB), /dev/sr0 (2 MiB)"
    );
    assert_eq!(
        refused("", "", "/dev/sda2"),
        "/dev/sda2 is a partition; a whole disk is needed, and that is /dev/sda"
    );
    assert_eq!(refused("", "", "/dev/sr0"), "/dev/sr0 is read-only");
    assert!(refused("", "", "/dev/sdb").contains("sectors of 4096 bytes"));
    let mounted = refused("20 1 8:2 / /data rw - ext4 /dev/sda2 rw\n", "", "/dev/sda");
    assert!(mounted.starts_with("/dev/sda2 is mounted at /data: "), "{mounted}");
    let volume = refused("20 1 0:44 /@ /data rw - btrfs /dev/sda1 rw\n", "", "/dev/sda");
    assert!(volume.starts_with("/dev/sda1 is mounted at /data: "), "{volume}");
    let swap = refused("", "/dev/sda1 partition 1 0 -2\n", "/dev/sda");
    assert!(swap.starts_with("/dev/sda1 is in use as swap"), "{swap}");
    let (_directory, places) = machine("", "");
    std::fs::create_dir_all(places.sys.join("class/block/sda1/holders/dm-0")).unwrap();
    let held = examine(&places, "/dev/sda").unwrap_err().to_string();
    assert!(held.starts_with("/dev/sda1 is in use by dm-0: "), "{held}");
}
