//! What a file or tree of the file system would be called in a store: for stores that it is sent to.

use super::{dump, hash_file, hash_tree, single};
use crate::error::{Error, Result};
use formats::content_address::{ContentAddress, Method};
use formats::hash::Algorithm;
use formats::path_info::PathInfo;
use formats::store_path::StoreDir;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

/// Hashes it by this method and as an archive.
pub(crate) fn describe(
    store: &StoreDir,
    source: &Path,
    name: &str,
    method: Method,
    algorithm: Algorithm,
) -> Result<PathInfo> {
    let hash = match method {
        Method::Recursive => hash_tree(source, algorithm)?.0,
        Method::Flat => hash_file(source, algorithm)?,
        Method::Text | Method::Git => {
            return Err(Error::Invalid(format!("cannot add `{}` by this method", source.display())));
        }
    };
    let path = store.make_fixed_output_path(name, method, &hash, &BTreeSet::new(), false)?;
    let mut archive = formats::hash::HashingWriter::new(std::io::sink(), Algorithm::Sha256);
    dump_by(method, source, &mut archive)?;
    let (_, nar_hash, nar_size) = archive.finish();
    let mut info = PathInfo::new(path, nar_hash, nar_size);
    info.content_address = Some(ContentAddress { method, hash });
    Ok(info)
}

/// Writes the archive of what a store would hold: of a file added by its contents, one that is not executable.
pub(crate) fn dump_by(method: Method, source: &Path, mut output: &mut dyn Write) -> Result<()> {
    if method == Method::Recursive {
        return dump(source, &mut output).map(drop);
    }
    let contents = std::fs::read(source).map_err(Error::file("reading", source))?;
    let archive = single::archive_of(&source.to_string_lossy(), &contents)?;
    output.write_all(&archive).map_err(Error::file("sending", source))
}
