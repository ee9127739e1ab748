//! What a word of the command line means: `nixpkgs#hello`, `.#a.b^dev`, `github:owner/repo`, a directory. A directory
//! need not be the flake's own: the ones above it are looked through, up to the repository. Nix manual, `nix flake`,
//! "Path-like syntax".

use anyhow::{Context as _, Result, bail};
use formats::flake::FlakeRef;
use formats::flake::reference::{Reading, Written, absolute, from_url, read};
use formats::flake::url::Url;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A word taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) flake: FlakeRef,
    /// What follows `#`: an attribute.
    pub(crate) fragment: String,
    /// What follows `^`: outputs.
    pub(crate) outputs: Option<String>,
}

impl Word {
    /// Reads a word. With `missing`, a directory without `flake.nix` is one too (`nix flake init`).
    pub(crate) fn parse(text: &str, missing: bool) -> Result<Self> {
        let (rest, outputs) = split_outputs(text);
        let base = crate::eval::current_directory()?;
        let (flake, fragment) = reference(rest, &base, missing)?;
        Ok(Self { flake, fragment, outputs: outputs.map(str::to_owned) })
    }
}

/// `a^b,c` as `a` and `b,c`. A circumflex in front of anything else is part of the name.
fn split_outputs(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once('^') {
        Some((rest, outputs))
            if outputs == "*"
                || !outputs.is_empty()
                    && outputs.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._?=,".contains(&b)) =>
        {
            (rest, Some(outputs))
        }
        _ => (text, None),
    }
}

/// A reference to a flake without an attribute; relative ones start at `base`.
pub(crate) fn flake(text: &str, base: &Path) -> Result<FlakeRef> {
    let (flake, fragment) = reference(text, base, false)?;
    if !fragment.is_empty() {
        bail!("unexpected fragment '{fragment}' in flake reference '{text}'");
    }
    Ok(flake)
}

/// A reference and its attribute.
pub(crate) fn reference(text: &str, base: &Path, missing: bool) -> Result<(FlakeRef, String)> {
    let base = base.to_str().context("the name of the current directory is not UTF-8")?;
    let how = Reading { base: Some(base), is_flake: true };
    match read(text, how, &mut |message| log::warn!("{message}"))? {
        Written::Reference(flake, fragment) => Ok((flake, fragment)),
        Written::Path { path, query, fragment } => {
            let directory = PathBuf::from(absolute(&path, base));
            let directory = flake_directory(&directory, missing)?;
            let mut url = in_repository(&directory, text, query)?;
            url.fragment = fragment;
            Ok(from_url(url, true)?)
        }
    }
}

/// The directory of the flake that a directory belongs to.
fn flake_directory(given: &Path, missing: bool) -> Result<PathBuf> {
    let mut directory = given.to_owned();
    let found = std::fs::symlink_metadata(&directory)
        .with_context(|| format!("getting status of \"{}\"", directory.display()))?;
    if !found.is_dir() {
        let is_file = directory.file_name() == Some("flake.nix".as_ref());
        let Some(parent) = directory.parent().filter(|_| is_file).map(Path::to_owned) else {
            bail!("path \"{}\" is not a flake (because it's not a directory)", directory.display());
        };
        log::warn!(
            "Path '{}' should point at the directory containing the 'flake.nix' file, not the file itself. Pretending that you \
             meant '{}'",
            directory.display(),
            parent.display()
        );
        directory = parent;
    }
    if missing || directory.join("flake.nix").exists() {
        return Ok(directory);
    }
    crate::progress::say(&format!(
        "path \"{}\" does not contain a 'flake.nix', searching up",
        directory.display()
    ));
    let device = std::fs::metadata(&directory).map(|found| found.dev()).unwrap_or_default();
    for above in directory.ancestors() {
        if above.join("flake.nix").exists() {
            return Ok(above.to_owned());
        }
        if above.join(".git").exists() {
            bail!(
                "path \"{}\" is not part of a flake (neither it nor its parent directories contain a 'flake.nix' file)",
                above.display()
            );
        }
        if std::fs::metadata(above).is_ok_and(|found| found.dev() != device) {
            bail!(
                "unable to find a flake before encountering filesystem boundary at \"{}\"",
                above.display()
            );
        }
    }
    bail!("could not find a flake.nix file")
}

/// The URL of a directory: of the git repository around it, if there is one.
fn in_repository(
    directory: &Path,
    text: &str,
    query: std::collections::BTreeMap<String, String>,
) -> Result<Url> {
    let name = |path: &Path| path.to_str().map(str::to_owned).context("the path of a flake is not UTF-8");
    for above in directory.ancestors() {
        if !above.join(".git").exists() {
            continue;
        }
        let mut url = Url { query, ..Url::of_path("git+file", Some(""), &name(above)?) };
        let subdir = directory.strip_prefix(above).unwrap_or(Path::new(""));
        if subdir != Path::new("") {
            if url.query.contains_key("dir") {
                bail!("flake URL '{text}' has an inconsistent 'dir' parameter");
            }
            url.query.insert("dir".to_owned(), name(subdir)?);
        }
        if above.join(".git/shallow").exists() {
            url.query.insert("shallow".to_owned(), "1".to_owned());
        }
        return Ok(url);
    }
    Ok(Url { query, ..Url::of_path("path", None, &name(directory)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_and_what_is_around_them() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        for directory in ["plain/in", "repository/.git", "repository/sub/deep", "bare/.git"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        for directory in ["plain", "repository", "repository/sub"] {
            std::fs::write(root.join(directory).join("flake.nix"), "{}").unwrap();
        }
        let meant = |text: &str| match reference(text, root, false) {
            Ok((flake, fragment)) => format!("{flake} {fragment}").replace(root.to_str().unwrap(), "ROOT"),
            Err(error) => format!("{error:#}").replace(root.to_str().unwrap(), "ROOT"),
        };
        for (text, meaning) in [
            ("./plain#a", "path:ROOT/plain a"),
            ("./plain/in", "path:ROOT/plain "),
            ("./plain/flake.nix", "path:ROOT/plain "),
            ("./repository?ref=x#a.b", "git+file://ROOT/repository?ref=x a.b"),
            ("./repository/sub/deep", "git+file://ROOT/repository?dir=sub "),
            ("path:./repository", "path:ROOT/repository "),
            ("plain", "flake:plain "),
            (
                "./repository/sub?dir=x",
                "flake URL './repository/sub?dir=x' has an inconsistent 'dir' parameter",
            ),
            (
                "./bare",
                "path \"ROOT/bare\" is not part of a flake (neither it nor its parent directories contain a 'flake.nix' file)",
            ),
        ] {
            assert_eq!(meant(text), meaning, "{text}");
        }
        assert!(meant("./nothing").starts_with("getting status of \"ROOT/nothing\": "));
    }

    #[test]
    fn outputs_follow_a_circumflex() {
        for (text, split) in [
            ("a#b^out,dev", ("a#b", Some("out,dev"))),
            ("a#b^*", ("a#b", Some("*"))),
            ("a#b", ("a#b", None)),
            ("a#b^/c", ("a#b^/c", None)),
        ] {
            assert_eq!(split_outputs(text), split);
        }
    }
}
