//! What people run on a server, together on one machine: each does what it is for, all come up again after the power went,
//! and what they had promised to keep is there.

use std::time::{Duration, Instant};

use formats::control::ActiveState;
use qemu_tests::{Command, Machine};

use crate::distribution;

const SERVICES: [&str; 10] = [
    "sshd.service",
    "nginx.service",
    "redis.service",
    "chronyd.service",
    "dbus.socket",
    "systemd-udevd.service",
    "tick.timer",
    "calendar.timer",
    "postgresql.service",
    "postgresql-setup.service",
];

#[test]
fn real_services_work_and_survive_a_power_cut() {
    let configurations = distribution::configurations("services", &[]);
    let machine = distribution::machine("services", &configurations.join("services.nix"), 1536, 900);
    all_run(&machine);
    each_does_what_it_is_for(&machine);
    machine.succeed("redis-cli set kept redis && redis-cli save").unwrap();
    let committed = commits_until_the_power_goes(&machine);
    machine.start().unwrap();
    all_run(&machine);
    // Every row whose commit was answered is there, in an unbroken row, and at most one more.
    let rows = sql(&machine, "select count(*), coalesce(max(n), 0) from kept");
    assert!(
        rows == format!("{committed}|{committed}") || rows == format!("{0}|{0}", committed + 1),
        "{committed} commits were answered, and there are {rows}"
    );
    assert_eq!(machine.succeed("redis-cli get kept").unwrap().trim(), "redis");
    machine.shut_down(formats::control::Shutdown::PowerOff).unwrap();
}

fn sql(machine: &Machine, query: &str) -> String {
    let words = "psql -h /run/postgresql -U postgres -d kept -qtAc";
    machine.succeed(&format!("{words} '{query}'")).unwrap().trim().to_owned()
}

/// Rows go into a table, each in a transaction of its own; each that PostgreSQL has answered is said on the console. In the
/// middle of it the power goes. How many were said.
fn commits_until_the_power_goes(machine: &Machine) -> usize {
    sql(machine, "create table kept (n int primary key)");
    let writer = "i=1; while :; do echo \"insert into kept values ($i);\"; echo \"\\\\! echo committed $i >/dev/ttyS0\"; \
                  i=$((i + 1)); done | psql -h /run/postgresql -U postgres -d kept -q -v ON_ERROR_STOP=1";
    let writing = machine.spawn(Command::shell(writer)).unwrap();
    machine.wait_for_console("committed 25").unwrap();
    machine.power_cut();
    drop(writing);
    let said = machine.console_text();
    said.lines().filter_map(|line| line.trim().strip_prefix("committed ")?.parse().ok()).max().unwrap()
}

fn all_run(machine: &Machine) {
    for unit in SERVICES {
        if let Err(error) = machine.wait_for_unit(unit) {
            let said = machine.run(Command::shell(&format!("firn logs -b 0 {unit} | tail -30"))).unwrap();
            panic!("{error}\n{}", said.stdout_text());
        }
    }
    machine.wait_for_unit("multi-user.target").unwrap();
    let failed: Vec<String> = machine
        .units()
        .unwrap()
        .into_iter()
        .filter(|unit| unit.active == ActiveState::Failed)
        .map(|unit| unit.name)
        .collect();
    assert!(
        failed.is_empty(),
        "{failed:?}\n{}",
        machine.succeed("firn logs -b -p warning | tail -40").unwrap()
    );
}

fn each_does_what_it_is_for(machine: &Machine) {
    machine.wait_for_port(80).unwrap();
    assert_eq!(machine.succeed("curl -s http://localhost/").unwrap(), "a page\n");
    // A key logs in, a password does not.
    machine
        .succeed(
            "ssh-keygen -q -t ed25519 -N '' -f /root/key; mkdir -m 700 -p /home/anna/.ssh; \
             cp /root/key.pub /home/anna/.ssh/authorized_keys; chown -R anna: /home/anna/.ssh",
        )
        .unwrap();
    machine.wait_for_port(22).unwrap();
    let ssh = "ssh -o StrictHostKeyChecking=no -o BatchMode=yes";
    let who = machine.succeed(&format!("{ssh} -i /root/key anna@localhost 'id -un; echo $PATH'")).unwrap();
    assert!(who.starts_with("anna\n") && who.contains("/run/current-system/sw/bin"), "{who}");
    machine.fail(&format!("{ssh} -o IdentitiesOnly=yes -i /root/none anna@localhost true")).unwrap();
    eventually(machine, "firn logs sshd | grep -q 'Accepted publickey for anna'");
    machine.succeed("chronyc -n tracking | grep -q 'Leap status'").unwrap();
    // The bus is started by its first caller.
    let names = machine
        .succeed(
            "dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames",
        )
        .unwrap();
    assert!(names.contains("org.freedesktop.DBus"), "{names}");
    machine.wait_for_unit("dbus.service").unwrap();
    machine
        .succeed("udevadm settle; test -L /dev/disk/by-label/root && test -L /dev/made-by-a-rule")
        .unwrap();
    machine.succeed("udevadm info /dev/vda | grep -q DEVTYPE=disk").unwrap();
    eventually(machine, "test $(firn logs tick | grep -c ': tick') -ge 3");
    // The calendar's timer elapses when the clock says so: never before, and on a busy host a little after.
    eventually(machine, "test $(firn logs calendar | grep -c at:) -ge 2");
    let times = machine.succeed("firn logs calendar | grep -o 'at:[0-9]*' | cut -d: -f2").unwrap();
    let seconds: Vec<u64> = times.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(seconds.len() >= 2 && seconds.iter().all(|second| second % 10 < 6), "{seconds:?}");
}

fn eventually(machine: &Machine, condition: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let output = machine.run(Command::shell(condition)).unwrap();
        if output.success() {
            return;
        }
        assert!(Instant::now() < deadline, "{}", machine.unexpected(condition, &output));
        std::thread::sleep(Duration::from_millis(500));
    }
}
