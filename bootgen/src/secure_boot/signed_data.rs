//! PKCS #7 signed data (RFC 5652), as much of it as UEFI knows: one signer by RSA and SHA-256, its certificate inside. Two uses:
//! around Authenticode's content ([`super::authenticode`]), with signed attributes; and beside a variable's bytes, without.
//!
//! Signatures have no time in them: the same bytes signed twice by one key are the same bytes.

use super::keys::{Certificate, KeyPair};
use der::asn1::{Any, ObjectIdentifier, OctetString, SetOfVec};
use der::{Decode as _, Encode as _, Sequence, ValueOrd};
use sha2::{Digest as _, Sha256};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// Bytes that stand beside the signature.
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_WITH_SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");

/// Why a signature is not accepted or cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// It is not in the form of signed data.
    #[error("the signature cannot be read: {0}")]
    Unreadable(#[from] der::Error),
    /// It is of a kind that UEFI does not know.
    #[error("the signature is not RSA with SHA-256 over {0}")]
    Kind(&'static str),
    /// The signed content is another one.
    #[error("the signature is over other bytes")]
    OtherContent,
    /// It was not made by the key of the certificate that it names.
    #[error("the signature does not fit the certificate that it names")]
    Forged,
    /// The key cannot sign.
    #[error("the key cannot sign: {0}")]
    Key(#[from] rsa::Error),
}

/// `ContentInfo`, RFC 5652 section 3.
#[derive(Debug, Sequence)]
struct ContentInfo {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: Any,
}

/// `SignedData`, RFC 5652 section 5.1.
#[derive(Debug, Sequence)]
struct SignedData {
    version: u8,
    digest_algorithms: SetOfVec<AlgorithmIdentifierOwned>,
    content: EncapsulatedContent,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    certificates: Option<SetOfVec<Any>>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    revoked: Option<SetOfVec<Any>>,
    signers: SetOfVec<Signer>,
}

/// `EncapsulatedContentInfo`, RFC 5652 section 5.2.
#[derive(Debug, Sequence)]
struct EncapsulatedContent {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    content: Option<Any>,
}

/// `SignerInfo`, RFC 5652 section 5.3.
#[derive(Debug, Sequence, ValueOrd)]
struct Signer {
    version: u8,
    identifier: IssuerAndSerialNumber,
    digest_algorithm: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    signed_attributes: Option<SetOfVec<Attribute>>,
    signature_algorithm: AlgorithmIdentifierOwned,
    signature: OctetString,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    unsigned_attributes: Option<SetOfVec<Any>>,
}

#[derive(Debug, Sequence, ValueOrd)]
struct IssuerAndSerialNumber {
    issuer: Name,
    serial_number: SerialNumber,
}

#[derive(Debug, Clone, Sequence, ValueOrd)]
struct Attribute {
    kind: ObjectIdentifier,
    values: SetOfVec<Any>,
}

/// Signs content of this type, which goes in: a `ContentInfo`.
///
/// # Errors
/// When the key cannot sign.
pub fn sign(content_type: ObjectIdentifier, content: &Any, key: &KeyPair) -> Result<Vec<u8>, SignatureError> {
    let mut attributes = SetOfVec::new();
    // What is hashed is the content without its own tag and length (RFC 5652 section 5.4).
    let digest = OctetString::new(Sha256::digest(content.value()).to_vec())?;
    for (kind, value) in
        [(CONTENT_TYPE, Any::encode_from(&content_type)?), (MESSAGE_DIGEST, Any::encode_from(&digest)?)]
    {
        attributes.insert(Attribute { kind, values: SetOfVec::try_from([value])? })?;
    }
    let signature = key.sign(&attributes.to_der()?)?;
    let encapsulated = EncapsulatedContent { content_type, content: Some(content.clone()) };
    let signed = signed_data(encapsulated, Some(attributes), signature, key)?;
    Ok(ContentInfo { content_type: SIGNED_DATA, content: Any::encode_from(&signed)? }.to_der()?)
}

/// Signs bytes that stand beside the signature, in the form that variables want: `SignedData` without a `ContentInfo` around it
/// and without attributes (UEFI specification 2.10, section 8.2.2).
///
/// # Errors
/// When the key cannot sign.
pub fn sign_detached(bytes: &[u8], key: &KeyPair) -> Result<Vec<u8>, SignatureError> {
    let content = EncapsulatedContent { content_type: DATA, content: None };
    Ok(signed_data(content, None, key.sign(bytes)?, key)?.to_der()?)
}

fn signed_data(
    content: EncapsulatedContent,
    signed_attributes: Option<SetOfVec<Attribute>>,
    signature: Vec<u8>,
    key: &KeyPair,
) -> Result<SignedData, SignatureError> {
    let certificate = key.certificate();
    let signer = Signer {
        version: 1,
        identifier: IssuerAndSerialNumber {
            issuer: certificate.issuer().clone(),
            serial_number: certificate.serial_number().clone(),
        },
        digest_algorithm: algorithm(SHA_256),
        signed_attributes,
        signature_algorithm: algorithm(RSA),
        signature: OctetString::new(signature)?,
        unsigned_attributes: None,
    };
    Ok(SignedData {
        version: 1,
        digest_algorithms: SetOfVec::try_from([algorithm(SHA_256)])?,
        content,
        certificates: Some(SetOfVec::try_from([Any::from_der(certificate.der())?])?),
        revoked: None,
        signers: SetOfVec::try_from([signer])?,
    })
}

/// Checks a `ContentInfo`. Returns the content and the certificates that come with it, the signer's first.
///
/// # Errors
/// When it is not signed data over content of this type, or its signature does not fit.
pub fn open(bytes: &[u8], content_type: ObjectIdentifier) -> Result<(Any, Vec<Certificate>), SignatureError> {
    let info = ContentInfo::from_der(bytes)?;
    if info.content_type != SIGNED_DATA {
        return Err(SignatureError::Kind("a program"));
    }
    let signed: SignedData = SignedData::from_der(&info.content.to_der()?)?;
    let content = match signed.content {
        EncapsulatedContent { content_type: found, content: Some(content) } if found == content_type => {
            content
        }
        _ => return Err(SignatureError::Kind("a program")),
    };
    let mut certificates = certificates(signed.certificates.as_ref())?;
    let signer = signed.signers.as_slice().first().ok_or(SignatureError::Kind("a program"))?;
    let attributes = signer.signed_attributes.as_ref().ok_or(SignatureError::Kind("its attributes"))?;
    check_attributes(attributes, content_type, &content)?;
    let own = certificates
        .iter()
        .position(|certificate| {
            *certificate.issuer() == signer.identifier.issuer
                && *certificate.serial_number() == signer.identifier.serial_number
        })
        .ok_or(SignatureError::Forged)?;
    certificates.swap(0, own);
    check_signature(signer, &attributes.to_der()?, certificates.first())?;
    Ok((content, certificates))
}

/// Checks `SignedData` beside which its bytes stand. Returns the signer's certificate.
///
/// # Errors
/// When its signature does not fit.
pub fn open_detached(signature: &[u8], bytes: &[u8]) -> Result<Certificate, SignatureError> {
    let signed = SignedData::from_der(signature)?;
    let signer = signed.signers.as_slice().first().ok_or(SignatureError::Kind("a variable"))?;
    let certificate = certificates(signed.certificates.as_ref())?.into_iter().find(|certificate| {
        *certificate.issuer() == signer.identifier.issuer
            && *certificate.serial_number() == signer.identifier.serial_number
    });
    check_signature(signer, bytes, certificate.as_ref())?;
    certificate.ok_or(SignatureError::Forged)
}

fn certificates(set: Option<&SetOfVec<Any>>) -> Result<Vec<Certificate>, SignatureError> {
    let all = set.map(SetOfVec::as_slice).unwrap_or_default();
    all.iter().map(|any| Ok(Certificate::from_der(&any.to_der()?)?)).collect()
}

fn check_attributes(
    attributes: &SetOfVec<Attribute>,
    content_type: ObjectIdentifier,
    content: &Any,
) -> Result<(), SignatureError> {
    let value = |kind| {
        let mut of_kind = attributes.iter().filter(|attribute| attribute.kind == kind);
        match (of_kind.next().map(|attribute| attribute.values.as_slice()), of_kind.next()) {
            (Some([value]), None) => Ok(value),
            _ => Err(SignatureError::Kind("its attributes")),
        }
    };
    let digest: OctetString = value(MESSAGE_DIGEST)?.decode_as()?;
    let kind: ObjectIdentifier = value(CONTENT_TYPE)?.decode_as()?;
    if kind == content_type && digest.as_bytes() == Sha256::digest(content.value()).as_slice() {
        Ok(())
    } else {
        Err(SignatureError::OtherContent)
    }
}

fn check_signature(
    signer: &Signer,
    signed: &[u8],
    certificate: Option<&Certificate>,
) -> Result<(), SignatureError> {
    if signer.digest_algorithm.oid != SHA_256
        || ![RSA, RSA_WITH_SHA_256].contains(&signer.signature_algorithm.oid)
    {
        return Err(SignatureError::Kind("its attributes"));
    }
    let certificate = certificate.ok_or(SignatureError::Forged)?;
    if certificate.signed(signed, signer.signature.as_bytes()) { Ok(()) } else { Err(SignatureError::Forged) }
}

fn algorithm(oid: ObjectIdentifier) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid, parameters: Some(Any::null()) }
}
