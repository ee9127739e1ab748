//! Finds references: the hash parts of candidate paths in a byte stream. Looks at one byte of each window of 32, the
//! last, and skips past it when it is no base-32 digit, as Boyer and Moore do.

use formats::base32;
use formats::store_path::{HASH_LENGTH, StorePath};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

/// Passes bytes on and notes which candidates they mention.
#[derive(Debug)]
pub(crate) struct ReferenceScanner<'a, W> {
    inner: W,
    candidates: BTreeMap<[u8; HASH_LENGTH], &'a StorePath>,
    found: BTreeSet<StorePath>,
    tail: Vec<u8>,
}

impl<'a, W: Write> ReferenceScanner<'a, W> {
    /// Looks for these paths.
    pub(crate) fn new(inner: W, candidates: impl IntoIterator<Item = &'a StorePath>) -> Self {
        let candidates = candidates
            .into_iter()
            .filter_map(|path| Some((path.hash_part().as_bytes().try_into().ok()?, path)))
            .collect();
        Self { inner, candidates, found: BTreeSet::new(), tail: Vec::new() }
    }

    /// The inner writer and what was found.
    pub(crate) fn finish(self) -> (W, BTreeSet<StorePath>) {
        (self.inner, self.found)
    }

    fn search(&mut self, data: &[u8]) {
        let mut start = 0;
        while let Some(window) = data.get(start..start + HASH_LENGTH) {
            if let Some(bad) = window.iter().rposition(|byte| !base32::is_digit(*byte)) {
                start += bad + 1;
                continue;
            }
            if let Ok(key) = <[u8; HASH_LENGTH]>::try_from(window)
                && let Some(path) = self.candidates.get(&key)
            {
                self.found.insert((*path).clone());
            }
            start += 1;
        }
    }
}

impl<W: Write> Write for ReferenceScanner<'_, W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        // A hash may lie across two writes: join the last 31 bytes with the first of these.
        let head = data.get(..data.len().min(HASH_LENGTH - 1)).unwrap_or_default();
        let mut joint = std::mem::take(&mut self.tail);
        joint.extend_from_slice(head);
        self.search(&joint);
        self.search(data);
        let keep = HASH_LENGTH - 1;
        self.tail = if data.len() >= keep {
            data.get(data.len() - keep..).unwrap_or_default().to_vec()
        } else {
            joint.get(joint.len().saturating_sub(keep)..).unwrap_or_default().to_vec()
        };
        self.inner.write_all(data)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_references_wherever_the_writes_are_cut() {
        let path = StorePath::from_base_name("m0iyz1rzcgxw68h6skk8b9sg0p0napwc-foo.txt").unwrap();
        let other = StorePath::from_base_name("vasdparc3kb043mic9kcw8f5a18ppdxb-bar.txt").unwrap();
        let text =
            b"#!/nix/store/m0iyz1rzcgxw68h6skk8b9sg0p0napwc-foo.txt/bin/sh vasdparc3kb043mic9kcw8f5a18ppdx-";
        for size in 1..text.len() {
            let mut scanner = ReferenceScanner::new(io::sink(), [&path, &other]);
            for piece in text.chunks(size) {
                scanner.write_all(piece).unwrap();
            }
            assert_eq!(scanner.finish().1, BTreeSet::from([path.clone()]), "pieces of {size}");
        }
    }
}
