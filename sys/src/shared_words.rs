//! Memory shared between processes as a file without a name (memfd_create(2)), seen as 32-bit words that each side reads and
//! writes atomically. Its size is sealed, so that neither side can make the other fault.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

/// A mapping. It lasts as long as the process.
#[derive(Debug, Clone, Copy)]
pub struct SharedWords {
    words: &'static [AtomicU32],
}

/// Makes the file with room for that many words, all zero.
pub fn create(name: &CStr, words: usize) -> io::Result<OwnedFd> {
    // SAFETY: the name is a NUL-terminated string.
    let raw = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just made and that nothing else owns.
    let file = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: plain system call on a descriptor that is open.
    if unsafe { libc::ftruncate(raw, (words * 4) as libc::off_t) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: plain system call on a descriptor that is open.
    if unsafe { libc::fcntl(raw, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK | libc::F_SEAL_GROW) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}

impl SharedWords {
    /// Maps a file made by [`create`].
    pub fn map(file: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: plain system call on a descriptor that is open.
        let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
        if seals < 0 || seals & libc::F_SEAL_SHRINK == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the shared memory's size is not sealed",
            ));
        }
        // SAFETY: zeroed is a valid value of this plain structure.
        let mut status: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the structure is writable and outlives the call.
        if unsafe { libc::fstat(file.as_raw_fd(), &raw mut status) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let bytes = status.st_size as usize;
        // SAFETY: a fresh shared mapping of a file whose size is sealed; the address is the kernel's choice.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = NonNull::new(address.cast::<AtomicU32>()).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: page-aligned, `bytes` long, never unmapped; other processes change it, which atomics allow.
        let words = unsafe { std::slice::from_raw_parts(first.as_ptr(), bytes / 4) };
        Ok(Self { words })
    }

    /// The words.
    pub fn words(&self) -> &'static [AtomicU32] {
        self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;
    use std::sync::atomic::Ordering;

    #[test]
    fn two_mappings_see_one_memory() {
        let file = create(c"test", 16).unwrap();
        let (left, right) =
            (SharedWords::map(file.as_fd()).unwrap(), SharedWords::map(file.as_fd()).unwrap());
        left.words()[15].store(7, Ordering::Release);
        assert_eq!((right.words().len(), right.words()[15].load(Ordering::Acquire)), (16, 7));
        let plain = std::fs::File::open("/dev/null").unwrap();
        assert!(SharedWords::map(plain.as_fd()).is_err());
    }
}
