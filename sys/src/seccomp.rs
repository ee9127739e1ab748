//! Filters of system calls: seccomp(2) with programs that were assembled elsewhere.

use std::io;

/// Applies a program to the calling process for good. Each instruction is a `struct sock_filter` as one little-endian word. Needs
/// CAP_SYS_ADMIN or PR_SET_NO_NEW_PRIVS.
pub fn apply(program: &[u64]) -> io::Result<()> {
    const SET_MODE_FILTER: libc::c_uint = 1;
    let instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|word| libc::sock_filter {
            code: *word as u16,
            jt: (*word >> 16) as u8,
            jf: (*word >> 24) as u8,
            k: (*word >> 32) as u32,
        })
        .collect();
    let length =
        u16::try_from(instructions.len()).map_err(|_| io::Error::other("the program is too long"))?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_ptr().cast_mut() };
    // SAFETY: `program` and the instructions that it points to outlive the call; the kernel checks the program.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0, &raw const program) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
