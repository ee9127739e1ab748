//! What the machine says and how it is spoken to: the log store with everything that feeds it, systemd's commands, and
//! faults: floods, fork bombs, killed supervisors and collectors, a power cut.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use formats::control::ActiveState;
use qemu_tests::Machine;

use crate::distribution;

/// A machine of the one image that all of these share.
fn machine(name: &str) -> Machine {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    let image = IMAGE.get_or_init(|| {
        let configurations = distribution::configurations("control", &[]);
        distribution::image(&configurations.join("control.nix"), "control")
    });
    distribution::machine_of(name, image, 768, 300)
}

/// Process 1 itself: the watchdog, becoming another, orphans, the ways in which a machine ends and begins again.
#[test]
fn process_one() {
    let machine = machine("process-one");
    machine.wait_for_unit("multi-user.target").unwrap();
    eventually(&machine, "firn logs kernel | grep -q 'the hardware watchdog is armed: 10 s'");
    let watchdog = machine.succeed("cat /sys/class/watchdog/watchdog0/state").unwrap();
    assert_eq!(watchdog.trim(), "active");

    // Process 1 becomes its successor; services and logs go on.
    machine.wait_for_unit("counter.service").unwrap();
    let counter = machine.unit("counter.service").unwrap().main_pid;
    for _ in 0..3 {
        machine.succeed("systemctl daemon-reexec").unwrap();
        eventually(&machine, "systemctl is-active -q counter");
    }
    eventually(&machine, "test $(firn logs kernel | grep -c 'process 1 is now the one of') = 3");
    assert_eq!(machine.unit("counter.service").unwrap().main_pid, counter);
    // The predecessors' log collectors end while the new one is at work: it must stay the one.
    let collectors = "ps -o pid,args | grep '[f]irn-supervisor'";
    let before = machine.succeed(collectors).unwrap();
    assert_eq!(before.lines().count(), 2, "a supervisor and its collector: {before}");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(machine.succeed(collectors).unwrap(), before);
    machine.succeed("logger -t after 'still logged'; systemctl restart counter").unwrap();
    eventually(&machine, "firn logs -t after | grep -q 'still logged'");

    // Orphans end and leave nothing.
    machine.succeed("i=0; while [ $i -lt 3000 ]; do (true &); i=$((i + 1)); done").unwrap();
    eventually(&machine, "! grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null");

    // A shell on the console though root has no password.
    machine.succeed("systemctl start --no-block rescue.target").unwrap();
    machine.wait_for_console("to continue").unwrap();
    // What is typed while sulogin sets the terminal up is thrown away.
    let until = Instant::now() + Duration::from_secs(60);
    while machine.screen().unwrap().row_with("control:~").is_none() {
        assert!(Instant::now() < until, "no shell on the console: {:?}", machine.screen().unwrap());
        machine.type_text("\n").unwrap();
        std::thread::sleep(Duration::from_secs(1));
    }
    machine.type_text("echo here-$((6 * 7))\n").unwrap();
    machine.wait_for_console("here-42").unwrap();
    machine.shut_down(formats::control::Shutdown::PowerOff).unwrap();
}

/// The ways in which a machine ends and begins again.
#[test]
fn ends_and_begins_again() {
    let machine = machine("ends");
    machine.wait_for_unit("multi-user.target").unwrap();
    // Userspace alone begins again: the same kernel, a new life of everything else.
    let boot = machine.boot_id().unwrap();
    machine.succeed("echo old >/run/life; (sleep 1; systemctl soft-reboot) >/dev/null 2>&1 &").unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !machine
        .succeed("ps -o args= -p 1")
        .is_ok_and(|line| line.trim() == "/nix/var/nix/profiles/system/init")
    {
        assert!(Instant::now() < deadline, "userspace does not begin again:\n{}", machine.console_text());
        std::thread::sleep(Duration::from_secs(1));
        drop(machine.wait_for_agent());
    }
    machine.wait_for_unit("multi-user.target").unwrap();
    assert_eq!(machine.boot_id().unwrap(), boot);

    // A process 1 that hangs is reset by the watchdog.
    machine
        .succeed("mkdir /sys/fs/cgroup/ice && echo 1 >/sys/fs/cgroup/ice/cgroup.procs && echo 1 >/sys/fs/cgroup/ice/cgroup.freeze")
        .unwrap();
    machine.wait_for_reset().unwrap();
    machine.wait_for_agent().unwrap();

    // Ctrl-Alt-Del reboots, the power key powers off.
    machine.ctrl_alt_del().unwrap();
    machine.wait_for_reset().unwrap();
    machine.wait_for_agent().unwrap();
    assert_ne!(machine.boot_id().unwrap(), boot);
    machine.wait_for_unit("power-button.service").unwrap();
    eventually(
        &machine,
        "ls /proc/$(systemctl show -P MainPID power-button)/fd -l | grep -q /dev/input/event",
    );
    machine.power_button().unwrap();
    machine.wait_for_shutdown().unwrap();
}

/// One boot for all, as each takes its time under emulation.
#[test]
fn logs_fronts_and_faults() {
    let machine = machine("control");
    machine.wait_for_unit("multi-user.target").unwrap();
    everything_is_logged(&machine);
    fronts(&machine);
    notify_and_watchdog(&machine);
    faults(&machine);
    nothing_is_lost_by_kills(&machine);
    machine.set_limit(Duration::from_secs(120));
    power_cut(&machine);
}

/// Retries a shell condition, as logs take a moment to arrive.
fn eventually(machine: &Machine, condition: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let output = machine.run(qemu_tests::Command::shell(condition)).unwrap();
        if output.success() {
            return;
        }
        assert!(Instant::now() < deadline, "{}", machine.unexpected(condition, &output));
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn everything_is_logged(machine: &Machine) {
    eventually(machine, "firn logs counter -p err | grep -q 'counted all'");
    let counted = machine.succeed("firn logs -u counter | grep -c ': count '").unwrap();
    assert_eq!(counted.trim(), "3000");
    machine
        .succeed("printf '<38>Nov 23 03:46:00 sshd[812]: by syslog' | nc -uU -w1 /dev/log || true")
        .unwrap();
    machine.succeed("logger -t mylogger -p user.err 'by logger'; logger --journald <<<$'MESSAGE=by journal\\nPRIORITY=2\\nCOLOUR=blue'").unwrap();
    eventually(machine, "firn logs -t mylogger -p err | grep -q 'by logger'");
    eventually(machine, "journalctl -p crit -o json | grep -q '\"COLOUR\":\"blue\"'");
    machine.succeed("firn logs -k | grep -q 'Linux version'").unwrap();
    machine.succeed("echo 'one by cat' | systemd-cat -t catted -p notice").unwrap();
    machine.succeed("systemd-cat -t ran echo 'by a command'").unwrap();
    eventually(machine, "journalctl -t catted -o cat | grep -qx 'one by cat'");
    eventually(machine, "journalctl -t ran -o cat | grep -qx 'by a command'");
    machine.succeed("firn logs --json counter -n 1 | grep -q '\"unit\":\"counter.service\"'").unwrap();
    machine.fail("firn logs nobody").unwrap();
    assert_eq!(machine.succeed("firn logs --list-boots | wc -l").unwrap().trim(), "1");
}

fn fronts(machine: &Machine) {
    let exits = |command: &str, code: i32| {
        let output = machine.run(qemu_tests::Command::shell(&format!("{command}; exit $?"))).unwrap();
        assert_eq!(output.code, Some(code), "{}", machine.unexpected(command, &output));
        output.stdout_text()
    };
    assert_eq!(exits("systemctl is-active counter", 0), "active\n");
    assert_eq!(exits("systemctl is-active fails", 3), "inactive\n");
    assert_eq!(exits("systemctl is-active nobody", 4), "inactive\n");
    exits("systemctl is-active --quiet counter.service", 0);
    assert_eq!(exits("systemctl is-enabled counter fails", 0), "enabled\nstatic\n");
    exits("systemctl start fails --no-block", 0);
    machine.wait_for_unit_state("fails.service", ActiveState::Failed).unwrap();
    assert_eq!(exits("systemctl is-failed fails", 0), "failed\n");
    assert_eq!(exits("systemctl is-failed counter", 1), "active\n");
    assert_eq!(exits("systemctl is-system-running", 1), "degraded\n");
    assert_eq!(exits("systemctl show fails -p ExecMainStatus -p Result --value", 0), "exit-code\n7\n");
    exits("systemctl reset-failed fails", 0);
    assert_eq!(
        exits("systemctl show -p ActiveState,LoadState nobody", 0),
        "LoadState=not-found\nActiveState=inactive\n"
    );
    assert!(exits("systemctl status fails", 3).contains("last words"));
    exits("systemctl status nobody", 4);
    exits("systemctl start nobody", 5);
    let before = exits("systemctl show -P MainPID counter", 0);
    exits("systemctl restart counter", 0);
    assert_ne!(exits("systemctl show -P MainPID counter", 0), before);
    exits("systemctl kill -s KILL --kill-whom=main counter", 0);
    machine.wait_for_unit_state("counter.service", ActiveState::Failed).unwrap();
    exits("systemctl start counter", 0);
    assert!(exits("systemctl list-units 'count*' --no-legend", 0).starts_with("counter.service"));
    assert!(exits("systemctl list-dependencies", 0).contains("counter.service"));
    assert!(exits("systemctl cat counter", 0).contains("ExecStart="));
    let before = exits("systemctl show -P MainPID counter", 0);
    assert_eq!(exits("echo in | systemd-run -q --wait --pipe sh -c 'cat; echo out'", 0), "in\nout\n");
    exits("systemd-run -q --wait -p User=anna sh -c 'exit 3'", 3);
    exits("systemd-run -q --on-active=1 -u later touch /run/later", 0);
    eventually(machine, "test -e /run/later");
    exits("systemd-run -q -p Nonsense=1 true", 1);
    assert_eq!(exits("systemctl show -P MainPID counter", 0), before);
    exits("systemctl daemon-reload", 0);
    exits("systemctl enable counter", 1);
    exits("echo 'd /run/made 0700 anna - -' | systemd-tmpfiles --create -", 0);
    assert_eq!(exits("stat -c '%U %a' /run/made", 0), "anna 700\n");
    exits("echo 'R /run/made' | systemd-tmpfiles --remove - && test ! -e /run/made", 0);
}

fn notify_and_watchdog(machine: &Machine) {
    machine.succeed("systemctl start notifier").unwrap();
    let unit = machine.unit("notifier.service").unwrap();
    assert_eq!(unit.status_text, "up and well");
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(machine.unit("notifier.service").unwrap().main_pid, unit.main_pid, "the watchdog was fed");
    machine.succeed("touch /run/be-silent").unwrap();
    eventually(
        machine,
        &format!(
            "test $(systemctl show -P MainPID notifier) != {} && test $(systemctl show -P NRestarts notifier) = 1",
            unit.main_pid
        ),
    );
    machine.succeed("systemctl stop notifier").unwrap();
}

fn faults(machine: &Machine) {
    // A flood of log messages: the machine answers, what was dropped is said, the file stays small.
    machine
        .succeed("systemctl start flood; sleep 5; systemctl is-active counter; systemctl stop flood")
        .unwrap();
    machine.succeed("test $(stat -c %s /var/log/firn/flood.service.log) -lt 2200000").unwrap();
    eventually(
        machine,
        "systemctl start flood; sleep 1; systemctl stop flood; firn logs flood | grep 'messages were dropped'",
    );
    // A flood of notify messages from somebody who may not.
    machine.succeed("for i in 1 2 3 4 5 6 7 8; do NOTIFY_SOCKET=/run/firn/notify systemd-notify --no-block --status=x READY=1; done").unwrap();
    // A fork bomb stays in its unit.
    machine
        .succeed("systemctl start forks; sleep 2; systemctl is-active counter; systemctl kill -s KILL forks")
        .unwrap();
    machine.succeed("systemctl stop forks").unwrap();
    // A memory hog is killed alone.
    machine.succeed("systemctl start --no-block eats").unwrap();
    machine.wait_for_unit_state("eats.service", ActiveState::Failed).unwrap();
    machine.succeed("systemctl is-active counter").unwrap();
    // Signals that would end others.
    machine
        .succeed("kill -SEGV 1; kill -ABRT 1; kill -QUIT 1; sleep 1; systemctl is-active counter")
        .unwrap();
    // A clock that jumps: order and services stay.
    machine.succeed("date -s '2031-01-01 00:00:00' >/dev/null; logger jumped; date -s '2026-11-24 00:00:00' >/dev/null; logger back").unwrap();
    eventually(machine, "firn logs other -o 2>/dev/null; firn logs firn-agent | tail -5 | grep -q back");
    // Nonsense at the control socket.
    machine.succeed("for i in 1 2 3; do head -c 100000 /dev/urandom | timeout 2 nc -U /run/firn/control >/dev/null; done; systemctl is-active counter").unwrap_or_default();
    machine.succeed("systemctl is-active counter").unwrap();
}

/// Supervisor and collector are killed again and again while a service counts.
fn nothing_is_lost_by_kills(machine: &Machine) {
    let before: usize =
        machine.succeed("firn logs counter | grep -c ': count '").unwrap().trim().parse().unwrap();
    let pid = machine.unit("counter.service").unwrap().main_pid;
    machine.succeed("systemctl stop counter && systemctl start counter --no-block").unwrap();
    assert_ne!(pid, 0);
    for signal in ["KILL", "SEGV", "KILL", "KILL", "SEGV", "KILL"] {
        machine.succeed(&format!(
            "for p in $(pgrep -P 1); do tr '\\0' ' ' </proc/$p/cmdline | grep -q '^firn-supervisor' && kill -{signal} $p; done; sleep 0.7"
        )).unwrap();
    }
    eventually(machine, "systemctl is-active counter");
    eventually(machine, &format!("test $(firn logs counter | grep -c ': count ') -ge {}", before + 3000));
    let distinct =
        machine.succeed("firn logs counter | tail -3500 | grep -o 'count [0-9]*' | sort -u | wc -l").unwrap();
    assert_eq!(distinct.trim(), "3000");
}

/// The power goes: what was said more than the sync's two seconds ago is there, and every record that is there is whole.
fn power_cut(machine: &Machine) {
    machine.succeed("logger -t before 'the last words'; sleep 15; systemctl start --no-block flood").unwrap();
    machine.power_cut();
    machine.start().unwrap();
    machine.wait_for_unit("multi-user.target").unwrap();
    machine.succeed("firn logs -b -1 -t before | grep -q 'the last words'").unwrap();
    eventually(machine, "test $(firn logs --list-boots | wc -l) = 2");
    machine.succeed("firn logs -b 0 -k | grep -q 'Linux version'").unwrap();
    machine.fail("firn logs -b 0 -t before | grep 'the last words'").unwrap();
}
