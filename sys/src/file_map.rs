//! A file's bytes in place of a copy: mmap(2), read-only and private. For files that nobody changes, as those of a store:
//! truncating one under a mapping would end its readers with SIGBUS.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Maps the whole file, for as long as the process lives.
pub fn map(file: &File) -> io::Result<&'static [u8]> {
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    if length == 0 {
        return Ok(&[]);
    }
    // SAFETY: a fresh private mapping at an address of the kernel's choice.
    let address = unsafe {
        libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `length` readable bytes that are never unmapped.
    Ok(unsafe { std::slice::from_raw_parts(address.cast(), length) })
}
