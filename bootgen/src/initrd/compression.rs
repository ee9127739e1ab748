//! Compression that the kernel undoes (`CONFIG_RD_ZSTD`, `CONFIG_RD_GZIP`). The output depends on the input alone: no times, one thread.

use serde::{Deserialize, Serialize};
use std::io::Write as _;

/// How an initrd is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Zstandard: the smallest, and quick to unpack.
    #[default]
    Zstd,
    /// gzip, which every kernel knows.
    Gzip,
    /// None.
    None,
}

/// Level 19 with its 8 MiB window is what the kernel's own build uses at most (`scripts/Makefile.lib`, `cmd_zstd`).
const ZSTD_LEVEL: i32 = 19;

/// Compresses a whole image.
///
/// # Errors
/// When the compressor runs out of memory.
pub fn compress(bytes: &[u8], compression: Compression) -> std::io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL),
        Compression::Gzip => {
            // flate2 writes time 0 and no name.
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(bytes)?;
            encoder.finish()
        }
    }
}
