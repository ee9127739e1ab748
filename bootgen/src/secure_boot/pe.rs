//! The layout of PE files, as far as signing and extending them needs it (Microsoft's "PE Format"). All offsets are into the
//! file and checked against its end once, so that nothing that reads them later can leave it.

use std::ops::Range;

/// A program's layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Where the COFF header begins (after `PE\0\0`).
    pub coff: usize,
    /// Where the optional header begins.
    pub optional: usize,
    /// Where its field `CheckSum` is.
    pub checksum: usize,
    /// Where the data directory's entry of the certificate table is: its offset in the file, and its size.
    pub certificate_entry: usize,
    /// The certificate table, where there is one: the last bytes of the file.
    pub certificates: Option<Range<usize>>,
    /// `SizeOfHeaders`: the bytes before the first section's.
    pub headers: usize,
    /// Sections begin in memory at multiples of this many bytes.
    pub section_alignment: u32,
    /// Sections begin in the file at multiples of this many bytes.
    pub file_alignment: u32,
    /// Where the table of sections begins.
    pub section_table: usize,
    /// The sections, in the table's order.
    pub sections: Vec<Section>,
}

/// One section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its name, up to eight bytes.
    pub name: String,
    /// Its address in memory, from the program's beginning.
    pub address: u32,
    /// Its size in memory, in bytes.
    pub size: u32,
    /// Its bytes in the file.
    pub data: Range<usize>,
}

/// The length of a section's header in the table.
pub const SECTION_HEADER: usize = 40;
/// The place of a section's `PointerToRawData` in its header.
pub(crate) const POINTER_TO_RAW_DATA: usize = 20;

/// Why a file is not taken for a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// It does not begin as PE files do.
    #[error("it is no PE program (an EFI program or a kernel that is one)")]
    NotPe,
    /// A header or section lies beyond the end.
    #[error("it is cut off or damaged: its {0} lies beyond its end")]
    CutOff(&'static str),
    /// Numbers in it contradict each other.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

impl Layout {
    /// Reads the layout.
    ///
    /// # Errors
    /// When it is no PE file, or one that is not whole.
    pub fn of(bytes: &[u8]) -> Result<Self, PeError> {
        if bytes.get(..2) != Some(b"MZ") {
            return Err(PeError::NotPe);
        }
        let signature = word(bytes, 0x3c).ok_or(PeError::NotPe)? as usize;
        if slice(bytes, signature, 4) != Some(b"PE\0\0") {
            return Err(PeError::NotPe);
        }
        let coff = signature + 4;
        let headers_cut = PeError::CutOff("header");
        let section_count = usize::from(half(bytes, coff + 2).ok_or(headers_cut)?);
        let optional_size = usize::from(half(bytes, coff + 16).ok_or(headers_cut)?);
        let optional = coff + 20;
        // Two widths of the same header: from the field of the stack's size on all is further behind in PE32+.
        let directory = match half(bytes, optional) {
            Some(0x10b) => optional + 96,
            Some(0x20b) => optional + 112,
            _ => return Err(PeError::NotPe),
        };
        let entries = word(bytes, directory - 4).ok_or(headers_cut)?;
        if entries < 5 || optional_size < directory - optional + 5 * 8 {
            return Err(PeError::Damaged("it has no room for a signature in its data directory"));
        }
        let section_table = optional + optional_size;
        let field = |offset| word(bytes, optional + offset).ok_or(headers_cut);
        let layout = Self {
            coff,
            optional,
            checksum: optional + 64,
            certificate_entry: directory + 4 * 8,
            certificates: certificates(bytes, directory + 4 * 8)?,
            headers: field(60)? as usize,
            section_alignment: field(32)?,
            file_alignment: field(36)?,
            section_table,
            sections: (0..section_count)
                .map(|index| section(bytes, section_table + index * SECTION_HEADER))
                .collect::<Result<_, _>>()?,
        };
        layout.check(bytes.len())?;
        Ok(layout)
    }

    /// The end of what is no certificate.
    pub fn content_end(&self, file_size: usize) -> usize {
        self.certificates.as_ref().map_or(file_size, |table| table.start)
    }

    fn check(&self, size: usize) -> Result<(), PeError> {
        let end = self.content_end(size);
        let table_end = self.section_table + self.sections.len() * SECTION_HEADER;
        if self.headers > end || self.headers < table_end {
            return Err(PeError::Damaged("the size of its headers is wrong"));
        }
        if !self.section_alignment.is_power_of_two() || !self.file_alignment.is_power_of_two() {
            return Err(PeError::Damaged("its alignment is no power of two"));
        }
        let mut before = self.headers;
        for section in self.sections_in_file() {
            if section.data.end > end {
                return Err(PeError::CutOff("section"));
            }
            if section.data.start < before {
                return Err(PeError::Damaged("its sections overlap"));
            }
            before = section.data.end;
        }
        Ok(())
    }

    /// The sections that have bytes in the file, in their order there.
    pub fn sections_in_file(&self) -> Vec<&Section> {
        let mut sections: Vec<&Section> =
            self.sections.iter().filter(|section| !section.data.is_empty()).collect();
        sections.sort_by_key(|section| section.data.start);
        sections
    }

    /// The section of that name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }
}

fn certificates(bytes: &[u8], entry: usize) -> Result<Option<Range<usize>>, PeError> {
    let cut = PeError::CutOff("header");
    let start = word(bytes, entry).ok_or(cut)? as usize;
    let size = word(bytes, entry + 4).ok_or(cut)? as usize;
    if start == 0 && size == 0 {
        return Ok(None);
    }
    if start.checked_add(size) != Some(bytes.len()) {
        return Err(PeError::Damaged("its signatures are not its last bytes"));
    }
    Ok(Some(start..bytes.len()))
}

fn section(bytes: &[u8], header: usize) -> Result<Section, PeError> {
    let header = slice(bytes, header, SECTION_HEADER).ok_or(PeError::CutOff("table of sections"))?;
    let name: Vec<u8> = header.iter().take(8).copied().take_while(|byte| *byte != 0).collect();
    let field = |offset| word(header, offset).unwrap_or_default();
    let (length, start) = (field(16) as usize, field(POINTER_TO_RAW_DATA) as usize);
    let data = if length == 0 { 0..0 } else { start..start + length };
    Ok(Section {
        name: String::from_utf8_lossy(&name).into_owned(),
        address: field(12),
        size: field(8),
        data,
    })
}

pub(crate) fn slice(bytes: &[u8], start: usize, length: usize) -> Option<&[u8]> {
    bytes.get(start..start.checked_add(length)?)
}

pub(crate) fn half(bytes: &[u8], start: usize) -> Option<u16> {
    slice(bytes, start, 2).and_then(|two| two.try_into().ok()).map(u16::from_le_bytes)
}

pub(crate) fn word(bytes: &[u8], start: usize) -> Option<u32> {
    slice(bytes, start, 4).and_then(|four| four.try_into().ok()).map(u32::from_le_bytes)
}

#[cfg(test)]
pub(crate) mod samples;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_of_a_small_program() {
        let bytes = samples::program(&[(".text", b"code"), (".data", &[7; 600])], b"symbols");
        let layout = Layout::of(&bytes).unwrap();
        assert_eq!(layout.section(".data").unwrap().data, 0x600..0xa00);
        assert_eq!(layout.section(".data").unwrap().size, 600);
        assert_eq!((layout.headers, layout.certificates.clone()), (0x400, None));
        assert_eq!(layout.content_end(bytes.len()), bytes.len());
    }

    #[test]
    fn what_is_no_program_says_so() {
        let whole = samples::program(&[(".text", b"code")], b"");
        assert_eq!(Layout::of(b""), Err(PeError::NotPe));
        assert_eq!(Layout::of(b"\x7fELF"), Err(PeError::NotPe));
        assert_eq!(Layout::of(&whole[..0x500]), Err(PeError::CutOff("section")));
        for length in 0..whole.len() {
            assert!(Layout::of(&whole[..length]).is_err(), "{length} bytes of it");
        }
        let mut twice = samples::program(&[(".text", b"a"), (".data", b"b")], b"");
        let second = Layout::of(&twice).unwrap().section_table + SECTION_HEADER + POINTER_TO_RAW_DATA;
        twice[second..second + 4].copy_from_slice(&0x400u32.to_le_bytes());
        assert_eq!(Layout::of(&twice), Err(PeError::Damaged("its sections overlap")));
    }
}
