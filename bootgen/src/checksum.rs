//! The two cyclic redundancy checks that disk formats use: CRC-32 (ISO-HDLC; GPT, UEFI specification 5.3.2) and CRC-32C
//! (Castagnoli, RFC 3720 appendix B.4; ext4, erofs, btrfs).

/// The table of a reflected CRC for one byte.
const fn table(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ polynomial } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

static CASTAGNOLI: [u32; 256] = table(0x82f6_3b78);
static ISO_HDLC: [u32; 256] = table(0xedb8_8320);

fn update(table: &[u32; 256], start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |crc, byte| table[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

/// CRC-32C as ext4 and the kernel chain it: the state goes in and out as it is, without a final inversion. Begin with `!0`.
pub(crate) fn crc32c(state: u32, bytes: &[u8]) -> u32 {
    update(&CASTAGNOLI, state, bytes)
}

/// CRC-32 of a whole text.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !update(&ISO_HDLC, !0, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values() {
        // The "check" of each algorithm in the catalogue of parametrised CRCs.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(crc32c(!0, b"1234"), b"56789"), crc32c(!0, b"123456789"));
    }
}
