//! What breaks is said, and the older generation still boots: configurations that cannot be switched to, services that
//! die at once or never stop, a kernel that is missing and an initrd that is cut short on the boot partition.

use std::path::Path;
use std::time::{Duration, Instant};

use formats::control::{ActiveState, Shutdown};
use qemu_tests::{Command, Machine, Output};

use crate::distribution;

const GENERATION_1: [(&str, &str); 3] = [("generation", "1"), ("user", "anna"), ("only", "")];

/// An initrd of its own, a service that dies at once and one that does not stop when it is told to.
const GENERATION_2: [(&str, &str); 3] = [
    ("generation", "2"),
    ("user", "anna"),
    (
        "only",
        "boot.initrd.kernelModules = [ \"loop\" ];
         systemd.services.dies = { wantedBy = [ \"multi-user.target\" ]; serviceConfig.ExecStart = \"${pkgs.coreutils}/bin/false\"; };
         systemd.services.absent = { wantedBy = [ \"multi-user.target\" ]; serviceConfig.ExecStart = \"/nowhere/program\"; };
         systemd.services.stubborn = {
           wantedBy = [ \"multi-user.target\" ];
           serviceConfig = { ExecStart = \"${pkgs.busybox}/bin/busybox sh -c 'trap : TERM INT HUP; while :; do sleep 1000; done'\"; TimeoutStopSec = \"infinity\"; };
         };",
    ),
];

#[test]
fn the_older_generation_still_boots() {
    let configurations = distribution::configurations("breakage", &GENERATION_1);
    let machine = distribution::machine("breakage", &configurations.join("mission.nix"), 1024, 300);
    machine.wait_for_unit("multi-user.target").unwrap();
    let toplevel_1 = machine.link_target("/run/current-system").unwrap();
    let menu = machine.succeed("cd /boot && find . -type f | sort | xargs sha256sum").unwrap();

    // What cannot be built is refused with its place, and nothing has changed.
    for (only, expected) in [
        ("environment.etc = {", "mission.nix"),
        ("services.nginx.enable = \"yes\";", "services.nginx.enable"),
        ("systemd.services.x.serviceConfig.ExecStart = \"${pkgs.coreutils}/bin/nothing\";", "bin/nothing"),
    ] {
        let output = switch(&machine, &[("generation", "1"), ("user", "anna"), ("only", only)]);
        let errors = output.stderr_text();
        assert!(!output.success(), "{only} was switched to");
        assert!(errors.contains(expected), "{only}: {errors}");
        assert_eq!(machine.link_target("/run/current-system").unwrap(), toplevel_1, "{errors}");
        assert_eq!(machine.succeed("cd /boot && find . -type f | sort | xargs sha256sum").unwrap(), menu);
    }

    // A service that dies at once: the switch names it.
    let output = switch(&machine, &GENERATION_2);
    let errors = output.stderr_text();
    let is_named =
        ["dies.service ended at once", "absent.service ended at once"].map(|text| errors.contains(text));
    assert!(!output.success() && is_named == [true; 2], "{}\n{errors}", output.stdout_text());
    let log = machine.succeed("firn logs -u absent.service").unwrap();
    assert!(log.contains("/nowhere/program: cannot execute it"), "{log}");
    let boot = machine
        .run(Command::shell("exec firn boot /etc/nixos/mission.nix").env("FIRN_CHANNEL", "/etc/firn/channel"))
        .unwrap();
    assert!(boot.success(), "{}", machine.unexpected("firn boot", &boot));

    // Booted, it is shown as failed and keeps nobody waiting.
    machine.shut_down(Shutdown::Reboot).unwrap();
    machine.wait_for_unit("stubborn.service").unwrap();
    assert_eq!(machine.read_text("/etc/generation").unwrap(), "2\n");
    machine.wait_for_unit_state("dies.service", ActiveState::Failed).unwrap();
    machine.wait_for_unit("nginx.service").unwrap();
    assert!(machine.succeed("firn status || true").unwrap().contains("dies.service"));

    // One that never stops: the end of the machine is bounded and names it. Before it, the boot partition is damaged: of
    // generation 2 the initrd is cut short.
    let entry = machine.succeed("grep -l 'Generation 2' /boot/loader/entries/*.conf").unwrap();
    let initrd = machine.succeed(&format!("sed -n 's/^initrd *//p' {entry}")).unwrap();
    let initrd = Path::new("/boot").join(initrd.trim().trim_start_matches('/'));
    let initrd = initrd.display();
    machine.succeed(&format!("cp {initrd} /var/lib/initrd && truncate -s -20000 {initrd} && sync")).unwrap();
    let asked = Instant::now();
    machine.shut_down(Shutdown::Reboot).unwrap();
    machine.wait_for_console("stubborn.service").unwrap();
    machine.select_menu_entry("Generation 2").unwrap();
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(90), "the reboot took {took:?}");
    machine.wait_for_console("initrd is cut short").unwrap();
    machine.wait_for_console("An older generation can be chosen in the boot menu").unwrap();

    // Generation 1 boots, and mends the boot partition.
    machine.reset().unwrap();
    machine.select_menu_entry("Generation 1").unwrap();
    is_generation_1(&machine, &toplevel_1);
    machine.succeed("firn bootmenu --check").unwrap();
    let sum = |file: &str| machine.succeed(&format!("sha256sum <{file}")).unwrap();
    assert_eq!(sum(&initrd.to_string()), sum("/var/lib/initrd"), "the initrd was not mended");

    // A generation whose kernel is missing is not offered, and generation 1 boots by itself.
    let kernel = machine.succeed(&format!("sed -n 's/^linux *//p' {entry}")).unwrap();
    machine
        .succeed(&format!("sed -i 's,^linux .*,linux /EFI/missing/kernel.efi,' {} && sync", entry.trim()))
        .unwrap();
    machine.shut_down(Shutdown::Reboot).unwrap();
    is_generation_1(&machine, &toplevel_1);
    machine.succeed("firn bootmenu --check").unwrap();
    assert_eq!(machine.succeed(&format!("sed -n 's/^linux *//p' {entry}")).unwrap(), kernel);
    machine.shut_down(Shutdown::PowerOff).unwrap();
}

fn switch(machine: &Machine, words: &[(&str, &str)]) -> Output {
    machine.succeed("mkdir -p /etc/nixos").unwrap();
    for name in ["agent.nix", "mission.nix"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/firn/configurations").join(name);
        let text = distribution::fill(&std::fs::read_to_string(from).unwrap(), words);
        machine.write_file(&format!("/etc/nixos/{name}"), text, 0o644).unwrap();
    }
    let command = Command::shell("exec firn switch /etc/nixos/mission.nix");
    machine.run(command.env("FIRN_CHANNEL", "/etc/firn/channel")).unwrap()
}

fn is_generation_1(machine: &Machine, toplevel: &str) {
    machine.wait_for_unit("multi-user.target").unwrap();
    machine.wait_for_unit("nginx.service").unwrap();
    assert_eq!(machine.read_text("/etc/generation").unwrap(), "1\n");
    assert_eq!(machine.link_target("/run/current-system").unwrap(), toplevel);
}
