//! What the dynamic loader and the relocator want to know of an ELF file (gabi "Dynamic Linking"; ld.so(8)).
//!
//! Only 64-bit little-endian executables and shared objects with a dynamic section are of interest; relocatable objects
//! (kernel modules, GRUB's modules), static programs and foreign machines' files pass through untouched.

use goblin::elf::dynamic::{DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB};
use goblin::elf::header::{ET_DYN, ET_EXEC};
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP, PT_LOAD};
use goblin::elf::{Elf, ProgramHeader};
use std::ops::Range;

/// Why an ELF file could not be understood or changed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ElfError {
    /// A header or table is outside the file or contradicts another.
    #[error("the ELF file is damaged: {0}")]
    Damaged(&'static str),
    /// goblin could not parse it.
    #[error("the ELF file cannot be parsed: {0}")]
    Unparsable(String),
    /// There is no way to make room for the change.
    #[error("the ELF file cannot be changed: {0}")]
    NoRoom(&'static str),
}

/// The facts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ElfFacts {
    /// The program interpreter (`PT_INTERP`), if the file has one.
    pub interpreter: Option<String>,
    /// `DT_NEEDED`, in order.
    pub needed: Vec<String>,
    /// The directories of `DT_RUNPATH`, else of `DT_RPATH`.
    pub search_path: Vec<String>,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// Where `.dynstr` lies in the file.
    pub string_table: Range<usize>,
}

impl ElfFacts {
    /// Reads them. `None`: the file is not one that the dynamic loader would load.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, ElfError> {
        let Some(headers) = Headers::read(bytes)? else { return Ok(None) };
        let Some(dynamic) = headers.find(PT_DYNAMIC) else { return Ok(None) };
        if dynamic.p_filesz == 0 {
            // A file of debugging symbols: its dynamic section was taken away.
            return Ok(None);
        }
        let entries = dynamic_entries(bytes, dynamic)?;
        let value = |tag| entries.iter().find(|entry| entry.0 == tag).map(|entry| entry.1);
        let (Some(address), Some(size)) = (value(DT_STRTAB), value(DT_STRSZ)) else { return Ok(None) };
        let start =
            headers.file_offset(address).ok_or(ElfError::Damaged("DT_STRTAB points outside the file"))?;
        let string_table = start..start.saturating_add(size as usize);
        let strings = bytes
            .get(string_table.clone())
            .ok_or(ElfError::Damaged("its string table ends after the file"))?;
        let mut facts = Self { string_table, ..Self::default() };
        let mut rpath = None;
        let mut runpath = None;
        for (tag, value) in entries {
            match tag {
                DT_NEEDED => facts.needed.push(string_at(strings, value)?),
                DT_SONAME => facts.soname = Some(string_at(strings, value)?),
                DT_RPATH => rpath = Some(string_at(strings, value)?),
                DT_RUNPATH => runpath = Some(string_at(strings, value)?),
                _ => {}
            }
        }
        if let Some(path) = runpath.or(rpath) {
            facts.search_path =
                path.split(':').filter(|directory| !directory.is_empty()).map(str::to_owned).collect();
        }
        if let Some(interpreter) = headers.find(PT_INTERP) {
            let text = segment(bytes, interpreter)?;
            facts.interpreter = Some(string_at(text, 0)?);
        }
        Ok(Some(facts))
    }
}

/// The parsed headers of a file of the sort that can be relocated.
#[derive(Debug, Clone)]
pub(crate) struct Headers {
    /// The file header.
    pub(crate) file: goblin::elf::Header,
    /// The program headers, in the file's order.
    pub(crate) program: Vec<ProgramHeader>,
}

impl Headers {
    /// Reads them. `None`: not a 64-bit little-endian executable or shared object.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Self>, ElfError> {
        let unparsable = |error: goblin::error::Error| ElfError::Unparsable(error.to_string());
        let file = Elf::parse_header(bytes).map_err(unparsable)?;
        let is_64 = file.e_ident.get(4) == Some(&2);
        let little = file.e_ident.get(5) == Some(&1);
        if !is_64 || !little || !matches!(file.e_type, ET_EXEC | ET_DYN) {
            return Ok(None);
        }
        let context =
            goblin::container::Ctx::new(goblin::container::Container::Big, goblin::container::Endian::Little);
        let program = ProgramHeader::parse(bytes, file.e_phoff as usize, file.e_phnum as usize, context)
            .map_err(unparsable)?;
        Ok(Some(Self { file, program }))
    }

    /// The first program header of a type.
    pub(crate) fn find(&self, kind: u32) -> Option<&ProgramHeader> {
        self.program.iter().find(|header| header.p_type == kind)
    }

    /// The place in the file of an address in the loaded image.
    pub(crate) fn file_offset(&self, address: u64) -> Option<usize> {
        self.program.iter().filter(|header| header.p_type == PT_LOAD).find_map(|header| {
            let into = address.checked_sub(header.p_vaddr).filter(|into| *into < header.p_filesz)?;
            usize::try_from(header.p_offset.checked_add(into)?).ok()
        })
    }
}

/// A segment's bytes.
pub(crate) fn segment<'a>(bytes: &'a [u8], header: &ProgramHeader) -> Result<&'a [u8], ElfError> {
    let start =
        usize::try_from(header.p_offset).map_err(|_| ElfError::Damaged("a segment is outside the file"))?;
    let length =
        usize::try_from(header.p_filesz).map_err(|_| ElfError::Damaged("a segment is outside the file"))?;
    bytes.get(start..start.saturating_add(length)).ok_or(ElfError::Damaged("a segment is outside the file"))
}

/// The dynamic section's entries up to the first `DT_NULL`: (tag, value).
pub(crate) fn dynamic_entries(bytes: &[u8], dynamic: &ProgramHeader) -> Result<Vec<(u64, u64)>, ElfError> {
    let mut entries = Vec::new();
    for entry in segment(bytes, dynamic)?.chunks_exact(16) {
        let (tag, value) = entry.split_at(8);
        let (Ok(tag), Ok(value)) = (tag.try_into(), value.try_into()) else { break };
        let tag = u64::from_le_bytes(tag);
        if tag == DT_NULL {
            break;
        }
        entries.push((tag, u64::from_le_bytes(value)));
    }
    Ok(entries)
}

/// The NUL-terminated string at an offset of a string table.
fn string_at(strings: &[u8], offset: u64) -> Result<String, ElfError> {
    let rest = usize::try_from(offset).ok().and_then(|offset| strings.get(offset..));
    let text = rest.and_then(|rest| rest.split(|byte| *byte == 0).next());
    let text = text.ok_or(ElfError::Damaged("a string lies outside the string table"))?;
    String::from_utf8(text.to_vec()).map_err(|_| ElfError::Damaged("a name is not UTF-8"))
}
