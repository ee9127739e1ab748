//! Which devices the processes of a cgroup may use: a BPF program of type BPF_PROG_TYPE_CGROUP_DEVICE, assembled here (cgroup-v2,
//! "Device controller").

use crate::cgroup_program;
use std::io;
use std::os::fd::BorrowedFd;

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

/// Allows the processes of a cgroup these devices and no others. What was attached before is replaced.
pub fn allow_only(cgroup: BorrowedFd<'_>, allowed: &[Device]) -> io::Result<()> {
    const CGROUP_DEVICE: u32 = 6;
    cgroup_program::attach(cgroup, CGROUP_DEVICE, &assemble(allowed))
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
