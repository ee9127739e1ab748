//! What units promise, seen on a machine: timers, paths, service types, sandboxes. One boot for all.

use std::time::{Duration, Instant};

use qemu_tests::{Command, Machine};

use crate::distribution;

#[test]
fn units_do_what_they_say() {
    let configurations = distribution::configurations("semantics", &[]);
    let machine = distribution::machine("semantics", &configurations.join("semantics.nix"), 768, 300);
    machine.wait_for_unit("multi-user.target").unwrap();
    assert_eq!(seen(&machine, "language"), "de_DE.UTF-8\nMärz\n2,5");
    sandboxes(&machine);
    types(&machine);
    timers(&machine);
    paths(&machine);
}

/// Starts a service that writes what it sees, and returns that.
fn seen(machine: &Machine, name: &str) -> String {
    machine.succeed(&format!("firn service start {name} || {{ firn logs -u {name} >&2; exit 1; }}")).unwrap();
    machine.succeed(&format!("cat /run/seen/{name}")).unwrap().trim().to_owned()
}

fn sandboxes(machine: &Machine) {
    let strict = seen(machine, "strict");
    assert!(strict.matches("Read-only file system").count() == 2 && strict.ends_with("wrote"), "{strict}");
    let dynamic = seen(machine, "dynamic");
    assert!(
        dynamic.starts_with("dynamic\nmine\ns3cret")
            && dynamic.ends_with("400")
            && dynamic.contains("cannot touch"),
        "{dynamic}"
    );
    assert_eq!(machine.succeed("ls /var/lib/dynamic/; ls -d /run/credentials/*; stat -c %u /var/lib/private/dynamic | cut -c1").unwrap().trim(), "mine\n6");
    let filtered = seen(machine, "filtered");
    assert!(filtered.starts_with("Seccomp:\t2") && filtered.contains("after 3"), "{filtered}");
    assert_eq!(machine.succeed("mount -t tmpfs x /mnt && umount /mnt && echo free").unwrap().trim(), "free");
    let devices = seen(machine, "devices");
    assert!(devices.ends_with("no-vda\n1"), "{devices}");
    let listed = seen(machine, "device-list");
    assert!(listed.contains("disk\n1") && listed.contains("not permitted"), "{listed}");
    assert_eq!(seen(machine, "network"), "1");
    let tmp = seen(machine, "tmp");
    assert_eq!(tmp, "pre\nfrom-pre", "ExecStartPre= and ExecStart= see the same /tmp");
    assert_eq!(
        machine
            .succeed("ls -d /tmp/firn-private-tmp* /var/tmp/firn-private-tmp* 2>/dev/null | wc -l")
            .unwrap()
            .trim(),
        "0"
    );
    machine.succeed("firn service start all-of-it || { firn logs -u all-of-it >&2; exit 1; }").unwrap();
    let all = machine.succeed("cat /run/seen/all").unwrap();
    let expected = ["all-of-it", "NoNewPrivs:\t1", "Permission denied", "0\nfine"];
    assert!(expected.iter().all(|part| all.contains(part)), "{all}");
}

fn types(machine: &Machine) {
    machine.succeed("firn service start executes").unwrap();
    let pid = machine.unit("executes.service").unwrap().main_pid;
    assert_eq!(machine.succeed(&format!("cat /proc/{pid}/comm")).unwrap().trim(), "sleep");
    // With Type=exec the start itself fails.
    machine.fail("firn service start not-there").unwrap();
    let pid = machine.unit("upheld.service").unwrap().main_pid;
    machine.succeed("firn service stop upheld; sleep 1").unwrap();
    let again = machine.unit("upheld.service").unwrap().main_pid;
    assert!(again != 0 && again != pid, "{again}");
}

/// Waits until a file has so many lines.
fn lines(machine: &Machine, path: &str, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let output = machine.run(Command::shell(&format!("cat {path} 2>/dev/null | wc -l"))).unwrap();
        if output.stdout_text().trim().parse::<usize>().is_ok_and(|found| found >= count) {
            return;
        }
        assert!(Instant::now() < deadline, "{path}: {}", machine.unexpected("lines", &output));
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn timers(machine: &Machine) {
    lines(machine, "/run/seen/calendar", 3);
    lines(machine, "/run/seen/span", 2);
    machine.succeed("test -e /var/lib/systemd/timers/stamp-persistent.timer").unwrap();
    // The clock is set a day on: the timer goes on from there.
    machine
        .succeed(
            "date -s '+1 day' && sleep 2 && test $(( $(date +%s) - $(tail -n1 /run/seen/calendar) )) -lt 10",
        )
        .unwrap();
}

fn paths(machine: &Machine) {
    machine.succeed("touch /var/spool/drop/one").unwrap();
    lines(machine, "/run/seen/path", 1);
    machine.succeed("touch /var/spool/drop/two").unwrap();
    lines(machine, "/run/seen/path", 2);
    machine.succeed("test -z \"$(ls /var/spool/drop)\"").unwrap();
    machine.succeed("echo x >/run/seen/watched").unwrap();
    lines(machine, "/run/seen/change", 1);
}
