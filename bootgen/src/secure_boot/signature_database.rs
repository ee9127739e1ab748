//! What the variables `PK`, `KEK` and `db` hold: lists of signatures (UEFI specification 2.10, section 32.4.1), here those of
//! certificates; and how a new value is signed (section 8.2.2, `EFI_VARIABLE_AUTHENTICATION_2`).

use super::keys::{Certificate, KeyPair};
use super::pe::{slice, word};
use super::signed_data::{self, SignatureError};
use crate::calendar::Moment;
use crate::identity::Uuid;

/// `EFI_CERT_X509_GUID`, a5c059a1-94e4-4aa7-87b5-ab155c2bf072.
const X509: Uuid =
    Uuid([0xa5, 0xc0, 0x59, 0xa1, 0x94, 0xe4, 0x4a, 0xa7, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72]);
/// `EFI_CERT_TYPE_PKCS7_GUID`, 4aafd29d-68df-49ee-8aa9-347d375665a7.
const PKCS7: Uuid =
    Uuid([0x4a, 0xaf, 0xd2, 0x9d, 0x68, 0xdf, 0x49, 0xee, 0x8a, 0xa9, 0x34, 0x7d, 0x37, 0x56, 0x65, 0xa7]);
/// A list's type and three lengths stand before its signatures.
const LIST_HEADER: usize = 28;
/// Non-volatile, for boot and runtime services, with a signature that has a time in it: what these variables are.
pub const ATTRIBUTES: u32 = 0x27;

/// A list with one certificate that belongs to this owner.
pub fn list_of(certificate: &Certificate, owner: Uuid) -> Vec<u8> {
    let entry = 16 + certificate.der().len();
    let mut list = X509.mixed_endian().to_vec();
    for number in [LIST_HEADER + entry, 0, entry] {
        list.extend_from_slice(&(number as u32).to_le_bytes());
    }
    list.extend_from_slice(&owner.mixed_endian());
    list.extend_from_slice(certificate.der());
    list
}

/// The certificates in a variable's lists. Entries of other kinds (hashes) and what is damaged are passed over.
pub fn certificates_in(mut lists: &[u8]) -> Vec<Certificate> {
    let mut certificates = Vec::new();
    while let (Some(kind), Some(length), Some(header), Some(entry)) =
        (slice(lists, 0, 16), word(lists, 16), word(lists, 20), word(lists, 24))
    {
        let (length, entry) = (length as usize, entry as usize);
        let Some(list) = slice(lists, 0, length).filter(|list| list.len() >= LIST_HEADER) else { break };
        if kind == X509.mixed_endian() && entry > 16 {
            let entries = list.get(LIST_HEADER + header as usize..).unwrap_or_default();
            let found =
                entries.chunks_exact(entry).filter_map(|entry| Certificate::from_der(entry.get(16..)?).ok());
            certificates.extend(found);
        }
        lists = lists.get(length..).unwrap_or_default();
    }
    certificates
}

/// A variable's new value with the signature that the firmware asks for: written to `NAME-VENDOR` after its attributes. The
/// firmware takes only times (seconds since 1970) later than the last value's.
///
/// # Errors
/// When the key cannot sign.
pub fn signed_value(
    name: &str,
    vendor: Uuid,
    value: &[u8],
    time: i64,
    key: &KeyPair,
) -> Result<Vec<u8>, SignatureError> {
    let time = efi_time(time);
    let mut signed: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    signed.extend_from_slice(&vendor.mixed_endian());
    signed.extend_from_slice(&ATTRIBUTES.to_le_bytes());
    signed.extend_from_slice(&time);
    signed.extend_from_slice(value);
    let signature = signed_data::sign_detached(&signed, key)?;
    let mut whole = time.to_vec();
    // WIN_CERTIFICATE_UEFI_GUID: length, revision 2.0, type EFI_GUID, which kind of signature.
    whole.extend_from_slice(&((24 + signature.len()) as u32).to_le_bytes());
    whole.extend_from_slice(&0x0200u16.to_le_bytes());
    whole.extend_from_slice(&0x0ef1u16.to_le_bytes());
    whole.extend_from_slice(&PKCS7.mixed_endian());
    whole.extend_from_slice(&signature);
    whole.extend_from_slice(value);
    Ok(whole)
}

/// `EFI_TIME`, in UTC; the fields that signatures do not use are zero.
fn efi_time(seconds: i64) -> [u8; 16] {
    let moment = Moment::of(seconds);
    let mut time = [0; 16];
    time[..2].copy_from_slice(&(moment.year as u16).to_le_bytes());
    time[2..7].copy_from_slice(&[moment.month, moment.day, moment.hour, moment.minute, moment.second]);
    time
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker;
    use crate::secure_boot::keys::samples::{other, owner};

    const OWNER: &str = "01234567-89ab-cdef-0123-456789abcdef";
    const VENDOR: &str = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";

    fn uuid(text: &str) -> Uuid {
        Uuid::parse(text).unwrap()
    }

    #[test]
    fn lists_are_read_back_and_damage_is_passed_over() {
        assert_eq!(X509.to_string(), "a5c059a1-94e4-4aa7-87b5-ab155c2bf072");
        assert_eq!(PKCS7.to_string(), "4aafd29d-68df-49ee-8aa9-347d375665a7");
        let both = [list_of(owner().certificate(), uuid(OWNER)), list_of(other().certificate(), uuid(OWNER))]
            .concat();
        assert_eq!(certificates_in(&both), [owner().certificate().clone(), other().certificate().clone()]);
        for length in 0..both.len() {
            assert!(certificates_in(&both[..length]).len() < 2, "cut off at {length}");
        }
        for at in 0..60 {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = both.clone();
                damaged[at] = value;
                assert!(certificates_in(&damaged).len() <= 2);
            }
        }
    }

    #[test]
    fn the_time_is_that_of_the_calendar() {
        assert_eq!(efi_time(1_790_000_000)[..8], [0xea, 0x07, 9, 21, 14, 13, 20, 0]);
    }

    #[test]
    fn a_value_is_signed_with_its_name_and_time() {
        let value = list_of(other().certificate(), uuid(OWNER));
        let whole = signed_value("db", uuid(VENDOR), &value, 1_790_000_000, &owner()).unwrap();
        let length = word(&whole, 16).unwrap() as usize;
        assert!(whole[16 + length..] == value);
        let signature = &whole[40..16 + length];
        let signed = |name: &str| {
            let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
            [&name, &uuid(VENDOR).mixed_endian()[..], &ATTRIBUTES.to_le_bytes(), &whole[..16], &value]
                .concat()
        };
        assert_eq!(signed_data::open_detached(signature, &signed("db")).unwrap(), *owner().certificate());
        assert!(signed_data::open_detached(signature, &signed("PK")).is_err());
    }

    /// openssl, which firmware has inside, checks such a signature.
    #[test]
    fn openssl_accepts_the_signature() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let owner = owner();
        let signature = signed_data::sign_detached(b"text", &owner).unwrap();
        // Variables have it without the outermost layer, which openssl wants.
        let oid = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
        let layer = |tag: u8, inner: &[u8]| {
            [&[tag, 0x82, (inner.len() >> 8) as u8, inner.len() as u8][..], inner].concat()
        };
        let whole = layer(0x30, &[&oid[..], &layer(0xa0, &signature)].concat());
        std::fs::write(path("signature"), whole).unwrap();
        std::fs::write(path("certificate"), owner.certificate().to_pem().unwrap()).unwrap();
        for (text, accepted) in [("text", true), ("texts", false)] {
            std::fs::write(path("text"), text).unwrap();
            let (signature, content, certificate) = (path("signature"), path("text"), path("certificate"));
            let mut arguments =
                vec!["cms", "-verify", "-binary", "-inform", "DER", "-noverify", "-in", &signature];
            arguments.extend(["-content", &content, "-certfile", &certificate]);
            let Some((fine, said)) = checker::run("openssl", "openssl", arguments) else { return };
            assert_eq!(fine, accepted, "{said}");
        }
    }
}
