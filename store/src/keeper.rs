//! Who keeps a store that is not a directory of ours: a daemon, a machine behind ssh, a binary cache. The methods of
//! [`crate::Store`] ask it; what a keeper cannot do is refused by name.

use crate::add::TextObject;
use crate::build::{BuildOptions, BuildReport, Missing, Wanted};
use crate::error::{Error, Result};
use crate::garbage::{CollectOptions, Collected};
use crate::realisation::Realisation;
use crate::root::Root;
use formats::content_address::Method;
use formats::derivation::Derivation;
use formats::hash::Algorithm;
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::Path;

/// See the module. The methods are those of [`crate::Store`] by the same names.
pub(crate) trait Keeper: std::fmt::Debug + Send + Sync {
    /// What it is, for messages: `the cache file:///srv/cache`.
    fn what(&self) -> String;

    /// Whether the files of valid paths lie where the layout says.
    fn has_files(&self) -> bool {
        false
    }

    /// Whether links may keep paths alive there.
    fn has_roots(&self) -> bool {
        false
    }

    fn info(&self, path: &StorePath) -> Result<Option<PathInfo>>;

    fn is_valid(&self, path: &StorePath) -> Result<bool> {
        Ok(self.info(path)?.is_some())
    }

    fn referrers(&self, _: &StorePath) -> Result<BTreeSet<StorePath>> {
        refused(&self.what(), "tell what refers to a path")
    }

    fn valid_derivers(&self, _: &StorePath) -> Result<BTreeSet<StorePath>> {
        Ok(BTreeSet::new())
    }

    fn derivation_outputs(&self, _: &StorePath) -> Result<BTreeMap<String, StorePath>> {
        refused(&self.what(), "tell what a derivation builds")
    }

    fn by_hash_part(&self, _: &str) -> Result<Option<StorePath>> {
        refused(&self.what(), "find paths by their digits")
    }

    fn all_valid(&self) -> Result<BTreeSet<StorePath>> {
        refused(&self.what(), "list its paths")
    }

    fn add_temp_root(&self, _: &StorePath) -> Result<()> {
        Ok(())
    }

    fn add_indirect_root(&self, _: &Path) -> Result<()> {
        refused(&self.what(), "keep roots")
    }

    fn find_roots(&self) -> Result<BTreeSet<Root>> {
        refused(&self.what(), "tell its roots")
    }

    fn add_texts(&self, texts: &[TextObject]) -> Result<Vec<StorePath>>;

    fn add_path(&self, source: &Path, name: &str, method: Method, algorithm: Algorithm) -> Result<StorePath>;

    /// Takes a path with its NAR; `check` says whether signatures count.
    fn add_nar(&self, info: &PathInfo, archive: &mut dyn Read, check: bool) -> Result<()>;

    /// Writes the NAR of a valid path.
    fn archive(&self, path: &StorePath, output: &mut dyn Write) -> Result<()>;

    fn add_signatures(&self, _: &StorePath, _: &[String]) -> Result<()> {
        refused(&self.what(), "add signatures")
    }

    fn realisation(&self, _: &str) -> Result<Option<Realisation>> {
        Ok(None)
    }

    fn register_realisation(&self, _: &Realisation) -> Result<()> {
        refused(&self.what(), "note realisations")
    }

    fn build_log(&self, _: &StorePath) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn add_build_log(&self, _: &StorePath, _: &mut dyn Read) -> Result<()> {
        refused(&self.what(), "keep build logs")
    }

    fn optimise(&self) -> Result<()> {
        refused(&self.what(), "link equal files")
    }

    fn verify(&self, _contents: bool, _repair: bool) -> Result<()> {
        refused(&self.what(), "check itself")
    }

    fn collect_garbage(
        &self,
        _: &CollectOptions,
        _only: Option<(&BTreeSet<StorePath>, bool)>,
    ) -> Result<Collected> {
        refused(&self.what(), "collect garbage")
    }

    fn build(&self, requests: &[(StorePath, Wanted)], options: &BuildOptions) -> Result<BuildReport>;

    /// Builds a derivation that is not there and names no input derivations; its outputs by their ids as realisations, as
    /// far as it tells them.
    fn build_given(
        &self,
        _: &StorePath,
        _: &Derivation,
        _: &BuildOptions,
    ) -> Result<BTreeMap<String, StorePath>> {
        refused(&self.what(), "build")
    }

    /// Whether it takes our word, if it says so.
    fn trusts_us(&self) -> bool {
        true
    }

    fn missing(&self, requests: &[(StorePath, Wanted)]) -> Result<Missing>;

    /// Paths with all that they refer to, if it can tell in one answer.
    fn closure(&self, _: &BTreeSet<StorePath>) -> Result<Option<BTreeSet<StorePath>>> {
        Ok(None)
    }

    /// Makes paths valid, if it can.
    fn ensure(&self, paths: &BTreeSet<StorePath>, _: &BuildOptions) -> Result<()> {
        for path in paths {
            if !self.is_valid(path)? {
                return Err(Error::NotValid(path.base_name().to_owned()));
            }
        }
        Ok(())
    }
}

/// The error for what a keeper cannot do.
pub(crate) fn refused<T>(who: &str, what: &str) -> Result<T> {
    Err(Error::Invalid(format!("{who} cannot {what}")))
}
