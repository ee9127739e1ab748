//! kexec_file_load(2): another kernel made ready to be executed by reboot(2).

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Makes a kernel ready, with an initrd and a command line.
pub fn load(kernel: &File, initrd: &File, command_line: &CStr) -> io::Result<()> {
    let bytes = command_line.to_bytes_with_nul();
    // SAFETY: two open descriptors, a buffer of that length with its NUL, no flags; the kernel only reads.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initrd.as_raw_fd(),
            bytes.len(),
            bytes.as_ptr(),
            0_u64,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
