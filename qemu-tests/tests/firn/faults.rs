//! Faults, one after the other on one machine: whatever breaks, it stays in service. One service counts from the first
//! fault to the last in the same process, and every number that it said is found again.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use formats::control::{ActiveState, Message as _, Request, SOCKET};
use qemu_tests::{Command, Machine};

use crate::{distribution, orphans};

/// How many orphans process 1 has to bury.
const ORPHANS: usize = 50_000;

/// Its name and what it does.
type Fault = (&'static str, fn(&Machine));

#[test]
fn the_machine_stays_in_service() {
    let configurations = distribution::configurations("faults", &[]);
    let machine = distribution::machine("faults", &configurations.join("faults.nix"), 768, 900);
    machine.wait_for_unit("multi-user.target").unwrap();
    let keeper = machine.unit("keeper.service").unwrap().main_pid;
    assert_ne!(keeper, 0);
    let faults: [Fault; 10] = [
        ("instances", instances),
        ("no memory", no_memory),
        ("no descriptors", no_descriptors),
        ("too many processes", too_many_processes),
        ("clients", clients),
        ("messages", messages),
        ("time", time),
        ("orphans", orphans),
        ("full disk", full_disk),
        ("kills", kills),
    ];
    for (name, fault) in faults {
        let begun = Instant::now();
        fault(&machine);
        println!("{name}: {:.1} s", begun.elapsed().as_secs_f64());
        let now = machine.unit("keeper.service").unwrap();
        assert_eq!((now.main_pid, now.active), (keeper, ActiveState::Active), "after {name}");
    }
    // Nothing that was said is lost: the numbers have no gap.
    let numbers = machine.succeed("firn logs -u keeper | grep -o 'keep [0-9]*' | cut -d' ' -f2").unwrap();
    let numbers: Vec<usize> = numbers.lines().filter_map(|line| line.parse().ok()).collect();
    let gap = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1);
    assert!(numbers.first() == Some(&0) && gap.is_none() && numbers.len() > 100, "{gap:?} {numbers:?}");
    let asked = Instant::now();
    machine.shut_down(formats::control::Shutdown::PowerOff).unwrap();
    assert!(asked.elapsed() < Duration::from_secs(60));
}

fn eventually(machine: &Machine, condition: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let output = machine.run(Command::shell(condition)).unwrap();
        if output.success() {
            return;
        }
        assert!(Instant::now() < deadline, "{}", machine.unexpected(condition, &output));
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// What a client of the service behind the socket gets back.
fn echo_works(machine: &Machine) {
    let mut stream = machine.connect("/run/echo").unwrap();
    stream.write_all(b"echoed\n").unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"echoed\n");
}

fn timer_runs(machine: &Machine) {
    let ticks = || machine.succeed("cat /run/ticks | wc -l").unwrap().trim().parse::<usize>().unwrap();
    let (before, deadline) = (ticks(), Instant::now() + Duration::from_secs(60));
    while ticks() < before + 2 {
        assert!(Instant::now() < deadline, "the timer does not go on");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Instances that nobody had thought of at build time.
fn instances(machine: &Machine) {
    machine.succeed("firn service start worker@dev-sda worker@two").unwrap();
    eventually(machine, "firn logs -u worker@dev-sda | grep -q 'working on dev/sda for worker-dev-sda'");
    let pid = machine.unit("worker@two.service").unwrap().main_pid;
    machine.succeed("systemctl start worker@three && systemctl is-active worker@three").unwrap();
    assert_eq!(machine.unit("worker@two.service").unwrap().main_pid, pid, "the others go on");
    let list = machine.succeed("firn service list").unwrap();
    assert!(list.matches("worker@").count() == 3 && !list.contains("worker@."), "{list}");
    machine.succeed("firn service status worker@three | grep -q 'faults.nix'").unwrap();
    machine.succeed("firn service stop worker@two worker@three && ! systemctl is-active worker@two").unwrap();
    machine.fail("firn service start worker@.service").unwrap();
    machine.fail("firn service start nothing@two").unwrap();
    machine.fail("firn service start 'worker@a/../b'").unwrap();
    // One that a switch does not end for good.
    machine.succeed("firn service enable-until-reboot worker@kept").unwrap();
    machine.succeed("firn switch --toplevel $(readlink -f /run/current-system)").unwrap();
    eventually(machine, "systemctl is-active worker@kept");
    assert_eq!(machine.succeed("systemctl is-enabled worker@kept").unwrap().trim(), "enabled-runtime");
    machine
        .succeed("firn service stop worker@kept && test ! -e /run/firn/enabled/worker@kept.service")
        .unwrap();
    machine
        .succeed("firn service graph --reverse keeper | grep -q 'wanted by multi-user.target (active)'")
        .unwrap();
    machine.succeed("firn service blame | grep -q ' keeper.service$'").unwrap();
}

fn no_memory(machine: &Machine) {
    machine.succeed("systemctl start --no-block eats").unwrap();
    machine.wait_for_unit_state("eats.service", ActiveState::Failed).unwrap();
    assert_eq!(machine.unit("eats.service").unwrap().result, "oom-kill");
}

fn no_descriptors(machine: &Machine) {
    machine.succeed("systemctl start hoards").unwrap();
    // The soft limit that systemd gives is 1024.
    eventually(machine, "firn logs -u hoards | grep -q 'hoarded 1023'");
    machine
        .succeed("grep -q '^Max open files *1024 *524288 ' /proc/$(systemctl show -P MainPID hoards)/limits")
        .unwrap();
    machine.succeed("systemctl stop hoards").unwrap();
    echo_works(machine);
}

fn too_many_processes(machine: &Machine) {
    machine.succeed("systemctl start forks; sleep 3; test $(cat /sys/fs/cgroup/system.slice/forks.service/pids.current) -le 20").unwrap();
    machine.succeed("firn service start phoenix && systemctl kill -s KILL phoenix").unwrap();
    eventually(machine, "systemctl is-active phoenix");
    machine.succeed("timeout 60 systemctl stop forks").unwrap();
}

/// A generator, so that a failure can be had again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Hostile clients at the control socket: frames that lie, bodies cut short, noise, and many connections that say nothing.
fn clients(machine: &Machine) {
    let mut random = Random(0xf1e2);
    let silent: Vec<_> = (0..60).map(|_| machine.connect(SOCKET).unwrap()).collect();
    for _ in 0..300 {
        let mut stream = machine.connect(SOCKET).unwrap();
        let mut bytes = Vec::new();
        for _ in 0..=random.below(20) {
            let mut frame = match random.below(3) {
                0 => Request::List.to_frame(),
                1 => Request::Status { unit: "keeper".into() }.to_frame(),
                _ => Request::Subscribe.to_frame(),
            };
            for _ in 0..random.below(4) {
                let at = random.below(frame.len());
                match random.below(3) {
                    // Never the tag: a request to end the machine would be obeyed, as this client is root.
                    0 if at != 4 => frame[at] ^= 1 << random.below(8),
                    1 => frame.truncate(at.max(1)),
                    _ => frame.extend((0..random.below(300)).map(|_| 0x80 | random.below(128) as u8)),
                }
            }
            bytes.extend(frame);
        }
        // It may be cut off at any byte.
        drop(stream.write_all(&bytes));
    }
    drop(silent);
    assert_eq!(machine.succeed("systemctl is-active keeper").unwrap().trim(), "active");
    machine.succeed("for i in 1 2 3; do head -c 300000 /dev/urandom | timeout 5 nc -U /run/firn/control >/dev/null || true; done").unwrap();
    machine.succeed("systemctl is-active keeper").unwrap();
}

/// Floods of notify and log messages from everywhere.
fn messages(machine: &Machine) {
    machine
        .succeed(
            "timeout 5 sh -c 'yes READY=1 | nc -uU -w1 /run/firn/notify' || true; \
             timeout 5 sh -c 'yes \"<14>flooded\" | nc -uU -w1 /dev/log' >/dev/null 2>&1 & \
             timeout 5 sh -c 'yes MESSAGE=flooded | nc -uU -w1 /run/systemd/journal/socket' >/dev/null 2>&1 & \
             sleep 2; systemctl is-active keeper; wait",
        )
        .unwrap();
    timer_runs(machine);
    machine.succeed("test $(du -sm /var/log/firn | cut -f1) -lt 100").unwrap();
}

/// The clock jumps a year on and back: timers that count from something go on.
fn time(machine: &Machine) {
    for jump in ["+1 year", "-2 years", "+1 year"] {
        machine.succeed(&format!("date -s '{jump}' >/dev/null")).unwrap();
        timer_runs(machine);
        echo_works(machine);
    }
}

fn orphans(machine: &Machine) {
    machine.write_file("/run/orphans", orphans::program(ORPHANS), 0o755).unwrap();
    let forks = || -> usize {
        let text = machine.succeed("sed -n 's/^processes //p' /proc/stat").unwrap();
        text.trim().parse().unwrap()
    };
    let before = forks();
    machine.succeed("/run/orphans").unwrap();
    let made = forks() - before;
    assert!(made > ORPHANS, "{made} processes");
    eventually(machine, "! grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null");
    machine.succeed("systemctl is-active keeper").unwrap();
}

/// A disk without room: services go on, what was written stays, and logs go on when there is room again.
fn full_disk(machine: &Machine) {
    let fill = "for s in 100M 10M 1M 64K 4K; do \
                  i=0; while fallocate -l $s /var/full.$s.$i 2>/dev/null; do i=$((i + 1)); done; \
                done; sync; ! echo x >/var/lib/no-room";
    machine.succeed(fill).unwrap();
    machine.succeed("logger -t full 'said without room'; sleep 2; systemctl is-active keeper").unwrap();
    machine.succeed("firn service start phoenix; systemctl kill -s KILL phoenix").unwrap();
    eventually(machine, "systemctl is-active phoenix");
    machine.succeed("rm /var/full.*; sync; logger -t full 'said with room'").unwrap();
    eventually(machine, "firn logs -t full | grep -q 'said with room'");
    machine.succeed("firn logs -u keeper | grep -q 'keep 0$'").unwrap();
}

/// Supervisor and collector killed at random moments, and signals that would end others to process 1.
fn kills(machine: &Machine) {
    let mut random = Random(77);
    for round in 0..12 {
        let signal = ["KILL", "SEGV", "ABRT"][random.below(3)];
        let pause = random.below(1500);
        machine
            .succeed(&format!(
                "sleep {}.{:03}; pkill -{signal} -P 1 -f '^firn-supervisor'; true",
                pause / 1000,
                pause % 1000
            ))
            .unwrap();
        if round % 4 == 0 {
            machine.succeed("kill -SEGV 1; kill -ABRT 1; kill -BUS 1").unwrap();
        }
    }
    eventually(machine, "systemctl is-active keeper phoenix");
    machine.succeed("systemctl kill -s KILL phoenix").unwrap();
    eventually(machine, "systemctl is-active phoenix");
    echo_works(machine);
    timer_runs(machine);
}
