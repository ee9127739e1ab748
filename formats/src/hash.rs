//! Cryptographic hashes and the texts that Nix writes them as: `sha256:<base-16|base-32|base-64>`, SRI
//! (`sha256-<base-64>`) and bare digits whose algorithm is known from elsewhere. Nix manual, "Hash"; W3C SRI 3.3.

use crate::base32::{self, Base32Error};
use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::Digest as _;
use std::fmt;
use std::io;
use std::str::FromStr;
use thiserror::Error;

/// A hash algorithm that Nix knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// MD5, 16 bytes; only to check old fixed outputs.
    Md5,
    /// SHA-1, 20 bytes; only to check old fixed outputs.
    Sha1,
    /// SHA-256, 32 bytes; what the store itself uses.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl Algorithm {
    /// The length of its digests in bytes.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// Its name as Nix writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = HashError;

    fn from_str(name: &str) -> Result<Self, HashError> {
        match name {
            "md5" => Ok(Self::Md5),
            "sha1" => Ok(Self::Sha1),
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(HashError::UnknownAlgorithm(name.to_owned())),
        }
    }
}

/// Why a text is not a hash.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HashError {
    /// An algorithm that Nix does not have.
    #[error("unknown hash algorithm `{0}`; there are md5, sha1, sha256 and sha512")]
    UnknownAlgorithm(String),
    /// A bare digest where the text should say its algorithm.
    #[error("hash `{0}` does not say its algorithm; write `sha256:{0}` or an SRI hash")]
    NoAlgorithm(String),
    /// The text names another algorithm than the one wanted.
    #[error("hash `{text}` should be of type {wanted}")]
    OtherAlgorithm {
        /// The whole text.
        text: String,
        /// What the place asks for.
        wanted: Algorithm,
    },
    /// The number of digits fits no encoding of the algorithm's digests.
    #[error("hash `{text}` has {length} digits, which is no length of a {algorithm} hash")]
    Length {
        /// The digits.
        text: String,
        /// How many there are.
        length: usize,
        /// The algorithm.
        algorithm: Algorithm,
    },
    /// A digit that its encoding does not have.
    #[error("hash `{text}` is not valid {encoding}")]
    Digits {
        /// The digits.
        text: String,
        /// base-16 or base-64.
        encoding: &'static str,
    },
    /// Invalid base-32.
    #[error("hash `{text}`: {source}")]
    Base32 {
        /// The digits.
        text: String,
        /// What is wrong with them.
        source: Base32Error,
    },
}

/// A digest and its algorithm. Ordered by algorithm, then bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash {
    algorithm: Algorithm,
    bytes: [u8; 64],
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.base32())
    }
}

impl Hash {
    /// A digest from its bytes; `None` unless there are as many as the algorithm has.
    #[must_use]
    pub fn from_bytes(algorithm: Algorithm, digest: &[u8]) -> Option<Self> {
        let mut bytes = [0; 64];
        if digest.len() != algorithm.size() {
            return None;
        }
        bytes.get_mut(..digest.len())?.copy_from_slice(digest);
        Some(Self { algorithm, bytes })
    }

    /// The digest of nothing but zero bytes, which stands for an unknown one.
    #[must_use]
    pub const fn zero(algorithm: Algorithm) -> Self {
        Self { algorithm, bytes: [0; 64] }
    }

    /// Hashes bytes at hand.
    #[must_use]
    pub fn of(algorithm: Algorithm, data: impl AsRef<[u8]>) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(data.as_ref());
        hasher.finish()
    }

    /// The SHA-256 of bytes at hand.
    #[must_use]
    pub fn sha256(data: impl AsRef<[u8]>) -> Self {
        Self::of(Algorithm::Sha256, data)
    }

    /// Its algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digest's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.algorithm.size()).unwrap_or_default()
    }

    /// The digits alone, base 16.
    #[must_use]
    pub fn digits16(&self) -> String {
        HEXLOWER.encode(self.bytes())
    }

    /// Appends the digits alone, base 16, to a text.
    pub fn write_digits16(&self, text: &mut Vec<u8>) {
        let bytes = self.bytes();
        let start = text.len();
        text.resize(start + bytes.len() * 2, 0);
        HEXLOWER.encode_mut(bytes, text.get_mut(start..).unwrap_or_default());
    }

    /// The digits alone, Nix's base 32.
    #[must_use]
    pub fn digits32(&self) -> String {
        base32::encode(self.bytes())
    }

    /// The digits alone, base 64 with padding.
    #[must_use]
    pub fn digits64(&self) -> String {
        BASE64.encode(self.bytes())
    }

    /// `sha256:<base 16>`, as the database has it.
    #[must_use]
    pub fn base16(&self) -> String {
        let name = self.algorithm.name();
        let mut text = String::with_capacity(name.len() + 1 + 2 * self.bytes().len());
        text.push_str(name);
        text.push(':');
        HEXLOWER.encode_append(self.bytes(), &mut text);
        text
    }

    /// `sha256:<base 32>`, as narinfo files and content addresses have it.
    #[must_use]
    pub fn base32(&self) -> String {
        format!("{}:{}", self.algorithm, self.digits32())
    }

    /// `sha256-<base 64>`: subresource integrity, what people write today.
    #[must_use]
    pub fn sri(&self) -> String {
        format!("{}-{}", self.algorithm, self.digits64())
    }

    /// Reads a text that says its algorithm (`algo:digits` or SRI).
    pub fn parse(text: &str) -> Result<Self, HashError> {
        Self::parse_any(text, None)
    }

    /// Reads a text that must be of this algorithm; bare digits will do.
    pub fn parse_as(text: &str, algorithm: Algorithm) -> Result<Self, HashError> {
        Self::parse_any(text, Some(algorithm))
    }

    /// Reads any form; `wanted` is the algorithm of bare digits and, if given, the only one allowed.
    pub fn parse_any(text: &str, wanted: Option<Algorithm>) -> Result<Self, HashError> {
        let (prefix, digits, sri) = match (text.split_once(':'), text.split_once('-')) {
            (Some((algorithm, digits)), _) => (Some(algorithm), digits, false),
            (None, Some((algorithm, digits))) => (Some(algorithm), digits, true),
            (None, None) => (None, text, false),
        };
        let algorithm = match (prefix, wanted) {
            (Some(prefix), wanted) => {
                let found: Algorithm = prefix.parse()?;
                if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
                    return Err(HashError::OtherAlgorithm { text: text.to_owned(), wanted });
                }
                found
            }
            (None, Some(wanted)) => wanted,
            (None, None) => return Err(HashError::NoAlgorithm(text.to_owned())),
        };
        Self::parse_digits(digits, algorithm, sri)
    }

    /// Reads digits whose encoding shows in their number.
    fn parse_digits(digits: &str, algorithm: Algorithm, only_base64: bool) -> Result<Self, HashError> {
        let size = algorithm.size();
        let length = digits.len();
        let text = || digits.to_owned();
        let bytes = if only_base64 || length == size.div_ceil(3) * 4 {
            // Nix reads to the first `=` and takes a subresource-integrity hash with too little padding, or too much, as
            // nixpkgs has some.
            let unpadded = digits.split('=').next().unwrap_or_default();
            decode_base64(unpadded).ok_or_else(|| HashError::Digits { text: text(), encoding: "base-64" })?
        } else if length == size * 2 {
            HEXLOWER_PERMISSIVE
                .decode(digits.as_bytes())
                .map_err(|_| HashError::Digits { text: text(), encoding: "base-16" })?
        } else if length == base32::encoded_length(size) {
            base32::decode(digits).map_err(|source| HashError::Base32 { text: text(), source })?
        } else {
            return Err(HashError::Length { text: text(), length, algorithm });
        };
        Self::from_bytes(algorithm, &bytes).ok_or_else(|| HashError::Length {
            text: text(),
            length,
            algorithm,
        })
    }

    /// Folds the digest into 20 bytes by exclusive or: the hash part of a store path.
    #[must_use]
    pub fn compress20(&self) -> [u8; 20] {
        let mut folded = [0u8; 20];
        for (index, byte) in self.bytes().iter().enumerate() {
            folded[index % 20] ^= byte;
        }
        folded
    }
}

/// Hashes a stream. As an [`io::Write`] it never fails.
#[derive(Clone)]
pub struct Hasher {
    state: State,
    size: u64,
}

#[derive(Clone)]
enum State {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha512(Box<sha2::Sha512>),
}

impl fmt::Debug for Hasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Hasher({} bytes)", self.size)
    }
}

impl Hasher {
    /// A hash of nothing yet.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Md5 => State::Md5(md5::Md5::new()),
            Algorithm::Sha1 => State::Sha1(sha1::Sha1::new()),
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Box::new(sha2::Sha512::new())),
        };
        Self { state, size: 0 }
    }

    /// Adds bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.size += data.len() as u64;
        match &mut self.state {
            State::Md5(state) => state.update(data),
            State::Sha1(state) => state.update(data),
            State::Sha256(state) => state.update(data),
            State::Sha512(state) => state.update(data),
        }
    }

    /// How many bytes went in.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The digest of all that went in.
    #[must_use]
    pub fn finish(self) -> Hash {
        let mut bytes = [0; 64];
        let (algorithm, digest): (_, &[u8]) = match self.state {
            State::Md5(state) => (Algorithm::Md5, &state.finalize()),
            State::Sha1(state) => (Algorithm::Sha1, &state.finalize()),
            State::Sha256(state) => (Algorithm::Sha256, &state.finalize()),
            State::Sha512(state) => (Algorithm::Sha512, &state.finalize()),
        };
        for (to, from) in bytes.iter_mut().zip(digest) {
            *to = *from;
        }
        Hash { algorithm, bytes }
    }
}

impl io::Write for Hasher {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes bytes on and hashes them on the way: one pass to write and to know.
#[derive(Debug)]
pub struct HashingWriter<W> {
    inner: W,
    hasher: Hasher,
}

impl<W: io::Write> HashingWriter<W> {
    /// Writes to `inner`, hashing with the algorithm.
    pub fn new(inner: W, algorithm: Algorithm) -> Self {
        Self { inner, hasher: Hasher::new(algorithm) }
    }

    /// The inner writer, the digest and the number of bytes of all that was written.
    pub fn finish(self) -> (W, Hash, u64) {
        let size = self.hasher.size();
        (self.inner, self.hasher.finish(), size)
    }
}

impl<W: io::Write> io::Write for HashingWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(data)?;
        self.hasher.update(data.get(..written).unwrap_or(data));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Hashes what is read through it.
#[derive(Debug)]
pub struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: io::Read> HashingReader<R> {
    /// Reads from `inner`, hashing with the algorithm.
    pub fn new(inner: R, algorithm: Algorithm) -> Self {
        Self { inner, hasher: Hasher::new(algorithm) }
    }

    /// The inner reader, the digest and the number of bytes of all that was read.
    pub fn finish(self) -> (R, Hash, u64) {
        let size = self.hasher.size();
        (self.inner, self.hasher.finish(), size)
    }
}

impl<R: io::Read> io::Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Base 64 without padding. The last digit may have bits that mean nothing: Nix passes them over.
#[must_use]
pub fn decode_base64(digits: &str) -> Option<Vec<u8>> {
    let mut specification = BASE64_NOPAD.specification();
    specification.check_trailing_bits = false;
    specification.encoding().ok()?.decode(digits.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_goes_round() {
        for algorithm in [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
            let hash = Hash::of(algorithm, "abc");
            for text in [hash.base16(), hash.base32(), hash.sri(), format!("{algorithm}:{}", hash.digits64())]
            {
                assert_eq!(Hash::parse(&text).unwrap(), hash, "{text}");
                assert_eq!(Hash::parse_as(&text, algorithm).unwrap(), hash, "{text}");
            }
            for digits in [hash.digits16(), hash.digits32(), hash.digits64()] {
                assert_eq!(Hash::parse_as(&digits, algorithm).unwrap(), hash, "{digits}");
            }
        }
    }

    #[test]
    fn known_digests() {
        // From `nix-hash --flat` and FIPS 180 / RFC 1321 test vectors.
        let cases = [
            (Algorithm::Md5, "md5:900150983cd24fb0d6963f7d28e17f72"),
            (Algorithm::Sha1, "sha1:a9993e364706816aba3e25717850c26c9cd0d89d"),
            (Algorithm::Sha256, "sha256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s"),
            (
                Algorithm::Sha512,
                "sha512:2gs8k559z4rlahfx0y688s49m2vvszylcikrfinm30ly9rak69236nkam5ydvly1ai7xac99vxfc4ii84hawjbk876blyk1jfhkbbyx",
            ),
        ];
        for (algorithm, text) in cases {
            assert_eq!(Hash::of(algorithm, "abc"), Hash::parse(text).unwrap());
        }
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        assert!(matches!(Hash::parse("sha3:00"), Err(HashError::UnknownAlgorithm(_))));
        assert!(matches!(Hash::parse("00"), Err(HashError::NoAlgorithm(_))));
        assert!(matches!(Hash::parse("sha256:00"), Err(HashError::Length { length: 2, .. })));
        assert!(matches!(
            Hash::parse_as("sha1:a9993e364706816aba3e25717850c26c9cd0d89d", Algorithm::Sha256),
            Err(HashError::OtherAlgorithm { .. })
        ));
        // SRI is base 64 only.
        let hash = Hash::sha256("abc");
        assert!(Hash::parse(&format!("sha256-{}", hash.digits16())).is_err());
        // Its padding may be wrong, its digits may not.
        let digits = hash.digits64();
        let unpadded = digits.trim_end_matches('=');
        for padding in ["", "=", "==", "==="] {
            assert_eq!(Hash::parse(&format!("sha256-{unpadded}{padding}")).unwrap(), hash);
        }
        for wrong in [&digits[1..], &unpadded[1..], "", "=", &format!("{unpadded}A")] {
            assert!(Hash::parse(&format!("sha256-{wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn streams_hash_as_bytes_do() {
        use std::io::{Read as _, Write as _};
        let mut writer = HashingWriter::new(Vec::new(), Algorithm::Sha256);
        writer.write_all(b"ab").unwrap();
        writer.write_all(b"c").unwrap();
        assert_eq!(writer.finish(), (b"abc".to_vec(), Hash::sha256("abc"), 3));
        let mut reader = HashingReader::new(&b"abc"[..], Algorithm::Sha256);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(reader.finish().1, Hash::sha256("abc"));
    }
}
