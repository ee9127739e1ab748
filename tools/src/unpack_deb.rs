//! `unpack-deb`: Debian packages as one store path, relocated (design §5). Several packages become one path when they
//! depend on each other in a cycle, or only work side by side.

use crate::derivation::Derivation;
use crate::relocate::programs::existing;
use crate::relocate::{self, Surroundings};
use crate::selection::Selection;
use crate::unpack::{Tree, UnpackedLink};
use crate::wrap::{self, Wrapping};
use anyhow::{Context as _, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The attributes of the derivation.
#[derive(serde::Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Attributes {
    /// The packages.
    debs: Vec<PathBuf>,
    /// The store paths of all run-time dependencies, nearest first.
    #[serde(default)]
    dependencies: Vec<PathBuf>,
    /// Store paths of which scripts may use the interpreter though their package does not depend on it: Debian's
    /// essential packages.
    #[serde(default)]
    interpreters: Vec<PathBuf>,
    /// Libraries that may be missing.
    #[serde(default)]
    optional_libraries: BTreeSet<String>,
    /// What is left out; absent: [`crate::selection::DEFAULT_DROP`].
    #[serde(default)]
    drop: Option<Vec<String>>,
    /// What is taken all the same; absent: [`crate::selection::DEFAULT_KEEP`].
    #[serde(default)]
    keep: Option<Vec<String>>,
    /// Links to add, place → target within the package, as Debian's alternatives would: `{"bin/vi": "bin/vim.basic"}`.
    #[serde(default)]
    links: BTreeMap<PathBuf, PathBuf>,
    /// Programs that have to be told where their files are, by place.
    #[serde(default)]
    wrap: BTreeMap<PathBuf, Wrapping>,
    /// Small programs to add where the package lacks them, place → text for `sh`.
    #[serde(default)]
    scripts: BTreeMap<PathBuf, String>,
}

/// Unpacks, relocates, reports.
pub fn run(derivation: &Derivation) -> Result<()> {
    let attributes: Attributes = derivation.attributes()?;
    let selection = Selection::new(attributes.drop.as_deref(), attributes.keep.as_deref());
    let mut tree = Tree::new(derivation.out()?)?;
    for deb in &attributes.debs {
        tree.unpack(deb, &selection)?;
    }
    for (place, target) in &attributes.links {
        ensure!(
            tree.has(target),
            "`links` has {} for {}, but the package has no {}",
            target.display(),
            place.display(),
            target.display()
        );
        if tree.has(place) {
            continue;
        }
        let root = Path::new("/");
        let link = UnpackedLink { origin: root.join(place), target: root.join(target), text: PathBuf::new() };
        tree.links.insert(place.clone(), link);
    }
    let surroundings = Surroundings {
        dependencies: attributes.dependencies,
        interpreters: attributes.interpreters,
        optional_libraries: attributes.optional_libraries,
    };
    let notes = relocate::relocate(&mut tree, &surroundings)?;
    tree.note_sbin();
    if !attributes.wrap.is_empty() || !attributes.scripts.is_empty() {
        let shell = existing(&surroundings.interpreters, Path::new("bin/sh"))
            .or_else(|| existing(&surroundings.dependencies, Path::new("bin/sh")))
            .context("`wrap` and `scripts` need a package with bin/sh among `interpreters`")?;
        for (place, text) in &attributes.scripts {
            ensure!(!tree.has(place), "`scripts` has {}, which the package has itself", place.display());
            wrap::write_script(&mut tree, place, &format!("#!{}\n{text}", shell.display()))?;
        }
        for (place, wrapping) in &attributes.wrap {
            wrap::wrap(&mut tree, place, wrapping, &shell)?;
        }
    }
    tree.make_links()?;
    let mut log = std::io::stderr().lock();
    for note in tree.notes.iter().chain(&notes) {
        writeln!(log, "note: {note}").context("cannot write the build's log")?;
    }
    Ok(())
}
