//! Where runs of bytes end: blanks, words, the plain text of a string, a line. Eight bytes are looked at together, as one
//! number, so that a run costs no jump for each byte that it has.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The eight bytes at a place, the first of them lowest; behind the end of the text there are zeros.
#[inline]
pub(crate) fn eight(text: &[u8], at: usize) -> u64 {
    match text.get(at..at + 8).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()) {
        Some(bytes) => u64::from_le_bytes(bytes),
        None => last(text, at),
    }
}

#[cold]
fn last(text: &[u8], at: usize) -> u64 {
    let rest = text.get(at..).unwrap_or_default();
    rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// The highest bit of each byte whose lower seven bits make at least `limit` (1 to 128).
#[inline]
const fn reaches(word: u64, limit: u8) -> u64 {
    ((word & !HIGH) + LOW * (128 - limit) as u64) & HIGH
}

/// The highest bit of each byte that, without its own highest bit, is not `byte`.
#[inline]
const fn differs(word: u64, byte: u8) -> u64 {
    reaches(word ^ (LOW * byte as u64), 1)
}

/// How many bytes come before the first that is marked.
#[inline]
const fn before(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

/// The end of a run of spaces.
#[inline]
pub(crate) fn spaces(text: &[u8], mut at: usize) -> usize {
    loop {
        let count = before(eight(text, at) ^ (LOW * u64::from(b' ')));
        at += count;
        if count < 8 {
            return at;
        }
    }
}

/// The end of a run of the bytes that names are made of: `[A-Za-z0-9_'-]`.
#[inline]
pub(crate) fn word(text: &[u8], mut at: usize) -> usize {
    loop {
        let bytes = eight(text, at);
        let folded = bytes | (LOW * 0x20);
        let letter = reaches(folded, b'a') & !reaches(folded, b'z' + 1);
        let digit = reaches(bytes, b'0') & !reaches(bytes, b'9' + 1);
        let other = differs(bytes, b'_') & differs(bytes, b'-') & differs(bytes, b'\'');
        let count = before(!(letter | digit | !other) & HIGH | bytes & HIGH);
        at += count;
        if count < 8 {
            return at;
        }
    }
}

/// The end of a run without any of three bytes (ASCII), or the end of the text.
#[inline]
pub(crate) fn until(text: &[u8], mut at: usize, stops: [u8; 3]) -> usize {
    while at < text.len() {
        let bytes = eight(text, at);
        let plain = differs(bytes, stops[0]) & differs(bytes, stops[1]) & differs(bytes, stops[2]);
        let count = before(!(plain | bytes) & HIGH);
        at += count;
        if count < 8 {
            break;
        }
    }
    at.min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place of runs of each length.
    fn texts() -> impl Iterator<Item = Vec<u8>> {
        let fillers = [b' ', b'a', b'Z', b'0', b'\'', b'-', 0xa0, 0xe1, 0];
        fillers.into_iter().flat_map(|filler| {
            (0..19).flat_map(move |length| {
                (0..length).flat_map(move |place| {
                    (0..=255).map(move |byte| {
                        let mut text = vec![filler; length];
                        text[place] = byte;
                        text
                    })
                })
            })
        })
    }

    fn run(text: &[u8], from: usize, belongs: impl Fn(u8) -> bool) -> usize {
        from + text[from..].iter().take_while(|&&byte| belongs(byte)).count()
    }

    #[test]
    fn runs_end_where_looking_at_each_byte_ends_them() {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"_'-".contains(&byte);
        for text in texts() {
            for from in [0, 1, 9] {
                let from = from.min(text.len());
                assert_eq!(spaces(&text, from), run(&text, from, |byte| byte == b' '), "{text:?}");
                assert_eq!(word(&text, from), run(&text, from, named), "{text:?}");
                let stops = [b'\r', b'\n', b'$'];
                let end = run(&text, from, |byte| !stops.contains(&byte));
                assert_eq!(until(&text, from, stops), end, "{text:?}");
            }
        }
    }

    #[test]
    fn behind_the_end_are_zeros() {
        assert_eq!(eight(b"abc", 0), 0x63_6261);
        assert_eq!(eight(b"abcdefgh", 0), 0x6867_6665_6463_6261);
        assert_eq!(eight(b"abcdefgh", 7), 0x68);
        assert_eq!(eight(b"abc", 9), 0);
    }
}
