//! Swap space: swapon(2), swapoff(2).

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// How a swap space is used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// 0 to 32767, higher ones first; the kernel's choice when not given.
    pub priority: Option<i32>,
    /// Discard at the start and freed pages.
    pub discard: bool,
    /// Discard at the start.
    pub discard_once: bool,
    /// Discard freed pages.
    pub discard_pages: bool,
}

/// Begins to swap to a device or file.
pub fn on(path: &Path, options: &Options) -> io::Result<()> {
    const PREFER: i32 = 0x8000;
    let mut flags = options.priority.map_or(0, |priority| PREFER | (priority & 0x7fff));
    for (is_set, bit) in
        [(options.discard, 0x10000), (options.discard_once, 0x30000), (options.discard_pages, 0x50000)]
    {
        if is_set {
            flags |= bit;
        }
    }
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the string ends with a NUL and outlives the call.
    check(unsafe { libc::swapon(path.as_ptr(), flags) })
}

/// Ends it; takes as long as it takes to read everything back.
pub fn off(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the string ends with a NUL and outlives the call.
    check(unsafe { libc::swapoff(path.as_ptr()) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
