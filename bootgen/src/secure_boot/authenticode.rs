//! Signatures of PE programs, as UEFI firmware checks them: a digest over all of a program but the fields that signing itself
//! changes, in signed data, in a table at the file's end (Microsoft's "Windows Authenticode Portable Executable Signature
//! Format"; UEFI specification 2.10, section 32.2).

use super::keys::{Certificate, KeyPair};
use super::pe::{Layout, PeError, half, slice, word};
use super::signed_data::{self, SignatureError};
use der::asn1::{Any, BitString, ObjectIdentifier, OctetString};
use der::{Decode as _, Sequence};
use sha2::{Digest as _, Sha256};
use x509_cert::spki::AlgorithmIdentifierOwned;

/// `SPC_INDIRECT_DATA_OBJID`: the content is a digest of something else.
const INDIRECT_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.4");
/// `SPC_PE_IMAGE_DATAOBJ`: that something is a PE file.
const PE_IMAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.15");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
/// `WIN_CERT_REVISION_2_0` and `WIN_CERT_TYPE_PKCS_SIGNED_DATA` of an entry of the table.
const ENTRY_KIND: (u16, u16) = (0x0200, 0x0002);
/// An entry's length, revision and type stand before its signature.
const ENTRY_HEADER: usize = 8;
/// The table and its entries begin at multiples of it.
const ALIGNMENT: usize = 8;

/// Why a program is not accepted or cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is no program, or not a whole one.
    #[error(transparent)]
    Pe(#[from] PeError),
    /// It has no signature.
    #[error("it is not signed")]
    Unsigned,
    /// It has signatures, none by a key that is trusted.
    #[error("it is signed, but not by a key that is trusted here (by {})", .0.join(", "))]
    Untrusted(Vec<String>),
    /// A signature is wrong.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Its bytes are not those that were signed.
    #[error("it was changed after it was signed")]
    Changed,
}

/// `SpcIndirectDataContent`.
#[derive(Debug, Sequence)]
struct IndirectData {
    data: Described,
    digest: DigestInfo,
}

/// `SpcAttributeTypeAndOptionalValue`.
#[derive(Debug, Sequence)]
struct Described {
    kind: ObjectIdentifier,
    #[asn1(optional = "true")]
    value: Option<Any>,
}

#[derive(Debug, Sequence)]
struct DigestInfo {
    algorithm: AlgorithmIdentifierOwned,
    digest: OctetString,
}

/// `SpcPeImageData`: no flags, and a name of the file that is always empty.
#[derive(Debug, Sequence)]
struct PeImageData {
    flags: BitString,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    file: FileLink,
}

/// `SpcLink`, of which only the choice `file` is used here.
#[derive(Debug, der::Choice)]
enum FileLink {
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", constructed = "true")]
    File(FileName),
}

/// `SpcString`.
#[derive(Debug, der::Choice)]
enum FileName {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    Unicode(OctetString),
}

/// SHA-256 over a program without its signatures.
///
/// # Errors
/// When it is no PE program.
pub fn digest(program: &[u8]) -> Result<[u8; 32], PeError> {
    let layout = Layout::of(program)?;
    let end = layout.content_end(program.len());
    let mut hash = Sha256::new();
    // Layout::of has checked that all of these are inside, in this order.
    let parts = [
        0..layout.checksum,
        layout.checksum + 4..layout.certificate_entry,
        layout.certificate_entry + 8..layout.headers,
    ];
    let sections = layout.sections_in_file();
    let hashed = layout.headers + sections.iter().map(|section| section.data.len()).sum::<usize>();
    let rest = hashed.min(end)..end;
    for part in
        parts.into_iter().chain(sections.into_iter().map(|section| section.data.clone())).chain([rest])
    {
        hash.update(program.get(part).ok_or(PeError::CutOff("section"))?);
    }
    // As if it were signed already: signatures begin at multiples of eight bytes.
    let padding = end.next_multiple_of(ALIGNMENT) - end;
    hash.update(&[0; ALIGNMENT][..padding]);
    Ok(hash.finalize().into())
}

/// The program with a signature by this key; signatures that it had are gone.
///
/// # Errors
/// When it is no PE program, or the key cannot sign.
pub fn sign(program: &[u8], key: &KeyPair) -> Result<Vec<u8>, ProgramError> {
    let layout = Layout::of(program)?;
    let content = Any::encode_from(&indirect_data(digest(program)?)?).map_err(SignatureError::from)?;
    let signature = signed_data::sign(INDIRECT_DATA, &content, key)?;

    let mut signed = program.to_vec();
    signed.truncate(layout.content_end(program.len()));
    signed.resize(signed.len().next_multiple_of(ALIGNMENT), 0);
    let start = signed.len();
    let length = (ENTRY_HEADER + signature.len()).next_multiple_of(ALIGNMENT);
    // The padding counts as the entry's: OVMF and others step by the length as it stands here.
    signed.extend_from_slice(&(length as u32).to_le_bytes());
    signed.extend_from_slice(&ENTRY_KIND.0.to_le_bytes());
    signed.extend_from_slice(&ENTRY_KIND.1.to_le_bytes());
    signed.extend_from_slice(&signature);
    signed.resize(start + length, 0);
    let entry = [(start as u32).to_le_bytes(), (length as u32).to_le_bytes()].concat();
    overwrite(&mut signed, layout.certificate_entry, &entry);
    let sum = checksum(&signed, layout.checksum);
    overwrite(&mut signed, layout.checksum, &sum.to_le_bytes());
    Ok(signed)
}

/// The size in bytes of the table that [`sign`] adds, behind the program filled up to a multiple of eight: the same for every
/// program and key pair.
///
/// # Errors
/// When the key cannot sign.
pub fn signature_size(key: &KeyPair) -> Result<u64, SignatureError> {
    let content = Any::encode_from(&indirect_data([0; 32])?)?;
    let signature = signed_data::sign(INDIRECT_DATA, &content, key)?.len() + ENTRY_HEADER;
    Ok(signature.next_multiple_of(ALIGNMENT) as u64)
}

/// The size of a program of this size when it has a signature of that size.
pub fn signed_size(program: u64, signature: u64) -> u64 {
    program.next_multiple_of(ALIGNMENT as u64) + signature
}

/// Checks a program: that one of its signatures is by the key of a trusted certificate, or of one that such a key has
/// signed, and that its bytes are those that were signed. Returns the signer's certificate.
///
/// # Errors
/// With what is wrong about it: of several signatures that are not accepted, about the first.
pub fn verify(program: &[u8], trusted: &[Certificate]) -> Result<Certificate, ProgramError> {
    let digest = digest(program)?;
    let mut signers = Vec::new();
    let mut first = None;
    // As firmware does: one that is accepted is enough, whatever the others are.
    for signature in signatures(program)? {
        match check_signature(signature, digest) {
            Ok(certificates) if super::keys::leads_to(&certificates, trusted) => {
                return certificates.into_iter().next().ok_or(ProgramError::Unsigned);
            }
            Ok(certificates) => signers.extend(certificates.first().map(Certificate::name)),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(match first {
        Some(error) => error,
        None if signers.is_empty() => ProgramError::Unsigned,
        None => ProgramError::Untrusted(signers),
    })
}

/// Checks that a signature fits the program's digest. Returns its certificates, the signer's first.
fn check_signature(signature: &[u8], digest: [u8; 32]) -> Result<Vec<Certificate>, ProgramError> {
    let (content, certificates) = signed_data::open(signature, INDIRECT_DATA)?;
    let content = content.decode_as::<IndirectData>().map_err(SignatureError::from)?;
    if content.data.kind != PE_IMAGE || content.digest.algorithm.oid != SHA_256 {
        return Err(SignatureError::Kind("a program").into());
    }
    if content.digest.digest.as_bytes() == digest { Ok(certificates) } else { Err(ProgramError::Changed) }
}

/// The signatures in a program's table, as `ContentInfo`s. None: it is not signed.
fn signatures(program: &[u8]) -> Result<Vec<&[u8]>, ProgramError> {
    let Some(table) = Layout::of(program)?.certificates else { return Ok(Vec::new()) };
    let damaged = PeError::Damaged("its table of signatures is wrong");
    let mut table = program.get(table).ok_or(damaged)?;
    let mut found = Vec::new();
    while !table.is_empty() {
        let length = word(table, 0).ok_or(damaged)? as usize;
        let kind = (half(table, 4).ok_or(damaged)?, half(table, 6).ok_or(damaged)?);
        let entry = table.get(ENTRY_HEADER..length).ok_or(damaged)?;
        if kind == ENTRY_KIND {
            found.push(der_value(entry).ok_or(damaged)?);
        }
        table = table.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    Ok(found)
}

/// The first DER value of these bytes, without the padding behind it.
fn der_value(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = der::SliceReader::new(bytes).ok()?;
    let header = der::Header::decode(&mut reader).ok()?;
    let length =
        usize::try_from(der::Reader::position(&reader)).ok()? + usize::try_from(header.length()).ok()?;
    slice(bytes, 0, length)
}

fn indirect_data(digest: [u8; 32]) -> Result<IndirectData, SignatureError> {
    let name = FileName::Unicode(OctetString::new([])?);
    let image = PeImageData { flags: BitString::from_bytes(&[])?, file: FileLink::File(name) };
    Ok(IndirectData {
        data: Described { kind: PE_IMAGE, value: Some(Any::encode_from(&image)?) },
        digest: DigestInfo {
            algorithm: AlgorithmIdentifierOwned { oid: SHA_256, parameters: Some(Any::null()) },
            digest: OctetString::new(digest)?,
        },
    })
}

/// The checksum that stands in PE headers: the sum of all halves with end-around carry, and the size.
fn checksum(program: &[u8], field: usize) -> u32 {
    let mut sum: u32 = 0;
    for (index, pair) in program.chunks(2).enumerate() {
        let at = index * 2;
        if at == field || at == field + 2 {
            continue;
        }
        let low = u32::from(pair.first().copied().unwrap_or_default());
        let high = u32::from(pair.get(1).copied().unwrap_or_default());
        sum += low | high << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum + program.len() as u32
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + with.len()) {
        place.copy_from_slice(with);
    }
}

#[cfg(test)]
mod tests;
