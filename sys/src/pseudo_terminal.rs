//! Pseudo-terminals: pty(7). A builder's output goes through one, as with Nix, so that programs write line by line.

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// Both ends of a terminal in raw mode.
#[derive(Debug)]
pub struct PseudoTerminal {
    /// Where the output is read.
    pub leader: File,
    /// What the program gets.
    pub follower: File,
    /// The follower's name, `/dev/pts/N`.
    pub path: PathBuf,
}

/// Opens a terminal: raw, so that what is written is what is read.
pub fn open() -> io::Result<PseudoTerminal> {
    let leader = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    grantpt(&leader)?;
    unlockpt(&leader)?;
    let path = PathBuf::from(ptsname_r(&leader)?);
    let follower = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(&path)?;
    let mut mode = tcgetattr(&follower)?;
    cfmakeraw(&mut mode);
    tcsetattr(&follower, SetArg::TCSANOW, &mode)?;
    Ok(PseudoTerminal { leader: File::from(OwnedFd::from(leader)), follower, path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn carries_bytes_unchanged() {
        let mut terminal = open().unwrap();
        terminal.follower.write_all(b"a\nb\r\n").unwrap();
        let mut bytes = [0; 5];
        terminal.leader.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"a\nb\r\n");
    }
}
