//! Takes the uncompressed kernel (`vmlinux`, ELF) out of a bzImage. An emulator that enters it by its PVH note saves the kernel's own
//! decompressor: under software emulation a boot takes half the time.
//!
//! bzImage: kernel Documentation/arch/x86/boot.rst (`setup_sects` at 0x1f1, `payload_offset` and `payload_length` at 0x248 and
//! 0x24c). The payload is gzip, xz, zstd or lz4 (its legacy frame format); the kernel's build appends the uncompressed size to
//! most of them.

use std::io::Read as _;
use thiserror::Error;

/// Why no kernel was found.
#[derive(Debug, Error)]
pub enum KernelImageError {
    /// No "HdrS" at its place.
    #[error("this is not a Linux kernel for x86 (no boot header)")]
    NotKernel,
    /// A header that points outside of the file.
    #[error("the kernel image is cut off")]
    CutOff,
    /// A compression that is not known here.
    #[error("the kernel is compressed in an unknown way (its payload begins with {0:02x?})")]
    Compression(Vec<u8>),
    /// Damaged compressed data.
    #[error("the kernel cannot be decompressed: {0}")]
    Decompress(std::io::Error),
}

/// The kernel's ELF file. An image that is ELF already is given as it is.
///
/// # Errors
/// When it is no kernel, damaged, or compressed in an unknown way.
pub fn vmlinux(image: &[u8]) -> Result<Vec<u8>, KernelImageError> {
    if image.starts_with(b"\x7fELF") {
        return Ok(image.to_vec());
    }
    if image.get(0x202..0x206) != Some(b"HdrS") {
        return Err(KernelImageError::NotKernel);
    }
    let word = |at: usize| {
        image
            .get(at..at + 4)
            .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
            .map(|bytes| u32::from_le_bytes(bytes) as usize)
            .ok_or(KernelImageError::CutOff)
    };
    // 0 means 4, for the oldest of loaders.
    let setup = match image.get(0x1f1) {
        Some(0) | None => 4,
        Some(sectors) => usize::from(*sectors),
    };
    let start = (setup + 1) * 512 + word(0x248)?;
    let payload = image.get(start..start + word(0x24c)?).ok_or(KernelImageError::CutOff)?;
    decompress(payload)
}

/// Whether an ELF kernel has the note by which QEMU enters it directly (Xen's type 18, `PHYS32_ENTRY`).
pub fn has_pvh_note(elf: &[u8]) -> bool {
    let Ok(elf_file) = goblin::elf::Elf::parse(elf) else { return false };
    elf_file
        .iter_note_headers(elf)
        .into_iter()
        .flatten()
        .flatten()
        .any(|note| note.name == "Xen" && note.n_type == 18)
}

fn decompress(payload: &[u8]) -> Result<Vec<u8>, KernelImageError> {
    let mut out = Vec::new();
    let result = match payload {
        [0x1f, 0x8b, ..] => flate2::read::GzDecoder::new(payload).read_to_end(&mut out).map(|_| out),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            liblzma::read::XzDecoder::new(payload).read_to_end(&mut out).map(|_| out)
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd::stream::read::Decoder::new(payload)
            .map(zstd::stream::read::Decoder::single_frame)
            .and_then(|mut decoder| decoder.read_to_end(&mut out))
            .map(|_| out),
        [0x02, 0x21, 0x4c, 0x18, blocks @ ..] => legacy_lz4(blocks)
            .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "damaged LZ4 block")),
        other => return Err(KernelImageError::Compression(other.iter().take(4).copied().collect())),
    };
    result.map_err(KernelImageError::Decompress)
}

/// The legacy frame: blocks of up to 8 MiB, each with its compressed size before it; the kernel's build adds the size of the whole.
fn legacy_lz4(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while rest.len() > 4 {
        let (size, after) = rest.split_first_chunk::<4>()?;
        let (block, after) = after.split_at_checked(u32::from_le_bytes(*size) as usize)?;
        lz4_block(block, &mut out)?;
        rest = after;
    }
    Some(out)
}

/// One block: literals and copies of what came before (LZ4 block format description).
fn lz4_block(mut input: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let begin = out.len();
    while let Some((token, rest)) = input.split_first() {
        input = rest;
        let literals = lengthened(usize::from(token >> 4), &mut input)?;
        let (bytes, rest) = input.split_at_checked(literals)?;
        out.extend_from_slice(bytes);
        input = rest;
        if input.is_empty() {
            return Some(());
        }
        let (offset, rest) = input.split_first_chunk::<2>()?;
        input = rest;
        let offset = usize::from(u16::from_le_bytes(*offset));
        let length = lengthened(usize::from(token & 15), &mut input)? + 4;
        let from = out.len().checked_sub(offset).filter(|from| *from >= begin && offset > 0)?;
        if offset >= length {
            out.extend_from_within(from..from + length);
        } else {
            // What is copied is being written.
            for place in from..from + length {
                out.push(*out.get(place)?);
            }
        }
    }
    Some(())
}

/// A length of 15 goes on in bytes, up to and with the first that is not 255.
fn lengthened(nibble: usize, input: &mut &[u8]) -> Option<usize> {
    let mut length = nibble;
    if nibble == 15 {
        loop {
            let (byte, rest) = input.split_first()?;
            *input = rest;
            length += usize::from(*byte);
            if *byte != 255 {
                break;
            }
        }
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bzImage with that payload.
    fn image(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 2 * 512 + 16];
        bytes[0x1f1] = 1;
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
        bytes[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn every_compression() {
        use std::io::Write as _;
        let text = b"\x7fELF and then some, some, some, some, some".repeat(100);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&text).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&text).unwrap();
        for (mut payload, name) in [
            (gzip.finish().unwrap(), "gzip"),
            (xz.finish().unwrap(), "xz"),
            (zstd::bulk::compress(&text, 1).unwrap(), "zstd"),
        ] {
            if name != "xz" {
                // The size that the build appends.
                payload.extend_from_slice(&(text.len() as u32).to_le_bytes());
            }
            assert!(vmlinux(&image(&payload)).unwrap() == text, "{name}");
        }
    }

    #[test]
    fn lz4() {
        // Three literals, a copy of 15 + 4 + 1 from 3 back, one last literal.
        let block = [0x3f, b'a', b'b', b'c', 3, 0, 1, 0x10, b'!'];
        let mut payload = vec![0x02, 0x21, 0x4c, 0x18];
        payload.extend_from_slice(&(block.len() as u32).to_le_bytes());
        payload.extend_from_slice(&block);
        payload.extend_from_slice(&24_u32.to_le_bytes());
        assert_eq!(vmlinux(&image(&payload)).unwrap(), b"abcabcabcabcabcabcabcab!");
    }

    #[test]
    fn what_is_none() {
        assert!(matches!(vmlinux(b"text"), Err(KernelImageError::NotKernel)));
        assert!(matches!(vmlinux(&image(b"????")), Err(KernelImageError::Compression(_))));
        let whole = image(&[0x1f, 0x8b, 8, 0]);
        assert!(matches!(vmlinux(&whole[..whole.len() - 1]), Err(KernelImageError::CutOff)));
        assert!(matches!(vmlinux(&whole), Err(KernelImageError::Decompress(_))));
    }
}
