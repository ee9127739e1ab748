//! Where the next byte of a text is that a format must escape. Most texts have few such bytes, so eight are looked at
//! together, as one number.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The first byte that is less than `below` (at most 128) or one of `others`.
#[must_use]
pub fn first_special(text: &[u8], below: u8, others: [u8; 2]) -> Option<usize> {
    debug_assert!(below <= 128, "the comparison of eight bytes at once knows no more");
    let (chunks, rest) = text.as_chunks::<8>();
    for (index, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        // A byte's highest bit is set where the byte is less; above the first such byte a borrow may set others.
        let less = |word: u64, limit: u8| word.wrapping_sub(LOW * u64::from(limit)) & !word & HIGH;
        let equal = |byte: u8| less(word ^ (LOW * u64::from(byte)), 1);
        let found = less(word, below) | equal(others[0]) | equal(others[1]);
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let start = chunks.len() * 8;
    let special = |&byte: &u8| byte < below || others.contains(&byte);
    rest.iter().position(special).map(|position| start + position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_looking_at_each_byte_finds() {
        let slow = |text: &[u8], below: u8, others: [u8; 2]| {
            text.iter().position(|&byte| byte < below || others.contains(&byte))
        };
        // Every byte at every place, among others that are close to being special.
        let places = (0..20).flat_map(|length| (0..length).map(move |place| (length, place)));
        for filler in [0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
            for ((length, place), byte) in places.clone().flat_map(|at| (0..=255).map(move |byte| (at, byte)))
            {
                let mut text = vec![filler; length];
                text[place] = byte;
                for below in [0, 1, 0x0e, 0x20] {
                    let others = [b'"', b'\\'];
                    assert_eq!(first_special(&text, below, others), slow(&text, below, others), "{text:?}");
                }
            }
        }
        assert_eq!(first_special(b"\x80\x22\x00abcdefgh", 1, [0x22, 0x80]), Some(0));
        assert_eq!(first_special(b"", 128, [0, 0]), None);
    }
}
