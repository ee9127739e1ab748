//! clone3(2), which can put a child into a cgroup as it is made: moving it afterwards would hold up the whole machine.

use std::io;

/// `struct clone_args` of clone3(2).
#[repr(C)]
#[derive(Default)]
pub(crate) struct CloneArgs {
    pub(crate) flags: u64,
    pub(crate) pidfd: u64,
    pub(crate) child_tid: u64,
    pub(crate) parent_tid: u64,
    pub(crate) exit_signal: u64,
    pub(crate) stack: u64,
    pub(crate) stack_size: u64,
    pub(crate) tls: u64,
    pub(crate) set_tid: u64,
    pub(crate) set_tid_size: u64,
    pub(crate) cgroup: u64,
}

pub(crate) const CLONE_VM: u64 = 0x100;
pub(crate) const CLONE_VFORK: u64 = 0x4000;
pub(crate) const CLONE_PARENT: u64 = 0x8000;
pub(crate) const CLONE_PARENT_SETTID: u64 = 0x0010_0000;
pub(crate) const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
pub(crate) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes a child that shares the caller's memory, on a stack of its own, where it runs `entry`; the caller's thread stands
/// still until the child has executed a program or ended. Returns the child's id.
///
/// # Safety
///
/// `arguments` has `CLONE_VM` and `CLONE_VFORK`, and its pointers are valid; `entry` takes `argument`, which outlives the
/// call, and what it does is allowed in a process that shares memory with a stopped thread.
pub(crate) unsafe fn clone_with_stack(
    mut arguments: CloneArgs,
    stack_size: usize,
    entry: extern "C" fn(*mut libc::c_void) -> !,
    argument: *mut libc::c_void,
) -> io::Result<u32> {
    let mut stack = vec![0_u128; stack_size / size_of::<u128>()];
    arguments.stack = stack.as_mut_ptr() as u64;
    arguments.stack_size = stack_size as u64;
    let result: i64;
    // SAFETY: the structure is laid out as the kernel has it and outlives the call. The child gets a stack of its own, aligned
    // as a call wants it, and never returns from `entry`; the calling thread is stopped meanwhile (CLONE_VFORK), so what it lent
    // outlives every use. The kernel keeps all registers but rax, rcx and r11.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const arguments,
            in("rsi") size_of::<CloneArgs>(),
            in("r12") argument,
            in("r13") entry,
            out("rcx") _,
            out("r11") _,
        );
    }
    drop(stack);
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result as i32))
}
