//! Where the bytes of a text are that a format must escape. Most texts have few such bytes, so eight are looked at
//! together, as one number.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Calls `found` with the place of each byte that is less than `below` (at most 128) or one of `others` (ASCII), in
/// order.
#[inline]
pub fn each_special(text: &[u8], below: u8, others: [u8; 2], mut found: impl FnMut(usize)) {
    debug_assert!(
        below <= 128 && others.iter().all(u8::is_ascii),
        "eight bytes at once are compared by seven bits"
    );
    let (chunks, rest) = text.as_chunks::<8>();
    for (index, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        // A byte's highest bit is set where its lower seven bits make at least the limit; no sum reaches the next byte.
        let reaches = |word: u64, limit: u8| (word & !HIGH).wrapping_add(LOW * u64::from(128 - limit));
        let differs = |byte: u8| reaches(word ^ (LOW * u64::from(byte)), 1);
        let plain = (reaches(word, below) & differs(others[0]) & differs(others[1])) | word;
        let mut special = !plain & HIGH;
        while special != 0 {
            found(index * 8 + special.trailing_zeros() as usize / 8);
            special &= special - 1;
        }
    }
    let start = chunks.len() * 8;
    for (index, &byte) in rest.iter().enumerate() {
        if byte < below || others.contains(&byte) {
            found(start + index);
        }
    }
}

/// Whether all bytes are printable ASCII other than the double quote and the backslash: nothing that any format must escape.
/// Looks at all of them, which the compiler makes many at a time.
#[inline]
#[must_use]
#[expect(
    clippy::needless_bitwise_bool,
    reason = "without branches the loop becomes one over many bytes at a time"
)]
pub fn is_plain(text: &[u8]) -> bool {
    let plain = |byte: u8| (byte.wrapping_sub(0x20) < 0x5f) & (byte != b'"') & (byte != b'\\');
    text.iter().fold(true, |all, &byte| all & plain(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special(text: &[u8], below: u8, others: [u8; 2]) -> Vec<usize> {
        let mut places = Vec::new();
        each_special(text, below, others, |place| places.push(place));
        places
    }

    #[test]
    fn plain_is_what_nothing_is_special_in() {
        for length in [0, 1, 7, 16, 33, 70] {
            for (place, byte) in (0..length).flat_map(|place| (0..=255).map(move |byte| (place, byte))) {
                let mut text = vec![b'a'; length];
                text[place] = byte;
                assert_eq!(
                    is_plain(&text),
                    (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\',
                    "{text:?}"
                );
            }
            assert!(is_plain(&vec![b'~'; length]));
        }
    }

    #[test]
    fn finds_what_looking_at_each_byte_finds() {
        let slow = |text: &[u8], below: u8, others: [u8; 2]| -> Vec<usize> {
            let special = |&(_, &byte): &(usize, &u8)| byte < below || others.contains(&byte);
            text.iter().enumerate().filter(special).map(|(place, _)| place).collect()
        };
        // Every byte at every place, among others that are close to being special or are it.
        let places = (0..20).flat_map(|length| (0..length).map(move |place| (length, place)));
        for filler in [0x0d, 0x20, 0x21, 0x22, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
            for ((length, place), byte) in places.clone().flat_map(|at| (0..=255).map(move |byte| (at, byte)))
            {
                let mut text = vec![filler; length];
                text[place] = byte;
                for below in [0, 1, 0x0e, 0x20] {
                    let others = [b'"', b'\\'];
                    assert_eq!(special(&text, below, others), slow(&text, below, others), "{text:?}");
                }
            }
        }
        assert_eq!(special(b"\x80\x22\x00abcdefgh", 1, [0x22, 0x7f]), [1, 2]);
        assert!(special(b"", 128, [0, 0]).is_empty());
    }
}
