//! Process 1 becomes another program, of the generation that runs now, without anybody's noticing: memory, sockets, pipes and
//! everything else that it holds are put at the numbers at which the successor finds them; its children stay its
//! children. The supervisor is ended first, as it can be at any moment, and the successor starts its own.

use super::{Asked, Held, Supervisor, far, inherited, listen};
use crate::console::{self, Level};
use crate::hand_over::{self, HandOver};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

/// How the successor is called.
pub const NAME: &str = "firn-pid1-again";

/// The generation that runs now.
const GENERATION: &str = "/run/current-system";

/// Milliseconds that a killed supervisor may take to be gone.
const END_WITHIN: u16 = 1000;

/// Runs the other program; returns when it cannot be, or when the supervisor's last word was that the machine ends.
pub(super) fn become_another(held: &mut Held, supervisor: Option<&Supervisor>) -> Option<Asked> {
    let toplevel = std::fs::canonicalize(GENERATION).ok()?;
    let program = toplevel.join("init");
    if !understands_us(&program) {
        let text =
            format!("{} does not take over from this process 1; going on as before", program.display());
        console::log(Level::Error, &text);
        return None;
    }
    let program = CString::new(program.to_string_lossy().into_owned()).ok()?;
    if let Some(supervisor) = supervisor
        && let Some(end) = end_supervisor(held, supervisor)
    {
        return Some(end);
    }
    let mut arguments = vec![NAME.to_owned(), toplevel.to_string_lossy().into_owned()];
    for (number, (tag, _)) in held.tagged.iter().enumerate() {
        arguments.push(format!("{tag}={}", inherited::FIRST_HELD + number as i32));
    }
    let arguments: Vec<CString> = arguments.into_iter().filter_map(|word| CString::new(word).ok()).collect();
    for (descriptor, number) in held.fixed() {
        drop(descriptor.map(|descriptor| sys::terminal::place(descriptor, number)));
    }
    for (number, (_, descriptor)) in held.tagged.iter().enumerate() {
        drop(sys::terminal::place(descriptor.as_fd(), inherited::FIRST_HELD + number as i32));
    }
    let nothing: [&std::ffi::CStr; 0] = [];
    let Err(error) = nix::unistd::execve(&program, &arguments, &nothing);
    console::log(Level::Error, &format!("process 1 cannot become another: {error}; going on as before"));
    None
}

/// Kills the supervisor and takes what it gave us to hold until then: a pipe that nobody holds loses its lines. Whether
/// it said that the machine ends.
fn end_supervisor(held: &mut Held, supervisor: &Supervisor) -> Option<Asked> {
    let channel = supervisor.channel.as_fd();
    crate::best_effort::tolerate(kill(Pid::from_raw(supervisor.pid as i32), Signal::SIGKILL));
    let mut polled = [PollFd::new(channel, PollFlags::empty())];
    crate::best_effort::tolerate(nix::poll::poll(&mut polled, PollTimeout::from(END_WITHIN)));
    while let Some(asked) = listen(channel, held) {
        if matches!(asked, Asked::End(_)) {
            return Some(asked);
        }
    }
    None
}

/// Asks a program in a child whether it reads the memory that we write: a wrong one must not become process 1.
fn understands_us(program: &std::path::Path) -> bool {
    let layout = hand_over::LAYOUT.to_string();
    let Ok(mut child) = Command::new(program).args(["takes-over", &layout]).env_clear().spawn() else {
        return false;
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            _ => {
                crate::best_effort::tolerate(child.kill());
                return false;
            }
        }
    }
}

/// The answer to that question.
pub fn takes_over(layout: &str) -> bool {
    layout == hand_over::LAYOUT.to_string()
}

/// Takes over as the successor.
pub(super) fn take(words: &[String]) -> std::io::Result<Held> {
    let state = far(sys::terminal::adopt(inherited::STATE)?);
    let memory = HandOver::map(state.as_fd())?;
    let one = |number| sys::terminal::adopt(number).ok().map(far);
    let held_by_tag = |word: &String| -> Option<(u32, OwnedFd)> {
        let (tag, number) = word.split_once('=')?;
        Some((tag.parse().ok()?, far(sys::terminal::adopt(number.parse().ok()?).ok()?)))
    };
    Ok(Held {
        state,
        memory,
        control: one(inherited::CONTROL),
        notify: one(inherited::NOTIFY),
        logs: [one(inherited::SYSLOG), one(inherited::JOURNAL), one(inherited::STREAMS)],
        tagged: words.iter().filter_map(held_by_tag).collect(),
    })
}
