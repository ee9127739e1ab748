//! The owner's keys: an RSA key with a certificate that it signed itself, both as PEM files (PKCS #8, X.509). UEFI firmware
//! takes RSA keys only, of 2048 bits and more.

use der::{Decode as _, DecodePem as _, Encode as _, EncodePem as _};
use rsa::pkcs1v15::{Signature, SigningKey, VerifyingKey};
use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use rsa::signature::{Keypair as _, SignatureEncoding as _, Signer as _, Verifier as _};
use rsa::traits::PublicKeyParts as _;
use sha2::{Digest as _, Sha256};
use std::str::FromStr as _;
use std::time::Duration;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder as _, CertificateBuilder};
use x509_cert::ext::{Extension, ToExtension as _, pkix};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{EncodePublicKey as _, SubjectPublicKeyInfo, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};

/// The shortest keys that are accepted, in bits.
pub const SHORTEST: usize = 2048;
/// How long certificates are valid, in seconds: five years, as sbctl makes them. Firmware does not look at it.
const VALIDITY: u64 = 5 * 365 * 24 * 60 * 60;

/// Why a key or certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key is none.
    #[error("it is no RSA key in PEM (PKCS #8): {0}")]
    Key(String),
    /// It is too short.
    #[error("it is an RSA key of {0} bits; UEFI firmware wants {SHORTEST} at least")]
    Short(usize),
    /// The certificate is none.
    #[error("it is no X.509 certificate in PEM: {0}")]
    Certificate(der::Error),
    /// Both are fine but belong to others.
    #[error("the key is not that of the certificate")]
    Mismatch,
    /// A new one could not be made.
    #[error("a key cannot be made: {0}")]
    Making(String),
}

/// A certificate.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    parsed: x509_cert::Certificate,
}

impl std::fmt::Debug for Certificate {
    /// Its name.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Certificate").field(&self.name()).finish()
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

impl Certificate {
    /// Reads DER.
    ///
    /// # Errors
    /// When it is no certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, der::Error> {
        Ok(Self { der: der.to_vec(), parsed: x509_cert::Certificate::from_der(der)? })
    }

    /// Reads PEM.
    ///
    /// # Errors
    /// When it is no certificate.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let parsed = x509_cert::Certificate::from_pem(text).map_err(KeyError::Certificate)?;
        Ok(Self { der: parsed.to_der().map_err(KeyError::Certificate)?, parsed })
    }

    /// As PEM.
    ///
    /// # Errors
    /// When it cannot be written as such.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.parsed.to_pem(der::pem::LineEnding::LF).map_err(KeyError::Certificate)
    }

    /// Its DER bytes.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whom it is for, as `CN=…`.
    pub fn name(&self) -> String {
        self.parsed.tbs_certificate().subject().to_string()
    }

    /// SHA-256 of its bytes.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.der).into()
    }

    /// Whether the bytes were signed by its key: RSA, SHA-256.
    pub fn signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let Some(key) = self.verifying_key() else { return false };
        Signature::try_from(signature).is_ok_and(|signature| key.verify(bytes, &signature).is_ok())
    }

    pub(crate) fn issuer(&self) -> &Name {
        self.parsed.tbs_certificate().issuer()
    }

    pub(crate) fn serial_number(&self) -> &SerialNumber {
        self.parsed.tbs_certificate().serial_number()
    }

    fn verifying_key(&self) -> Option<VerifyingKey<Sha256>> {
        let key = self.parsed.tbs_certificate().subject_public_key_info().to_der().ok()?;
        let key = SubjectPublicKeyInfoRef::try_from(&*key).ok()?;
        rsa::PublicKey::try_from(key).ok().map(VerifyingKey::new)
    }

    fn is_signed_by(&self, issuer: &Self) -> bool {
        let Ok(bytes) = self.parsed.tbs_certificate().to_der() else { return false };
        *self.issuer() == *issuer.parsed.tbs_certificate().subject()
            && issuer.signed(&bytes, self.parsed.signature().raw_bytes())
    }
}

/// Whether the first of these certificates is trusted, or signed by one that is, over others of them if need be.
pub(crate) fn leads_to(chain: &[Certificate], trusted: &[Certificate]) -> bool {
    let Some(mut current) = chain.first() else { return false };
    // Each step is one certificate up: more of them than there are is a circle.
    for _ in 0..=chain.len() {
        if trusted.iter().any(|trusted| trusted == current || current.is_signed_by(trusted)) {
            return true;
        }
        match chain.iter().find(|issuer| *issuer != current && current.is_signed_by(issuer)) {
            Some(issuer) => current = issuer,
            None => return false,
        }
    }
    false
}

/// A key and its certificate.
#[derive(Clone)]
pub struct KeyPair {
    key: SigningKey<Sha256>,
    private: rsa::PrivateKey,
    certificate: Certificate,
}

impl std::fmt::Debug for KeyPair {
    /// Without the key.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("KeyPair")
            .field("certificate", &self.certificate.name())
            .finish_non_exhaustive()
    }
}

impl KeyPair {
    /// Reads both from PEM.
    ///
    /// # Errors
    /// When one of them is not what it should be, or they do not belong together.
    pub fn from_pem(key: &str, certificate: &str) -> Result<Self, KeyError> {
        let private =
            rsa::PrivateKey::from_pkcs8_pem(key).map_err(|error| KeyError::Key(error.to_string()))?;
        let bits = private.n().bit_width() as usize;
        if bits < SHORTEST {
            return Err(KeyError::Short(bits));
        }
        Self::of(private, Certificate::from_pem(certificate)?)
    }

    /// A new key of that many bits, and a certificate for it under this name (`CN=…`), valid from now (since 1970) on.
    ///
    /// # Errors
    /// When there is no randomness, or the name is none.
    pub fn generate(bits: usize, name: &str, now: Duration) -> Result<Self, KeyError> {
        let making = |error: &dyn std::fmt::Display| KeyError::Making(error.to_string());
        let private = rsa::PrivateKey::new(&mut getrandom::SysRng, bits).map_err(|error| making(&error))?;
        let certificate = certificate(&private, name, now)?;
        Self::of(private, certificate)
    }

    fn of(private: rsa::PrivateKey, certificate: Certificate) -> Result<Self, KeyError> {
        let key = SigningKey::new(private.clone());
        if certificate.verifying_key() != Some(key.verifying_key()) {
            return Err(KeyError::Mismatch);
        }
        Ok(Self { key, private, certificate })
    }

    /// The key as PEM: secret.
    ///
    /// # Errors
    /// When it cannot be written as such.
    pub fn key_to_pem(&self) -> Result<String, KeyError> {
        let pem = self.private.to_pkcs8_pem(der::pem::LineEnding::LF);
        pem.map(|text| text.to_string()).map_err(|error| KeyError::Making(error.to_string()))
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Signs bytes: PKCS #1 v1.5 with SHA-256.
    ///
    /// # Errors
    /// When the key is damaged.
    pub fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, rsa::Error> {
        let signature: Signature = self.key.try_sign(bytes).map_err(|_| rsa::Error::Verification)?;
        Ok(signature.to_vec())
    }
}

struct SelfSigned(Name);

impl BuilderProfile for SelfSigned {
    fn get_issuer(&self, subject: &Name) -> Name {
        subject.clone()
    }

    fn get_subject(&self) -> Name {
        self.0.clone()
    }

    fn build_extensions(
        &self,
        _: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        tbs: &x509_cert::TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let constraints = pkix::BasicConstraints { ca: true, path_len_constraint: None };
        Ok(vec![constraints.to_extension(tbs.subject(), &[])?])
    }
}

fn certificate(private: &rsa::PrivateKey, name: &str, now: Duration) -> Result<Certificate, KeyError> {
    let making = |error: &dyn std::fmt::Display| KeyError::Making(error.to_string());
    let key = SigningKey::<Sha256>::new(private.clone());
    let public = key.verifying_key().to_public_key_der().map_err(|error| making(&error))?;
    let info = SubjectPublicKeyInfo::try_from(public.as_bytes()).map_err(|error| making(&error))?;
    let name = Name::from_str(name).map_err(|error| making(&error))?;
    // As unique as the key.
    let serial =
        SerialNumber::new(&Sha256::digest(public.as_bytes())[..16]).map_err(|error| making(&error))?;
    let time = |seconds| der::asn1::GeneralizedTime::from_unix_duration(seconds).map(Time::GeneralTime);
    let validity = Validity::new(
        time(now).map_err(|error| making(&error))?,
        time(now + Duration::from_secs(VALIDITY)).map_err(|error| making(&error))?,
    );
    let built = CertificateBuilder::new(SelfSigned(name), serial, validity, info)
        .and_then(|builder| builder.build::<_, Signature>(&key))
        .map_err(|error| making(&error))?;
    let der = built.to_der().map_err(KeyError::Certificate)?;
    Certificate::from_der(&der).map_err(KeyError::Certificate)
}

/// Keys for tests: made once, since making them takes a while.
#[cfg(test)]
pub(crate) mod samples {
    use super::{Duration, KeyPair, SHORTEST};
    use std::sync::OnceLock;

    fn made(place: &'static OnceLock<KeyPair>, name: &str) -> KeyPair {
        let make = || KeyPair::generate(SHORTEST, name, Duration::from_secs(1_790_000_000)).unwrap();
        place.get_or_init(make).clone()
    }

    pub(crate) fn owner() -> KeyPair {
        static OWNER: OnceLock<KeyPair> = OnceLock::new();
        made(&OWNER, "CN=owner")
    }

    pub(crate) fn other() -> KeyPair {
        static OTHER: OnceLock<KeyPair> = OnceLock::new();
        made(&OTHER, "CN=other")
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{other, owner};
    use super::*;

    #[test]
    fn keys_go_through_pem() {
        let owner = owner();
        let (key, certificate) = (owner.key_to_pem().unwrap(), owner.certificate().to_pem().unwrap());
        assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\n"), "as openssl and sbctl write them");
        let again = KeyPair::from_pem(&key, &certificate).unwrap();
        assert_eq!(again.certificate(), owner.certificate());
        assert_eq!(again.sign(b"text").unwrap(), owner.sign(b"text").unwrap());
        assert!(owner.certificate().signed(b"text", &owner.sign(b"text").unwrap()));
        assert!(!owner.certificate().signed(b"texts", &owner.sign(b"text").unwrap()));
        assert!(!format!("{owner:?}").contains(&key[100..120]), "a key is never shown");

        let theirs = other().certificate().to_pem().unwrap();
        assert!(matches!(KeyPair::from_pem(&key, &theirs), Err(KeyError::Mismatch)));
        assert!(matches!(KeyPair::from_pem("x", &certificate), Err(KeyError::Key(_))));
        assert!(matches!(KeyPair::from_pem(&key, "x"), Err(KeyError::Certificate(_))));
        let short = rsa::PrivateKey::new(&mut getrandom::SysRng, 1024).unwrap();
        let short = short.to_pkcs8_pem(der::pem::LineEnding::LF).unwrap();
        assert!(matches!(KeyPair::from_pem(&short, &certificate), Err(KeyError::Short(1024))));
    }

    #[test]
    fn trust_goes_by_signature_not_by_name() {
        let owner = owner();
        let namesake = KeyPair::generate(SHORTEST, "CN=owner", Duration::from_secs(1)).unwrap();
        let of = |key: &KeyPair| key.certificate().clone();
        assert!(leads_to(&[of(&owner)], &[of(&other()), of(&owner)]));
        assert!(!leads_to(&[of(&namesake)], &[of(&owner)]));
        assert!(!leads_to(&[of(&namesake), of(&owner)], &[of(&owner)]));
        assert!(!leads_to(&[], &[of(&owner)]));
    }
}
