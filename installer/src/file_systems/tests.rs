//! Mount tables, sysfs and first bytes of devices as files.

use super::*;
use std::os::unix::fs::symlink;

/// A machine as files: `/sys/class/block` with a disk of two partitions and an encrypted volume, their first bytes in `/dev`.
fn machine(mounts: &str, swaps: &str) -> (tempfile::TempDir, Places) {
    let directory = tempfile::tempdir().unwrap();
    let places = Places::below(directory.path());
    for path in ["proc/self", "dev/mapper", "sys/class/block", "sys/dev/block"] {
        std::fs::create_dir_all(directory.path().join(path)).unwrap();
    }
    std::fs::write(places.proc.join("self/mountinfo"), mounts).unwrap();
    std::fs::write(places.proc.join("swaps"), format!("Filename Type Size Used Priority\n{swaps}")).unwrap();
    for (path, number, partition) in [
        ("pci0/virtio1/block/vda", "254:0", None),
        ("pci0/virtio1/block/vda/vda1", "254:1", Some(1)),
        ("pci0/virtio1/block/vda/vda2", "254:2", Some(2)),
        ("pci0/virtio1/block/vda/vda3", "254:3", Some(3)),
        ("virtual/block/dm-0", "253:0", None),
        ("virtual/block/zram0", "252:0", None),
    ] {
        let place = places.sys.join("devices").join(path);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("size"), "204800\n").unwrap();
        if let Some(partition) = partition {
            std::fs::write(place.join("partition"), format!("{partition}\n")).unwrap();
        }
        let name = place.file_name().unwrap();
        symlink(&place, places.sys.join("class/block").join(name)).unwrap();
        symlink(&place, places.sys.join("dev/block").join(number)).unwrap();
        std::fs::write(places.dev.join(name), vec![0; 1 << 17]).unwrap();
    }
    let mapped = places.sys.join("devices/virtual/block/dm-0");
    std::fs::create_dir_all(mapped.join("dm")).unwrap();
    std::fs::create_dir_all(mapped.join("slaves")).unwrap();
    std::fs::write(mapped.join("dm/uuid"), "CRYPT-LUKS2-0123-secret\n").unwrap();
    std::fs::write(mapped.join("dm/name"), "secret\n").unwrap();
    symlink(places.sys.join("devices/pci0/virtio1/block/vda/vda3"), mapped.join("slaves/vda3")).unwrap();
    symlink("../dm-0", places.dev.join("mapper/secret")).unwrap();
    ext4(&places, "vda2", [0x11; 16]);
    ext4(&places, "dm-0", [0x22; 16]);
    write_at(&places, "vda1", &[(67, &[0x34, 0x12, 0xcd, 0xab]), (82, b"FAT32   "), (510, &[0x55, 0xaa])]);
    write_at(
        &places,
        "vda3",
        &[(0, b"LUKS\xba\xbe\x00\x02"), (168, b"3c2b1a00-1122-3344-5566-778899aabbcc")],
    );
    (directory, places)
}

fn write_at(places: &Places, device: &str, pieces: &[(usize, &[u8])]) {
    let mut bytes = std::fs::read(places.dev.join(device)).unwrap();
    for (offset, piece) in pieces {
        bytes[*offset..offset + piece.len()].copy_from_slice(piece);
    }
    std::fs::write(places.dev.join(device), bytes).unwrap();
}

fn ext4(places: &Places, device: &str, uuid: [u8; 16]) {
    write_at(places, device, &[(1080, &[0x53, 0xef]), (1120, &[0x40]), (1128, &uuid)]);
}

fn entry(mount_point: &str, device: &str, fs_type: &str, options: &[&str]) -> FileSystem {
    FileSystem {
        mount_point: mount_point.to_owned(),
        device: device.to_owned(),
        fs_type: fs_type.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    }
}

const ROOT: &str = "/dev/disk/by-uuid/11111111-1111-1111-1111-111111111111";

#[test]
fn what_is_mounted_below_a_directory_gets_names_that_stay() {
    let (_directory, places) = machine(
        "20 1 0:20 / / rw - tmpfs tmpfs rw\n\
         21 20 0:21 / /proc rw - proc proc rw\n\
         30 20 254:2 / /mnt rw,relatime - ext4 /dev/vda2 rw\n\
         31 30 254:1 / /mnt/boot rw - vfat /dev/vda1 rw,fmask=0077,dmask=0077,codepage=437\n\
         32 30 253:0 / /mnt/home rw - ext4 /dev/mapper/secret rw\n\
         33 30 254:2 /srv/data /mnt/var/www rw - ext4 /dev/vda2 rw\n\
         34 30 0:40 / /mnt/proc rw - proc proc rw\n\
         35 30 254:2 /nix/store /mnt/nix/store ro - ext4 /dev/vda2 rw\n\
         36 20 254:9 / /mntother rw - ext4 /dev/vdb rw\n",
        "/dev/zram0 partition 1 0 1\n/mnt/swap\\040file file 1 0 -2\n",
    );
    let found = read(&places, Path::new("/mnt")).unwrap();
    assert_eq!(
        found.file_systems,
        [
            entry("/", ROOT, "ext4", &[]),
            entry("/boot", "/dev/disk/by-uuid/ABCD-1234", "vfat", &["fmask=0077", "dmask=0077"]),
            entry("/home", "/dev/disk/by-uuid/22222222-2222-2222-2222-222222222222", "ext4", &[]),
            entry("/var/www", "/srv/data", "none", &["bind"]),
        ]
    );
    assert_eq!(found.swaps, ["/swap file"]);
    let under = "/dev/disk/by-uuid/3c2b1a00-1122-3344-5566-778899aabbcc";
    assert_eq!(found.encrypted, [Encrypted { name: "secret".to_owned(), device: under.to_owned() }]);
    assert_eq!(found.devices, ["dm-0", "vda1", "vda2", "vda3"]);
    assert_eq!(found.root_device.as_deref(), Some("vda2"));
    assert_eq!(found.notes, [] as [&str; 0]);
}

#[test]
fn subvolumes_and_what_is_left_out() {
    let (_directory, places) = machine(
        "30 1 0:33 /@ / rw - btrfs /dev/vda2 rw,subvolid=256,subvol=/@\n\
         31 30 0:33 /@home /home rw - btrfs /dev/vda2 rw,subvolid=257,subvol=/@home\n\
         32 30 0:34 / /nix/store rw - overlay overlay rw,lowerdir=/iso\n\
         33 30 0:35 / /tmp rw - tmpfs tmpfs rw\n\
         34 30 0:36 / /scratch rw - tmpfs none rw,size=1024k,mode=700\n\
         35 30 0:37 / /over rw - ext4 /dev/gone rw\n\
         36 30 254:2 / /over rw - ext4 /dev/vda2 rw\n",
        "/dev/vda2 partition 1 0 -2\n",
    );
    let found = read(&places, Path::new("/")).unwrap();
    assert_eq!(
        found.file_systems,
        [
            entry("/", ROOT, "btrfs", &["subvol=@"]),
            entry("/home", ROOT, "btrfs", &["subvol=@home"]),
            entry("/over", ROOT, "ext4", &[]),
            entry("/scratch", "none", "tmpfs", &["size=1024k", "mode=700"]),
        ]
    );
    assert_eq!(found.swaps, [ROOT]);
    assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
    assert!(found.notes[0].starts_with("/nix/store is overlay"), "{:?}", found.notes);
}
