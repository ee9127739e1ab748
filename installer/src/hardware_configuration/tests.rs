//! The texts are files of os/tests/fixtures/generated, where os/tests evaluates them with Firn's modules; UPDATE=1 writes them anew.

use super::*;
use crate::configuration::{self, Loader};
use crate::file_systems::Encrypted;
use std::path::Path;

fn check(name: &str, text: &str) {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../os/tests/fixtures/generated").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(&place, text).unwrap();
    }
    let expected = std::fs::read_to_string(&place).unwrap_or_default();
    assert!(
        text == expected,
        "{} differs; with UPDATE=1 in the environment it is written anew:\n{text}",
        place.display()
    );
}

fn file_system(mount_point: &str, device: &str, fs_type: &str, options: &[&str]) -> FileSystem {
    FileSystem {
        mount_point: mount_point.to_owned(),
        device: device.to_owned(),
        fs_type: fs_type.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    }
}

fn hardware(platform: Platform) -> Hardware {
    let modules = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Hardware {
        initrd_modules: modules(&["ahci", "nvme", "xhci_pci"]),
        kernel_modules: modules(&["kvm-amd"]),
        processor: Some(Processor::Amd),
        platform,
        efi: true,
        interfaces: modules(&["enp1s0", "wlp2s0"]),
    }
}

#[test]
fn a_machine_of_hardware() {
    let root = "/dev/disk/by-uuid/11111111-1111-1111-1111-111111111111";
    let found = Found {
        file_systems: vec![
            file_system("/", root, "btrfs", &["subvol=@"]),
            file_system("/boot", "/dev/disk/by-uuid/ABCD-1234", "vfat", &["fmask=0077", "dmask=0077"]),
            file_system("/srv/a \"b\" ${c}", "/dev/disk/by-label/data", "ext4", &[]),
            file_system("/var/www", "/srv/www", "none", &["bind"]),
        ],
        swaps: vec![
            "/dev/disk/by-uuid/22222222-2222-2222-2222-222222222222".to_owned(),
            "/swapfile".to_owned(),
        ],
        encrypted: vec![Encrypted { name: "secret".to_owned(), device: root.to_owned() }],
        ..Found::default()
    };
    check("bare/hardware-configuration.nix", &text(&hardware(Platform::Bare), Some(&found)));
    check("bare/configuration.nix", &configuration::text(&Loader::Efi, "26.05"));
}

#[test]
fn a_machine_of_software() {
    let plan =
        crate::layout::Plan::new(crate::layout::Layout::BiosExt4, "/dev/vda", 4 << 30, b"seed", 1).unwrap();
    let qemu = Hardware { processor: None, efi: false, interfaces: Vec::new(), ..hardware(Platform::Qemu) };
    check("qemu/hardware-configuration.nix", &text(&qemu, Some(&plan.file_systems())));
    check("qemu/configuration.nix", &configuration::text(&plan.loader(), "26.05"));
}

#[test]
fn file_systems_can_be_left_out() {
    let text = text(&hardware(Platform::Other("VMware")), None);
    assert!(!text.contains("fileSystems") && !text.contains("swapDevices"), "{text}");
    assert!(
        text.contains("# This machine runs under VMware.") && text.contains("linuxPackages_full"),
        "{text}"
    );
}
