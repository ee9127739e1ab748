//! Programs of extended BPF that judge what the processes of a cgroup do: loaded and attached with bpf(2).

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// The part of `union bpf_attr` that loading a program uses.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

/// The part that attaching one uses.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// The type of program (`enum bpf_prog_type`) that is attached there.
fn program_type(attach_type: u32) -> u32 {
    const CGROUP_SKB: u32 = 8;
    const CGROUP_DEVICE: u32 = 15;
    const CGROUP_SOCK_ADDR: u32 = 18;
    match attach_type {
        0 | 1 => CGROUP_SKB,
        6 => CGROUP_DEVICE,
        _ => CGROUP_SOCK_ADDR,
    }
}

/// Attaches a program to a cgroup at a place of `enum bpf_attach_type`: 0 and 1 what comes in and goes out, 6 devices, 8 and 9 binding
/// of IPv4 and IPv6 sockets. What was attached there before is replaced.
pub fn attach(cgroup: BorrowedFd<'_>, attach_type: u32, program: &[u64]) -> io::Result<()> {
    const LOAD_PROGRAM: libc::c_long = 5;
    const ATTACH_PROGRAM: libc::c_long = 8;
    const ALLOW_OVERRIDE: u32 = 1;
    let load = LoadAttributes {
        program_type: program_type(attach_type),
        instruction_count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: [0; 16],
        interface: 0,
        attach_type,
    };
    // SAFETY: the structure is laid out as the kernel has it; it and what it points to outlive the call.
    let loaded =
        unsafe { libc::syscall(libc::SYS_bpf, LOAD_PROGRAM, &raw const load, size_of::<LoadAttributes>()) };
    if loaded < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, so nobody else's.
    let loaded = unsafe { OwnedFd::from_raw_fd(loaded as i32) };
    let attach = AttachAttributes {
        target: cgroup.as_raw_fd() as u32,
        program: loaded.as_raw_fd() as u32,
        attach_type,
        flags: ALLOW_OVERRIDE,
    };
    // SAFETY: the structure is laid out as the kernel has it and outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, ATTACH_PROGRAM, &raw const attach, size_of::<AttachAttributes>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
