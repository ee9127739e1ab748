//! Boot menus: systemd-boot under OVMF and GRUB under `SeaBIOS`, driven by what is written in them.

use qemu_tests::{Builder, Disk, Machine};

use crate::boot_disk::{self, ENTRIES};

fn machine(name: &str) -> Builder {
    let disk = boot_disk::make(&format!("{name}.raw"));
    Machine::builder(name).memory_mib(512).agent().disk(Disk::overlay(disk))
}

/// Chooses each entry once, from above and from below, after a reset and after a power cut.
fn every_entry_boots(machine: &Machine) {
    for (round, (title, word)) in [ENTRIES[1], ENTRIES[2], ENTRIES[0]].into_iter().enumerate() {
        let screen = machine.select_menu_entry(title).unwrap();
        assert!(ENTRIES.iter().all(|(title, _)| screen.row_with(title).is_some()), "{}", screen.text());
        machine.wait_for_console("guest: booted with").unwrap();
        assert!(machine.read_text("/proc/cmdline").unwrap().contains(word), "{title}");
        match round {
            0 => machine.reset().unwrap(),
            1 => {
                machine.power_cut();
                machine.start().unwrap();
            }
            _ => machine.power_off_at_once().unwrap(),
        }
    }
}

#[test]
fn systemd_boot_by_uefi() {
    every_entry_boots(&machine("systemd-boot").uefi().start().unwrap());
}

#[test]
fn grub_by_bios() {
    every_entry_boots(&machine("grub").bios().start().unwrap());
}

/// What no menu shows cannot be chosen, and the error shows the menu.
#[test]
fn a_missing_entry_is_said() {
    let machine = machine("missing-entry").bios().start().unwrap();
    machine.wait_for_screen(ENTRIES[0].0).unwrap();
    machine.set_limit(std::time::Duration::from_secs(3));
    let failure = machine.select_menu_entry("Generation 9").unwrap_err().to_string();
    assert!(failure.contains("Generation 9"), "{failure}");
}
