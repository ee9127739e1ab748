//! What `nix-env` chooses from: a file, the files below `~/.nix-defexpr`, or a profile's manifest. nix-env(1), "Files".

use super::package::{Asking, Package};
use crate::eval::Request;
use anyhow::{Context as _, Result, bail};
use evaluator::Handle;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The attribute that says that a set's members are each a collection of packages.
pub(super) const COMBINES: &str = "_combineChannels";

impl<'a> Asking<'_, 'a> {
    /// The value of what was named with `-f`; without that, of the user's own collection.
    pub(super) fn collection(&mut self) -> Result<Handle<'a>> {
        if let [source] = self.request.sources.as_slice() {
            return self.request.source_value(self.evaluator, source);
        }
        let directory = own_collection()?;
        if !directory.is_dir() || directory.join("default.nix").exists() {
            return self.file(&directory);
        }
        let mut seen = BTreeSet::new();
        let mut text = format!("{{ {COMBINES} = [ ];\n");
        collect(&directory, &mut seen, &mut text)?;
        text.push('}');
        let result = self.evaluator.eval_str(&text, b"/");
        self.explained(result)
    }

    fn file(&mut self, path: &Path) -> Result<Handle<'a>> {
        let result = self.evaluator.eval_file(path.as_os_str().as_bytes());
        self.explained(result)
    }

    /// All packages that can be had, of this system unless `system` is none.
    pub(super) fn available(&mut self, system: Option<&str>) -> Result<Vec<Package<'a>>> {
        let value = self.collection()?;
        let arguments = self.request.auto_arguments(self.evaluator)?;
        let prefix = self.request.attributes.join(".");
        let result = self.evaluator.select(value, &prefix, arguments);
        let value = self.explained(result)?;
        let mut found = Vec::new();
        self.packages(value, arguments, &prefix, &mut found)?;
        let Some(system) = system else { return Ok(found) };
        let mut kept = Vec::new();
        for package in found {
            if package.system(self)? == system {
                kept.push(package);
            }
        }
        Ok(kept)
    }

    /// What is installed in a profile; nothing if there is none yet.
    pub(super) fn installed(&mut self, profile: &Path) -> Result<Vec<Package<'a>>> {
        if profile.join("manifest.json").exists() {
            bail!(
                "profile '{}' is incompatible with 'nix-env'; please use 'nix profile' instead",
                profile.display()
            );
        }
        let manifest = profile.join("manifest.nix");
        let Ok(manifest) = std::fs::canonicalize(&manifest) else { return Ok(Vec::new()) };
        let value = self.file(&manifest)?;
        let arguments = self.evaluator.make_empty_attrs();
        let mut found = Vec::new();
        self.packages(value, arguments, "", &mut found)?;
        Ok(found)
    }
}

/// `~/.nix-defexpr`, with a link to the user's channels when it is made.
pub(crate) fn own_collection() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").context("HOME is not set; name a file with -f")?;
    let directory = Path::new(&home).join(".nix-defexpr");
    if std::fs::symlink_metadata(&directory).is_err() {
        std::fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    }
    let channels = directory.join("channels");
    if directory.is_dir() && !directory.is_symlink() && std::fs::symlink_metadata(&channels).is_err() {
        let target = super::profiles_directory()?.join("channels");
        std::os::unix::fs::symlink(&target, &channels)
            .with_context(|| format!("linking {}", channels.display()))?;
    }
    Ok(directory)
}

/// An attribute for each expression below a directory.
fn collect(directory: &Path, seen: &mut BTreeSet<String>, text: &mut String) -> Result<()> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name()))
        .collect::<std::io::Result<Vec<_>>>()
        .with_context(|| format!("reading {}", directory.display()))?;
    names.sort();
    for name in names {
        let path = directory.join(&name);
        let name = name.to_string_lossy().into_owned();
        // A channel's own manifest, and a link that leads nowhere yet.
        let Ok(found) = std::fs::metadata(&path) else { continue };
        if name == "manifest.nix" {
            continue;
        }
        let is_file = found.is_file() && path.extension().is_some_and(|extension| extension == "nix");
        if is_file || path.join("default.nix").exists() {
            let attribute = name.strip_suffix(".nix").filter(|_| is_file).unwrap_or(&name).to_owned();
            let (name, place) = (Request::quoted(&attribute), Request::quoted(&path.to_string_lossy()));
            if seen.insert(attribute) {
                text.extend(["  ", &name, " = import (/. + ", &place, ");\n"]);
            } else {
                log::warn!("name collision in input Nix expressions, skipping '{}'", path.display());
            }
        } else if found.is_dir() {
            collect(&path, seen, text)?;
        }
    }
    Ok(())
}
