//! The mission: generation 1 boots from an image through a boot menu; inside, generation 2 is built without a network
//! and switched to, and only the changed service restarts; a reboot lands in 2; choosing generation 1 in the menu lands
//! in 1, with its services, users and files. Through OVMF and systemd-boot, and through `SeaBIOS` and GRUB.

use std::time::Duration;

use formats::control::{ActiveState, Shutdown};
use qemu_tests::{Builder, Command, Disk, Machine};

use crate::distribution;

const GENERATION_1: [(&str, &str); 3] = [("generation", "1"), ("user", "anna"), ("only", "")];
const GENERATION_2: [(&str, &str); 3] = [
    ("generation", "2"),
    ("user", "berta"),
    (
        "only",
        "systemd.services.added = { wantedBy = [ \"multi-user.target\" ]; serviceConfig.ExecStart = \"${pkgs.coreutils}/bin/sleep infinity\"; };",
    ),
];

#[test]
fn by_uefi_and_systemd_boot() {
    mission("mission-uefi", Machine::builder("mission-uefi").uefi());
}

#[test]
fn by_bios_and_grub() {
    mission("mission-bios", Machine::builder("mission-bios").bios());
}

fn mission(name: &str, builder: Builder) {
    let configurations = distribution::configurations(name, &GENERATION_1);
    let image = distribution::image(&configurations.join("mission.nix"), name);
    let machine = builder
        .memory_mib(1024)
        .agent()
        .disk(Disk::overlay(image))
        .limit(Duration::from_secs(300))
        .start()
        .unwrap();

    // Generation 1, by itself.
    machine.wait_for_screen("Generation 1").unwrap();
    is_generation_1(&machine);
    let toplevel_1 = machine.link_target("/run/booted-system").unwrap();
    store_is_read_only(&machine);

    // What must not change by a switch.
    let steady = machine.unit("steady.service").unwrap().main_pid;
    let nginx = machine.unit("nginx.service").unwrap().main_pid;
    let changing = machine.unit("changing.service").unwrap().main_pid;
    machine.succeed("echo kept >/var/lib/kept").unwrap();

    // Generation 2, built offline.
    assert!(!machine.list_directory("/sys/class/net").unwrap().iter().any(|card| card != "lo"), "no network");
    for name in ["agent.nix", "mission.nix"] {
        let from =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/firn/configurations").join(name);
        let text = distribution::fill(&std::fs::read_to_string(from).unwrap(), &GENERATION_2);
        machine.succeed("mkdir -p /etc/nixos").unwrap();
        machine.write_file(&format!("/etc/nixos/{name}"), text, 0o644).unwrap();
    }
    let switch =
        Command::shell("exec firn switch /etc/nixos/mission.nix").env("FIRN_CHANNEL", "/etc/firn/channel");
    let output = machine.run(switch).unwrap();
    assert!(output.success(), "{}", machine.unexpected("firn switch", &output));

    // Only what changed was touched.
    assert_eq!(machine.unit("steady.service").unwrap().main_pid, steady, "steady was restarted");
    assert_eq!(machine.unit("nginx.service").unwrap().main_pid, nginx, "nginx was restarted");
    assert_ne!(machine.unit("changing.service").unwrap().main_pid, changing, "changing was not restarted");
    is_generation_2(&machine);
    assert_eq!(machine.link_target("/run/booted-system").unwrap(), toplevel_1, "the booted system stays");
    let toplevel_2 = machine.link_target("/run/current-system").unwrap();
    assert_ne!(toplevel_1, toplevel_2);

    // A reboot lands in 2.
    reboot(&machine);
    is_generation_2(&machine);
    assert_eq!(machine.link_target("/run/booted-system").unwrap(), toplevel_2);
    assert_eq!(machine.link_target("/run/current-system").unwrap(), toplevel_2);

    // A second boot changes nothing.
    let before = fingerprint(&machine);
    reboot(&machine);
    is_generation_2(&machine);
    assert_eq!(fingerprint(&machine), before, "the second boot changed something");

    // Generation 1 chosen in the menu.
    machine.shut_down(Shutdown::Reboot).unwrap();
    machine.select_menu_entry("Generation 1").unwrap();
    is_generation_1(&machine);
    assert_eq!(machine.link_target("/run/booted-system").unwrap(), toplevel_1);
    assert_eq!(machine.link_target("/run/current-system").unwrap(), toplevel_1);
    assert_eq!(machine.read_text("/var/lib/kept").unwrap(), "kept\n");

    // It ends when it is told to.
    machine.shut_down(Shutdown::PowerOff).unwrap();
}

fn is_generation_1(machine: &Machine) {
    running(machine);
    assert_eq!(machine.read_text("/etc/generation").unwrap(), "1\n");
    assert_eq!(generation_of_changing(machine), "GENERATION=1");
    let users = machine.read_text("/etc/passwd").unwrap();
    assert!(users.contains("\nanna:") && !users.contains("\nberta:"), "{users}");
    assert!(machine.unit("added.service").is_err());
}

fn is_generation_2(machine: &Machine) {
    running(machine);
    machine.wait_for_unit("added.service").unwrap();
    assert_eq!(machine.read_text("/etc/generation").unwrap(), "2\n");
    assert_eq!(generation_of_changing(machine), "GENERATION=2");
    let users = machine.read_text("/etc/passwd").unwrap();
    assert!(users.contains("\nberta:"), "{users}");
}

/// The services that both generations have run, and none has failed.
fn running(machine: &Machine) {
    for unit in ["steady.service", "changing.service", "nginx.service", "multi-user.target"] {
        machine.wait_for_unit(unit).unwrap();
    }
    machine.wait_for_port(80).unwrap();
    assert_eq!(machine.succeed("curl -s http://localhost/").unwrap(), "the page that stays\n");
    let failed: Vec<_> =
        machine.units().unwrap().into_iter().filter(|u| u.active == ActiveState::Failed).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// What the running process really has in its environment.
fn generation_of_changing(machine: &Machine) -> String {
    let pid = machine.unit("changing.service").unwrap().main_pid;
    let environment = machine.read_text(&format!("/proc/{pid}/environ")).unwrap();
    environment
        .split('\0')
        .find(|variable| variable.starts_with("GENERATION="))
        .unwrap_or_default()
        .to_owned()
}

fn store_is_read_only(machine: &Machine) {
    let failure = machine.fail("touch /nix/store/x").unwrap().stderr_text();
    assert!(failure.contains("Read-only file system"), "{failure}");
    let mount = machine.mounts().unwrap().into_iter().rfind(|mount| mount.target == "/nix/store").unwrap();
    assert!(mount.options.iter().any(|option| option == "ro"), "{mount:?}");
}

fn reboot(machine: &Machine) {
    machine.shut_down(Shutdown::Reboot).unwrap();
    machine.wait_for_agent().unwrap();
}

/// Everything that belongs to the system and not to a boot.
fn fingerprint(machine: &Machine) -> String {
    machine
        .succeed(
            "cd /; find etc nix/var/nix/profiles boot -xdev ! -name 'random-seed*' -printf '%p %m %U %G %l\\n' | sort; \
             cat etc/passwd etc/shadow etc/group etc/machine-id; find boot -type f | sort | xargs sha256sum",
        )
        .unwrap()
}
