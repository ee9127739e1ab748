//! Services of one shell line each, started for real in their sandboxes: what they see is what the directive promises. They need root and
//! fail without it, saying so.

use super::*;
use formats::service_graph::builder::{CommandLine, GraphBuilder, Settings, Value};
use formats::service_graph::view::Graph;
use std::io::Read as _;

/// Runs a script in a unit with these settings and returns what it wrote and how it ended.
fn run_as(settings: Settings, identity: Identity, script: &str) -> (String, i32) {
    assert!(nix::unistd::geteuid().is_root(), "this test makes namespaces and changes users: it needs root");
    let mut settings = settings;
    let arguments = vec!["sh".into(), "-c".into(), script.to_owned()];
    let line = CommandLine { flags: 8, program: "/bin/sh".into(), arguments };
    settings.insert(Key::ExecStart, Value::Commands(vec![line]));
    let mut builder = GraphBuilder::default();
    builder.add("tried.service", settings);
    let file = builder.build().unwrap();
    let graph = Graph::load(&file).unwrap();
    let unit = graph.find("tried.service").unwrap();
    let line = unit.command(Key::ExecStart, 0).unwrap();
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let path = CString::new("PATH=/usr/bin:/bin:/usr/sbin:/sbin").unwrap();
    let ids = (identity.account.as_ref().map_or(0, |account| account.uid), identity.gid.unwrap_or(0));
    let view = sandbox::View { accounts: identity.dynamic.clone(), ids, ..sandbox::View::default() };
    let mut prepared = Prepared {
        unit,
        execution: Execution::new(
            line.program().to_owned(),
            line.arguments().map(ToOwned::to_owned).collect(),
            vec![path],
        ),
        identity,
        privileged: false,
        log: Some(write.as_fd()),
        sockets: &[],
        view,
        executed: None,
    };
    let pid = spawn(&Birth::default(), || child::run(&mut prepared)).unwrap();
    drop(prepared);
    drop(write);
    let mut text = String::new();
    std::fs::File::from(read).read_to_string(&mut text).unwrap();
    let status = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid as i32), None).unwrap();
    let code = match status {
        nix::sys::wait::WaitStatus::Exited(_, code) => code,
        nix::sys::wait::WaitStatus::Signaled(_, signal, _) => 256 + signal as i32,
        other => panic!("{other:?}"),
    };
    (text.trim().to_owned(), code)
}

fn run(settings: Settings, script: &str) -> (String, i32) {
    run_as(settings, Identity::default(), script)
}

fn bits(bits: u64) -> Settings {
    Settings::from([(Key::Sandbox, Value::Number(bits))])
}

fn somebody() -> Identity {
    let account =
        Account { name: "x".into(), uid: 61234, gid: 61235, home: "/".into(), shell: "/bin/sh".into() };
    Identity { gid: Some(61235), account: Some(account), ..Identity::default() }
}

#[test]
fn what_is_protected_cannot_be_written() {
    let strict = || Settings::from([(Key::ProtectSystem, Value::Number(3))]);
    let (text, code) = run(
        strict(),
        "touch /x-firn /usr/x-firn /etc/x-firn 2>/dev/null; ls /x-firn /usr/x-firn /etc/x-firn 2>/dev/null; echo done; echo > /dev/null",
    );
    assert_eq!((text.as_str(), code), ("done", 0));
    let mut writable = strict();
    let place = std::env::temp_dir().join(format!("firn-writable-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let path = place.display().to_string();
    writable.insert(Key::ReadWritePaths, Value::Tagged(vec![(0, path.clone())]));
    let (text, _) = run(
        writable,
        &format!("touch {path}/here && ls {path}; touch {path}/../x-firn 2>&1 | grep -c Read-only"),
    );
    std::fs::remove_dir_all(&place).unwrap();
    assert_eq!(text, "here\n1");
    let (text, _) = run(
        Settings::from([(Key::ProtectSystem, Value::Number(2))]),
        "touch /etc/x-firn 2>&1 | grep -c Read-only; touch /tmp/x-firn && rm /tmp/x-firn && echo tmp",
    );
    assert_eq!(text, "1\ntmp");
}

#[test]
fn a_missing_path_is_an_error_unless_it_says_otherwise() {
    let (text, code) =
        run(Settings::from([(Key::ReadOnlyPaths, Value::Tagged(vec![(0, "/nowhere".into())]))]), "echo no");
    assert!(code == 226 && text.contains("/nowhere"), "{text} {code}");
    assert_eq!(
        run(Settings::from([(Key::ReadOnlyPaths, Value::Tagged(vec![(1, "/nowhere".into())]))]), "echo yes")
            .0,
        "yes"
    );
}

#[test]
fn what_is_hidden_covered_or_bound() {
    let settings = Settings::from([
        (Key::InaccessiblePaths, Value::Tagged(vec![(0, "/etc/passwd".into()), (0, "/srv".into())])),
        (Key::TemporaryFileSystem, Value::Texts(vec!["/opt:size=1M,mode=0711".into(), "/media:ro".into()])),
        (Key::BindReadOnlyPaths, Value::Texts(vec!["/etc/group:/opt/deep/group".into(), "-/nowhere".into()])),
        (Key::BindPaths, Value::Texts(vec!["/usr/share:/opt/share".into()])),
    ]);
    let script = "wc -c < /etc/passwd; stat -c %a /srv /opt; cmp /opt/deep/group /etc/group && echo same; \
                  echo x 2>/dev/null >> /opt/deep/group || echo read-only; touch /opt/new && ls /opt; touch /media/x 2>&1 | grep -c Read-only";
    let (text, _) = run(settings, script);
    assert_eq!(text, "0\n0\n711\nsame\nread-only\ndeep\nnew\nshare\n1");
}

#[test]
fn homes_are_hidden_read_only_or_empty() {
    let home = |number: u64| Settings::from([(Key::ProtectHome, Value::Number(number))]);
    assert_eq!(run(home(1), "stat -c %a /root").0, "0");
    assert_eq!(run(home(2), "touch /root/x-firn 2>&1 | grep -c Read-only").0, "1");
    assert_eq!(run(home(3), "ls -A /root | wc -l; touch /root/x-firn 2>&1 | grep -c Read-only").0, "0\n1");
}

#[test]
fn namespaces_of_ones_own() {
    use formats::service_graph::key::sandbox as bit;
    let namespace =
        |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string();
    for (bit, name) in [
        (bit::PRIVATE_NETWORK, "net"),
        (bit::PRIVATE_IPC, "ipc"),
        (bit::PROTECT_HOSTNAME, "uts"),
        (bit::PRIVATE_MOUNTS, "mnt"),
        (bit::PRIVATE_USERS, "user"),
    ] {
        let (text, _) = run(bits(bit), &format!("readlink /proc/self/ns/{name}"));
        assert!(text.starts_with(name), "{text}");
        assert_ne!(text, namespace(name), "{name}");
        let (other, _) = run(bits(0), &format!("readlink /proc/self/ns/{name}"));
        assert_eq!(other, namespace(name));
    }
    let (text, _) =
        run(bits(bit::PRIVATE_NETWORK), "ls /sys/class/net 2>/dev/null >/dev/null; grep -c : /proc/net/dev");
    assert_eq!(text, "1", "only the loopback device");
    let (text, _) =
        run_as(bits(bit::PRIVATE_USERS), somebody(), "id -u; id -g; sed 's/  */ /g' /proc/self/uid_map");
    assert_eq!(text, "61234\n61235\n 0 0 1\n 61234 61234 1");
}

#[test]
fn a_user_namespace_gives_no_capabilities_back() {
    let mut settings = bits(formats::service_graph::key::sandbox::PRIVATE_USERS);
    settings.insert(Key::CapabilityBoundingSet, Value::Number(0));
    let (text, code) = run_as(settings, somebody(), "grep CapBnd /proc/self/status");
    assert_eq!((text.as_str(), code), ("CapBnd:\t0000000000000000", 0));
}

#[test]
fn devices_and_processes() {
    use formats::service_graph::key::sandbox as bit;
    let (text, _) = run(
        bits(bit::PRIVATE_DEVICES),
        "echo x > /dev/null && ls /dev | tr '\\n' ' '; test -e /dev/kmsg || echo no-kmsg; touch /dev/x 2>&1 | grep -c Read-only",
    );
    assert!(
        text.contains("full") && text.contains("urandom") && text.contains("no-kmsg") && text.ends_with('1'),
        "{text}"
    );
    let mut settings = bits(bit::PROC_SUBSET_PID);
    settings.insert(Key::ProtectProc, Value::Number(2));
    let (text, _) = run_as(
        settings,
        somebody(),
        "test -d /proc/1 || echo hidden; test -e /proc/meminfo || echo pid-only; test -d /proc/self && echo self",
    );
    assert_eq!(text, "hidden\npid-only\nself");
    let (text, _) = run(
        bits(bit::PROTECT_KERNEL_TUNABLES),
        "echo 1 2>/dev/null > /proc/sys/kernel/printk || echo read-only; touch /sys/x 2>&1 | grep -cE 'Read-only|denied'",
    );
    assert_eq!(text, "read-only\n1");
    let (text, _) = run(bits(bit::PROTECT_KERNEL_LOGS | bit::PRIVATE_DEVICES), "echo fine");
    assert_eq!(text, "fine", "what a private /dev lacks need not be hidden");
}

#[test]
fn a_dynamic_user_sees_itself_and_its_directories_alone() {
    let place = std::env::temp_dir().join(format!("firn-accounts-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let (users, groups) = (place.join("passwd"), place.join("group"));
    std::fs::write(&users, "root:x:0:0::/root:/bin/sh\nx:x:61234:61235::/:/bin/sh\n").unwrap();
    std::fs::write(&groups, "root:x:0:\nx:x:61235:\n").unwrap();
    let mut identity = somebody();
    identity.dynamic = Some((users, groups));
    let name = format!("firn-test-{}", std::process::id());
    let directory = private_directory("/var/lib", &name).unwrap();
    std::fs::create_dir_all(&directory).unwrap();
    chown_tree(&directory, 61234, 61235).unwrap();
    let settings = Settings::from([
        (Key::Flags, Value::Number(flag::DYNAMIC_USER)),
        (Key::ProtectSystem, Value::Number(3)),
        (Key::StateDirectory, Value::Texts(vec![name.clone()])),
    ]);
    let script = format!(
        "id -un; id -gn; touch /var/lib/{name}/mine && ls /var/lib/{name}; ls /var/lib/private; touch /var/lib/x-firn 2>&1 | grep -cE 'Read-only|denied'"
    );
    let (text, _) = run_as(settings, identity, &script);
    let found = std::fs::read_dir(&directory).unwrap().count();
    std::fs::remove_file(format!("/var/lib/{name}")).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    std::fs::remove_dir_all(&place).unwrap();
    assert_eq!(text, format!("x\nx\nmine\n{name}\n1"));
    assert_eq!(found, 1, "what it wrote is there outside");
}

#[test]
fn processes_are_set_up_as_asked() {
    let settings = Settings::from([
        (Key::CpuAffinity, Value::Numbers(vec![0])),
        (Key::IoPriority, Value::Number(3 << 13 | 7)),
        (Key::CpuScheduling, Value::Numbers(vec![3, 0, 0])),
        (Key::CapabilityBoundingSet, Value::Number(1 << 10)),
        (Key::Flags, Value::Number(flag::NO_NEW_PRIVILEGES)),
    ]);
    let script =
        "grep -E '^(Cpus_allowed_list|CapBnd|NoNewPrivs)' /proc/self/status; cut -d' ' -f41 /proc/self/stat";
    let (text, _) = run(settings, script);
    let lines: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(lines, ["CapBnd:", "0000000000000400", "NoNewPrivs:", "1", "Cpus_allowed_list:", "0", "3"],);
}

/// A program that lets `mkdir` fail with EACCES and kills on `uname`, as words of the graph.
#[test]
fn system_calls_are_filtered() {
    let word = |code: u16, if_true: u8, if_false: u8, k: u32| {
        u64::from(code) | u64::from(if_true) << 16 | u64::from(if_false) << 24 | u64::from(k) << 32
    };
    let program = [
        word(0x20, 0, 0, 0),
        word(0x15, 0, 1, 63), // uname
        word(0x06, 0, 0, 0x8000_0000),
        word(0x15, 0, 1, 83), // mkdir
        word(0x06, 0, 0, 0x0005_000d),
        word(0x06, 0, 0, 0x7fff_0000),
    ];
    let mut words = vec![program.len() as u64];
    words.extend(program);
    let filtered = || Settings::from([(Key::SeccompFilter, Value::Numbers(words.clone()))]);
    assert_eq!(run(filtered(), "exec uname").1, 256 + 31, "SIGSYS");
    let (text, _) = run_as(
        filtered(),
        somebody(),
        "mkdir /tmp/x-firn 2>&1 | grep -c 'Permission denied'; grep NoNewPrivs /proc/self/status",
    );
    assert_eq!(text, "1\nNoNewPrivs:\t1");
}
