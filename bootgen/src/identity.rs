//! Identifiers that images carry (file system and partition UUIDs, FAT serial numbers), derived from a seed instead of chance:
//! the same image twice has the same bytes.

use sha2::{Digest as _, Sha256};

/// A UUID as its sixteen bytes in text order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// The UUID of a seed and a purpose: version 8 (RFC 9562 section 5.8), made of their SHA-256.
    pub fn derive(seed: &[u8], purpose: &str) -> Self {
        let digest =
            Sha256::new().chain_update(purpose.as_bytes()).chain_update([0]).chain_update(seed).finalize();
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// Reads `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        let mut bytes = [0; 16];
        if digits.len() != 32 || text.len() != 36 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The bytes as GPT has them: the first three groups little-endian.
    pub fn mixed_endian(self) -> [u8; 16] {
        let b = self.0;
        [b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]
    }
}

impl std::fmt::Display for Uuid {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                formatter.write_str("-")?;
            }
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_parsed_printed() {
        let uuid = Uuid::derive(b"seed", "root");
        assert_eq!(uuid, Uuid::derive(b"seed", "root"));
        assert_ne!(uuid, Uuid::derive(b"seed", "esp"));
        assert_eq!(Uuid::parse(&uuid.to_string()), Some(uuid));
        assert_eq!(uuid.to_string().as_bytes()[14], b'8');
        assert_eq!(Uuid::parse("no"), None);
    }

    #[test]
    fn gpt_order() {
        let esp = Uuid::parse("c12a7328-f81f-11d2-ba4b-00a0c93ec93b").unwrap();
        assert_eq!(esp.mixed_endian()[..8], [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11]);
    }
}
