//! Secure Boot, on firmware that enforces it: a machine in setup mode makes its keys, signs its menu and enrolls them; from then
//! on only what is signed starts, with the command line that was signed; a generation that was tampered with is refused, the one
//! before it boots, and the menu is mended.

use std::time::Duration;

use formats::control::Shutdown;
use qemu_tests::{Disk, Machine};

use crate::distribution;

#[test]
fn the_owners_keys_and_nothing_else() {
    let name = "secure-boot";
    let configurations = distribution::configurations(name, &[]);
    let image = distribution::image(&configurations.join("secure-boot.nix"), name);
    let machine = Machine::builder(name)
        .secure_boot()
        .memory_mib(1024)
        .agent()
        .disk(Disk::overlay(image))
        .limit(Duration::from_secs(300))
        .start()
        .unwrap();
    machine.wait_for_unit("multi-user.target").unwrap();

    // An image holds no keys: it boots while the firmware has none either.
    let status = machine.succeed("firn secure-boot status").unwrap();
    assert!(status.contains("Secure Boot is off; setup mode"), "{status}");
    assert!(status.contains("keys       none"), "{status}");
    let menu = "find /boot -type f | sort | xargs sha256sum";
    let before = machine.succeed(menu).unwrap();
    let refusal = machine.fail("firn bootmenu").unwrap().stderr_text();
    assert!(refusal.contains("there is no key at /var/lib/sbctl/keys/db/db.key"), "{refusal}");
    assert_eq!(machine.succeed(menu).unwrap(), before);

    // Keys, a signed menu, and only then the firmware is told.
    machine.succeed("firn secure-boot create-keys --bits 2048").unwrap();
    let modes = machine.succeed("find /var/lib/sbctl/keys -type f -printf '%m\\n' | sort -u").unwrap();
    assert_eq!(modes, "600\n");
    machine.fail("firn secure-boot verify").unwrap();
    machine.succeed("firn bootmenu").unwrap();
    let verified = machine.succeed("firn secure-boot verify").unwrap();
    assert_eq!(verified.lines().count(), 3, "the loader at its two places and the system: {verified}");
    assert!(verified.lines().all(|line| line.ends_with(": signed by CN=Database Key")), "{verified}");
    let caution = machine.fail("firn secure-boot enroll-keys").unwrap().stderr_text();
    assert!(caution.contains("--firmware-builtin"), "{caution}");
    machine.succeed("firn secure-boot enroll-keys --yes-this-might-brick-my-machine").unwrap();
    reboot(&machine);

    // It is on, in the firmware's and in the kernel's words.
    let status = machine.succeed("firn secure-boot status").unwrap();
    for line in
        ["firmware   Secure Boot is on\n", "PK         the owner's key\n", "db         the owner's key\n"]
    {
        assert!(status.contains(line), "{status}");
    }
    assert!(machine.console_text().contains("EFI stub: UEFI Secure Boot is enabled."));
    assert_eq!(variant(&machine), "a\n");
    let again =
        machine.fail("firn secure-boot enroll-keys --yes-this-might-brick-my-machine").unwrap().stderr_text();
    assert!(again.contains("the firmware has a platform key already"), "{again}");

    // Keys that the firmware does not know would make a menu that it does not start.
    let others = "mv /var/lib/sbctl /var/lib/owners; firn secure-boot create-keys --bits 2048; firn bootmenu";
    let refusal = machine.fail(others).unwrap().stderr_text();
    assert!(refusal.contains("is not enrolled in the firmware"), "{refusal}");
    machine.succeed("rm -r /var/lib/sbctl; mv /var/lib/owners /var/lib/sbctl").unwrap();

    // The next generation.
    machine.succeed("firn switch --toplevel /run/current-system/specialisation/b").unwrap();
    machine.succeed("firn secure-boot verify").unwrap();
    reboot(&machine);
    assert_eq!(variant(&machine), "b\n");

    // Somebody changes its kernel, and what the menu says of the first one's command line.
    let newest = program_of(&machine, 2);
    machine.succeed(&format!("printf X | dd of={newest} bs=1 seek=2000000 conv=notrunc")).unwrap();
    let found = machine.fail("firn secure-boot verify").unwrap().stdout_text();
    assert!(found.contains(&format!("{newest}: it was changed after it was signed")), "{found}");
    machine.succeed("sed -i 's/^options .*/& evil=1/' /boot/loader/entries/*-1-*.conf; sync").unwrap();
    machine.shut_down(Shutdown::Reboot).unwrap();
    machine.select_menu_entry("Generation 2").unwrap();
    machine.wait_for_console("Access ").unwrap();
    machine.reset().unwrap();
    machine.select_menu_entry("Generation 1)").unwrap();
    machine.wait_for_agent().unwrap();
    machine.wait_for_unit("multi-user.target").unwrap();
    assert_eq!(variant(&machine), "a\n");
    let command_line = machine.read_text("/proc/cmdline").unwrap();
    assert!(!command_line.contains("evil") && command_line.contains("console=ttyS0"), "{command_line}");

    // What was changed is seen and written again.
    machine.succeed("firn bootmenu --check").unwrap();
    machine.succeed("firn secure-boot verify").unwrap();
    machine.fail("grep evil /boot/loader/entries/*").unwrap();
    reboot(&machine);
    assert_eq!(variant(&machine), "b\n");
    machine.shut_down(Shutdown::PowerOff).unwrap();
}

fn variant(machine: &Machine) -> String {
    machine.read_text("/etc/variant").unwrap()
}

fn reboot(machine: &Machine) {
    machine.shut_down(Shutdown::Reboot).unwrap();
    machine.wait_for_agent().unwrap();
    machine.wait_for_unit("multi-user.target").unwrap();
}

/// The program on the boot partition that a generation's own entry loads.
fn program_of(machine: &Machine, generation: u32) -> String {
    let entry = format!("grep -l '^title Firn (Generation {generation})$' /boot/loader/entries/*.conf");
    let path = machine.succeed(&format!("sed -n 's/^efi //p' $({entry})")).unwrap();
    format!("/boot{}", path.trim())
}
