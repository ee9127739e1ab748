//! The system call filter of builders: no set-id files (whoever could reach them would be the build user), no extended
//! attributes (a NAR has none). On x86-64 for its three ABIs; on others for the native one. seccomp(2), bpf(4).

use sys::namespaced_child::SocketFilter;

/// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The low half of argument N (little-endian).
const fn argument(index: u32) -> u32 {
    16 + index * 8
}

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY: u16 = 0x45;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const ERROR: u32 = 0x0005_0000;
const EPERM: u32 = 1;
const ENOTSUP: u32 = 95;
const SET_ID_BITS: u32 = 0o6000;

/// One ABI: its audit number and its numbers of the calls that matter.
struct Abi {
    architecture: u32,
    /// Whether numbers with bit 30 (x32) count as this ABI's.
    with_x32: bool,
    /// (number, index of the mode argument).
    modes: &'static [(u32, u32)],
    /// setxattr, lsetxattr, fsetxattr and setxattrat.
    attributes: &'static [u32],
}

#[cfg(target_arch = "x86_64")]
const ABIS: &[Abi] = &[
    Abi {
        architecture: 0xc000_003e,
        with_x32: true,
        modes: &[(90, 1), (91, 1), (268, 2), (452, 2)],
        attributes: &[188, 189, 190, 463],
    },
    Abi {
        architecture: 0x4000_0003,
        with_x32: false,
        modes: &[(15, 1), (94, 1), (306, 2), (452, 2)],
        attributes: &[226, 227, 228, 463],
    },
];

#[cfg(target_arch = "aarch64")]
const ABIS: &[Abi] = &[Abi {
    architecture: 0xc000_00b7,
    with_x32: false,
    modes: &[(52, 1), (53, 2), (452, 2)],
    attributes: &[5, 6, 7, 463],
}];

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ABIS: &[Abi] = &[];

const fn instruction(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> SocketFilter {
    SocketFilter { code, jump_true, jump_false, operand }
}

/// The whole filter.
pub(super) fn filter() -> Vec<SocketFilter> {
    let mut program = Vec::new();
    for abi in ABIS {
        let block = block(abi);
        program.push(instruction(LOAD, ARCHITECTURE, 0, 0));
        // Blocks are short enough for one conditional jump.
        program.push(instruction(JUMP_EQUAL, abi.architecture, 0, block.len() as u8));
        program.extend(block);
    }
    // Another architecture's ABI: none that this kernel runs, or none that we know.
    program.push(instruction(RETURN, if ABIS.is_empty() { ALLOW } else { ERROR | EPERM }, 0, 0));
    program
}

/// What is done once the ABI is known; always ends in a return.
fn block(abi: &Abi) -> Vec<SocketFilter> {
    let mut program = vec![instruction(LOAD, NUMBER, 0, 0)];
    if abi.with_x32 {
        // Numbers of x32 are those of x86-64 with bit 30; clear it (and: 0x54).
        program.push(instruction(0x54, !0x4000_0000, 0, 0));
    }
    for number in abi.attributes {
        program.push(instruction(JUMP_EQUAL, *number, 0, 1));
        program.push(instruction(RETURN, ERROR | ENOTSUP, 0, 0));
    }
    if abi.with_x32 {
        // x32 has a few numbers of its own from 512 on, none of which matter here.
        program.push(instruction(JUMP_AT_LEAST, 512, 0, 1));
        program.push(instruction(RETURN, ALLOW, 0, 0));
    }
    for (number, mode) in abi.modes {
        program.push(instruction(JUMP_EQUAL, *number, 0, 4));
        program.push(instruction(LOAD, argument(*mode), 0, 0));
        program.push(instruction(JUMP_ANY, SET_ID_BITS, 0, 1));
        program.push(instruction(RETURN, ERROR | EPERM, 0, 0));
        program.push(instruction(RETURN, ALLOW, 0, 0));
    }
    program.push(instruction(RETURN, ALLOW, 0, 0));
    program
}
