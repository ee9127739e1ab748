//! Signatures on store paths: Ed25519 (RFC 8032) with named keys, as Nix writes them. Nix manual, "nix key" and "Store
//! object signatures".
//!
//! ```text
//! secret key   NAME:base64(32 bytes of seed, 32 bytes of public key)
//! public key   NAME:base64(32 bytes)
//! signature    NAME:base64(64 bytes)
//! ```
//!
//! What is signed is a path's fingerprint, [`crate::path_info::PathInfo::fingerprint`]. Nothing here reads randomness: who makes a key brings the seed.

use data_encoding::BASE64;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Why a text is no key or signature.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// There is no name before a colon.
    #[error("a {what} is a name, a colon and base-64 digits; this one has no name")]
    Name {
        /// What it should have been.
        what: &'static str,
    },
    /// A name with characters that would end it in a list of keys.
    #[error("`{0}` cannot be a key's name: it has a blank or a colon, or is empty")]
    BadName(String),
    /// Not base 64.
    #[error("the {what} `{name}` is not base-64")]
    Digits {
        /// What it should have been.
        what: &'static str,
        /// The key's name.
        name: String,
    },
    /// Too many or too few bytes.
    #[error("the {what} `{name}` has {got} bytes; {wanted} are wanted{hint}")]
    Length {
        /// What it should have been.
        what: &'static str,
        /// The key's name.
        name: String,
        /// How many bytes there are.
        got: usize,
        /// How many there should be.
        wanted: usize,
        /// What it may be instead.
        hint: &'static str,
    },
    /// Bytes of the right number that are no key.
    #[error("the {what} `{name}` is damaged: {problem}")]
    Damaged {
        /// What it should have been.
        what: &'static str,
        /// The key's name.
        name: String,
        /// What does not fit.
        problem: &'static str,
    },
}

/// A key that signs.
#[derive(Clone)]
pub struct SecretKey {
    name: String,
    key: SigningKey,
}

impl fmt::Debug for SecretKey {
    /// Never shows the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SecretKey({})", self.name)
    }
}

impl SecretKey {
    /// A new key from 32 bytes of good randomness.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        if name.is_empty() || name.contains([':', ' ', '\t', '\n', '\r']) {
            return Err(KeyError::BadName(name.to_owned()));
        }
        Ok(Self { name: name.to_owned(), key: SigningKey::from_bytes(seed) })
    }

    /// Its name, which signatures carry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key that checks its signatures.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// Signs, giving the signature as text.
    #[must_use]
    pub fn sign(&self, message: &str) -> String {
        let signature = self.key.sign(message.as_bytes());
        format!("{}:{}", self.name, BASE64.encode(&signature.to_bytes()))
    }

    /// The key as its file holds it. Whoever reads the text can sign.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{}:{}", self.name, BASE64.encode(&self.key.to_keypair_bytes()))
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        const WHAT: &str = "secret key";
        let (name, bytes) = split(text.trim(), WHAT)?;
        let length = bytes.len();
        let hint = if length == 32 { " (it looks like a public key)" } else { "" };
        let pair: [u8; 64] = bytes.try_into().map_err(|_| KeyError::Length {
            what: WHAT,
            name: name.to_owned(),
            got: length,
            wanted: 64,
            hint,
        })?;
        let key = SigningKey::from_keypair_bytes(&pair).map_err(|_| KeyError::Damaged {
            what: WHAT,
            name: name.to_owned(),
            problem: "its two halves do not belong together",
        })?;
        Ok(Self { name: name.to_owned(), key })
    }
}

/// A key that checks signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

impl PublicKey {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.name, BASE64.encode(self.key.as_bytes()))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        const WHAT: &str = "public key";
        let (name, bytes) = split(text.trim(), WHAT)?;
        let length = bytes.len();
        let hint = if length == 64 { " (it looks like a secret key: keep it to yourself)" } else { "" };
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| KeyError::Length {
            what: WHAT,
            name: name.to_owned(),
            got: length,
            wanted: 32,
            hint,
        })?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Damaged {
            what: WHAT,
            name: name.to_owned(),
            problem: "it is no point of the curve",
        })?;
        Ok(Self { name: name.to_owned(), key })
    }
}

/// The keys that somebody trusts, by name. Where a name comes twice, the first key counts, as in Nix.
#[derive(Debug, Clone, Default)]
pub struct TrustedKeys {
    keys: BTreeMap<String, VerifyingKey>,
}

impl TrustedKeys {
    /// Trusts these keys.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        let mut trusted = Self::default();
        for key in keys {
            trusted.add(key);
        }
        trusted
    }

    /// Trusts one more.
    pub fn add(&mut self, key: PublicKey) {
        self.keys.entry(key.name).or_insert(key.key);
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The trusted key that made this signature of the message, if any did. A signature that is no signature, or of an
    /// unknown key, is none.
    #[must_use]
    pub fn verify<'a>(&self, message: &str, signature: &'a str) -> Option<&'a str> {
        let (name, bytes) = split(signature, "signature").ok()?;
        let key = self.keys.get(name)?;
        let signature = ed25519_dalek::Signature::from_slice(&bytes).ok()?;
        // Strict: a weak key or a malleable signature is refused, which no honest signer makes.
        key.verify_strict(message.as_bytes(), &signature).ok().map(|()| name)
    }
}

fn split<'a>(text: &'a str, what: &'static str) -> Result<(&'a str, Vec<u8>), KeyError> {
    let (name, digits) =
        text.split_once(':').filter(|(name, _)| !name.is_empty()).ok_or(KeyError::Name { what })?;
    let bytes =
        BASE64.decode(digits.as_bytes()).map_err(|_| KeyError::Digits { what, name: name.to_owned() })?;
    Ok((name, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with Nix 2.8.
    const PUBLIC: &str = "test-1:agYXwicobBA6K/wThb+JFxgLdppB+fktu0gtpsOC4TE=";
    const SIGNATURE: &str =
        "test-1:jwr/ifJYFILSNZ4kyctwGFc6dwdWjfbEtjEua24f+n4gwPGgzyW2bZagTMM+ZoeUX2VXGFI541iNpt/8hqEgCQ==";
    const MESSAGE: &str = "1;/nix/store/k5aa2fvm6zahiyw2gm8jrgwrijh281p3-d;sha256:0597lv3gkj0lc63si52ch5s1q4msds6z96zq7c378wgcjv0hs9d5;712;";

    #[test]
    fn nix_s_signatures_are_accepted_and_nothing_else() {
        let keys = TrustedKeys::new([PUBLIC.parse().unwrap()]);
        assert_eq!(keys.verify(MESSAGE, SIGNATURE), Some("test-1"));
        assert_eq!(keys.verify(&MESSAGE.replace("712", "713"), SIGNATURE), None);
        for damaged in [
            SIGNATURE.replace("test-1", "test-2"),
            SIGNATURE.replace("jwr", "jwq"),
            SIGNATURE.replace("CQ==", ""),
            "test-1:".to_owned(),
            "test-1".to_owned(),
            String::new(),
        ] {
            assert_eq!(keys.verify(MESSAGE, &damaged), None, "{damaged}");
        }
        assert_eq!(TrustedKeys::default().verify(MESSAGE, SIGNATURE), None);
    }

    #[test]
    fn keys_go_round() {
        let secret = SecretKey::from_seed("cache.example.org-1", &[7; 32]).unwrap();
        let again: SecretKey = format!("{}\n", secret.reveal()).parse().unwrap();
        let signature = again.sign("message");
        let public: PublicKey = secret.public().to_string().parse().unwrap();
        assert_eq!(TrustedKeys::new([public]).verify("message", &signature), Some("cache.example.org-1"));
        assert!(!format!("{secret:?}").contains(&secret.reveal()[20..]));
    }

    #[test]
    fn what_is_no_key_is_said() {
        let secret = SecretKey::from_seed("n", &[7; 32]).unwrap().reveal();
        for (text, words) in [
            ("", "no name"),
            (":AAAA", "no name"),
            ("n:?", "not base-64"),
            ("n:AAAA", "has 3 bytes; 32"),
            (secret.as_str(), "looks like a secret key"),
            ("n:AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "no point"),
        ] {
            let error = text.parse::<PublicKey>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        for (text, words) in [
            (PUBLIC, "looks like a public key"),
            (&format!("n:{}", BASE64.encode(&[1; 64])), "do not belong together"),
        ] {
            let error = text.parse::<SecretKey>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        for name in ["", "a b", "a:b"] {
            assert!(SecretKey::from_seed(name, &[0; 32]).is_err());
        }
    }
}
