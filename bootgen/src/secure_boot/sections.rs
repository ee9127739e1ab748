//! Adds sections to an EFI program: how a kernel, an initrd and a command line become parts of one program, systemd's stub
//! (systemd-stub(7), "UAPI.5 Unified Kernel Image"), which finds them by their names when it runs.

use super::pe::{Layout, POINTER_TO_RAW_DATA, PeError, SECTION_HEADER};

/// `IMAGE_SCN_CNT_INITIALIZED_DATA` and `IMAGE_SCN_MEM_READ`.
const READ_ONLY_DATA: u32 = 0x4000_0040;
/// Sections begin at pages, whatever the program's own alignment is: firmware protects memory by pages.
const PAGE: u64 = 4096;

/// Why sections cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SectionError {
    /// The program is none.
    #[error(transparent)]
    Pe(#[from] PeError),
    /// It is signed: its signature would not fit any more.
    #[error("it is signed already, so nothing can be added to it")]
    Signed,
    /// It has such a section.
    #[error("it has a section {0} already")]
    Exists(String),
    /// The table of sections would reach into what is loaded behind it.
    #[error("it has no room for more sections")]
    NoRoom,
    /// More than four gigabytes.
    #[error("together with what is added it is larger than a program can be")]
    TooLarge,
}

/// Where everything goes.
#[derive(Debug)]
struct Places {
    layout: Layout,
    /// How far the old sections move back in the file, so that the table has room.
    shift: u64,
    headers: u64,
    /// The end of the old sections in the file, before they are moved.
    old_end: usize,
    /// Address in memory and offset in the file, of each new section.
    new: Vec<(u64, u64)>,
    memory_size: u64,
    file_size: u64,
}

/// The size in bytes that a program has with sections of these sizes.
///
/// # Errors
/// See [`SectionError`].
pub fn size_with(program: &[u8], sections: &[(&str, u64)]) -> Result<u64, SectionError> {
    Ok(places(program, sections)?.file_size)
}

/// The program with these sections, each a name of up to eight bytes and contents. What stood behind its last section, which
/// is never loaded (symbols), is left out.
///
/// # Errors
/// See [`SectionError`].
pub fn add(program: &[u8], sections: &[(&str, &[u8])]) -> Result<Vec<u8>, SectionError> {
    let sizes: Vec<(&str, u64)> = sections.iter().map(|(name, bytes)| (*name, bytes.len() as u64)).collect();
    let places = places(program, &sizes)?;
    let layout = &places.layout;
    let mut bytes = Vec::with_capacity(places.file_size as usize);
    bytes.extend_from_slice(program.get(..layout.headers).unwrap_or_default());
    bytes.resize(places.headers as usize, 0);
    bytes.extend_from_slice(program.get(layout.headers..places.old_end).unwrap_or_default());

    for index in 0..layout.sections.len() {
        let pointer = layout.section_table + index * SECTION_HEADER + POINTER_TO_RAW_DATA;
        let moved = super::pe::word(&bytes, pointer).unwrap_or_default();
        if moved != 0 {
            put(&mut bytes, pointer, moved + places.shift as u32);
        }
    }
    let mut added = 0;
    for (index, ((name, contents), (address, offset))) in sections.iter().zip(&places.new).enumerate() {
        let header = layout.section_table + (layout.sections.len() + index) * SECTION_HEADER;
        let length = aligned(contents.len() as u64, u64::from(layout.file_alignment));
        put_bytes(&mut bytes, header, &[0; SECTION_HEADER]);
        put_bytes(&mut bytes, header, name.as_bytes());
        put(&mut bytes, header + 8, contents.len() as u32);
        put(&mut bytes, header + 12, *address as u32);
        put(&mut bytes, header + 16, length as u32);
        put(&mut bytes, header + POINTER_TO_RAW_DATA, *offset as u32);
        put(&mut bytes, header + 36, READ_ONLY_DATA);
        bytes.resize(*offset as usize, 0);
        bytes.extend_from_slice(contents);
        added += length as u32;
    }
    bytes.resize(places.file_size as usize, 0);

    let count = (layout.sections.len() + sections.len()) as u16;
    put_bytes(&mut bytes, layout.coff + 2, &count.to_le_bytes());
    // The symbols are gone.
    put_bytes(&mut bytes, layout.coff + 8, &[0; 8]);
    let initialized = super::pe::word(&bytes, layout.optional + 8).unwrap_or_default();
    put(&mut bytes, layout.optional + 8, initialized.saturating_add(added));
    put(&mut bytes, layout.optional + 56, places.memory_size as u32);
    put(&mut bytes, layout.optional + 60, places.headers as u32);
    Ok(bytes)
}

fn places(program: &[u8], sections: &[(&str, u64)]) -> Result<Places, SectionError> {
    let layout = Layout::of(program)?;
    if layout.certificates.is_some() {
        return Err(SectionError::Signed);
    }
    if let Some((name, _)) = sections.iter().find(|(name, _)| layout.section(name).is_some()) {
        return Err(SectionError::Exists((*name).to_owned()));
    }
    let file_alignment = u64::from(layout.file_alignment);
    let table = layout.section_table + (layout.sections.len() + sections.len()) * SECTION_HEADER;
    let headers = aligned(table as u64, file_alignment).max(layout.headers as u64);
    let first = layout.sections.iter().map(|section| u64::from(section.address)).min().unwrap_or(headers);
    if headers > first {
        return Err(SectionError::NoRoom);
    }
    let shift = headers - layout.headers as u64;
    let old_end = layout.sections_in_file().last().map_or(layout.headers, |section| section.data.end);
    let memory_end = |section: &super::pe::Section| {
        u64::from(section.address) + u64::from(section.size).max(section.data.len() as u64)
    };
    let alignment = u64::from(layout.section_alignment).max(PAGE);
    let mut memory = layout.sections.iter().map(memory_end).max().unwrap_or(headers);
    let mut file = aligned(old_end as u64 + shift, file_alignment);
    let mut new = Vec::new();
    for (_, size) in sections {
        let address = aligned(memory, alignment);
        new.push((address, file));
        // A section of no bytes still has a place of its own.
        memory = address + (*size).max(1);
        file += aligned(*size, file_alignment);
    }
    let memory_size = aligned(memory, alignment);
    if memory_size > u64::from(u32::MAX) || file > u64::from(u32::MAX) {
        return Err(SectionError::TooLarge);
    }
    Ok(Places { layout, shift, headers, old_end, new, memory_size, file_size: file })
}

fn aligned(value: u64, alignment: u64) -> u64 {
    value.next_multiple_of(alignment.max(1))
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    put_bytes(bytes, at, &value.to_le_bytes());
}

/// All places written to were checked to be inside of the headers.
fn put_bytes(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker;
    use crate::secure_boot::pe::samples::program;

    const PARTS: [(&str, &[u8]); 4] =
        [(".osrel", b"ID=firn\n"), (".cmdline", b"init=/x"), (".linux", &[7; 5000]), (".initrd", &[8; 513])];

    fn check(before: &[u8]) -> Layout {
        let whole = add(before, &PARTS).unwrap();
        let sizes = PARTS.map(|(name, bytes)| (name, bytes.len() as u64));
        assert_eq!(size_with(before, &sizes).unwrap(), whole.len() as u64);
        let (old, new) = (Layout::of(before).unwrap(), Layout::of(&whole).unwrap());
        for section in &old.sections {
            let moved = new.section(&section.name).unwrap();
            assert_eq!((moved.address, moved.size), (section.address, section.size));
            assert!(whole[moved.data.clone()] == before[section.data.clone()], "{}", section.name);
        }
        for (name, bytes) in PARTS {
            let section = new.section(name).unwrap();
            assert_eq!(section.size as usize, bytes.len());
            assert!(whole[section.data.clone()].starts_with(bytes), "{name}");
            assert_eq!(u64::from(section.address) % PAGE, 0);
            assert_eq!(section.data.start % 512, 0);
        }
        let mut sorted = new.sections.clone();
        sorted.sort_by_key(|section| section.address);
        for pair in sorted.windows(2) {
            assert!(pair[0].address + pair[0].size <= pair[1].address, "{pair:?} overlap in memory");
        }
        let last = sorted.last().unwrap();
        assert!(super::super::pe::word(&whole, new.optional + 56).unwrap() >= last.address + last.size);
        new
    }

    #[test]
    fn sections_are_added_and_the_old_ones_stay() {
        let layout = check(&program(&[(".text", b"code"), (".data", &[1; 600])], b"symbols"));
        assert_eq!(layout.headers, 0x400);
    }

    #[test]
    fn the_table_of_sections_grows_when_it_must() {
        let names: Vec<String> = (0..15).map(|index| format!(".s{index}")).collect();
        let sections: Vec<(&str, &[u8])> =
            names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
        assert_eq!(check(&program(&sections, b"")).headers, 0x600);
    }

    #[test]
    fn what_cannot_be_added_to() {
        let program = program(&[(".text", b"code"), (".linux", b"kernel")], b"");
        assert_eq!(add(&program, &PARTS), Err(SectionError::Exists(".linux".to_owned())));
        assert_eq!(add(b"text", &PARTS), Err(SectionError::Pe(PeError::NotPe)));
        assert_eq!(size_with(&program, &[(".x", 1 << 32)]), Err(SectionError::TooLarge));
        let signed =
            super::super::authenticode::sign(&program, &super::super::keys::samples::owner()).unwrap();
        assert_eq!(add(&signed, &[(".x", b"")]), Err(SectionError::Signed));
    }

    /// binutils reads what is made of Debian's stub, and finds the sections with their bytes.
    #[test]
    fn objcopy_finds_the_sections() {
        let stub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
        let Ok(stub) = std::fs::read(stub) else {
            assert!(
                std::env::var_os("FIRN_REQUIRE_CHECKERS").is_none(),
                "no {stub} (package systemd-boot-efi)"
            );
            eprintln!("SKIPPED: no {stub} (package systemd-boot-efi)");
            return;
        };
        check(&stub);
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(path("whole"), add(&stub, &PARTS).unwrap()).unwrap();
        for (name, bytes) in PARTS {
            let only = format!("--only-section={name}");
            let arguments = ["-O", "binary", &only, &path("whole"), &path("part")];
            let Some((fine, text)) = checker::run("objcopy", "binutils", arguments) else { return };
            assert!(fine && text.is_empty(), "{text}");
            assert!(std::fs::read(path("part")).unwrap() == bytes, "{name}");
        }
    }
}
