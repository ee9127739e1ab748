//! Which devices the processes of a cgroup may use: a BPF program of type BPF_PROG_TYPE_CGROUP_DEVICE, assembled here, loaded and
//! attached with bpf(2) (cgroup-v2, "Device controller").

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// Something that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// A block device instead of a character device.
    pub is_block: bool,
    /// Its major number; nothing for all.
    pub major: Option<u32>,
    /// Its minor number; nothing for all.
    pub minor: Option<u32>,
    /// Making nodes (1), reading (2), writing (4).
    pub access: u32,
}

/// One instruction of extended BPF: `struct bpf_insn`.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    u64::from(code)
        | u64::from(destination | source << 4) << 8
        | u64::from(offset as u16) << 16
        | u64::from(immediate as u32) << 32
}

/// The program: r1 points to `struct bpf_cgroup_dev_ctx { access_type, major, minor }`, r0 is the answer.
fn assemble(allowed: &[Device]) -> Vec<u64> {
    const LOAD: u8 = 0x61; // ldx w
    const AND: u8 = 0x54; // and32 imm
    const SHIFT: u8 = 0x74; // rsh32 imm
    const MOVE: u8 = 0xbc; // mov32 reg
    const SET: u8 = 0xb7; // mov64 imm
    const UNLIKE: u8 = 0x55; // jne imm
    const EXIT: u8 = 0x95;
    let mut program = vec![
        instruction(LOAD, 2, 1, 0, 0),
        instruction(MOVE, 3, 2, 0, 0),
        instruction(AND, 2, 0, 0, 0xffff), // r2: block 1, char 2
        instruction(SHIFT, 3, 0, 0, 16),   // r3: access
        instruction(LOAD, 4, 1, 4, 0),
        instruction(LOAD, 5, 1, 8, 0),
    ];
    for device in allowed {
        let kind = if device.is_block { 1 } else { 2 };
        let mut checks = vec![(2, kind)];
        checks.extend(device.major.map(|number| (4, number as i32)));
        checks.extend(device.minor.map(|number| (5, number as i32)));
        // Each check, then: no access that is not allowed, then the answer yes.
        let mut left = checks.len() as i16 + 5;
        for (register, value) in checks {
            left -= 1;
            program.push(instruction(UNLIKE, register, 0, left, value));
        }
        program.push(instruction(MOVE, 1, 3, 0, 0));
        program.push(instruction(AND, 1, 0, 0, !(device.access as i32)));
        program.push(instruction(UNLIKE, 1, 0, 2, 0));
        program.push(instruction(SET, 0, 0, 0, 1));
        program.push(instruction(EXIT, 0, 0, 0, 0));
    }
    program.push(instruction(SET, 0, 0, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

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
}

/// The part that attaching one uses.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// Allows the processes of a cgroup these devices and no others. What was attached before is replaced.
pub fn allow_only(cgroup: BorrowedFd<'_>, allowed: &[Device]) -> io::Result<()> {
    const LOAD_PROGRAM: libc::c_long = 5;
    const ATTACH_PROGRAM: libc::c_long = 8;
    const CGROUP_DEVICE_PROGRAM: u32 = 15;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_OVERRIDE: u32 = 1;
    let program = assemble(allowed);
    let load = LoadAttributes {
        program_type: CGROUP_DEVICE_PROGRAM,
        instruction_count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
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
        attach_type: CGROUP_DEVICE,
        flags: ALLOW_OVERRIDE,
    };
    // SAFETY: the structure is laid out as the kernel has it and outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, ATTACH_PROGRAM, &raw const attach, size_of::<AttachAttributes>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program over one question.
    fn run(program: &[u64], question: [u32; 3]) -> u64 {
        let mut registers = [0_u64; 11];
        let mut at = 0;
        loop {
            let word = program[at];
            let (code, destination, source) =
                (word as u8, (word >> 8 & 15) as usize, (word >> 12 & 15) as usize);
            let (offset, immediate) = ((word >> 16) as u16 as usize, (word >> 32) as u32);
            at += 1;
            match code {
                0x61 => registers[destination] = u64::from(question[offset / 4]),
                0x54 => registers[destination] = u64::from(registers[destination] as u32 & immediate),
                0x74 => registers[destination] = u64::from((registers[destination] as u32) >> immediate),
                0xbc => registers[destination] = u64::from(registers[source] as u32),
                0xb7 => registers[destination] = u64::from(immediate),
                0x55 if registers[destination] != u64::from(immediate) => at += offset,
                0x55 => {}
                0x95 => return registers[0],
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn only_what_is_listed_is_allowed() {
        let null = Device { is_block: false, major: Some(1), minor: Some(3), access: 6 };
        let terminals = Device { is_block: false, major: Some(136), minor: None, access: 7 };
        let program = assemble(&[null, terminals]);
        let ask = |kind: u32, access: u32, major: u32, minor: u32| {
            run(&program, [kind | access << 16, major, minor])
        };
        assert_eq!(ask(2, 2, 1, 3), 1);
        assert_eq!(ask(2, 6, 1, 3), 1);
        assert_eq!(ask(2, 1, 1, 3), 0, "no new node");
        assert_eq!(ask(1, 2, 1, 3), 0, "a block device of the same number");
        assert_eq!(ask(2, 2, 1, 5), 0);
        assert_eq!(ask(2, 7, 136, 9), 1);
        assert_eq!(ask(1, 2, 8, 0), 0);
    }
}
