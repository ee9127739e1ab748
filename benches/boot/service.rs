//! The service: an ELF program of a few hundred bytes, so that its own start costs next to nothing.

/// Where it is loaded.
const BASE: u64 = 0x40_0000;
/// ELF header and one program header.
const HEADERS: usize = 64 + 56;

/// A program that writes `text` to /dev/kmsg and then sleeps for ever.
pub(crate) fn program(text: &str) -> Vec<u8> {
    let path = b"/dev/kmsg\0";
    let code_length = 48;
    let path_at = BASE + (HEADERS + code_length) as u64;
    let text_at = path_at + path.len() as u64;
    let mut code = Vec::new();
    // open(path, O_WRONLY): number 2.
    code.extend([0xb8, 2, 0, 0, 0, 0xbf]);
    code.extend((path_at as u32).to_le_bytes());
    code.extend([0xbe, 1, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x05]);
    // write(fd, text, length): number 1.
    code.extend([0x89, 0xc7, 0xb8, 1, 0, 0, 0, 0xbe]);
    code.extend((text_at as u32).to_le_bytes());
    code.push(0xba);
    code.extend((text.len() as u32).to_le_bytes());
    code.extend([0x0f, 0x05]);
    // Again and again: pause(), number 34.
    code.extend([0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7]);
    code.resize(code_length, 0x90);

    let length = (HEADERS + code_length + path.len() + text.len()) as u64;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [BASE + HEADERS as u64, 64, 0] {
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
    elf.extend(path);
    elf.extend(text.as_bytes());
    elf
}
