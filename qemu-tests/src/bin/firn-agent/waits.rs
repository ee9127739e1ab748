//! Waiting in the guest, so that the driver is told at once and asks only once: paths by inotify(7), ports by a short
//! look at /proc/net (the kernel tells nobody when a socket starts to listen).

use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use qemu_tests::protocol::{PathCondition, Reply};

use crate::session::{Task, failed};

/// Even without an event the path is looked at this often: links in other directories, mounts and /proc tell nothing.
const LOOK_AGAIN_MS: u16 = 200;

/// Until the path is as described, or the driver gives up.
pub(crate) fn path(task: &Task, path: &[u8], condition: &PathCondition) -> Result<Reply, Reply> {
    let path = Path::new(OsStr::from_bytes(path));
    let complain = |e: nix::Error| failed(e as i32, format!("inotify for {}: {e}", path.display()));
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(complain)?;
    let flags = AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_DELETE_SELF;
    while !task.cancelled.load(Ordering::SeqCst) {
        // Watch first, look afterwards: nothing can happen unseen between the two.
        for place in path.ancestors() {
            let watched = inotify.add_watch(place, flags).is_ok();
            if watched && place != path {
                break;
            }
        }
        if holds(path, condition) {
            return Ok(Reply::Done);
        }
        let mut fds = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(LOOK_AGAIN_MS)) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            // Which event does not matter: all is looked at again.
            Ok(_) => drop(inotify.read_events()),
            Err(e) => return Err(complain(e)),
        }
    }
    Err(given_up())
}

fn holds(path: &Path, condition: &PathCondition) -> bool {
    match condition {
        PathCondition::Exists => path.exists(),
        PathCondition::Absent => path.symlink_metadata().is_err(),
        PathCondition::Contains(wanted) if wanted.is_empty() => path.exists(),
        PathCondition::Contains(wanted) => {
            std::fs::read(path).is_ok_and(|bytes| bytes.windows(wanted.len()).any(|window| window == wanted))
        }
    }
}

/// Until a TCP port is listened on, or no longer.
pub(crate) fn port(task: &Task, port: u16, open: bool) -> Result<Reply, Reply> {
    while !task.cancelled.load(Ordering::SeqCst) {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
        let listening =
            tables.iter().any(|t| std::fs::read_to_string(t).is_ok_and(|text| listens(&text, port)));
        if listening == open {
            return Ok(Reply::Done);
        }
        sleep(Duration::from_millis(20));
    }
    Err(given_up())
}

/// Whether a table as in proc(5), /proc/net/tcp, has a socket in state LISTEN (0A) with this local port.
fn listens(table: &str, port: u16) -> bool {
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next().and_then(|address| address.rsplit(':').next());
        let state = fields.nth(1);
        state == Some("0A") && local.is_some_and(|hex| u16::from_str_radix(hex, 16) == Ok(port))
    })
}

fn given_up() -> Reply {
    failed(0, "the wait was given up".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_ports_are_told_from_connections() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1\n   \
            1: 0100007F:0016 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 1\n";
        assert!(listens(table, 8080));
        assert!(!listens(table, 22), "a connection is no listener");
        assert!(!listens(table, 80));
    }
}
