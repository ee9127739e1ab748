//! Programs that have to be told where their files are, since Debian compiled `/usr` into them: the program moves aside
//! (`bin/.NAME-unwrapped`) and a few lines of shell take its place, which set variables and run it.
//!
//! It happens within the package, so that scripts whose first line names the program get the wrapper too.

use crate::unpack::{Kind, Tree, UnpackedFile};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What stands in values for the package's own store path.
const OWN_PATH: &str = "@out@";

/// What a program is told.
#[derive(serde::Deserialize, Debug, Clone, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wrapping {
    /// Variables, where they are not set already.
    #[serde(default)]
    set_default: BTreeMap<String, String>,
    /// Lists separated by colons, put before what the variable holds.
    #[serde(default)]
    prefix: BTreeMap<String, String>,
    /// Arguments that come first.
    #[serde(default)]
    flags: Vec<String>,
}

/// Wraps the program at a place of the tree. `shell` is what runs the wrapper.
pub fn wrap(tree: &mut Tree, place: &Path, wrapping: &Wrapping, shell: &Path) -> Result<()> {
    let program = set_aside(tree, place)?;
    let own = tree.root.display().to_string();
    let filled = |value: &str| quoted(&value.replace(OWN_PATH, &own));
    let mut lines = vec![format!("#!{}", shell.display())];
    lines.extend(wrapping.set_default.iter().map(|(name, value)| {
        format!("if [ -z \"${{{name}+set}}\" ]; then export {name}={}; fi", filled(value))
    }));
    lines.extend(
        wrapping
            .prefix
            .iter()
            .map(|(name, value)| format!("export {name}={}\"${{{name}:+:${name}}}\"", filled(value))),
    );
    let mut words = vec!["exec".to_owned(), quoted(&tree.root.join(program).display().to_string())];
    words.extend(wrapping.flags.iter().map(|flag| filled(flag)));
    words.push("\"$@\"\n".to_owned());
    lines.push(words.join(" "));
    let script = lines.join("\n");
    write_script(tree, place, &script)
}

/// Writes an executable text and notes it as a file of the tree.
pub fn write_script(tree: &mut Tree, place: &Path, script: &str) -> Result<()> {
    let path = tree.root.join(place);
    let parent = path.parent().unwrap_or(&tree.root);
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    let origin = Path::new("/").join(place);
    tree.files.insert(place.to_path_buf(), UnpackedFile { origin, kind: Kind::Script, privileged: false });
    Ok(())
}

/// Frees a program's place and returns where the program is now.
fn set_aside(tree: &mut Tree, place: &Path) -> Result<PathBuf> {
    if tree.links.remove(place).is_some_and(|link| link.text.is_absolute()) {
        bail!("`wrap` names {}, which is a link to another package", place.display());
    }
    if let Some(target) = tree.hard_links.remove(place) {
        return Ok(target);
    }
    let Some(file) = tree.files.remove(place) else {
        bail!("`wrap` names {}, which the package does not have as a file", place.display());
    };
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let aside = place.with_file_name(format!(".{name}-unwrapped"));
    fs::rename(tree.root.join(place), tree.root.join(&aside))
        .with_context(|| format!("cannot rename {}", tree.root.join(place).display()))?;
    for target in tree.hard_links.values_mut().filter(|target| *target == place) {
        target.clone_from(&aside);
    }
    tree.files.insert(aside.clone(), file);
    Ok(aside)
}

/// A word of shell that means this text.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::tests::{Entry, unpacked};
    use std::process::Command;

    const PROGRAM: &[u8] = b"#!/bin/sh\necho \"$HOME_OF:$LIST\" \"$@\"\n";

    #[test]
    fn a_wrapped_program_is_told_where_its_files_are() {
        let (_directory, tree) = unpacked(&[
            Entry::File("./usr/bin/prog", 0o755, PROGRAM),
            Entry::HardLink("./usr/bin/prog-1.0", "./usr/bin/prog"),
        ]);
        let mut tree = tree.expect("unpacked");
        let wrapping: Wrapping = serde_json::from_str(
            r#"{"setDefault":{"HOME_OF":"@out@/it's"},"prefix":{"LIST":"/a:/b"},"flags":["-x"]}"#,
        )
        .expect("valid");
        wrap(&mut tree, Path::new("bin/prog"), &wrapping, Path::new("/bin/sh")).expect("wrapped");
        tree.make_links().expect("linked");
        let run = |list: Option<&str>| {
            let mut command = Command::new(tree.root.join("bin/prog"));
            command.env_remove("LIST").arg("an argument");
            if let Some(list) = list {
                command.env("LIST", list);
            }
            String::from_utf8(command.output().expect("it runs").stdout).expect("text")
        };
        let own = tree.root.display();
        assert_eq!(run(None), format!("{own}/it's:/a:/b -x an argument\n"));
        assert_eq!(run(Some("/c")), format!("{own}/it's:/a:/b:/c -x an argument\n"));
        assert_eq!(fs::read(tree.root.join("bin/prog-1.0")).expect("the program itself"), PROGRAM);
    }

    #[test]
    fn what_is_not_there_cannot_be_wrapped() {
        let (_directory, tree) = unpacked(&[Entry::File("./usr/bin/prog", 0o755, PROGRAM)]);
        let error = wrap(
            &mut tree.expect("unpacked"),
            Path::new("bin/other"),
            &Wrapping::default(),
            Path::new("/bin/sh"),
        );
        assert!(error.expect_err("no such program").to_string().contains("bin/other"));
    }
}
