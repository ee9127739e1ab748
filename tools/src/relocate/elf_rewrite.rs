//! A new program interpreter and `DT_RUNPATH` in a linked ELF file.
//!
//! Both are longer than what they replace and a linked file has no room, so the file gets one more loaded segment at
//! its end, behind all that the program uses in memory, and with it one more program header:
//!
//! - The program header table must stay where it is: kernels before 5.18 compute `AT_PHDR` from its place in the file
//!   and the first segment's address alone, and `PT_PHDR` has to lie in a loaded segment. What follows the table is
//!   `.interp` (which is replaced anyhow) and notes (to which nothing points but program headers): as many of them as
//!   needed move to the new segment, and the table grows into their place. Only where something else follows it (files
//!   of other linkers than GNU ld) does the table itself move to the new segment.
//! - The new segment holds those notes, the interpreter's name, and a copy of the string table with the run path at its
//!   end: offsets into the table, which version records use too, stay valid.
//! - `.dynamic` usually has spare entries at its end; where it has none it moves too, and the segment becomes writable,
//!   since the loader writes `DT_DEBUG` there.
//! - Section headers follow, so that debuggers and `readelf` see what is true.
//!
//! Nothing else moves: code, data, `.bss`, TLS, RELRO stay at their addresses.

use super::elf_facts::{ElfError, Headers, dynamic_entries, segment};
use goblin::container::{Container, Ctx, Endian};
use goblin::elf::dynamic::{DT_NULL, DT_RPATH, DT_RUNPATH, DT_STRSZ, DT_STRTAB};
use goblin::elf::program_header::{
    PF_R, PF_W, PT_DYNAMIC, PT_GNU_PROPERTY, PT_INTERP, PT_LOAD, PT_NOTE, PT_PHDR,
};
use goblin::elf::{ProgramHeader, SectionHeader};
use std::ops::Range;

/// The size of a program header in a 64-bit file.
const PROGRAM_HEADER: u64 = 56;

/// The size of an entry of `.dynamic` in a 64-bit file.
const DYNAMIC_ENTRY: u64 = 16;

/// What the file should say.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The new program interpreter; `None` leaves the file's own, if it has one.
    pub interpreter: Option<String>,
    /// The directories of `DT_RUNPATH`; empty takes it out.
    pub run_path: Vec<String>,
}

/// Returns the changed file.
pub fn rewrite(original: &[u8], wanted: &Wanted) -> Result<Vec<u8>, ElfError> {
    let headers =
        Headers::read(original)?.ok_or(ElfError::Damaged("it is no 64-bit executable or shared object"))?;
    let dynamic = headers.find(PT_DYNAMIC).ok_or(ElfError::Damaged("it has no dynamic section"))?.clone();
    let mut entries = dynamic_entries(original, &dynamic)?;
    if wanted.interpreter.is_none() && wanted.run_path.is_empty() {
        return without_run_path(original, &dynamic, entries);
    }

    let mut change = Change::new(original, headers)?;
    change.make_room_for_one_more_header()?;
    if let Some(interpreter) = &wanted.interpreter {
        change.place_interpreter(interpreter)?;
    }
    change.place_strings_and_dynamic(&mut entries, &dynamic, &wanted.run_path)?;
    change.finish()
}

/// Takes out `DT_RUNPATH` and `DT_RPATH`, for which nothing has to grow.
fn without_run_path(
    original: &[u8],
    dynamic: &ProgramHeader,
    mut entries: Vec<(u64, u64)>,
) -> Result<Vec<u8>, ElfError> {
    entries.retain(|(tag, _)| !matches!(*tag, DT_RPATH | DT_RUNPATH));
    let mut bytes = original.to_vec();
    write_dynamic(&mut bytes, dynamic.p_offset, dynamic.p_filesz, &entries)?;
    Ok(bytes)
}

/// A file while it changes.
struct Change {
    bytes: Vec<u8>,
    headers: Headers,
    sections: Vec<SectionHeader>,
    /// The new segment's contents.
    added: Vec<u8>,
    /// Where the new segment begins in the file.
    offset: u64,
    /// Its address.
    address: u64,
    /// Its alignment.
    alignment: u64,
    writable: bool,
    /// Whether the program header table had to move into the new segment.
    table_moves: bool,
}

impl Change {
    fn new(original: &[u8], headers: Headers) -> Result<Self, ElfError> {
        let context = Ctx::new(Container::Big, Endian::Little);
        let count = if headers.file.e_shoff == 0 { 0 } else { usize::from(headers.file.e_shnum) };
        let sections = if count == 0 {
            Vec::new()
        } else {
            SectionHeader::parse(original, headers.file.e_shoff as usize, count, context)
                .map_err(|error| ElfError::Unparsable(error.to_string()))?
        };
        let mut bytes = original.to_vec();
        // Eight bytes is the greatest alignment of what moves.
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let loads = || headers.program.iter().filter(|header| header.p_type == PT_LOAD);
        let alignment = loads().map(|header| header.p_align).max().unwrap_or(1).max(0x1000);
        let end = loads().map(|header| header.p_vaddr.saturating_add(header.p_memsz)).max();
        let end = end.ok_or(ElfError::Damaged("it has no loaded segment"))?;
        if !alignment.is_power_of_two() || end > 1 << 56 {
            return Err(ElfError::Damaged("a segment's address or alignment is absurd"));
        }
        let offset = bytes.len() as u64;
        // The address and the place in the file must agree below the alignment.
        let address = end.next_multiple_of(alignment) + offset % alignment;
        Ok(Self {
            bytes,
            headers,
            sections,
            added: Vec::new(),
            offset,
            address,
            alignment,
            writable: false,
            table_moves: false,
        })
    }

    /// Makes room for one more program header: in place if that can be, else by moving the table.
    fn make_room_for_one_more_header(&mut self) -> Result<(), ElfError> {
        if self.headers.file.e_phnum >= 0xfff0 {
            return Err(ElfError::NoRoom("it has as many program headers as there can be"));
        }
        match self.evict_for_one_more_header() {
            Err(ElfError::NoRoom(_)) => self.table_moves = true,
            other => other?,
        }
        self.headers.file.e_phnum += 1;
        Ok(())
    }

    /// Frees the room behind the program header table for one more entry.
    fn evict_for_one_more_header(&mut self) -> Result<(), ElfError> {
        let table = self.headers.file.e_phoff;
        let end = table + PROGRAM_HEADER * u64::from(self.headers.file.e_phnum);
        let wanted_end = end + PROGRAM_HEADER;
        let holds_it = |load: &&ProgramHeader| {
            load.p_type == PT_LOAD
                && load.p_offset <= table
                && wanted_end <= load.p_offset.saturating_add(load.p_filesz)
        };
        if !self.headers.program.iter().any(|header| holds_it(&header)) {
            return Err(ElfError::NoRoom("its program headers stand at the end of a segment"));
        }
        let mut free_from = end;
        while free_from < wanted_end {
            // The next thing behind the free room: it has to be `.interp` or a note.
            let next = self.next_occupied(free_from)?;
            if next >= wanted_end {
                break;
            }
            let movable = self.headers.program.iter().position(|header| {
                matches!(header.p_type, PT_INTERP | PT_NOTE) && header.p_offset == next && header.p_filesz > 0
            });
            let index = movable.ok_or(ElfError::NoRoom("its program headers cannot grow where they are"))?;
            free_from = self.move_note_or_interpreter(index)?;
        }
        Ok(())
    }

    /// The place in the file of the first section, or of the first small segment, at or behind a place.
    fn next_occupied(&self, from: u64) -> Result<u64, ElfError> {
        if self.sections.is_empty() {
            return Err(ElfError::NoRoom(
                "it has no section headers, so that nothing tells what follows its program headers",
            ));
        }
        let sections = self
            .sections
            .iter()
            .filter(|section| section.sh_type != 0 && section.sh_type != 8 && section.sh_size > 0);
        let starts = sections.map(|section| section.sh_offset).filter(|start| *start >= from);
        Ok(starts.min().unwrap_or(u64::MAX))
    }

    /// Moves the range of one program header, and all headers and sections within it, to the new segment. Returns the
    /// end of the range that is free now.
    fn move_note_or_interpreter(&mut self, index: usize) -> Result<u64, ElfError> {
        let header = self.headers.program.get(index).cloned().ok_or(ElfError::Damaged("no such header"))?;
        let data = segment(&self.bytes, &header)?.to_vec();
        let range = header.p_offset..header.p_offset + header.p_filesz;
        let to = self.add(&data, 8);
        let address_shift = to.address.wrapping_sub(header.p_vaddr);
        let offset_shift = to.offset.wrapping_sub(header.p_offset);
        let within =
            |offset: u64, size: u64| size > 0 && range.contains(&offset) && offset + size <= range.end;
        for other in &mut self.headers.program {
            if matches!(other.p_type, PT_INTERP | PT_NOTE | PT_GNU_PROPERTY)
                && within(other.p_offset, other.p_filesz)
            {
                other.p_offset = other.p_offset.wrapping_add(offset_shift);
                other.p_vaddr = other.p_vaddr.wrapping_add(address_shift);
                other.p_paddr = other.p_vaddr;
            }
        }
        for section in &mut self.sections {
            if within(section.sh_offset, section.sh_size) {
                section.sh_offset = section.sh_offset.wrapping_add(offset_shift);
                section.sh_addr = section.sh_addr.wrapping_add(address_shift);
            }
        }
        Ok(range.end)
    }

    /// Puts the interpreter's name into the new segment.
    fn place_interpreter(&mut self, interpreter: &str) -> Result<(), ElfError> {
        let mut text = interpreter.as_bytes().to_vec();
        text.push(0);
        let to = self.add(&text, 1);
        let header = self.headers.program.iter_mut().find(|header| header.p_type == PT_INTERP);
        let header = header.ok_or(ElfError::Damaged("it has no interpreter to replace"))?;
        let old = header.p_offset..header.p_offset + header.p_filesz;
        to.describe(header);
        if let Some(section) =
            self.sections.iter_mut().find(|section| old.contains(&section.sh_offset) && section.sh_size > 0)
        {
            to.describe_section(section);
        }
        Ok(())
    }

    /// Puts the longer string table into the new segment, and `.dynamic` too if it has no spare entry.
    fn place_strings_and_dynamic(
        &mut self,
        entries: &mut Vec<(u64, u64)>,
        dynamic: &ProgramHeader,
        run_path: &[String],
    ) -> Result<(), ElfError> {
        entries.retain(|(tag, _)| !matches!(*tag, DT_RPATH | DT_RUNPATH));
        if !run_path.is_empty() {
            let value = |tag| entries.iter().find(|entry| entry.0 == tag).map(|entry| entry.1);
            let (Some(address), Some(size)) = (value(DT_STRTAB), value(DT_STRSZ)) else {
                return Err(ElfError::Damaged("its dynamic section names no string table"));
            };
            let start = self
                .headers
                .file_offset(address)
                .ok_or(ElfError::Damaged("DT_STRTAB points outside the file"))?;
            let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size));
            let strings = end.and_then(|end| self.bytes.get(start..end));
            let mut strings =
                strings.ok_or(ElfError::Damaged("its string table ends after the file"))?.to_vec();
            let name = strings.len() as u64;
            strings.extend_from_slice(run_path.join(":").as_bytes());
            strings.push(0);
            let to = self.add(&strings, 1);
            for entry in entries.iter_mut() {
                match entry.0 {
                    DT_STRTAB => entry.1 = to.address,
                    DT_STRSZ => entry.1 = strings.len() as u64,
                    _ => {}
                }
            }
            // First, so that it stands before what a reader may take for the end.
            entries.insert(0, (DT_RUNPATH, name));
            if let Some(section) = self
                .sections
                .iter_mut()
                .find(|section| section.sh_offset == start as u64 && section.sh_type == 3)
            {
                to.describe_section(section);
            }
        }
        let room = dynamic.p_filesz / DYNAMIC_ENTRY;
        if (entries.len() as u64) < room {
            return write_dynamic(&mut self.bytes, dynamic.p_offset, dynamic.p_filesz, entries);
        }
        let mut table: Vec<u8> = Vec::new();
        for (tag, value) in entries.iter().chain([&(DT_NULL, 0)]) {
            table.extend_from_slice(&tag.to_le_bytes());
            table.extend_from_slice(&value.to_le_bytes());
        }
        let to = self.add(&table, 8);
        self.writable = true;
        for header in self.headers.program.iter_mut().filter(|header| header.p_type == PT_DYNAMIC) {
            to.describe(header);
        }
        if let Some(section) = self.sections.iter_mut().find(|section| section.sh_type == 6) {
            to.describe_section(section);
        }
        Ok(())
    }

    /// Appends bytes to the new segment.
    fn add(&mut self, data: &[u8], alignment: usize) -> Placed {
        self.added.resize(self.added.len().next_multiple_of(alignment), 0);
        let start = self.added.len() as u64;
        self.added.extend_from_slice(data);
        Placed { offset: self.offset + start, address: self.address + start, size: data.len() as u64 }
    }

    /// Writes the headers and the new segment.
    fn finish(mut self) -> Result<Vec<u8>, ElfError> {
        let table_size = PROGRAM_HEADER * u64::from(self.headers.file.e_phnum);
        let mut table = Placed { offset: self.headers.file.e_phoff, address: 0, size: table_size };
        if self.table_moves {
            table = self.add(&vec![0; table_size as usize], 8);
        }
        let size = self.added.len() as u64;
        let load = ProgramHeader {
            p_type: PT_LOAD,
            p_flags: if self.writable { PF_R | PF_W } else { PF_R },
            p_offset: self.offset,
            p_vaddr: self.address,
            p_paddr: self.address,
            p_filesz: size,
            p_memsz: size,
            p_align: self.alignment,
        };
        // Loaded segments stand in the order of their addresses; this one has the highest.
        let last = self
            .headers
            .program
            .iter()
            .rposition(|header| header.p_type == PT_LOAD)
            .map_or(0, |index| index + 1);
        self.headers.program.insert(last, load);
        for header in self.headers.program.iter_mut().filter(|header| header.p_type == PT_PHDR) {
            if self.table_moves {
                table.describe(header);
            } else {
                header.p_filesz = table_size;
                header.p_memsz = table_size;
            }
        }
        self.bytes.append(&mut self.added);
        for (index, header) in self.headers.program.iter().enumerate() {
            let bytes = program_header_bytes(header);
            overwrite(&mut self.bytes, table.offset + PROGRAM_HEADER * index as u64, &bytes)?;
        }
        for (index, section) in self.sections.iter().enumerate() {
            let at = self.headers.file.e_shoff + SECTION_HEADER * index as u64;
            overwrite(&mut self.bytes, at, &section_header_bytes(section))?;
        }
        overwrite(&mut self.bytes, E_PHOFF, &table.offset.to_le_bytes())?;
        overwrite(&mut self.bytes, E_PHNUM, &self.headers.file.e_phnum.to_le_bytes())?;
        Ok(self.bytes)
    }
}

/// Where something lies now.
struct Placed {
    offset: u64,
    address: u64,
    size: u64,
}

impl Placed {
    fn describe(&self, header: &mut ProgramHeader) {
        header.p_offset = self.offset;
        header.p_vaddr = self.address;
        header.p_paddr = self.address;
        header.p_filesz = self.size;
        header.p_memsz = self.size;
    }

    fn describe_section(&self, section: &mut SectionHeader) {
        section.sh_offset = self.offset;
        section.sh_addr = self.address;
        section.sh_size = self.size;
    }
}

/// Where `e_phoff` stands in a 64-bit file header.
const E_PHOFF: u64 = 32;

/// Where `e_phnum` stands in a 64-bit file header.
const E_PHNUM: u64 = 56;

/// The size of a section header in a 64-bit file.
const SECTION_HEADER: u64 = 64;

/// Writes the dynamic section's entries over the old ones and fills the rest with `DT_NULL`.
fn write_dynamic(bytes: &mut [u8], offset: u64, size: u64, entries: &[(u64, u64)]) -> Result<(), ElfError> {
    let mut table = Vec::with_capacity(size as usize);
    for (tag, value) in entries {
        table.extend_from_slice(&tag.to_le_bytes());
        table.extend_from_slice(&value.to_le_bytes());
    }
    if table.len() as u64 + DYNAMIC_ENTRY > size {
        return Err(ElfError::NoRoom("its dynamic section is full"));
    }
    table.resize(size as usize, 0);
    overwrite(bytes, offset, &table)
}

/// Replaces bytes at a place of the file.
fn overwrite(bytes: &mut [u8], offset: u64, data: &[u8]) -> Result<(), ElfError> {
    let range: Option<Range<usize>> =
        usize::try_from(offset).ok().map(|start| start..start.saturating_add(data.len()));
    let place = range
        .and_then(|range| bytes.get_mut(range))
        .ok_or(ElfError::Damaged("a table lies outside the file"))?;
    place.copy_from_slice(data);
    Ok(())
}

/// `Elf64_Phdr`.
fn program_header_bytes(header: &ProgramHeader) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PROGRAM_HEADER as usize);
    bytes.extend_from_slice(&header.p_type.to_le_bytes());
    bytes.extend_from_slice(&header.p_flags.to_le_bytes());
    for value in
        [header.p_offset, header.p_vaddr, header.p_paddr, header.p_filesz, header.p_memsz, header.p_align]
    {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// `Elf64_Shdr`.
fn section_header_bytes(section: &SectionHeader) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SECTION_HEADER as usize);
    bytes.extend_from_slice(&(section.sh_name as u32).to_le_bytes());
    bytes.extend_from_slice(&section.sh_type.to_le_bytes());
    for value in [section.sh_flags, section.sh_addr, section.sh_offset, section.sh_size] {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes.extend_from_slice(&section.sh_link.to_le_bytes());
    bytes.extend_from_slice(&section.sh_info.to_le_bytes());
    bytes.extend_from_slice(&section.sh_addralign.to_le_bytes());
    bytes.extend_from_slice(&section.sh_entsize.to_le_bytes());
    bytes
}
