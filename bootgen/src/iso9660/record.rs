//! Directory records (ECMA-119 section 9.1): fixed fields, the plain name, then the system use area, which is Rock Ridge's.

use crate::calendar::Moment;

/// What a record can hold at most.
pub(super) const LARGEST: usize = 255;

/// A number of 32 bits in both byte orders (section 7.3.3).
pub(super) fn both32(number: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// A number of 16 bits in both byte orders (section 7.2.3).
pub(super) fn both16(number: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (number.to_le_bytes(), number.to_be_bytes());
    [a, b, c, d]
}

/// Date and time in seven bytes, UTC (section 9.1.5); years from 1900 to 2155.
pub(super) fn short_date(seconds: u64) -> [u8; 7] {
    let moment = Moment::of(i64::try_from(seconds).unwrap_or(i64::MAX).min(LAST_SHORT));
    let year = u8::try_from(moment.year - 1900).unwrap_or(u8::MAX);
    [year, moment.month, moment.day, moment.hour, moment.minute, moment.second, 0]
}

/// The end of 2155.
const LAST_SHORT: i64 = 5_869_583_999;

/// Where a record leads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// First sector.
    pub(super) sector: u32,
    /// Bytes.
    pub(super) size: u32,
}

/// How long a record is, by its plain name and system use area.
pub(super) fn length(name: &[u8], system_use: usize) -> usize {
    // Both parts begin at even offsets, and 33 bytes stand before the name.
    (33 + name.len()).next_multiple_of(2) + system_use.next_multiple_of(2)
}

/// A record's bytes.
pub(super) fn encode(
    name: &[u8],
    extent: Extent,
    is_directory: bool,
    time: u64,
    system_use: &[u8],
) -> Vec<u8> {
    let length = length(name, system_use.len());
    let mut bytes = Vec::with_capacity(length);
    // Lengths are at most LARGEST, which the plan has made sure of.
    bytes.extend([length as u8, 0]);
    bytes.extend(both32(extent.sector));
    bytes.extend(both32(extent.size));
    bytes.extend(short_date(time));
    bytes.extend([if is_directory { 2 } else { 0 }, 0, 0]);
    bytes.extend(both16(1));
    bytes.push(name.len() as u8);
    bytes.extend(name);
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes.extend(system_use);
    bytes.resize(length, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_its_length() {
        let extent = Extent { sector: 0x0102_0304, size: 5 };
        for (name, system_use) in [(&b"\0"[..], 0_usize), (b"AB", 7), (b"ABC.;1", 36)] {
            let bytes = encode(name, extent, false, 1, &vec![9; system_use]);
            assert_eq!(bytes.len(), length(name, system_use));
            assert_eq!(usize::from(bytes[0]), bytes.len());
            assert_eq!(bytes[2..10], [4, 3, 2, 1, 1, 2, 3, 4]);
            assert_eq!(bytes[18..25], [70, 1, 1, 0, 0, 1, 0]);
        }
        assert_eq!(short_date(u64::MAX)[..3], [255, 12, 31]);
    }
}
