//! Switches that are killed: ten in a row, each between two of three systems, each with `kill -9` of everything that takes
//! part at a random moment. What follows is a switch to the new system, one back to the old, or a power cut, and
//! always ends in the one or the other, whole: files, users, services, boot menu.

use std::time::Instant;

use formats::control::{ActiveState, Shutdown};
use qemu_tests::Machine;

use crate::distribution;

const VARIANTS: [&str; 3] = ["a", "b", "c"];

#[test]
fn killed_at_any_moment() {
    let configurations = distribution::configurations("switching", &[]);
    let machine = distribution::machine("switching", &configurations.join("switching.nix"), 768, 300);
    machine.wait_for_agent().unwrap();
    let toplevels = VARIANTS.map(|variant| {
        let place = match variant {
            "a" => "/run/booted-system".to_owned(),
            _ => format!("/run/booted-system/specialisation/{variant}"),
        };
        machine.succeed(&format!("readlink -f {place}")).unwrap().trim().to_owned()
    });
    is_whole(&machine, &toplevels, 0);

    // How long one takes that nobody kills, and one that has nothing to do.
    let steady = machine.unit("steady.service").unwrap().main_pid;
    let begun = Instant::now();
    switch(&machine, &toplevels[1]);
    let whole = begun.elapsed();
    is_whole(&machine, &toplevels, 1);
    let before = machine.units().unwrap();
    let begun = Instant::now();
    switch(&machine, &toplevels[1]);
    eprintln!("a switch took {whole:?}, one with nothing to do {:?}", begun.elapsed());
    for (before, after) in before.iter().zip(&machine.units().unwrap()) {
        // A moment is told by today's clock, which differs from one question to the next by microseconds.
        assert!(after.since.abs_diff(before.since) < 20_000, "touched: {before:?}, now {after:?}");
        assert_eq!(
            (&after.name, after.active, after.main_pid),
            (&before.name, before.active, before.main_pid)
        );
    }
    assert_eq!(machine.unit("steady.service").unwrap().main_pid, steady, "steady was restarted");

    let mut state: u64 = seed();
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut old = 1;
    for round in 0..10 {
        let new = (old + 1 + random(2) as usize) % 3;
        let after = whole.as_millis() as u64 * random(1000) / 1000;
        let story = format!(
            "round {round}: from {} to {}, killed after {after} of {} ms",
            VARIANTS[old],
            VARIANTS[new],
            whole.as_millis()
        );
        eprintln!("{story}");
        kill_while_switching(&machine, &toplevels[new], after);
        old = match round % 5 {
            // The plug is pulled: what boots is one of the two.
            4 => {
                machine.power_cut();
                machine.start().unwrap();
                machine.wait_for_agent().unwrap();
                let runs = machine.succeed("readlink -f /run/current-system").unwrap();
                let found = toplevels.iter().position(|toplevel| *toplevel == runs.trim());
                let found = found.unwrap_or_else(|| panic!("{story}: {runs} runs"));
                assert!(found == old || found == new, "{story}: {} runs", VARIANTS[found]);
                found
            }
            1 | 3 => {
                switch(&machine, &toplevels[old]);
                old
            }
            _ => {
                switch(&machine, &toplevels[new]);
                new
            }
        };
        is_whole(&machine, &toplevels, old);
    }

    // What a boot finds is what ran.
    machine.shut_down(Shutdown::Reboot).unwrap();
    machine.wait_for_agent().unwrap();
    is_whole(&machine, &toplevels, old);
    machine.shut_down(Shutdown::PowerOff).unwrap();
}

/// Another one for each run; `SEED` repeats one.
fn seed() -> u64 {
    let given = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("SEED={seed}");
    seed
}

fn switch(machine: &Machine, toplevel: &str) {
    machine.succeed(&format!("firn switch --toplevel {toplevel}")).unwrap();
}

/// Switches and kills every process of the switch after so many milliseconds.
fn kill_while_switching(machine: &Machine, toplevel: &str, after: u64) {
    let line = format!(
        "(firn switch --toplevel {toplevel} >/run/killed 2>&1 &); sleep {}.{:03}; \
         for process in /proc/[0-9]*; do case $(readlink $process/exe) in \
         */firn|*/firn-activate|*/activate) kill -9 ${{process#/proc/}} ;; esac; done; true",
        after / 1000,
        after % 1000
    );
    machine.succeed(&line).unwrap();
}

/// Files, users, services and links are those of one variant.
fn is_whole(machine: &Machine, toplevels: &[String; 3], variant: usize) {
    let name = VARIANTS[variant];
    assert_eq!(machine.link_target("/run/current-system").unwrap(), toplevels[variant]);
    assert_eq!(machine.read_text("/etc/variant").unwrap().trim(), name);
    for unit in ["steady.service", "changing.service", "multi-user.target"] {
        machine.wait_for_unit(unit).unwrap();
    }
    let pid = machine.unit("changing.service").unwrap().main_pid;
    let environment = machine.read_text(&format!("/proc/{pid}/environ")).unwrap();
    assert!(environment.split('\0').any(|word| word == format!("VARIANT={name}")), "{environment:?}");
    let users = machine.read_text("/etc/passwd").unwrap();
    for other in VARIANTS {
        let is_this = other == name;
        assert_eq!(
            users.contains(&format!("\nuser-{other}:")),
            is_this,
            "user-{other} in variant {name}:\n{users}"
        );
        let exists = machine.run(qemu_tests::Command::new(["test", "-e", &format!("/etc/only-{other}")]));
        assert_eq!(exists.unwrap().success(), is_this, "/etc/only-{other} in variant {name}");
        let unit = format!("only-{other}.service");
        if is_this {
            machine.wait_for_unit(&unit).unwrap();
        } else {
            let runs = machine.unit(&unit).is_ok_and(|unit| unit.active == ActiveState::Active);
            assert!(!runs, "{unit} runs in variant {name}");
        }
    }
    let failed: Vec<_> =
        machine.units().unwrap().into_iter().filter(|unit| unit.active == ActiveState::Failed).collect();
    assert!(failed.is_empty(), "{failed:?}");
}
