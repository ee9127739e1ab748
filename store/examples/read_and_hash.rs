//! The least that verifying a tree can cost: opens each file by its name in its directory, reads it with one call and hashes
//! what was read, all in one hash as an archive's is. No archive, no metadata, no order, no database.
//!
//! `cargo run --release -p store --example read_and_hash -- DIRECTORY [read|hash|both]` prints the CPU seconds of what it did:
//! `read` hashes nothing, `hash` hashes as many bytes from one buffer. SPECIFICATION.md compares `firn store verify` with it.

#![expect(clippy::print_stdout, reason = "a report on the terminal")]

use formats::hash::{Algorithm, Hasher};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, openat};
use rustix::io::read;
use std::error::Error;
use std::os::fd::{AsFd as _, BorrowedFd};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: read_and_hash DIRECTORY [read|hash|both]")?;
    let what = arguments.next().unwrap_or_else(|| "both".to_owned());
    let mut buffer = vec![0; 128 * 1024];
    let hasher = Hasher::new(Algorithm::Sha256);
    let mut walk = Walk { hasher, hashes: what == "both", files: 0, bytes: 0 };
    let root = openat(CWD, directory.as_str(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let begin = cpu_seconds();
    walk.directory(root.as_fd(), &mut buffer)?;
    let mut spent = cpu_seconds() - begin;
    if what == "hash" {
        let begin = cpu_seconds();
        let mut left = walk.bytes;
        while left > 0 {
            let piece = buffer.get(..left.min(16 * 1024)).ok_or("the buffer is too small")?;
            walk.hasher.update(piece);
            left -= piece.len();
        }
        spent = cpu_seconds() - begin;
    }
    let digest = walk.hasher.finish();
    println!("{what}: {} files, {} bytes, {spent:.2} s ({})", walk.files, walk.bytes, digest.base16());
    Ok(())
}

struct Walk {
    hasher: Hasher,
    hashes: bool,
    files: usize,
    bytes: usize,
}

impl Walk {
    fn directory(&mut self, directory: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(), Box<dyn Error>> {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
            match entry.file_type() {
                FileType::Directory if !matches!(entry.file_name().to_bytes(), b"." | b"..") => {
                    let inner = openat(directory, entry.file_name(), flags, Mode::empty())?;
                    self.directory(inner.as_fd(), buffer)?;
                }
                FileType::RegularFile => {
                    let file = openat(directory, entry.file_name(), flags, Mode::empty())?;
                    let count = read(&file, &mut *buffer)?;
                    if self.hashes {
                        self.hasher.update(buffer.get(..count).unwrap_or_default());
                    }
                    self.files += 1;
                    self.bytes += count;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The CPU time of this process so far, user and system.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
