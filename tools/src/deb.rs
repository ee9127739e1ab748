//! A Debian binary package as a stream: the `ar` archive and its compressed `data.tar` (deb(5)).
//!
//! Only the data member is opened; maintainer scripts never run. The tar is handed on as it comes, so that a kernel
//! package is never whole in memory.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// Why a package could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The package.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file is no `ar` archive of the sort that deb(5) describes.
    #[error("{path} is not a Debian package ({what}); fetch it again")]
    NotADeb {
        /// The package.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// The data member is compressed in a way that this program does not know.
    #[error("{path} has the member `{member}`; only data.tar, .gz, .xz and .zst can be unpacked")]
    Compression {
        /// The package.
        path: PathBuf,
        /// The member's name.
        member: String,
    },
}

/// The length of an `ar` member's header.
const HEADER: usize = 60;

/// Opens the package's `data.tar` and returns its uncompressed bytes.
pub fn open_data(path: &Path) -> Result<Box<dyn Read>, DebError> {
    let read = |source| DebError::Read { path: path.to_path_buf(), source };
    let bad = |what| DebError::NotADeb { path: path.to_path_buf(), what };
    let mut file = File::open(path).map_err(read)?;
    let length = file.metadata().map_err(read)?.len();
    let mut magic = [0_u8; 8];
    file.read_exact(&mut magic).map_err(|_| bad("it is shorter than an ar archive's magic"))?;
    if &magic != b"!<arch>\n" {
        return Err(bad("it does not begin as an ar archive"));
    }
    let mut position = magic.len() as u64;
    let mut seen_version = false;
    while position < length {
        let mut header = [0_u8; HEADER];
        file.read_exact(&mut header).map_err(|_| bad("it ends inside a member's header"))?;
        position += HEADER as u64;
        let (name, size) = member(&header).ok_or_else(|| bad("a member's header is damaged"))?;
        if position.checked_add(size).is_none_or(|end| end > length) {
            return Err(bad("it ends inside a member"));
        }
        if name == "debian-binary" {
            let mut version = String::new();
            (&mut file).take(size.min(16)).read_to_string(&mut version).map_err(read)?;
            if !version.starts_with("2.") {
                return Err(bad("its format version is not 2.x"));
            }
            seen_version = true;
        } else if !seen_version {
            return Err(bad("debian-binary is not its first member"));
        }
        if let Some(compression) = name.strip_prefix("data.tar") {
            file.seek(SeekFrom::Start(position)).map_err(read)?;
            let member = BufReader::with_capacity(1 << 16, file.take(size));
            return decompress(member, compression)
                .map_err(read)?
                .ok_or_else(|| DebError::Compression { path: path.to_path_buf(), member: name });
        }
        position += size + size % 2;
        file.seek(SeekFrom::Start(position)).map_err(read)?;
    }
    Err(bad("it has no member data.tar"))
}

/// A member's name and size, from its header.
fn member(header: &[u8; HEADER]) -> Option<(String, u64)> {
    let (fields, end) = header.split_at(58);
    if end != b"`\n" {
        return None;
    }
    let name = std::str::from_utf8(fields.get(..16)?).ok()?.trim_end().trim_end_matches('/');
    let size = std::str::from_utf8(fields.get(48..58)?).ok()?.trim_end().parse().ok()?;
    Some((name.to_owned(), size))
}

/// The plain bytes of a member compressed as its suffix says.
fn decompress(member: impl Read + 'static, suffix: &str) -> io::Result<Option<Box<dyn Read>>> {
    Ok(Some(match suffix {
        "" => Box::new(member),
        ".gz" => Box::new(flate2::read::GzDecoder::new(member)),
        ".xz" => Box::new(liblzma::read::XzDecoder::new(member)),
        ".zst" => Box::new(zstd::stream::read::Decoder::new(member)?),
        _ => return Ok(None),
    }))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write as _;

    /// An archive of members, as `ar` writes it.
    pub(crate) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, data) in members {
            bytes.extend(
                format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, data.len())
                    .into_bytes(),
            );
            bytes.extend_from_slice(data);
            if data.len() % 2 == 1 {
                bytes.push(b'\n');
            }
        }
        bytes
    }

    fn opened(bytes: &[u8]) -> Result<String, String> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("written");
        let mut text = String::new();
        open_data(file.path())
            .map_err(|error| error.to_string())?
            .read_to_string(&mut text)
            .map_err(|error| error.to_string())?;
        Ok(text)
    }

    #[test]
    fn each_compression() {
        let plain = b"as if it were a tar";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(plain).expect("compressed");
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(plain).expect("compressed");
        let zst = zstd::stream::encode_all(&plain[..], 1).expect("compressed");
        for (suffix, data) in [
            ("", plain.to_vec()),
            (".gz", gzip.finish().expect("gz")),
            (".xz", xz.finish().expect("xz")),
            (".zst", zst),
        ] {
            let name = format!("data.tar{suffix}");
            let bytes = archive(&[("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), (&name, &data)]);
            assert_eq!(opened(&bytes).as_deref(), Ok("as if it were a tar"), "{suffix}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let version = ("debian-binary", &b"2.0\n"[..]);
        let good = archive(&[version, ("data.tar", b"0123456789")]);
        let cases: [(&[u8], &str); 7] = [
            (b"", "shorter"),
            (b"PK\x03\x04 something else", "does not begin"),
            (&good[..good.len() - 3], "ends inside a member"),
            (&good[..80], "ends inside a member's header"),
            (&archive(&[version]), "no member data.tar"),
            (&archive(&[version, ("data.tar.lzma", b"")]), "`data.tar.lzma`"),
            (&archive(&[("data.tar", b"")]), "not its first member"),
        ];
        for (bytes, words) in cases {
            let error = opened(bytes).expect_err(words);
            assert!(error.contains(words), "{error} should contain {words}");
        }
    }
}
