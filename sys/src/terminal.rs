//! Terminals as a login prompt needs them: controlling terminal, hang-up, sane settings (tty_ioctl(4), termios(3)).

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// Makes a terminal the controlling one of the calling session's leader, taking it from another session when root.
pub fn take_control(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an ioctl without memory argument on an open descriptor.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 1) })
}

/// Hangs a terminal up: whoever has it open gets end of file.
pub fn hang_up(terminal: BorrowedFd<'_>) -> io::Result<()> {
    const TIOCVHANGUP: libc::c_ulong = 0x5437;
    // SAFETY: an ioctl without memory argument on an open descriptor.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), TIOCVHANGUP) })
}

/// Gives a virtual terminal's memory and scroll-back up; an error when somebody has it open. `console` is any of them.
pub fn disallocate(console: BorrowedFd<'_>, number: u32) -> io::Result<()> {
    const VT_DISALLOCATE: libc::c_ulong = 0x5608;
    // SAFETY: an ioctl with a plain number on an open descriptor.
    check(unsafe { libc::ioctl(console.as_raw_fd(), VT_DISALLOCATE, libc::c_ulong::from(number)) })
}

/// Puts a terminal's settings to what a login prompt expects: cooked, echoing, 8 bits.
pub fn reset(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: zeroed is a valid value of this plain structure.
    let mut settings: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is writable and outlives the call.
    check(unsafe { libc::tcgetattr(terminal.as_raw_fd(), &raw mut settings) })?;
    settings.c_iflag = libc::ICRNL | libc::IXON | libc::IMAXBEL | libc::IUTF8;
    settings.c_oflag = libc::OPOST | libc::ONLCR;
    settings.c_cflag = (settings.c_cflag & (libc::CBAUD | libc::CSTOPB))
        | libc::CS8
        | libc::CREAD
        | libc::HUPCL
        | libc::CLOCAL;
    settings.c_lflag = libc::ISIG
        | libc::ICANON
        | libc::IEXTEN
        | libc::ECHO
        | libc::ECHOE
        | libc::ECHOK
        | libc::ECHOCTL
        | libc::ECHOKE;
    for (index, value) in [
        (libc::VINTR, 3),
        (libc::VQUIT, 28),
        (libc::VERASE, 127),
        (libc::VKILL, 21),
        (libc::VEOF, 4),
        (libc::VSTART, 17),
        (libc::VSTOP, 19),
        (libc::VSUSP, 26),
        (libc::VTIME, 0),
        (libc::VMIN, 1),
    ] {
        if let Some(slot) = settings.c_cc.get_mut(index) {
            *slot = value;
        }
    }
    // SAFETY: the structure outlives the call.
    check(unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSANOW, &raw const settings) })
}

/// Columns and lines of a terminal; nothing if it does not say (a serial line) or is none.
#[must_use]
pub fn size(terminal: BorrowedFd<'_>) -> Option<(usize, usize)> {
    // SAFETY: zeroed is a valid value of this plain structure.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is writable and outlives the call.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) }).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// Takes over a descriptor that the parent left open at that number.
pub fn adopt(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain system call; tells whether the number is open.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: open, as just seen, and by agreement with the parent nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A copy of a descriptor whose number is not below `number`, closed by execve(2).
pub fn copy_above(from: BorrowedFd<'_>, number: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain system call on an open descriptor.
    let copy = unsafe { libc::fcntl(from.as_raw_fd(), libc::F_DUPFD_CLOEXEC, number) };
    check(copy)?;
    // SAFETY: just made, so nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Makes `number` a copy of a descriptor that survives execve(2), closing what was there.
pub fn place(from: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    if from.as_raw_fd() == number {
        // SAFETY: plain system call on an open descriptor.
        return check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) });
    }
    // SAFETY: plain system call; whatever `number` was is closed, as the caller asked.
    check(unsafe { libc::dup2(from.as_raw_fd(), number) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
