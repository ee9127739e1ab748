//! Nix's base-32: 32 digits without e, o, t, u; the most significant digit first, the bits read from the end of the
//! input. Specified in the Nix manual, "Store object / Nix32 encoding". Not RFC 4648.

use thiserror::Error;

/// The digits in the order of their values.
const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// The value of each byte as a digit, 0xff where it is none.
const VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut digit = 0;
    while digit < 32 {
        values[ALPHABET[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

/// Why a text is not base-32.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Base32Error {
    /// A character that is no digit.
    #[error("`{0}` is not a base-32 digit (0-9 a-z without e, o, t, u)")]
    Digit(char),
    /// No byte sequence has an encoding of this many digits.
    #[error("{0} base-32 digits do not make whole bytes")]
    Length(usize),
    /// The first digit carries bits beyond the last byte.
    #[error("the base-32 text has bits beyond its last byte")]
    Overflow,
}

/// How many digits encode `bytes` bytes.
#[must_use]
pub const fn encoded_length(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Whether the byte is one of the 32 digits.
#[must_use]
pub const fn is_digit(byte: u8) -> bool {
    VALUES[byte as usize] != 0xff
}

/// Writes bytes as base-32.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(encoded_length(bytes.len()));
    // Five bytes are eight digits.
    for chunk in bytes.chunks(5).rev() {
        let number = chunk.iter().rev().fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
        for digit in (0..encoded_length(chunk.len())).rev() {
            let value = (number >> (digit * 5)) & 31;
            text.push(char::from(ALPHABET[value as usize]));
        }
    }
    text
}

/// Reads base-32; the number of digits fixes the number of bytes.
pub fn decode(text: &str) -> Result<Vec<u8>, Base32Error> {
    let digits = text.as_bytes();
    let size = digits.len() * 5 / 8;
    if encoded_length(size) != digits.len() {
        return Err(Base32Error::Length(digits.len()));
    }
    let mut bytes = vec![0u8; size];
    for (position, &character) in digits.iter().rev().enumerate() {
        let value = VALUES[usize::from(character)];
        if value == 0xff {
            let culprit = text.chars().find(|c| !c.is_ascii() || !is_digit(*c as u8)).unwrap_or('?');
            return Err(Base32Error::Digit(culprit));
        }
        let bit = position * 5;
        let (index, shift) = (bit / 8, bit % 8);
        let wide = u16::from(value) << shift;
        if let Some(byte) = bytes.get_mut(index) {
            *byte |= wide as u8;
        }
        match bytes.get_mut(index + 1) {
            Some(byte) => *byte |= (wide >> 8) as u8,
            None if wide >> 8 != 0 => return Err(Base32Error::Overflow),
            None => {}
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_as_nix_does() {
        let empty_sha256 = [
            0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
            0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
        ];
        // `nix-hash --type sha256 --to-base32 e3b0…b855`
        let text = "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73";
        assert_eq!(encode(&empty_sha256), text);
        assert_eq!(decode(text).unwrap(), empty_sha256);
    }

    #[test]
    fn every_length_goes_round() {
        for length in 0..70 {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 37 + 11) as u8).collect();
            let text = encode(&bytes);
            assert_eq!(text.len(), encoded_length(bytes.len()));
            assert_eq!(decode(&text).unwrap(), bytes);
        }
    }

    #[test]
    fn bad_texts_are_refused() {
        assert_eq!(decode("e0"), Err(Base32Error::Digit('e')));
        assert_eq!(decode("0"), Err(Base32Error::Length(1)));
        assert_eq!(decode("zz"), Err(Base32Error::Overflow));
        assert_eq!(decode("7z"), Ok(vec![0xff]));
    }
}
