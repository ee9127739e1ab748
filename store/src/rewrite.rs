//! Hash parts replaced by others of the same length in a stream: how an output that was built at another place gets its
//! final paths, and how the hash of something that mentions itself is computed. Nix manual, "Content-Addressing Store
//! Objects", "Self-references".

use crate::error::{Error, Result};
use crate::open::Store;
use crate::tree;
use formats::base32;
use formats::content_address::{ContentAddress, Method};
use formats::hash::{Algorithm, Hash, HashingWriter};
use formats::path_info::PathInfo;
use formats::store_path::{HASH_LENGTH, StorePath};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

/// 32 digits.
pub(crate) type HashPart = [u8; HASH_LENGTH];

/// A path's digits as bytes.
pub(crate) fn hash_part(path: &StorePath) -> HashPart {
    let mut digits = [0; HASH_LENGTH];
    for (to, from) in digits.iter_mut().zip(path.hash_part().bytes()) {
        *to = from;
    }
    digits
}

/// Passes bytes on with hash parts replaced; notes where.
#[derive(Debug)]
pub(crate) struct Rewriter<W> {
    inner: W,
    map: BTreeMap<HashPart, HashPart>,
    pending: Vec<u8>,
    /// How much of `pending` is a replacement and is not looked at again.
    settled: usize,
    /// How much was passed on.
    passed: u64,
    /// Where replacements were made.
    pub(crate) offsets: Vec<u64>,
}

impl<W: Write> Rewriter<W> {
    /// Replaces the map's keys by its values.
    pub(crate) fn new(inner: W, map: BTreeMap<HashPart, HashPart>) -> Self {
        Self { inner, map, pending: Vec::new(), settled: 0, passed: 0, offsets: Vec::new() }
    }

    fn replace(&mut self) {
        let mut start = self.settled;
        while let Some(window) = self.pending.get_mut(start..start + HASH_LENGTH) {
            if let Some(bad) = window.iter().rposition(|byte| !base32::is_digit(*byte)) {
                start += bad + 1;
                continue;
            }
            let Some(to) = <&HashPart>::try_from(&*window).ok().and_then(|key| self.map.get(key)) else {
                start += 1;
                continue;
            };
            window.copy_from_slice(to);
            self.offsets.push(self.passed + start as u64);
            start += HASH_LENGTH;
            self.settled = start;
        }
    }

    fn pass(&mut self, count: usize) -> io::Result<()> {
        self.inner.write_all(self.pending.get(..count).unwrap_or_default())?;
        self.pending.drain(..count);
        self.settled = self.settled.saturating_sub(count);
        self.passed += count as u64;
        Ok(())
    }

    /// Passes the rest on; the inner writer and where replacements were made.
    pub(crate) fn finish(mut self) -> io::Result<(W, Vec<u64>)> {
        self.pass(self.pending.len())?;
        self.inner.flush()?;
        Ok((self.inner, self.offsets))
    }
}

impl<W: Write> Write for Rewriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(data);
        self.replace();
        // A hash part may go on in the next piece.
        let keep = (HASH_LENGTH - 1).min(self.pending.len() - self.settled);
        self.pass(self.pending.len() - keep)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// How the places where a path names itself count in its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    /// As Nix has it up to 2.16 and again from 2.35.
    Counted,
    /// As the Nix between those has it, by an oversight: such paths are about, and are taken.
    Forgotten,
}

/// The hash of a file or tree in which `own`, its own hash part, counts as zeros, with the places where it stood.
pub(crate) fn hash_modulo(
    place: &Path,
    method: Method,
    algorithm: Algorithm,
    own: &HashPart,
    places: Places,
) -> Result<Hash> {
    let zeros = BTreeMap::from([(*own, [0; HASH_LENGTH])]);
    let hashing = HashingWriter::new(io::sink(), algorithm);
    let rewriter = Rewriter::new(hashing, zeros);
    let failed = || Error::file("hashing", place);
    let rewriter = if method == Method::Recursive {
        tree::dump(place, rewriter)?
    } else {
        let found = std::fs::symlink_metadata(place).map_err(failed())?;
        if !found.is_file() {
            return Err(Error::Invalid(format!(
                "`{}` is no plain file and cannot be hashed flat",
                place.display()
            )));
        }
        let (mut rewriter, mut file) = (rewriter, std::fs::File::open(place).map_err(failed())?);
        io::copy(&mut file, &mut rewriter).map_err(failed())?;
        rewriter
    };
    let (mut hashing, offsets) = rewriter.finish().map_err(failed())?;
    for offset in offsets.iter().filter(|_| places == Places::Counted) {
        write!(hashing, "|{offset}").map_err(failed())?;
    }
    Ok(hashing.finish().1)
}

/// Copies a tree with hash parts replaced.
pub(crate) fn copy_rewritten(from: &Path, to: &Path, map: BTreeMap<HashPart, HashPart>) -> Result<()> {
    tree::remove(to)?;
    let (mut reader, writer) = io::pipe().map_err(Error::file("copying", from))?;
    std::thread::scope(|scope| {
        let dumping = scope.spawn(move || {
            let output = io::BufWriter::with_capacity(64 * 1024, writer);
            let rewriter = tree::dump(from, Rewriter::new(output, map))?;
            rewriter.finish().map(drop).map_err(Error::file("copying", from))
        });
        let restored = tree::restore(to, &mut reader);
        drop(reader);
        let dumped = dumping.join().unwrap_or(Err(Error::Invalid("the copying thread died".to_owned())));
        restored.and(dumped)
    })
}

impl Store {
    /// Computes the content address that the file or tree at `place` has by this method, and with it the store path of
    /// that name. `own` is the hash part by which it mentions itself.
    pub(crate) fn address_of(
        &self,
        place: &Path,
        name: &str,
        (method, algorithm): (Method, Algorithm),
        own: &HashPart,
        references: &BTreeSet<StorePath>,
        mentions_itself: bool,
    ) -> Result<(ContentAddress, StorePath)> {
        let hash = hash_modulo(place, method, algorithm, own, Places::Counted)?;
        let address = ContentAddress { method, hash };
        let path = self.dir().make_content_address_path(name, &address, references, mentions_itself)?;
        Ok((address, path))
    }

    /// Refuses a path whose description claims a content address that its content does not have.
    pub(crate) fn check_content_address(&self, info: &PathInfo, place: &Path) -> Result<()> {
        let Some(claimed) = &info.content_address else { return Ok(()) };
        if claimed.method == Method::Git {
            return Err(Error::Invalid("git hashing is not supported".to_owned()));
        }
        let own = info.references.contains(&info.path);
        let others = info.references.iter().filter(|path| **path != info.path).cloned().collect();
        let kind = (claimed.method, claimed.hash.algorithm());
        let (address, path) =
            self.address_of(place, info.path.name(), kind, &hash_part(&info.path), &others, own)?;
        if address.hash != claimed.hash {
            let part = hash_part(&info.path);
            if own && hash_modulo(place, kind.0, kind.1, &part, Places::Forgotten)? == claimed.hash {
                return self.check_claimed_path(info, &others, own);
            }
            return Err(Error::HashMismatch {
                what: format!("the content address of `{}`", self.dir().print(&info.path)),
                specified: Box::new(claimed.hash),
                got: Box::new(address.hash),
            });
        }
        if path != info.path {
            return Err(self.other_path(info, &path));
        }
        Ok(())
    }

    /// Refuses a path that is not the one of the content address that it claims.
    fn check_claimed_path(&self, info: &PathInfo, others: &BTreeSet<StorePath>, own: bool) -> Result<()> {
        let Some(claimed) = &info.content_address else { return Ok(()) };
        let path = self.dir().make_content_address_path(info.path.name(), claimed, others, own)?;
        if path == info.path { Ok(()) } else { Err(self.other_path(info, &path)) }
    }

    fn other_path(&self, info: &PathInfo, path: &StorePath) -> Error {
        Error::Invalid(format!(
            "`{}` is not the path that its content address gives, `{}`",
            self.dir().print(&info.path),
            self.dir().print(path)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrites_wherever_the_writes_are_cut() {
        let from = *b"m0iyz1rzcgxw68h6skk8b9sg0p0napwc";
        let to = *b"vasdparc3kb043mic9kcw8f5a18ppdxb";
        let text = b"xm0iyz1rzcgxw68h6skk8b9sg0p0napwc-m0iyz1rzcgxw68h6skk8b9sg0p0napwcm0iyz1rzcgxw68h6skk8b9sg0p0napwc m0iyz1rz";
        let expected = b"xvasdparc3kb043mic9kcw8f5a18ppdxb-vasdparc3kb043mic9kcw8f5a18ppdxbvasdparc3kb043mic9kcw8f5a18ppdxb m0iyz1rz";
        for size in 1..text.len() {
            let mut rewriter = Rewriter::new(Vec::new(), BTreeMap::from([(from, to)]));
            for piece in text.chunks(size) {
                rewriter.write_all(piece).unwrap();
            }
            let (out, offsets) = rewriter.finish().unwrap();
            assert_eq!(out, expected, "pieces of {size}");
            assert_eq!(offsets, [1, 34, 66], "pieces of {size}");
        }
    }

    #[test]
    fn a_hash_that_is_replaced_by_its_neighbour_is_not_replaced_again() {
        let (one, two) = (*b"m0iyz1rzcgxw68h6skk8b9sg0p0napwc", *b"vasdparc3kb043mic9kcw8f5a18ppdxb");
        let mut rewriter = Rewriter::new(Vec::new(), BTreeMap::from([(one, two), (two, one)]));
        rewriter.write_all(&one).unwrap();
        rewriter.write_all(&two).unwrap();
        let (out, _) = rewriter.finish().unwrap();
        assert_eq!(out, [two, one].concat());
    }
}
