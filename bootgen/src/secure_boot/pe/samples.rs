//! Small programs for tests, those of `tests/` among them.

/// A PE32+ file with these sections and something behind them, as linkers leave it there.
pub(crate) fn program(sections: &[(&str, &[u8])], behind: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 0x400];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"MZ");
    put(0x3c, &0x80u32.to_le_bytes());
    put(0x80, b"PE\0\0");
    put(0x84, &0x8664u16.to_le_bytes());
    put(0x86, &(sections.len() as u16).to_le_bytes());
    put(0x94, &(112u16 + 16 * 8).to_le_bytes());
    let optional = 0x98;
    put(optional, &0x20bu16.to_le_bytes());
    put(optional + 32, &0x1000u32.to_le_bytes());
    put(optional + 36, &0x200u32.to_le_bytes());
    put(optional + 60, &0x400u32.to_le_bytes());
    put(optional + 108, &16u32.to_le_bytes());
    let (mut address, mut raw) = (0x1000u32, 0x400u32);
    for (index, (name, data)) in sections.iter().enumerate() {
        let at = optional + 240 + index * 40;
        let length = (data.len() as u32).next_multiple_of(0x200);
        put(at, name.as_bytes());
        put(at + 8, &(data.len() as u32).to_le_bytes());
        put(at + 12, &address.to_le_bytes());
        put(at + 16, &length.to_le_bytes());
        put(at + 20, &raw.to_le_bytes());
        address += length.next_multiple_of(0x1000);
        raw += length;
    }
    put(optional + 56, &address.to_le_bytes());
    for (_, data) in sections {
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(0x200), 0);
    }
    bytes.extend_from_slice(behind);
    bytes
}
