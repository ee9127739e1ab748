//! Installation media: one file boots as a CD through a BIOS and as a disk through UEFI, into a system whose root is in memory and whose
//! store can be added to. Booting it changes nothing on it, and writing it again gives the same bytes.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use formats::control::{ActiveState, Shutdown};
use qemu_tests::{Builder, Bus, Command, Disk, Machine};

use crate::distribution;

#[test]
fn a_cd_by_bios() {
    let medium = medium("medium-cd");
    let disk = Disk::read_only(&medium).bus(Bus::ScsiCdrom);
    live("medium-cd", Machine::builder("medium-cd").bios(), disk);
}

#[test]
fn a_stick_by_uefi() {
    let medium = medium("medium-stick");
    live("medium-stick", Machine::builder("medium-stick").uefi(), Disk::raw(&medium));
    let again = distribution::directory().join("medium-again.iso");
    write("medium-stick", &again);
    assert_same_bytes(&medium, &again);
    std::fs::remove_file(again).unwrap();
}

/// A fresh medium.
fn medium(name: &str) -> PathBuf {
    let path = distribution::directory().join(format!("{name}.iso"));
    write(name, &path);
    path
}

fn write(name: &str, path: &Path) {
    let configuration = distribution::configurations(name, &[]).join("medium.nix");
    let words = ["image", "--format", "iso", "-o"].map(OsStr::new);
    let output = distribution::firn(words.into_iter().chain([path.as_os_str(), configuration.as_os_str()]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn live(name: &str, builder: Builder, medium: Disk) {
    let machine =
        builder.memory_mib(1024).agent().disk(medium).limit(Duration::from_secs(300)).start().unwrap();
    machine.wait_for_screen("Installer").unwrap();
    machine.wait_for_unit("multi-user.target").unwrap();
    let failed: Vec<_> =
        machine.units().unwrap().into_iter().filter(|unit| unit.active == ActiveState::Failed).collect();
    assert!(failed.is_empty(), "{name}: {failed:?}");

    // What is where.
    let mounts = machine.mounts().unwrap();
    let kind =
        |target: &str| mounts.iter().rfind(|mount| mount.target == target).map(|mount| mount.kind.as_str());
    assert_eq!(kind("/"), Some("tmpfs"));
    assert_eq!(kind("/iso"), Some("iso9660"));
    assert_eq!(kind("/nix/store"), Some("overlay"));
    assert!(machine.succeed("cat /iso/configuration.nix").unwrap().contains("isoImage.volumeID"));
    machine.fail("touch /iso/x").unwrap();
    machine.fail("touch /nix/store/x").unwrap();

    // Every path of the medium is known and as it was when it was registered.
    machine.succeed("firn store verify --contents").unwrap();
    machine.succeed("$(ls -d /nix/store/*-hello-*/bin/hello | head -n1)").unwrap();

    // The store is added to: a file, then what a builder makes.
    machine.succeed("echo text >/root/file").unwrap();
    let added = machine.succeed("firn store add /root/file").unwrap();
    assert_eq!(machine.succeed(&format!("cat {}", added.trim())).unwrap(), "text\n");
    let expression = "(import <firn/os/packages> { }).writeText \"made\" \"made here\"";
    let build = Command::new(["firn", "build", "-E", expression]).env("FIRN_CHANNEL", "/etc/firn/channel");
    let built = machine.run(build).unwrap();
    assert!(built.success(), "{}", machine.unexpected("firn build", &built));
    let path = built.stdout_text();
    assert_eq!(machine.succeed(&format!("cat {}", path.trim())).unwrap(), "made here");
    assert!(
        machine
            .succeed(&format!("ls /nix/.rw-store/store{}", path.trim().trim_start_matches("/nix/store")))
            .is_ok()
    );
    machine.shut_down(Shutdown::PowerOff).unwrap();
}

/// Compared in pieces: media are large.
fn assert_same_bytes(left: &Path, right: &Path) {
    let (mut one, mut other) = (File::open(left).unwrap(), File::open(right).unwrap());
    assert_eq!(one.metadata().unwrap().len(), other.metadata().unwrap().len());
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for piece in 0.. {
        let count = one.read(&mut a).unwrap();
        if count == 0 {
            return;
        }
        other.read_exact(&mut b[..count]).unwrap();
        assert!(a[..count] == b[..count], "{} and {} differ in MiB {piece}", left.display(), right.display());
    }
}
