//! Kernels for direct boot: the uncompressed ELF kernel inside a bzImage, which QEMU starts over its PVH entry without
//! the slow decompression in the guest (with Debian's large kernel 4.0 instead of 10 CPU seconds to user space).
//!
//! The header is that of Documentation/arch/x86/boot.rst in Linux: `setup_sects` at 0x1F1, `payload_offset` at 0x248,
//! `payload_length` at 0x24C. PVH is announced by the Xen ELF note 18 (PHYS32_ENTRY).

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The ELF kernel inside a bzImage's bytes, or why there is none.
pub fn extract_vmlinux(image: &[u8]) -> std::result::Result<Vec<u8>, String> {
    if image.starts_with(b"\x7FELF") {
        return Ok(image.to_vec());
    }
    if image.get(0x202..0x206) != Some(b"HdrS") {
        return Err("not a Linux bzImage (no HdrS at 0x202)".to_owned());
    }
    let setup_sectors = match image.get(0x1F1) {
        Some(0) | None => 4,
        Some(count) => usize::from(*count),
    };
    let start = (setup_sectors + 1) * 512 + word(image, 0x248)?;
    let payload = start
        .checked_add(word(image, 0x24C)?)
        .and_then(|end| image.get(start..end))
        .ok_or("the payload lies outside of the file: is it truncated?")?;
    // Except for gzip, the build appends the uncompressed size.
    let body = payload.get(..payload.len().saturating_sub(4)).unwrap_or_default();
    let kernel = match payload {
        [0x02, 0x21, 0x4C, 0x18, blocks @ ..] => {
            lz4_legacy(blocks.get(..blocks.len().saturating_sub(4)).unwrap_or_default())?
        }
        [0xFD, b'7', b'z', b'X', b'Z', ..] => read_all(liblzma::read::XzDecoder::new(body))?,
        [0x28, 0xB5, 0x2F, 0xFD, ..] => read_all(zstd::Decoder::new(body).map_err(|e| e.to_string())?)?,
        [0x1F, 0x8B, ..] => read_all(flate2::read::GzDecoder::new(payload))?,
        other => {
            return Err(format!(
                "unknown compression (payload begins {:02x?})",
                other.get(..4).unwrap_or_default()
            ));
        }
    };
    if kernel.starts_with(b"\x7FELF") {
        Ok(kernel)
    } else {
        Err("the payload is not an ELF kernel".to_owned())
    }
}

/// The kernel to hand to QEMU for a bzImage: its ELF kernel, kept in `cache` under a name made of the image's checksum,
/// when it has a PVH entry; otherwise the bzImage itself.
pub fn for_direct_boot(bzimage: &Path, cache: &Path) -> Result<PathBuf> {
    let image = std::fs::read(bzimage).map_err(Error::file("cannot read", bzimage))?;
    let kept = cache.join(format!("vmlinux-{:08x}-{}", crate::protocol::frame::crc32(&image), image.len()));
    if kept.exists() {
        return Ok(kept);
    }
    let kernel =
        extract_vmlinux(&image).map_err(|detail| Error::Format { path: bzimage.to_owned(), detail })?;
    if !has_pvh_note(&kernel) {
        return Ok(bzimage.to_owned());
    }
    std::fs::create_dir_all(cache).map_err(Error::file("cannot create", cache))?;
    let mut file =
        tempfile::NamedTempFile::new_in(cache).map_err(Error::file("cannot create a file in", cache))?;
    std::io::Write::write_all(&mut file, &kernel).map_err(Error::file("cannot write", file.path()))?;
    file.persist(&kept).map_err(|e| Error::file("cannot write", &kept)(e.error))?;
    Ok(kept)
}

/// Whether there is a note of owner "Xen", type 18: an entry for PVH guests.
fn has_pvh_note(kernel: &[u8]) -> bool {
    // Name size 4, description size 4 or 8, type 18, name.
    [4_u32, 8].iter().any(|size| {
        let note: Vec<u8> =
            [4, *size, 18].iter().flat_map(|n: &u32| n.to_le_bytes()).chain(*b"Xen\0").collect();
        let mut rest = kernel;
        // Notes are aligned to four bytes, and so is everything else this looks through.
        while let Some((head, tail)) = rest.split_at_checked(4) {
            if head == note.get(..4).unwrap_or_default() && rest.starts_with(&note) {
                return true;
            }
            rest = tail;
        }
        false
    })
}

fn word(bytes: &[u8], at: usize) -> std::result::Result<usize, String> {
    let word = bytes.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok());
    word.map(|b| u32::from_le_bytes(b) as usize).ok_or_else(|| "the file is too short".to_owned())
}

fn read_all(mut reader: impl Read) -> std::result::Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(|e| format!("the payload does not decompress: {e}"))?;
    Ok(bytes)
}

/// LZ4's legacy frame: blocks of a length word and at most 8 MiB of data each.
fn lz4_legacy(mut blocks: &[u8]) -> std::result::Result<Vec<u8>, String> {
    const BLOCK: usize = 8 << 20;
    let mut kernel = Vec::new();
    while blocks.len() >= 4 {
        let length = word(blocks, 0)?;
        let block = blocks.get(4..4 + length).ok_or("an LZ4 block lies outside of the payload")?;
        kernel.extend(
            lz4_flex::block::decompress(block, BLOCK)
                .map_err(|e| format!("the payload does not decompress: {e}"))?,
        );
        blocks = blocks.get(4 + length..).unwrap_or_default();
    }
    Ok(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// A bzImage of nothing but the fields that matter.
    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024];
        image[0x1F1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x24C..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend_from_slice(payload);
        image
    }

    #[test]
    fn gzip_and_zstd_payloads_come_out() {
        let elf = [b"\x7FELF".as_slice(), &[7; 5000]].concat();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&elf).unwrap();
        let mut zst = zstd::encode_all(elf.as_slice(), 1).unwrap();
        zst.extend_from_slice(&(elf.len() as u32).to_le_bytes());
        for payload in [gzip.finish().unwrap(), zst] {
            assert_eq!(extract_vmlinux(&image(&payload)).as_ref(), Ok(&elf));
        }
        assert_eq!(extract_vmlinux(&elf).as_ref(), Ok(&elf));
    }

    #[test]
    fn what_is_no_kernel_is_said() {
        assert!(extract_vmlinux(b"").unwrap_err().contains("bzImage"));
        assert!(extract_vmlinux(&image(b"????????")).unwrap_err().contains("compression"));
        let mut cut = image(&[0x1F, 0x8B, 8, 0, 0, 0, 0, 0]);
        cut.truncate(1026);
        assert!(extract_vmlinux(&cut).unwrap_err().contains("truncated"));
    }

    #[test]
    fn the_pvh_note_is_found() {
        let mut kernel = b"\x7FELF\0\0\0\0".to_vec();
        assert!(!has_pvh_note(&kernel));
        kernel.extend([4, 0, 0, 0, 8, 0, 0, 0, 18, 0, 0, 0, b'X', b'e', b'n', 0]);
        assert!(has_pvh_note(&kernel));
    }
}
