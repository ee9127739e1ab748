//! The end of the machine: whoever still runs is ended, every file system is unmounted in the reverse of its mounting or at
//! least made read-only, all is written out, and the kernel is told. Bounded: nothing here waits for more than a few seconds.

use super::watchdog::Watchdog;
use crate::console::{self, Level};
use crate::mounting;
use formats::control::Shutdown;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::{CStr, CString};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long processes without a unit get after SIGTERM.
const GRACE: Duration = Duration::from_millis(500);

/// The userspace that a soft reboot begins: the one of the next boot.
const NEXT: &str = "/nix/var/nix/profiles/system/init";

/// Ends the machine.
pub(super) fn end(how: Shutdown, mut watchdog: Option<&mut Watchdog>) -> ! {
    if let Some(watchdog) = &mut watchdog {
        watchdog.feed_for_the_end();
    }
    end_processes();
    if how == Shutdown::SoftReboot {
        begin_again();
    }
    unmount_all();
    nix::unistd::sync();
    if let (Shutdown::Halt | Shutdown::Kexec, Some(watchdog)) = (how, watchdog) {
        watchdog.disarm();
    }
    let mode = match how {
        Shutdown::PowerOff => RebootMode::RB_POWER_OFF,
        // A soft reboot that could not be is a whole one.
        Shutdown::Reboot | Shutdown::SoftReboot => RebootMode::RB_AUTOBOOT,
        Shutdown::Halt => RebootMode::RB_HALT_SYSTEM,
        Shutdown::Kexec => RebootMode::RB_KEXEC,
    };
    for mode in [mode, RebootMode::RB_AUTOBOOT] {
        let Err(error) = reboot(mode);
        console::show(&format!("firn: the kernel does not end the machine: {error}\n"));
    }
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Becomes the process 1 of the next generation on the running kernel, with the file systems as they are.
fn begin_again() {
    nix::unistd::sync();
    let Ok(next) = CString::new(NEXT) else { return };
    let nothing: [&CStr; 0] = [];
    let Err(error) = nix::unistd::execve(&next, &[&next], &nothing);
    console::log(Level::Error, &format!("cannot begin again with {NEXT}: {error}; rebooting the machine"));
}

/// TERM to all, a moment, KILL to all. Nobody left: no moment.
fn end_processes() {
    let everyone = Pid::from_raw(-1);
    for (signal, patience) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, Duration::from_secs(2))] {
        if kill(everyone, signal).is_err() {
            return;
        }
        let deadline = Instant::now() + patience;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(nix::Error::ECHILD) => return,
                Ok(WaitStatus::StillAlive) if Instant::now() >= deadline => break,
                Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(2)),
                _ => {}
            }
        }
    }
}

/// Unmounts from the last mounted to the first; what is busy is made read-only.
fn unmount_all() {
    let keep = ["/proc", "/sys", "/dev", "/run"];
    let mut stuck = Vec::new();
    for (place, fs_type) in mounting::mounted().into_iter().rev() {
        let is_kernels = keep.iter().any(|kept| place == *kept || place.starts_with(&format!("{kept}/")));
        if is_kernels || place == "/" {
            continue;
        }
        if mounting::unmount(Path::new(&place), false).is_err() && fs_type != "tmpfs" {
            stuck.push(place);
        }
    }
    nix::unistd::sync();
    for place in stuck.iter().map(String::as_str).chain(["/"]) {
        if let Err(error) = mounting::remount_read_only(Path::new(place)) {
            let text = format!("{place} could not be unmounted or made read-only: {error}");
            console::log(Level::Warning, &text);
        }
    }
}

/// A shell on the console beside everything else.
pub(super) fn rescue_shell() -> Option<Child> {
    for shell in ["/run/current-system/sw/bin/bash", "/run/booted-system/sw/bin/bash", "/bin/sh"] {
        if !Path::new(shell).exists() {
            continue;
        }
        let terminal = std::fs::OpenOptions::new().read(true).write(true).open("/dev/console").ok()?;
        let (input, output) = (terminal.try_clone().ok()?, terminal.try_clone().ok()?);
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["on-console", shell])
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(terminal));
        return command.spawn().ok();
    }
    None
}

/// When process 1 itself cannot be set up: a shell, then a reboot.
pub(super) fn console_of_last_resort() -> ! {
    match rescue_shell() {
        Some(mut shell) => drop(shell.wait()),
        None => std::thread::sleep(Duration::from_secs(5)),
    }
    end(Shutdown::Reboot, None)
}
