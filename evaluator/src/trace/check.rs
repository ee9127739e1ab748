//! Whether the world still looks as it did in a [`Trace`].

use super::{Fingerprint, Seen, Trace, Tree, listing_hash, tree_prints};
use crate::io::{EvalIo, FileType, hash_file};
use formats::content_address::Method;
use formats::hash::{Algorithm, Hash};
use formats::store_path::{StoreDir, StorePath};
use std::collections::BTreeSet;

/// Two writes within one tick of the kernel's clock leave the same times: what was that new is compared by content.
const TICK: i64 = 20_000_000;

/// What a check finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is as it was.
    Holds,
    /// Everything says what it said, but some of it was touched: this is the trace with its new fingerprints.
    Touched(Box<Trace>),
    /// This is not what it was, in words.
    Broken(String),
}

impl Trace {
    /// Compares with the world.
    pub fn check(&self, question: &Hash, io: &dyn EvalIo) -> Verdict {
        if self.question != *question {
            return Verdict::Broken("another question".to_owned());
        }
        for (name, value) in &self.variables {
            if io.env(name) != *value {
                return Verdict::Broken(format!("variable {}", String::from_utf8_lossy(name)));
            }
        }
        for (path, references) in &self.references {
            if !same_references(io, path, references.as_ref()) {
                return Verdict::Broken(format!("store path {path}"));
            }
        }
        // Taken before anything is compared, so that a write in between is noticed the next time.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(0));
        let mut touched: Option<Box<Self>> = None;
        for (index, (path, seen)) in self.paths.iter().enumerate() {
            let print = io.fingerprint(path, false);
            if seen.is_kind_only() {
                if print.map(Fingerprint::kind) == seen.print.map(Fingerprint::kind) {
                    continue;
                }
                return Verdict::Broken(String::from_utf8_lossy(path).into_owned());
            }
            let behind = seen.behind.and_then(|_| io.fingerprint(path, true));
            if print == seen.print && behind == seen.behind && self.old(print) && self.old(behind) {
                continue;
            }
            if !seen.still(path, io) {
                return Verdict::Broken(String::from_utf8_lossy(path).into_owned());
            }
            let copy = touched.get_or_insert_with(|| Box::new(self.clone()));
            if let Some((_, seen)) = copy.paths.get_mut(index) {
                (seen.print, seen.behind) = (print, behind);
            }
        }
        for (index, tree) in self.trees.iter().enumerate() {
            if tree
                .prints
                .iter()
                .all(|(path, print)| io.fingerprint(path, false) == Some(*print) && self.old(Some(*print)))
            {
                continue;
            }
            let Ok(prints) = tree_prints(io, &tree.path) else {
                return Verdict::Broken(String::from_utf8_lossy(&tree.path).into_owned());
            };
            if !tree.still(io) {
                return Verdict::Broken(String::from_utf8_lossy(&tree.path).into_owned());
            }
            let copy = touched.get_or_insert_with(|| Box::new(self.clone()));
            if let Some(tree) = copy.trees.get_mut(index) {
                tree.prints = prints;
            }
        }
        match touched {
            None => Verdict::Holds,
            Some(mut trace) => {
                trace.begun = now;
                Verdict::Touched(trace)
            }
        }
    }

    /// Whether a fingerprint can be trusted: not from about the time when it was taken.
    fn old(&self, print: Option<Fingerprint>) -> bool {
        print.is_none_or(|print| print.changed < self.begun.saturating_sub(TICK))
    }
}

impl Fingerprint {
    /// The bits that say what kind of file it is. inode(7).
    const fn kind(self) -> u32 {
        self.mode & 0o170_000
    }
}

impl Seen {
    /// Whether nothing was asked but what it is: then times and sizes say nothing.
    const fn is_kind_only(&self) -> bool {
        self.behind.is_none()
            && self.contents.is_none()
            && self.listing.is_none()
            && self.target.is_none()
            && self.executable.is_none()
    }

    /// Whether all that was asked has the same answer.
    fn still(&self, path: &[u8], io: &dyn EvalIo) -> bool {
        io.file_type(path).is_ok_and(|kind| kind == self.kind)
            && self
                .contents
                .as_ref()
                .is_none_or(|hash| io.read_file(path).is_ok_and(|contents| Hash::sha256(contents) == *hash))
            && self
                .listing
                .as_ref()
                .is_none_or(|hash| io.read_dir(path).is_ok_and(|entries| listing_hash(entries) == *hash))
            && self.target.as_ref().is_none_or(|target| io.read_link(path).is_ok_and(|now| now == *target))
            && self.executable.is_none_or(|was| io.is_executable(path).is_ok_and(|now| now == was))
    }
}

impl Tree {
    /// Whether it would have the same name in the store.
    fn still(&self, io: &dyn EvalIo) -> bool {
        let method = match self.ingestion {
            crate::io::Ingestion::Flat => Method::Flat,
            crate::io::Ingestion::Nar => Method::Recursive,
        };
        // A link is followed by nobody here: what was added was resolved before.
        if io.file_type(&self.path).is_ok_and(|kind| kind == Some(FileType::Unknown)) {
            return false;
        }
        hash_file(io, &self.path, self.ingestion, None, Algorithm::Sha256).is_ok_and(|hash| {
            StoreDir::new(io.store_dir())
                .make_fixed_output_path(&self.name, method, &hash, &BTreeSet::new(), false)
                .is_ok_and(|path| path.base_name() == self.stored)
        })
    }
}

fn same_references(io: &dyn EvalIo, path: &str, references: Option<&Vec<String>>) -> bool {
    let Ok(path) = StorePath::from_base_name(path) else { return false };
    let Ok(now) = io.references(&path) else { return false };
    match (now, references) {
        (Some(now), Some(then)) => now.iter().map(StorePath::base_name).eq(then.iter()),
        (now, then) => now.is_none() && then.is_none(),
    }
}
