//! The first line of a script: `#!/bin/sh`, `#!/usr/bin/perl -w`, `#!/usr/bin/env python3` (execve(2)).
//!
//! The interpreter becomes that of the store. `env` is taken out of the way: it would look in a `$PATH` that a store
//! path knows nothing of.

use super::programs::Programs;
use std::path::Path;

/// What became of a first line.
#[derive(Debug, PartialEq, Eq)]
pub enum Shebang {
    /// The interpreter's new path and its argument, if it has one: the new first line, without its end.
    Changed(String),
    /// Nothing to do: it already is a path of the store.
    Fine,
    /// The interpreter is not to be had; its name.
    NotFound(String),
}

/// Works out the new first line of a script.
pub fn relocate(line: &str, programs: &Programs, store: &Path) -> Shebang {
    let text = line.strip_prefix("#!").unwrap_or(line).trim();
    let (interpreter, argument) =
        text.split_once([' ', '\t']).map_or((text, ""), |(head, tail)| (head, tail.trim()));
    if Path::new(interpreter).starts_with(store) {
        return Shebang::Fine;
    }
    let (found, wanted, argument) = if interpreter.ends_with("/env") {
        // `env -S prog args` and `env prog`; assignments and other options are left to a reader's eye.
        let words = argument.strip_prefix("-S").map_or(argument, str::trim);
        let (name, rest) =
            words.split_once([' ', '\t']).map_or((words, ""), |(head, tail)| (head, tail.trim()));
        if name.starts_with('-') || name.contains('=') {
            return Shebang::NotFound(text.to_owned());
        }
        (programs.interpreter_named(name), name, rest)
    } else {
        (programs.interpreter(Path::new(interpreter)), interpreter, argument)
    };
    match found {
        None => Shebang::NotFound(wanted.to_owned()),
        Some(path) if argument.is_empty() => Shebang::Changed(format!("#!{}", path.display())),
        Some(path) => Shebang::Changed(format!("#!{} {argument}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::Tree;

    #[test]
    fn first_lines() {
        let directory = tempfile::tempdir().expect("a directory");
        let dependency = directory.path().join("store/dep");
        std::fs::create_dir_all(dependency.join("bin")).expect("made");
        for name in ["sh", "perl", "python3"] {
            std::fs::write(dependency.join("bin").join(name), "").expect("written");
        }
        let tree = Tree { root: directory.path().join("store/own"), ..Tree::default() };
        let store = directory.path().join("store");
        let dependencies = [dependency.clone()];
        let programs = Programs { tree: &tree, dependencies: &dependencies, interpreters: &[] };
        let at = |name: &str| format!("#!{}/bin/{name}", dependency.display());
        for (line, expected) in [
            ("#!/bin/sh", Shebang::Changed(at("sh"))),
            ("#! /bin/sh -e", Shebang::Changed(at("sh -e"))),
            ("#!/usr/bin/perl -w", Shebang::Changed(at("perl -w"))),
            ("#!/usr/bin/env python3", Shebang::Changed(at("python3"))),
            ("#!/usr/bin/env -S python3 -u", Shebang::Changed(at("python3 -u"))),
            ("#!/usr/bin/env A=b python3", Shebang::NotFound("/usr/bin/env A=b python3".into())),
            ("#!/usr/bin/ruby", Shebang::NotFound("/usr/bin/ruby".into())),
            (&at("sh"), Shebang::Fine),
        ] {
            assert_eq!(relocate(line, &programs, &store), expected, "{line}");
        }
    }
}
