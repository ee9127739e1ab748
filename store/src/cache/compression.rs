//! Archives compressed and decompressed as they stream by. Decoders have memory limits: what a cache sends is not to be
//! trusted with that.

use formats::narinfo::Compression;
use std::io::{self, Read, Write};

/// What an xz stream may make its decoder use: the dictionary of the highest preset, 64 MiB, and a little.
const XZ_MEMORY: u64 = 72 << 20;
/// The largest window of a Zstandard frame, as a power of two.
const ZSTD_WINDOW: u32 = 26;

/// What Brotli works on at a time.
const PIECE: usize = 64 * 1024;
/// The window of a Brotli stream that we write, as a power of two.
const BROTLI_WINDOW: u32 = 22;

/// Decompresses what a reader gives.
pub(crate) fn decoder(
    compression: Compression,
    input: Box<dyn Read + Send>,
) -> io::Result<Box<dyn Read + Send>> {
    Ok(match compression {
        Compression::None => input,
        Compression::Xz => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::read::XzDecoder::new_stream(input, stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(input)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(decoder)
        }
        Compression::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(input)),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
        Compression::Brotli => Box::new(brotli::Decompressor::new(input, PIECE)),
    })
}

/// Compresses what is written to it.
pub(crate) enum Encoder<W: Write> {
    None(W),
    Xz(Box<liblzma::write::XzEncoder<W>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, W>>),
    Bzip2(Box<bzip2::write::BzEncoder<W>>),
    Gzip(Box<flate2::write::GzEncoder<W>>),
    Brotli(Box<brotli::CompressorWriter<W>>),
}

impl<W: Write> Encoder<W> {
    /// With a level of the compression's own, or its usual one.
    pub(crate) fn new(compression: Compression, level: Option<u32>, output: W) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(output),
            // Preset 3 and not 6: a quarter of the time and of the memory for a twentieth more bytes.
            Compression::Xz => {
                Self::Xz(Box::new(liblzma::write::XzEncoder::new(output, level.unwrap_or(3).min(9))))
            }
            Compression::Zstd => Self::Zstd(Box::new(zstd::stream::write::Encoder::new(
                output,
                level.map_or(3, |level| level.min(19) as i32),
            )?)),
            Compression::Bzip2 => {
                let level = bzip2::Compression::new(level.unwrap_or(9).clamp(1, 9));
                Self::Bzip2(Box::new(bzip2::write::BzEncoder::new(output, level)))
            }
            Compression::Gzip => {
                let level = flate2::Compression::new(level.unwrap_or(6).min(9));
                Self::Gzip(Box::new(flate2::write::GzEncoder::new(output, level)))
            }
            // Quality 6: beyond that it takes many times as long.
            Compression::Brotli => {
                let quality = level.unwrap_or(6).min(11);
                Self::Brotli(Box::new(brotli::CompressorWriter::new(output, PIECE, quality, BROTLI_WINDOW)))
            }
        })
    }

    /// Writes the end; the writer below.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::None(output) => Ok(output),
            Self::Xz(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Bzip2(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(output) => output.write(data),
            Self::Xz(encoder) => encoder.write(data),
            Self::Zstd(encoder) => encoder.write(data),
            Self::Bzip2(encoder) => encoder.write(data),
            Self::Gzip(encoder) => encoder.write(data),
            Self::Brotli(encoder) => encoder.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_compression_goes_round_also_in_two_pieces() {
        let data: Vec<u8> = (0u32..100_000).flat_map(u32::to_le_bytes).collect();
        for compression in Compression::ALL {
            let mut packed = Vec::new();
            // Brotli alone has no streams one behind the other.
            let pieces = if compression == Compression::Brotli { 1 } else { 2 };
            for half in data.chunks(data.len() / pieces) {
                let mut encoder = Encoder::new(compression, None, Vec::new()).unwrap();
                encoder.write_all(half).unwrap();
                packed.extend(encoder.finish().unwrap());
            }
            assert_eq!(packed.len() < data.len(), compression != Compression::None);
            let mut unpacked = Vec::new();
            let input = Box::new(io::Cursor::new(packed.clone()));
            decoder(compression, input).unwrap().read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == data, "{compression:?}");
            if compression != Compression::None {
                packed.truncate(packed.len() - 9);
                let input = Box::new(io::Cursor::new(packed));
                assert!(decoder(compression, input).unwrap().read_to_end(&mut Vec::new()).is_err());
            }
        }
    }
}
