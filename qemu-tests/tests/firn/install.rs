//! Installing from a medium onto an empty disk without a network, by UEFI and by a BIOS; and once with the power cut while the
//! system is copied, after which the same command finishes. The disk then boots by itself, and its system builds and goes back.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use formats::control::{ActiveState, Shutdown};
use qemu_tests::disk::create_raw;
use qemu_tests::{Builder, Bus, Command, Disk, Machine};

use crate::distribution;

/// Bytes of the disk that is installed on.
const DISK: u64 = 3 << 30;

#[test]
fn by_uefi_and_again_after_a_power_cut() {
    let disk = empty_disk("install-uefi");
    // The empty disk comes first, so that it has one name here and when it is alone; the firmware passes it over.
    let builder =
        Machine::builder("install-uefi").uefi().disk(Disk::raw(&disk)).disk(Disk::read_only(medium()));
    let machine = live(builder);
    let install = "firn install --disk /dev/vda --config /iso/system --yes 2>&1";
    let mut running = machine.spawn(Command::shell(install)).unwrap();
    let said = running.wait_for_stdout("copying: ").unwrap();
    assert!(said.contains("no partitions and no file system that is known"), "{said}");
    machine.power_cut();
    drop(running);

    machine.start().unwrap();
    machine.wait_for_unit("multi-user.target").unwrap();
    // Not without being told twice, not onto the medium, not onto what is mounted.
    let refused = machine.fail("firn install --disk /dev/vda --config /iso/system </dev/null").unwrap();
    assert!(refused.stderr_text().contains("say --yes"), "{}", refused.stderr_text());
    let refused = machine.fail("firn install --disk /dev/vdb --yes").unwrap();
    assert!(refused.stderr_text().contains("/dev/vdb is "), "{}", refused.stderr_text());
    // It says what the earlier run left and will be lost.
    let said = installs(&machine, install);
    assert!(said.contains("/dev/vda3") && said.contains("ext4 \"firn\""), "{said}");
    enters(&machine);
    machine.shut_down(Shutdown::PowerOff).unwrap();
    drop(machine);
    let machine = runs_by_itself(Machine::builder("installed-uefi").uefi(), &disk);
    lives_on(&machine);
    machine.shut_down(Shutdown::PowerOff).unwrap();
}

#[test]
fn by_bios() {
    let disk = empty_disk("install-bios");
    let medium = Disk::read_only(medium()).bus(Bus::ScsiCdrom);
    let machine = live(Machine::builder("install-bios").bios().disk(medium).disk(Disk::raw(&disk)));
    installs(&machine, "firn install --disk /dev/vda --config /iso/system --yes 2>&1");
    machine.shut_down(Shutdown::PowerOff).unwrap();
    drop(machine);
    let machine = runs_by_itself(Machine::builder("installed-bios").bios(), &disk);
    machine.shut_down(Shutdown::PowerOff).unwrap();
}

/// The medium, written once for all tests.
fn medium() -> &'static Path {
    static MEDIUM: OnceLock<PathBuf> = OnceLock::new();
    MEDIUM.get_or_init(|| {
        let path = distribution::directory().join("install.iso");
        let configuration = distribution::configurations("install", &[]).join("install.nix");
        let words = ["image", "--format", "iso", "-o"].map(OsStr::new);
        let output =
            distribution::firn(words.into_iter().chain([path.as_os_str(), configuration.as_os_str()]));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        path
    })
}

fn empty_disk(name: &str) -> PathBuf {
    let path = distribution::directory().join(format!("{name}-target.img"));
    create_raw(&path, DISK).unwrap();
    path
}

/// The live system, with the disk to install on and no network.
fn live(builder: Builder) -> Machine {
    let machine = builder.memory_mib(1536).agent().limit(Duration::from_secs(300)).start().unwrap();
    machine.wait_for_unit("multi-user.target").unwrap();
    machine
}

fn installs(machine: &Machine, command: &str) -> String {
    let output = machine.run(Command::shell(command)).unwrap();
    let said = output.stdout_text();
    assert!(output.success(), "{command}: {said}");
    assert!(said.contains("reboot to start it"), "{said}");
    assert!(!said.contains("note: not everything"), "{said}");
    // What was mounted for it is not any more.
    assert!(!machine.mounts().unwrap().iter().any(|mount| mount.target.starts_with("/mnt")), "{said}");
    said
}

/// Into the new system before it ever ran.
fn enters(machine: &Machine) {
    machine.succeed("mount /dev/vda3 /mnt && mount -o fmask=0077,dmask=0077 /dev/vda2 /mnt/boot").unwrap();
    let said = machine
        .succeed("firn enter -c 'cat /etc/generation; id -u anna; readlink /run/current-system'")
        .unwrap();
    assert!(said.starts_with("first\n1000\n/nix/store/"), "{said}");
    let output = machine.run(Command::shell("firn enter -- sh -c 'exit 7'")).unwrap();
    assert_eq!(output.code, Some(7), "{}", output.stderr_text());
    // It is mounted like this, so it is written like this.
    let shown = machine.succeed("firn generate-config --root /mnt --show-hardware-config").unwrap();
    let written = machine.succeed("cat /mnt/etc/nixos/hardware-configuration.nix").unwrap();
    assert_eq!(shown, written);
    // Again, into what is mounted: there is nothing left to do.
    let again = machine.succeed("firn install 2>&1").unwrap();
    assert!(again.contains("0 store paths"), "{again}");
    machine.succeed("umount -R /mnt").unwrap();
}

/// The disk alone: it boots into what was installed.
fn runs_by_itself(builder: Builder, disk: &Path) -> Machine {
    let machine = builder
        .memory_mib(1024)
        .agent()
        .disk(Disk::raw(disk))
        .limit(Duration::from_secs(300))
        .start()
        .unwrap();
    machine.wait_for_unit("multi-user.target").unwrap();
    let failed: Vec<_> =
        machine.units().unwrap().into_iter().filter(|unit| unit.active == ActiveState::Failed).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(machine.read_text("/etc/generation").unwrap(), "first\n");
    assert_eq!(machine.read_text("/etc/hostname").unwrap(), "installed\n");
    assert!(machine.read_text("/etc/passwd").unwrap().contains("\nanna:"));
    let mounts = machine.mounts().unwrap();
    let kind =
        |target: &str| mounts.iter().rfind(|mount| mount.target == target).map(|mount| mount.kind.as_str());
    assert_eq!((kind("/"), kind("/boot")), (Some("ext4"), Some("vfat")));
    assert_eq!(machine.link_target("/nix/var/nix/profiles/system").unwrap(), "system-1-link");
    machine
}

/// Its store is whole, it makes a second generation and goes back.
fn lives_on(machine: &Machine) {
    machine.succeed("firn store verify --contents").unwrap();
    machine.succeed("sed -i 's/first/second/' /etc/nixos/configuration.nix").unwrap();
    let switch = Command::shell("firn switch 2>&1");
    let output = machine.run(switch).unwrap();
    assert!(output.success(), "{}", output.stdout_text());
    assert_eq!(machine.read_text("/etc/generation").unwrap(), "second\n");
    assert_eq!(machine.link_target("/nix/var/nix/profiles/system").unwrap(), "system-2-link");
    machine.succeed("firn rollback").unwrap();
    assert_eq!(machine.read_text("/etc/generation").unwrap(), "first\n");
}
