//! A program of some two hundred bytes that leaves orphans behind, three in each round of its loop (elf(5), the x86-64
//! system calls fork, wait4 and exit): a shell would take minutes under translation.

/// Where it is loaded.
const BASE: u64 = 0x40_0000;
/// ELF header and one program header.
const HEADERS: u64 = 64 + 56;
/// How many processes each round leaves to process 1.
const EACH: usize = 3;

/// A program that leaves at least `count` orphans.
pub(crate) fn program(count: usize) -> Vec<u8> {
    let rounds = count.div_ceil(EACH) as u32;
    let fork: [u8; 7] = [0xb8, 57, 0, 0, 0, 0x0f, 0x05];
    let mut code = vec![0xbb];
    code.extend(rounds.to_le_bytes());
    // The loop: fork; the child goes on below.
    code.extend(fork);
    code.extend([0x85, 0xc0, 0x74, 0x1b]);
    // The parent: wait4(-1, 0, 0, 0), once more until the count is zero, then to the end.
    code.extend([0xb8, 61, 0, 0, 0, 0x48, 0xc7, 0xc7, 0xff, 0xff, 0xff, 0xff]);
    code.extend([0x31, 0xf6, 0x31, 0xd2, 0x45, 0x31, 0xd2, 0x0f, 0x05]);
    code.extend([0xff, 0xcb, 0x75, 0xdc, 0xeb, 0x0e]);
    // The child: two forks make it four, which end without waiting for each other.
    code.extend(fork);
    code.extend(fork);
    // The end: exit(0).
    code.extend([0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]);

    let length = HEADERS + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [BASE + HEADERS, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend([0; 4]);
    for half in [64_u16, 56, 1, 0, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    // One segment, to be loaded, readable and executable.
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, BASE, BASE, length, length, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}
