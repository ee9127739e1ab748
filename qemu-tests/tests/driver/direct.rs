//! Direct kernel boot: the agent's commands, files and waits; resets, power cuts, snapshots.

use std::io::Read as _;
use std::time::{Duration, Instant};

use qemu_tests::{Command, Disk, Error, disk, write_log::WriteLog};

use crate::parts;

/// One boot for everything that does not harm the machine.
#[test]
fn commands_files_and_waits() {
    let machine = parts::small_system("commands").start().unwrap();
    machine.wait_for_console("guest: booted with").unwrap();
    machine.wait_for_agent().unwrap();

    // Streams and exit codes are kept apart.
    let output = machine.run(Command::shell("echo out; echo err >&2; exit 3")).unwrap();
    assert_eq!(
        (output.code, output.stdout_text().as_str(), output.stderr_text().as_str()),
        (Some(3), "out\n", "err\n")
    );
    let output = machine.run(Command::shell("kill -9 $$")).unwrap();
    assert_eq!((output.code, output.signal), (None, Some(9)));
    let failure = machine.succeed("echo seen; false").unwrap_err().to_string();
    assert!(failure.contains("exit code 1") && failure.contains("seen"), "{failure}");
    assert!(machine.fail("false").is_ok());
    assert!(matches!(machine.run(Command::new(["no-such-program"])), Err(Error::Agent { errno: 2, .. })));

    // Words, environment, directory, input.
    let command =
        Command::new(["sh", "-c", "pwd; echo $A $B; cat", "x"]).env("A", "1").directory("/tmp").stdin("in");
    assert_eq!(machine.run(command).unwrap().stdout_text(), "/tmp\n1\nin");
    let clean = Command::new(["/bin/busybox", "env"]).clear_env().env("ONLY", "this");
    assert_eq!(machine.run(clean).unwrap().stdout_text(), "ONLY=this\n");

    // A daemon that keeps the streams open does not hold up the answer.
    let start = Instant::now();
    assert_eq!(machine.succeed("sleep 100 & echo started").unwrap(), "started\n");
    assert!(start.elapsed() < Duration::from_secs(20));

    // Side by side: the first waits for what the second does.
    let mut waiting = machine
        .spawn(Command::shell("echo go; until [ -e /tmp/flag ]; do sleep 0.1; done; echo seen"))
        .unwrap();
    waiting.wait_for_stdout("go").unwrap();
    machine.succeed("touch /tmp/flag").unwrap();
    assert_eq!(waiting.wait().unwrap().stdout_text(), "go\nseen\n");

    // A dropped command is killed, a signal reaches the whole group.
    drop(machine.spawn(Command::new(["sleep", "4321"])).unwrap());
    machine.succeed("while pgrep -f 'sleep 4321' | grep -v $$; do sleep 0.1; done").unwrap();
    let sleeping = machine.spawn(Command::shell("sleep 1000; true")).unwrap();
    sleeping.signal(15).unwrap();
    assert_eq!(sleeping.wait().unwrap().signal, Some(15));

    // Files of more than one frame go both ways; what cannot be written is said.
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    machine.write_file("/tmp/big", &bytes, 0o640).unwrap();
    assert_eq!(machine.read_file("/tmp/big").unwrap(), bytes);
    let status = machine.status("/tmp/big").unwrap().unwrap();
    assert_eq!((status.mode, status.size), (0o640, bytes.len() as u64));
    assert!(machine.status("/tmp/none").unwrap().is_none());
    machine.succeed("ln -s /tmp/big /tmp/link").unwrap();
    assert_eq!(machine.link_target("/tmp/link").unwrap(), "/tmp/big");
    assert!(machine.list_directory("/tmp").unwrap().contains(&"link".to_owned()));
    assert!(machine.write_file("/none/x", "x", 0o644).unwrap_err().to_string().contains("/none/x"));
    assert!(machine.read_text("/proc/meminfo").unwrap().contains("MemTotal"));

    // Waits end when it happens, for paths whose directories are not there yet as well.
    let later = machine.spawn(Command::shell("sleep 1; mkdir -p /tmp/a/b; echo half >/tmp/a/b/c; sleep 1; echo whole >>/tmp/a/b/c; sleep 1; rm -r /tmp/a"));
    machine.wait_for_file("/tmp/a/b/c").unwrap();
    machine.wait_for_file_text("/tmp/a/b/c", "whole").unwrap();
    machine.wait_for_no_file("/tmp/a").unwrap();
    assert!(later.unwrap().wait().unwrap().success());
    let server = machine.spawn(Command::shell("sleep 1; exec nc -l -p 7777")).unwrap();
    machine.wait_for_port(7777).unwrap();
    drop(server);
    machine.wait_for_closed_port(7777).unwrap();

    // A socket of the guest as a stream of the host.
    assert!(
        machine.connect("/tmp/none").unwrap().read(&mut [0]).unwrap_err().to_string().contains("/tmp/none")
    );

    // Clocks, mounts.
    assert!(machine.uptime().unwrap() > Duration::from_millis(100));
    assert!(machine.time().unwrap() > Duration::from_secs(1_600_000_000));
    assert!(machine.mounts().unwrap().iter().any(|mount| mount.target == "/proc" && mount.kind == "proc"));

    // The console is a terminal.
    machine.type_text("echo typed-$((6 * 7))\n").unwrap();
    machine.wait_for_console("typed-42").unwrap();
    assert!(machine.wait_for_screen("typed-42").unwrap().to_svg().contains("typed-42"));

    // What does not happen is said in time, with the console's last lines.
    machine.set_limit(Duration::from_secs(2));
    let failure = machine.wait_for_file("/tmp/never").unwrap_err().to_string();
    assert!(failure.contains("/tmp/never") && failure.contains("typed-42"), "{failure}");
    let failure = machine.wait_for_console("never said").unwrap_err().to_string();
    assert!(failure.contains("never said") && failure.contains("machine commands"), "{failure}");
}

/// The agent of the next boot is found after a reset in the middle of a conversation, and the lost request is said.
#[test]
fn resets_and_power_cuts() {
    let machine = parts::small_system("resets").start().unwrap();
    let first = machine.boot_id().unwrap();
    let busy = machine
        .spawn(Command::shell("while true; do echo a long line that keeps the port busy; done"))
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    machine.reset().unwrap();
    assert!(matches!(busy.wait(), Err(Error::GuestGone { .. })));
    let second = machine.boot_id().unwrap();
    assert_ne!(first, second);
    assert_eq!(machine.succeed("echo alive").unwrap(), "alive\n");

    machine.reboot_at_once().unwrap();
    let third = machine.boot_id().unwrap();
    assert_ne!(second, third);

    machine.power_cut();
    assert!(!machine.is_running());
    assert!(machine.succeed("true").unwrap_err().to_string().contains("not running"));
    machine.start().unwrap();
    assert_ne!(machine.boot_id().unwrap(), third);
    machine.power_off_at_once().unwrap();
    assert!(!machine.is_running());
}

/// Two machines go on from one saved state, with its memory and its disks, without knowing of each other.
#[test]
fn snapshots() {
    let raw = parts::directory().join("snapshot.raw");
    disk::create_raw(&raw, 8 << 20).unwrap();
    let machine = parts::small_system("snapshot").disk(Disk::overlay(&raw)).start().unwrap();
    machine.succeed("echo before >/tmp/memory; echo before >/dev/vda; sync").unwrap();
    let booted = machine.boot_id().unwrap();
    let snapshot = machine.save(&parts::directory().join("snapshot")).unwrap();
    for name in ["one", "other"] {
        let start = Instant::now();
        let restored = snapshot.start(format!("snapshot-{name}")).unwrap();
        assert_eq!(restored.boot_id().unwrap(), booted, "no boot in between");
        assert!(start.elapsed() < Duration::from_secs(20), "restoring took {:?}", start.elapsed());
        assert_eq!(restored.read_text("/tmp/memory").unwrap(), "before\n");
        assert_eq!(restored.succeed("head -n1 /dev/vda").unwrap(), "before\n");
        restored.succeed(&format!("echo {name} >/tmp/memory; echo {name} >/dev/vda; sync")).unwrap();
    }
}

/// Every write and flush of the guest is in the log, and replaying all of it gives the disk that the guest left.
#[test]
fn writes_are_recorded() {
    let (raw, log) = (parts::directory().join("recorded.raw"), parts::directory().join("recorded.log"));
    disk::create_raw(&raw, 8 << 20).unwrap();
    let before = std::fs::read(&raw).unwrap();
    let machine = parts::small_system("recorded").disk(Disk::raw(&raw).record_writes(&log)).start().unwrap();
    machine.succeed("for n in 1 2 3; do dd if=/bin/busybox of=/dev/vda bs=64k count=1 seek=$n conv=fsync 2>/dev/null; done").unwrap();
    machine.power_off_at_once().unwrap();
    let log = WriteLog::read(&log).unwrap();
    let points = log.crash_points();
    assert!(points.len() > 3, "{} crash points", points.len());
    let replayed = parts::directory().join("replayed.raw");
    std::fs::write(&replayed, &before).unwrap();
    log.replay(0..log.entries().len(), &replayed).unwrap();
    assert!(std::fs::read(&replayed).unwrap() == std::fs::read(&raw).unwrap(), "replay gave another disk");
    std::fs::write(&replayed, &before).unwrap();
    log.replay(0..points[1], &replayed).unwrap();
    assert!(std::fs::read(&replayed).unwrap() != std::fs::read(&raw).unwrap(), "one write is not all");
}

/// A machine that cannot start says what QEMU said.
#[test]
fn a_wrong_argument_is_said() {
    let failure = parts::small_system("wrong").argument("-no-such-option").start().unwrap_err().to_string();
    assert!(failure.contains("no-such-option"), "{failure}");
}

/// The guest's panic ends QEMU, and the wait says so with the console's last words.
#[test]
fn a_panic_is_said() {
    let machine = qemu_tests::Machine::builder("panic")
        .kernel(parts::vmlinux(), None, "console=ttyS0 panic=-1 root=/dev/none")
        .no_reboot()
        .start()
        .unwrap();
    let failure = machine.wait_for_console("never said").unwrap_err().to_string();
    assert!(failure.contains("QEMU ended") && failure.contains("Unable to mount root"), "{failure}");
}
