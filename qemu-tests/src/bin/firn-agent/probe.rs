//! `firn-agent probe PID [COMMAND…]`: what a process sees of itself, as lines of `key value`, for the conformance test. A script with
//! that PID calls it, so that what is told is what the script was started with and not what this program made of it: Rust ignores
//! SIGPIPE, for one. The commands are tried, and each one's exit status is told.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, faccessat};

const BUSYBOX: &str = "/conformance/busybox";

/// Paths whose existence and permissions are told.
const PATHS: &[&str] = &[
    "/",
    "/usr",
    "/etc",
    "/etc/fstab",
    "/home",
    "/home/tester",
    "/home/tester/file",
    "/root",
    "/run",
    "/run/user",
    "/boot",
    "/tmp",
    "/var/tmp",
    "/var/lib",
    "/srv",
    "/opt",
    "/srv/file",
    "/proc/sys",
    "/proc/sys/kernel/hostname",
    "/proc/kmsg",
    "/proc/kallsyms",
    "/proc/1",
    "/proc/meminfo",
    "/sys",
    "/sys/kernel",
    "/sys/fs/cgroup",
    "/dev/kmsg",
    "/dev/mem",
    "/dev/null",
    "/dev/rtc0",
    "/dev/ttyS0",
    "/dev/shm",
    "/dev/mqueue",
    "/lib/modules",
    // Files that the driver puts there.
    "/tmp/outside",
    "/var/tmp/outside",
    "/root/outside",
    "/run/user/outside",
    "/opt/file",
];

/// Tells everything, at once.
pub(crate) fn run(pid: &str, tries: &[String]) {
    let process = format!("/proc/{pid}");
    let mut out = String::new();
    numbers(&process, &mut out);
    places(&process, pid, &mut out);
    paths(&mut out);
    directories(&mut out);
    let told = |name: &str, arguments: &[&str]| {
        let output = Command::new(BUSYBOX).args(arguments).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        format!("{name} {}\n", text.unwrap_or_default())
    };
    out += &told("ionice", &["ionice", "-p", pid]);
    out += &told("hostname", &["hostname"]);
    for (number, command) in tries.iter().enumerate() {
        line(&mut out, &format!("try.{}", number + 1), &status_of(command).to_string());
    }
    drop(std::io::stdout().write_all(out.as_bytes()));
}

fn line(out: &mut String, key: &str, value: &str) {
    out.extend([key, " ", value, "\n"]);
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Credentials, limits, priorities.
fn numbers(process: &str, out: &mut String) {
    let read = |name: &str| std::fs::read_to_string(format!("{process}/{name}"));
    for text in read("status").unwrap_or_default().lines() {
        let Some((key, value)) = text.split_once(':') else { continue };
        let is_wanted = key.starts_with("Cap")
            || matches!(
                key,
                "Uid"
                    | "Gid"
                    | "Groups"
                    | "NoNewPrivs"
                    | "Seccomp"
                    | "Umask"
                    | "SigIgn"
                    | "SigBlk"
                    | "Cpus_allowed_list"
            );
        if is_wanted {
            line(out, &format!("status.{key}"), &words(value));
        }
    }
    for text in read("limits").unwrap_or_default().lines().skip(1) {
        if let Some((key, value)) = text.split_once("  ") {
            line(out, &format!("limit.{}", key.replace(' ', "-")), &words(value));
        }
    }
    let stat = read("stat").unwrap_or_default();
    // The second field, in parentheses, is the first part here.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    for (key, number) in [("nice", 19), ("priority", 40), ("policy", 41)] {
        line(out, key, fields.get(number - 3).unwrap_or(&""));
    }
    for key in ["oom_score_adj", "timerslack_ns", "coredump_filter", "personality", "cgroup"] {
        if let Ok(value) = read(key) {
            line(out, key, value.trim());
        }
    }
}

/// Namespaces, environment, descriptors.
fn places(process: &str, pid: &str, out: &mut String) {
    let link = |name: &str| std::fs::read_link(format!("{process}/{name}"));
    for name in ["cwd", "root"] {
        if let Ok(target) = link(name) {
            line(out, name, &target.to_string_lossy());
        }
    }
    for name in ["mnt", "net", "ipc", "pid", "user", "uts", "cgroup"] {
        let Ok(ours) = link(&format!("ns/{name}")) else { continue };
        let firsts = std::fs::read_to_string(format!("/conformance/ns/{name}")).unwrap_or_default();
        let is_shared = Path::new(firsts.trim()) == ours;
        line(out, &format!("namespace.{name}"), if is_shared { "shared" } else { "own" });
    }
    let environment = std::fs::read(format!("{process}/environ")).unwrap_or_default();
    let mut variables: Vec<String> = environment
        .split(|byte| *byte == 0)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .filter(|text| !text.is_empty())
        .collect();
    variables.sort();
    for text in variables {
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        line(out, &format!("environment.{name}"), if value == pid { "self" } else { value });
    }
    for number in 0..8 {
        if let Ok(target) = link(&format!("fd/{number}")) {
            line(out, &format!("descriptor.{number}"), &target.to_string_lossy());
        }
    }
    let interfaces = std::fs::read_to_string(format!("{process}/net/dev")).unwrap_or_default();
    let names = interfaces.lines().filter_map(|text| Some(text.split_once(':')?.0.trim()));
    line(out, "interfaces", &names.collect::<Vec<_>>().join(" "));
}

fn paths(out: &mut String) {
    for path in PATHS {
        let mut letters = String::new();
        for (letter, flag) in [
            ('e', AccessFlags::F_OK),
            ('r', AccessFlags::R_OK),
            ('w', AccessFlags::W_OK),
            ('x', AccessFlags::X_OK),
        ] {
            if faccessat(nix::fcntl::AT_FDCWD, *path, flag, AtFlags::AT_EACCESS).is_ok() {
                letters.push(letter);
            }
        }
        line(out, &format!("path.{path}"), &letters);
    }
    if !Path::new("/dev/kmsg").exists() {
        line(out, "devices", &names_in("/dev").join(" "));
    }
}

fn names_in(directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The directories that the unit owns, and its credentials.
fn directories(out: &mut String) {
    for kind in ["RUNTIME", "STATE", "CACHE", "LOGS", "CONFIGURATION"] {
        let Some(list) = std::env::var_os(format!("{kind}_DIRECTORY")) else { continue };
        for name in list.as_bytes().split(|byte| *byte == b':') {
            let path = Path::new(OsStr::from_bytes(name));
            let shown = path.display();
            let Ok(meta) = path.symlink_metadata() else {
                line(out, &format!("directory.{shown}"), "missing");
                continue;
            };
            let kind = if meta.is_symlink() { "link" } else { "directory" };
            let mode = meta.permissions().mode() & 0o7777;
            line(
                out,
                &format!("directory.{shown}"),
                &format!("{mode:o} {} {} {kind}", meta.uid(), meta.gid()),
            );
            if let Ok(target) = path.read_link() {
                line(out, &format!("link.{shown}"), &target.to_string_lossy());
            }
            if std::fs::write(path.join("written"), "x\n").is_ok() {
                line(out, &format!("writable.{shown}"), "yes");
            }
        }
    }
    if let Ok(directory) = std::env::var("CREDENTIALS_DIRECTORY") {
        for name in names_in(&directory) {
            let path = Path::new(&directory).join(&name);
            let Ok(meta) = path.metadata() else { continue };
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let mode = meta.permissions().mode() & 0o7777;
            line(out, &format!("credential.{name}"), &format!("{mode:o} {} {}", meta.uid(), text.trim()));
        }
    }
}

/// The exit status of a command, as a shell has it; 143 for one that takes longer than five seconds.
fn status_of(command: &str) -> i32 {
    let null = || Stdio::null();
    let path = std::env::var("PATH").unwrap_or_default();
    let started = Command::new(BUSYBOX)
        .args(["sh", "-c", command])
        .env("PATH", format!("/conformance/bin:{path}"))
        .stdin(null())
        .stdout(null())
        .stderr(null())
        .spawn();
    let Ok(mut child) = started else { return 126 };
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                return status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            }
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            _ => {
                drop(child.kill());
                drop(child.wait());
                return 143;
            }
        }
    }
}
