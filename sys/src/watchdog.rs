//! A hardware watchdog (Linux Documentation/watchdog/watchdog-api.rst): armed by being open, it resets the machine when it is
//! not fed in time.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

/// `_IOWR('W', 6, int)`
const WDIOC_SETTIMEOUT: libc::c_ulong = 0xc004_5706;

/// An armed watchdog. Dropping it leaves it armed.
#[derive(Debug)]
pub struct Watchdog(File);

impl Watchdog {
    /// Opens and so arms it.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(OpenOptions::new().write(true).open(path)?))
    }

    /// Sets after what time it resets the machine; returns the time that the device chose.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<Duration> {
        let mut seconds = i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX);
        // SAFETY: the argument points to a live int, as the request has it.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), WDIOC_SETTIMEOUT, &raw mut seconds) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    /// Feeds it.
    pub fn feed(&mut self) -> io::Result<()> {
        self.0.write_all(b"\0")
    }

    /// Disarms it, where the device lets itself be disarmed.
    pub fn disarm(mut self) -> io::Result<()> {
        self.0.write_all(b"V")
    }
}
