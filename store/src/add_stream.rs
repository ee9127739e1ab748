//! Additions for clients of the daemon: content that comes as a stream and whose path is known only at its end; logs and
//! signatures.

use crate::add::now;
use crate::database::NewPath;
use crate::error::{Error, Result};
use crate::lock::PathLocks;
use crate::open::Store;
use crate::temporary::Temporary;
use crate::tree;
use formats::content_address::{ContentAddress, Method};
use formats::derivation::Derivation;
use formats::hash::{Algorithm, HashingReader};
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::path::PathBuf;

impl Store {
    /// Adds what a stream holds: a NAR for [`Method::Recursive`], a file's bytes otherwise.
    pub fn add_stream(
        &self,
        name: &str,
        method: Method,
        algorithm: Algorithm,
        references: &BTreeSet<StorePath>,
        content: &mut dyn Read,
    ) -> Result<StorePath> {
        formats::store_path::check_name(name)?;
        if method == Method::Text {
            let mut text = Vec::new();
            content.read_to_end(&mut text).map_err(Error::file("receiving", name))?;
            return self.add_text(name, &text, references);
        }
        if method == Method::Git {
            return Err(Error::Invalid("git hashing is not supported".to_owned()));
        }
        self.make_room();
        let place = Temporary::create(self)?;
        let inside = place.path().join("x");
        let mut archive = None;
        let hash = if method == Method::Recursive {
            let mut reader = HashingReader::new(content, algorithm);
            tree::restore(&inside, &mut reader)?;
            let (_, hash, size) = reader.finish();
            archive = (algorithm == Algorithm::Sha256).then_some((hash, size));
            hash
        } else {
            let mut file = File::create(&inside).map_err(Error::file("creating", &inside))?;
            std::io::copy(content, &mut file).map_err(Error::file("receiving", &inside))?;
            file.flush().map_err(Error::file("writing", &inside))?;
            tree::canonicalise(&inside, None, &mut BTreeSet::new())?;
            tree::hash_file(&inside, algorithm)?
        };
        let path = self.dir().make_fixed_output_path(name, method, &hash, references, false)?;
        self.add_temp_root(&path)?;
        let real = self.real_path(&path);
        let _lock = PathLocks::acquire(std::slice::from_ref(&real))?;
        if self.is_valid(&path)? {
            return Ok(path);
        }
        let (nar_hash, nar_size) = match archive {
            Some(known) => known,
            None => tree::hash_tree(&inside, Algorithm::Sha256)?,
        };
        tree::remove(&real)?;
        tree::rename(&inside, &real)?;
        if self.options.durable {
            tree::sync_tree(&real, usize::MAX)?;
        }
        let mut info = PathInfo::new(path.clone(), nar_hash, nar_size);
        info.references.clone_from(references);
        info.content_address = Some(ContentAddress { method, hash });
        info.registration_time = now();
        match self.outputs_of_new(&path) {
            Ok(outputs) => self.database().register(&[NewPath { info: &info, outputs }])?,
            Err(error) => {
                tree::remove(&real)?;
                return Err(error);
            }
        }
        Ok(path)
    }

    /// Keeps a log that was made elsewhere.
    pub fn add_build_log(&self, derivation: &StorePath, content: &mut dyn Read) -> Result<()> {
        if let Some(keeper) = &self.remote {
            return keeper.add_build_log(derivation, content);
        }
        let mut path = self.layout.build_log(derivation).into_os_string();
        path.push(".bz2");
        let path = PathBuf::from(path);
        let parent = path.parent().unwrap_or(&self.layout.log);
        fs::create_dir_all(parent).map_err(Error::file("creating", parent))?;
        let file = File::create(&path).map_err(Error::file("creating log", &path))?;
        let mut file = bzip2::write::BzEncoder::new(file, bzip2::Compression::new(6));
        std::io::copy(content, &mut file).map_err(Error::file("writing log", &path))?;
        file.finish().map(drop).map_err(Error::file("writing log", &path))
    }

    /// Adds signatures to those that a valid path has.
    pub fn add_signatures(
        &self,
        path: &StorePath,
        signatures: impl IntoIterator<Item = String>,
    ) -> Result<()> {
        if let Some(remote) = &self.remote {
            return remote.add_signatures(path, &signatures.into_iter().collect::<Vec<_>>());
        }
        let mut all = self.path_info(path)?.signatures;
        all.extend(signatures.into_iter().filter(|signature| signature.contains(':')));
        let text = all.into_iter().collect::<Vec<_>>().join(" ");
        self.database().set_signatures(path, &text)
    }

    /// What clients call an output of a derivation: `sha256:<hash of the derivation>!<output>`.
    pub fn realisation_id(&self, derivation: &Derivation, output: &str) -> Result<String> {
        let hash = derivation.masked_hash::<Error>(self.dir(), &mut |input| self.modulo(input))?;
        let hash = hash.of_output(output).ok_or_else(|| {
            Error::Invalid(format!("derivation `{}` has no output `{output}`", derivation.name))
        })?;
        Ok(format!("{}!{output}", hash.base16()))
    }
}
