//! When stage 1 is lost: a screen that says what was looked for and what there is, then a rescue shell, or a countdown to
//! a reboot. Never a silent hang.

use crate::block_device;
use crate::console;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Seconds until the reboot when there is no shell.
const COUNTDOWN: u32 = 30;

/// Why the machine cannot go on, in a sentence.
#[derive(Debug)]
pub(super) struct Failure {
    reason: String,
}

impl Failure {
    /// A failure for that reason.
    pub(super) fn new(reason: String) -> Self {
        Self { reason }
    }

    /// A system call's failure: what was to be done with what.
    pub(super) fn io(verb: &str, what: &str, error: &io::Error) -> Self {
        Self { reason: format!("cannot {verb} {what}: {error}") }
    }
}

/// Shows the failure and offers what there is: the shell or the reboot.
pub(super) fn give_up(failure: &Failure, rescue: Option<&str>) -> ! {
    let devices = block_device::describe(&block_device::scan());
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    console::show(&format!(
        "\n======== Firn cannot boot this generation ========\n\n{}\n\nBlock devices:\n{devices}\nKernel command line:\n  {}\n\n\
         An older generation can be chosen in the boot menu.\n",
        failure.reason,
        line.trim()
    ));
    if let Some(busybox) = rescue.map(|path| Path::new("/").join(path)).filter(|path| path.exists()) {
        console::show("A rescue shell follows; leaving it reboots.\n\n");
        if let Err(error) = shell(&busybox) {
            console::show(&format!("the rescue shell does not run: {error}\n"));
        }
    }
    for left in (1..=COUNTDOWN).rev() {
        if left % 10 == 0 || left <= 3 {
            console::show(&format!("rebooting in {left} s\n"));
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    reboot()
}

/// Runs the shell on the console until it ends, as leader of its session so that Ctrl-C works.
fn shell(busybox: &Path) -> io::Result<()> {
    let console = std::fs::OpenOptions::new().read(true).write(true).open("/dev/console")?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("firn-init").args(["on-console", &busybox.to_string_lossy()]);
    command.stdin(Stdio::from(console.as_fd().try_clone_to_owned()?));
    command.stdout(Stdio::from(console.as_fd().try_clone_to_owned()?)).stderr(Stdio::from(console));
    command.spawn()?.wait().map(drop)
}

/// What the child of `shell` does: its own session, the terminal, the shell.
pub fn become_shell(busybox: &str) -> io::Error {
    if let Err(error) = nix::unistd::setsid() {
        return error.into();
    }
    // A console without a terminal behind it still gives a shell, only without Ctrl-C.
    if sys::terminal::take_control(io::stdin().as_fd()).is_err() {
        console::show("(no job control on this console)\n");
    }
    Command::new(busybox)
        .arg0("sh")
        .env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin")
        .env("PS1", "rescue# ")
        .exec()
}

/// Reboots at once. When even that fails, waits for the power switch.
fn reboot() -> ! {
    nix::unistd::sync();
    loop {
        if nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_AUTOBOOT).is_err() {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
}
