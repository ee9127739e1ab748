//! What runs between clone and exec, in the new process.

use super::{Prepared, has, sandbox};
use formats::service_graph::key::{Key, flag, sandbox as sandbox_bit, standard_io};
use nix::fcntl::{OFlag, open};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::stat::Mode;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use sys::process_limits as limits;

/// systemd's exit codes for what can fail here (systemd.exec(5), table 8).
mod exit {
    pub(super) const CHDIR: i32 = 200;
    pub(super) const NICE: i32 = 201;
    pub(super) const FDS: i32 = 202;
    pub(super) const EXEC: i32 = 203;
    pub(super) const LIMITS: i32 = 205;
    pub(super) const OOM_ADJUST: i32 = 206;
    pub(super) const IO_PRIORITY: i32 = 211;
    pub(super) const TIMER_SLACK: i32 = 212;
    pub(super) const SECURE_BITS: i32 = 213;
    pub(super) const SCHEDULER: i32 = 214;
    pub(super) const AFFINITY: i32 = 215;
    pub(super) const SECCOMP: i32 = 228;
    pub(super) const KEYRING: i32 = 237;
    pub(super) const STDIN: i32 = 208;
    pub(super) const STDOUT: i32 = 209;
    pub(super) const GROUP: i32 = 216;
    pub(super) const USER: i32 = 217;
    pub(super) const CAPABILITIES: i32 = 218;
    pub(super) const STDERR: i32 = 222;
    pub(super) const NAMESPACE: i32 = 226;
    pub(super) const NO_NEW_PRIVILEGES: i32 = 227;
}

/// A step that failed: the exit code that says which, and why.
struct Failure(i32, &'static str, io::Error);

/// Becomes the service. Returns the exit code when that fails.
pub(super) fn run(prepared: &mut Prepared<'_>) -> i32 {
    let Failure(code, step, error) = match become_service(prepared) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    let text = format!("firn: {}: cannot {step}: {error}\n", prepared.execution.program().to_string_lossy());
    // The unit's log if there is one, else wherever standard error leads.
    match prepared.log {
        Some(log) => drop(nix::unistd::write(log, text.as_bytes())),
        None => drop(nix::unistd::write(io::stderr(), text.as_bytes())),
    }
    if let Some(executed) = prepared.executed {
        crate::best_effort::tolerate(nix::unistd::write(executed, b"!"));
    }
    code
}

fn become_service(prepared: &mut Prepared<'_>) -> Result<std::convert::Infallible, Failure> {
    let step = |code: i32, what: &'static str| move |error: io::Error| Failure(code, what, error);
    let unit = &{ prepared.unit };
    crate::best_effort::tolerate(nix::unistd::setsid());
    streams(prepared)?;
    crate::best_effort::tolerate(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None));
    if has(unit, flag::KEEP_SIGPIPE) {
        drop(limits::default_signal(libc::SIGPIPE));
    } else {
        drop(limits::ignore_signal(libc::SIGPIPE));
    }
    // The supervisor's own is higher.
    drop(limits::limit(libc::RLIMIT_NOFILE, 1024, crate::pid1::DESCRIPTORS));
    let numbers: Vec<u64> = unit.numbers(Key::Limits).filter(|_| !prepared.privileged).collect();
    for limit in numbers.chunks_exact(3) {
        if let [resource, soft, hard] = *limit {
            limits::limit(resource as u32, soft, hard).map_err(step(exit::LIMITS, "set a limit"))?;
        }
    }
    if let Some(nice) = unit.number(Key::Nice) {
        limits::nice(nice as i32 - 20).map_err(step(exit::NICE, "set the nice value"))?;
    }
    if let Some(score) = unit.number(Key::OomScoreAdjust) {
        std::fs::write("/proc/self/oom_score_adj", (score as i64 - 1000).to_string())
            .map_err(step(exit::OOM_ADJUST, "set the OOM score"))?;
    }
    nix::sys::stat::umask(Mode::from_bits_truncate(unit.number(Key::UMask).unwrap_or(0o022) as u32));
    if let Some(value) = unit.number(Key::IoPriority) {
        limits::io_priority(value).map_err(step(exit::IO_PRIORITY, "set its I/O priority"))?;
    }
    let scheduling: Vec<u64> = unit.numbers(Key::CpuScheduling).collect();
    if let [policy, priority, reset] = *scheduling {
        limits::scheduling(policy, priority, reset != 0)
            .map_err(step(exit::SCHEDULER, "set its scheduling"))?;
    }
    let cpus: Vec<u64> = unit.numbers(Key::CpuAffinity).collect();
    if !cpus.is_empty() {
        limits::affinity(&cpus).map_err(step(exit::AFFINITY, "set its CPUs"))?;
    }
    if let Some(slack) = unit.number(Key::TimerSlack) {
        limits::timer_slack(slack).map_err(step(exit::TIMER_SLACK, "set its timer slack"))?;
    }
    if let Some(mode @ (1 | 2)) = unit.number(Key::KeyringMode) {
        limits::new_session_keyring(mode == 2).map_err(step(exit::KEYRING, "make its keyring"))?;
    }
    if !prepared.privileged {
        sandbox::enter(unit, &prepared.view).map_err(step(exit::NAMESPACE, "set up its file system view"))?;
    }
    working_directory(prepared)?;
    identity(prepared)?;
    let has_filter = unit.has(Key::SeccompFilter) && !prepared.privileged;
    // A filter needs it where CAP_SYS_ADMIN is gone with the user (systemd.exec(5), NoNewPrivileges=).
    let is_implied = has_filter && prepared.identity.account.is_some();
    if (has(unit, flag::NO_NEW_PRIVILEGES) || is_implied) && !prepared.privileged {
        limits::no_new_privileges().map_err(step(exit::NO_NEW_PRIVILEGES, "forbid new privileges"))?;
    }
    prepared.execution.fill_numbers(std::process::id());
    if has_filter {
        let words: Vec<u64> = unit.numbers(Key::SeccompFilter).collect();
        let mut rest = words.as_slice();
        while let Some((length, tail)) = rest.split_first() {
            let (program, after) = tail.split_at_checked(*length as usize).unwrap_or((tail, &[]));
            sys::seccomp::apply(program).map_err(step(exit::SECCOMP, "filter its system calls"))?;
            rest = after;
        }
    }
    Err(Failure(exit::EXEC, "execute it", prepared.execution.execute()))
}

/// Standard input, output and error, the terminal, the sockets.
fn streams(prepared: &Prepared<'_>) -> Result<(), Failure> {
    let unit = &prepared.unit;
    let one = |key| unit.tagged(key).next();
    let open_at = |path: &str, flags: OFlag| -> io::Result<OwnedFd> {
        Ok(open(Path::new(path), flags | OFlag::O_CLOEXEC, Mode::from_bits_truncate(0o644))?)
    };
    let wants_terminal = [Key::StandardInput, Key::StandardOutput, Key::StandardError]
        .iter()
        .any(|key| one(*key).is_some_and(|(tag, _)| tag == standard_io::TTY));
    let terminal = match wants_terminal.then(|| terminal(prepared)).transpose() {
        Ok(terminal) => terminal,
        Err(error) => return Err(Failure(exit::STDIN, "open its terminal", error)),
    };
    let mut fallback: Option<(u32, String)> = None;
    let plan = [
        (Key::StandardInput, 0, exit::STDIN, standard_io::NULL),
        (Key::StandardOutput, 1, exit::STDOUT, standard_io::LOG),
        (Key::StandardError, 2, exit::STDERR, standard_io::INHERIT),
    ];
    for (key, number, code, default) in plan {
        let (mut tag, mut path) =
            one(key).map_or((default, String::new()), |(tag, path)| (tag, path.to_owned()));
        // Output without a setting follows a terminal or socket of input; error follows output.
        let input_is_interactive =
            fallback.as_ref().is_some_and(|(tag, _)| matches!(*tag, standard_io::TTY | standard_io::SOCKET));
        // What output would inherit from nothing is logged.
        if tag == standard_io::INHERIT && number == 1 && !input_is_interactive {
            tag = standard_io::LOG;
        }
        if (tag == standard_io::INHERIT || (one(key).is_none() && number == 1 && input_is_interactive))
            && let Some((before, at)) = &fallback
        {
            (tag, path) = (*before, at.clone());
        }
        let failed = |error: io::Error| Failure(code, "open a standard stream", error);
        let place = |from: BorrowedFd<'_>| sys::terminal::place(from, number).map_err(failed);
        let write = OFlag::O_WRONLY | OFlag::O_CREAT;
        match tag {
            standard_io::LOG | standard_io::LOG_AND_CONSOLE if prepared.log.is_some() => {
                if let Some(log) = prepared.log {
                    place(log)?;
                }
            }
            standard_io::TTY if terminal.is_some() => {
                if let Some(terminal) = &terminal {
                    place(terminal.as_fd())?;
                }
            }
            standard_io::SOCKET if !prepared.sockets.is_empty() => {
                if let Some(socket) = prepared.sockets.first() {
                    place(socket.as_fd())?;
                }
            }
            standard_io::FILE if number == 0 => {
                place(open_at(&path, OFlag::O_RDONLY).map_err(failed)?.as_fd())?;
            }
            standard_io::FILE => place(open_at(&path, write).map_err(failed)?.as_fd())?,
            standard_io::APPEND => place(open_at(&path, write | OFlag::O_APPEND).map_err(failed)?.as_fd())?,
            standard_io::TRUNCATE => place(open_at(&path, write | OFlag::O_TRUNC).map_err(failed)?.as_fd())?,
            _ => place(open_at("/dev/null", OFlag::O_RDWR).map_err(failed)?.as_fd())?,
        }
        if number == 0 && !matches!(tag, standard_io::TTY | standard_io::SOCKET) {
            fallback = None;
        } else {
            fallback = Some((tag, path));
        }
    }
    // First out of the way of the numbers that they get.
    let failed = |error: io::Error| Failure(exit::FDS, "pass its sockets", error);
    let above = 3 + prepared.sockets.len() as i32;
    let moved = prepared
        .sockets
        .iter()
        .map(|socket| sys::terminal::copy_above(socket.as_fd(), above))
        .collect::<io::Result<Vec<_>>>()
        .map_err(failed)?;
    let blocks = !has(unit, flag::NON_BLOCKING);
    for (number, socket) in moved.iter().enumerate() {
        // Ours do not block; a service's do unless it says otherwise.
        let mut flags = OFlag::O_RDWR;
        flags.set(OFlag::O_NONBLOCK, !blocks);
        crate::best_effort::tolerate(nix::fcntl::fcntl(socket, nix::fcntl::FcntlArg::F_SETFL(flags)));
        sys::terminal::place(socket.as_fd(), 3 + number as i32).map_err(failed)?;
    }
    Ok(())
}

/// TTYPath= as the controlling terminal, after TTYVHangup= and TTYReset=.
fn terminal(prepared: &Prepared<'_>) -> io::Result<OwnedFd> {
    let unit = &prepared.unit;
    let path = Path::new(unit.text(Key::TtyPath).unwrap_or("/dev/console"));
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    if has(unit, flag::TTY_VT_DISALLOCATE) {
        super::disallocate_terminal(unit);
    }
    if has(unit, flag::TTY_VHANGUP) {
        let before = open(path, flags, Mode::empty())?;
        // A terminal that cannot be hung up is used as it is.
        drop(sys::terminal::hang_up(before.as_fd()));
    }
    let terminal = open(path, flags, Mode::empty())?;
    crate::best_effort::tolerate(nix::fcntl::fcntl(
        terminal.as_fd(),
        nix::fcntl::FcntlArg::F_SETFL(OFlag::O_RDWR),
    ));
    drop(sys::terminal::take_control(terminal.as_fd()));
    if has(unit, flag::TTY_RESET) {
        drop(sys::terminal::reset(terminal.as_fd()));
    }
    Ok(terminal)
}

fn working_directory(prepared: &Prepared<'_>) -> Result<(), Failure> {
    let unit = &prepared.unit;
    let path = match unit.text(Key::WorkingDirectory) {
        Some("~") => prepared.identity.account.as_ref().map_or("/root", |account| account.home.as_str()),
        Some(path) => path,
        None => "/",
    };
    match nix::unistd::chdir(path) {
        Err(error) if !has(unit, flag::WORKING_DIRECTORY_OPTIONAL) => {
            Err(Failure(exit::CHDIR, "enter its working directory", error.into()))
        }
        _ => Ok(()),
    }
}

/// Groups, group, user and capabilities, in the only order that works.
fn identity(prepared: &Prepared<'_>) -> Result<(), Failure> {
    use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
    let identity = &prepared.identity;
    let ambient = prepared.unit.number(Key::AmbientCapabilities).filter(|_| !prepared.privileged);
    let capabilities = |error: io::Error| Failure(exit::CAPABILITIES, "set its capabilities", error);
    if identity.gid.is_some() || !identity.groups.is_empty() {
        let groups: Vec<Gid> = identity.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        setgroups(&groups).map_err(|error| Failure(exit::GROUP, "set its groups", error.into()))?;
    }
    if let Some(gid) = identity.gid {
        let gid = Gid::from_raw(gid);
        setresgid(gid, gid, gid).map_err(|error| Failure(exit::GROUP, "set its group", error.into()))?;
    }
    let bits = prepared.unit.number(Key::Sandbox).filter(|_| !prepared.privileged).unwrap_or(0);
    if bits & sandbox_bit::PRIVATE_USERS != 0 {
        sandbox::private_users(&prepared.view, bits & sandbox_bit::IDENTITY_USERS != 0)
            .map_err(|error| Failure(exit::USER, "make its user namespace", error))?;
    }
    // After the user namespace, which gives every capability within it.
    if let Some(mask) = prepared.unit.number(Key::CapabilityBoundingSet).filter(|_| !prepared.privileged) {
        limits::bound_capabilities(mask).map_err(capabilities)?;
    }
    if let Some(mask) = prepared.unit.number(Key::SecureBits).filter(|_| !prepared.privileged) {
        limits::secure_bits(mask)
            .map_err(|error| Failure(exit::SECURE_BITS, "set its secure bits", error))?;
    }
    if let Some(account) = &identity.account {
        if ambient.is_some() {
            limits::keep_capabilities().map_err(capabilities)?;
        }
        let uid = Uid::from_raw(account.uid);
        setresuid(uid, uid, uid).map_err(|error| Failure(exit::USER, "become its user", error.into()))?;
        if let Some(mask) = ambient {
            limits::set_ambient(mask).map_err(capabilities)?;
        }
    } else if let Some(mask) = ambient {
        limits::add_ambient(mask).map_err(capabilities)?;
    }
    Ok(())
}
