//! Machines as trees of files.

use super::*;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// Writes files, and links where the text begins with `->`.
fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Places) {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let place = directory.path().join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        match text.strip_prefix("->") {
            Some(target) => {
                let target = directory.path().join(target);
                std::fs::create_dir_all(&target).unwrap();
                symlink(target, place).unwrap();
            }
            None => std::fs::write(place, text).unwrap(),
        }
    }
    let places = Places::below(directory.path());
    (directory, places)
}

#[test]
fn a_machine_of_hardware() {
    let (_directory, places) = tree(&[
        ("proc/cpuinfo", "vendor_id\t: AuthenticAMD\nflags\t\t: fpu svm sse\n\nvendor_id\t: AuthenticAMD\n"),
        ("sys/class/dmi/id/sys_vendor", "LENOVO\n"),
        ("sys/firmware/efi/fw_platform_size", "64\n"),
        // A disk's host with its driver, a USB host whose driver is not loaded, a display.
        ("sys/devices/pci0/a/class", "0x010601\n"),
        ("sys/devices/pci0/a/driver/module", "->sys/module/ahci"),
        ("sys/devices/pci0/b/class", "0x0c0330\n"),
        ("sys/devices/pci0/b/modalias", "pci:v00001022d*\n"),
        ("sys/devices/pci0/c/class", "0x030000\n"),
        ("sys/devices/pci0/c/driver/module", "->sys/module/amdgpu"),
        ("sys/bus/pci/devices/a", "->sys/devices/pci0/a"),
        ("sys/bus/pci/devices/b", "->sys/devices/pci0/b"),
        ("sys/bus/pci/devices/c", "->sys/devices/pci0/c"),
        // A keyboard, a mouse.
        ("sys/devices/pci0/b/usb1/1/bInterfaceClass", "03\n"),
        ("sys/devices/pci0/b/usb1/1/bInterfaceProtocol", "01\n"),
        ("sys/devices/pci0/b/usb1/1/driver/module", "->sys/module/usbhid"),
        ("sys/devices/pci0/b/usb1/2/bInterfaceClass", "03\n"),
        ("sys/devices/pci0/b/usb1/2/bInterfaceProtocol", "02\n"),
        ("sys/devices/pci0/b/usb1/2/driver/module", "->sys/module/mouse"),
        ("sys/bus/usb/devices/1", "->sys/devices/pci0/b/usb1/1"),
        ("sys/bus/usb/devices/2", "->sys/devices/pci0/b/usb1/2"),
        // The disk on the host's second level; a file that is a device.
        ("sys/devices/pci0/a/ata1/target/0:0/driver/module", "->sys/module/sd_mod"),
        ("sys/devices/pci0/a/ata1/target/0:0/block/sda/size", "2048\n"),
        ("sys/class/block/sda", "->sys/devices/pci0/a/ata1/target/0:0/block/sda"),
        ("sys/devices/virtual/block/loop0/size", "2048\n"),
        ("sys/class/block/loop0", "->sys/devices/virtual/block/loop0"),
        ("sys/class/net/enp1s0/device/x", ""),
        ("sys/class/net/lo/x", ""),
    ]);
    let aliases = |alias: &str| -> Vec<String> {
        assert_eq!(alias, "pci:v00001022d*");
        vec!["xhci_pci".to_owned()]
    };
    let found = read(&places, &[], &aliases);
    assert_eq!(found.initrd_modules, ["ahci", "sd_mod", "usbhid", "xhci_pci"]);
    assert_eq!(found.kernel_modules, ["kvm-amd"]);
    assert_eq!(found.processor, Some(Processor::Amd));
    assert_eq!(found.platform, Platform::Bare);
    assert!(found.efi);
    assert_eq!(found.interfaces, ["enp1s0"]);
}

#[test]
fn a_machine_of_software_with_an_encrypted_disk() {
    let (_directory, places) = tree(&[
        ("proc/cpuinfo", "vendor_id : GenuineIntel\nflags : fpu hypervisor\n"),
        ("sys/class/dmi/id/sys_vendor", "QEMU\n"),
        ("sys/devices/pci0/1/driver/module", "->sys/module/virtio_pci"),
        ("sys/devices/pci0/1/virtio0/driver/module", "->sys/module/virtio_blk"),
        ("sys/devices/pci0/1/virtio0/device", "0x0002\n"),
        ("sys/bus/virtio/devices/virtio0", "->sys/devices/pci0/1/virtio0"),
        ("sys/devices/pci0/1/virtio0/block/vda/size", "2048\n"),
        ("sys/class/block/vda", "->sys/devices/pci0/1/virtio0/block/vda"),
        ("sys/devices/virtual/block/dm-0/size", "2048\n"),
        ("sys/devices/virtual/block/dm-0/dm/uuid", "CRYPT-LUKS2-x\n"),
        ("sys/class/block/dm-0", "->sys/devices/virtual/block/dm-0"),
    ]);
    let found = read(&places, &["dm-0".to_owned()], &|_| Vec::new());
    assert_eq!(found.initrd_modules, ["dm_crypt", "dm_mod", "virtio_blk", "virtio_pci"]);
    assert_eq!((found.platform, found.efi), (Platform::Qemu, false));
    assert_eq!(found.kernel_modules, Vec::<String>::new());
}

#[test]
fn nothing_there_is_no_error() {
    let found = read(&Places::below(&PathBuf::from("/does/not/exist")), &["sda".to_owned()], &|_| Vec::new());
    assert_eq!(found.initrd_modules, Vec::<String>::new());
    assert_eq!((found.processor, found.platform), (None, Platform::Bare));
}
