//! Names on FAT: the 8.3 form that every file has, and the long form before it in entries that old readers skip (FAT
//! specification, section 7).

use super::{ENTRY, FatError};
use std::collections::BTreeSet;

/// Bytes that may be in an 8.3 name besides letters and digits.
const SHORT_SIGNS: &[u8] = b"$%'-_@~`!(){}^#&";
/// Characters that no name may have.
const FORBIDDEN: &[char] = &['"', '*', '/', ':', '<', '>', '?', '\\', '|'];

/// The 8.3 names of one directory, each once.
#[derive(Debug, Default)]
pub(super) struct ShortNames {
    short: BTreeSet<[u8; 11]>,
    long: BTreeSet<String>,
}

impl ShortNames {
    /// Takes a name in. Gives its 8.3 form, and whether that says all (then no long entries are needed).
    pub(super) fn add(&mut self, name: &str) -> Result<([u8; 11], bool), FatError> {
        let length = name.encode_utf16().count();
        let unfit = length == 0
            || length > 255
            || name.ends_with([' ', '.'])
            || name.chars().any(|char| char < ' ' || FORBIDDEN.contains(&char));
        if unfit {
            return Err(FatError::Name(name.to_owned()));
        }
        // Readers compare without regard to case.
        if !self.long.insert(name.to_uppercase()) {
            return Err(FatError::SameName(name.to_owned()));
        }
        if let Some(exact) = exact(name)
            && self.short.insert(exact)
        {
            return Ok((exact, true));
        }
        let (base, extension) = match name.rsplit_once('.') {
            Some((base, extension)) if !base.is_empty() => (base, extension),
            _ => (name, ""),
        };
        let base = reduced(base);
        let extension = reduced(extension);
        for number in 1..1_000_000_u32 {
            let tail = format!("~{number}");
            let mut short = [b' '; 11];
            let kept = base.iter().take(8 - tail.len()).copied().chain(tail.bytes());
            short.iter_mut().zip(kept).for_each(|(to, from)| *to = from);
            short[8..].iter_mut().zip(&extension).for_each(|(to, from)| *to = *from);
            if self.short.insert(short) {
                return Ok((short, false));
            }
        }
        Err(FatError::Entries)
    }
}

/// The name as 8.3 if it is one already: capitals, digits and a few signs.
fn exact(name: &str) -> Option<[u8; 11]> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let allowed =
        |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || SHORT_SIGNS.contains(byte);
    let fits = (1..=8).contains(&base.len())
        && extension.len() <= 3
        && !name.ends_with('.')
        && base.bytes().chain(extension.bytes()).all(|byte| allowed(&byte));
    fits.then(|| {
        let mut short = [b' '; 11];
        short.iter_mut().zip(base.bytes()).for_each(|(to, from)| *to = from);
        short[8..].iter_mut().zip(extension.bytes()).for_each(|(to, from)| *to = from);
        short
    })
}

/// What of a text can stand in an 8.3 name.
fn reduced(text: &str) -> Vec<u8> {
    text.bytes()
        .filter(|byte| !matches!(byte, b' ' | b'.'))
        .map(|byte| byte.to_ascii_uppercase())
        .map(|byte| if byte.is_ascii_alphanumeric() || SHORT_SIGNS.contains(&byte) { byte } else { b'_' })
        .collect()
}

/// The entries of the long name, the last part first, as they stand before the short one.
pub(super) fn long_entries(name: &str, short: &[u8; 11]) -> Vec<u8> {
    let checksum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let mut units: Vec<u16> = name.encode_utf16().collect();
    let count = units.len().div_ceil(13);
    if units.len() < count * 13 {
        units.push(0);
        units.resize(count * 13, 0xffff);
    }
    let mut bytes = Vec::with_capacity(count * ENTRY);
    for (number, part) in units.chunks(13).enumerate().rev() {
        let mut entry = [0; ENTRY];
        let last = if number + 1 == count { 0x40 } else { 0 };
        entry[0] = (number + 1) as u8 | last;
        entry[11] = 0x0f;
        entry[13] = checksum;
        let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
        for (place, unit) in places.zip(part) {
            entry[place..place + 2].copy_from_slice(&unit.to_le_bytes());
        }
        bytes.extend_from_slice(&entry);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms() {
        let mut names = ShortNames::default();
        for (name, short, is_exact) in [
            ("EFI", b"EFI        ", true),
            ("BOOTX64.EFI", b"BOOTX64 EFI", true),
            ("loader.conf", b"LOADER~1CON", false),
            ("loader.confi", b"LOADER~2CON", false),
            ("firn-1-abcdef+3-0.conf", b"FIRN-1~1CON", false),
            ("a b.c.d", b"ABC~1   D  ", false),
            (".hidden", b"HIDDEN~1   ", false),
        ] {
            assert_eq!(names.add(name).unwrap(), (*short, is_exact), "{name}");
        }
    }

    #[test]
    fn refused() {
        let mut names = ShortNames::default();
        for name in ["", "a:b", "a?", "end.", "end ", "new\nline", &"x".repeat(256)] {
            assert!(matches!(names.add(name), Err(FatError::Name(_))), "{name:?}");
        }
        names.add("efi").unwrap();
        assert!(matches!(names.add("EFI"), Err(FatError::SameName(_))));
    }

    #[test]
    fn thousands_of_like_names() {
        let mut names = ShortNames::default();
        for number in 0..2000 {
            names.add(&format!("generation-{number}.conf")).unwrap();
        }
        assert_eq!(names.short.len(), 2000);
    }
}
