//! Paths of Debian's tree in scripts and in the units and rules that a package ships.
//!
//! A path is replaced when all of it, as far as it is written out, is something that the package or a dependency has
//! in the store, and when it names more than a directory that many packages share (`/usr/bin`, `/usr/lib/systemd`).

use super::programs::Programs;
use std::path::Path;

/// Files besides scripts whose paths are replaced, by the beginning of their place.
const CONFIGURATION: &[&str] = &[
    "lib/systemd/system/",
    "lib/systemd/user/",
    "lib/udev/rules.d/",
    "lib/tmpfiles.d/",
    "share/dbus-1/services/",
    "share/dbus-1/system-services/",
    "share/polkit-1/actions/",
];

/// Directories that are no package's own.
const SHARED: &[&str] =
    &["bin", "lib", "share", "libexec", "include", "etc", "lib/systemd", "lib/udev", "share/perl5"];

/// Whether a file that is no script has its paths replaced.
pub fn is_configuration(place: &Path) -> bool {
    place.to_str().is_some_and(|place| CONFIGURATION.iter().any(|start| place.starts_with(start)))
}

/// The text with its paths replaced; `None` if there was none to replace.
pub fn relocate(text: &str, programs: &Programs) -> Option<String> {
    let mut result = String::new();
    let mut written = 0;
    let mut position = 0;
    while let Some(found) = text.get(position..).and_then(|rest| rest.find('/')) {
        let start = position + found;
        let token = text.get(start..).map_or("", token);
        position = start + token.len().max(1);
        let before = text.get(..start).and_then(|before| before.chars().next_back());
        if before.is_some_and(|before| is_path(before) || matches!(before, '}' | ')' | '$' | '*' | '~'))
            || !starts_in_debian(token)
        {
            continue;
        }
        let Some(path) = store_path(token, programs) else { continue };
        result.push_str(text.get(written..start).unwrap_or_default());
        result.push_str(&path);
        written = start + token.len();
    }
    (written > 0).then(|| {
        result.push_str(text.get(written..).unwrap_or_default());
        result
    })
}

/// The path at the start of a text, without the punctuation of a sentence after it.
fn token(text: &str) -> &str {
    let end = text.find(|character| !is_path(character)).unwrap_or(text.len());
    text.get(..end).unwrap_or(text).trim_end_matches(['.', ':', ','])
}

fn is_path(character: char) -> bool {
    character.is_ascii_alphanumeric() || "/._+-@".contains(character)
}

/// Whether a path is in a tree that a package fills and a machine of Firn's lacks.
fn starts_in_debian(token: &str) -> bool {
    ["/usr/", "/bin/", "/sbin/", "/lib/"].iter().any(|top| token.starts_with(top))
}

/// The store path for a path, with the slash at its end if it had one.
fn store_path(token: &str, programs: &Programs) -> Option<String> {
    let place = crate::layout::place(&crate::layout::normal(Path::new(token)))?;
    if SHARED.iter().any(|shared| place == Path::new(shared)) {
        return None;
    }
    let path = programs.at(&place)?.to_str()?.to_owned();
    Some(if token.ends_with('/') { path + "/" } else { path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::Tree;

    #[test]
    fn only_what_is_there() {
        let mut tree = Tree { root: "/nix/store/own".into(), ..Tree::default() };
        for directory in ["bin", "share", "share/foo", "lib", "lib/foo"] {
            tree.directories.insert(directory.into());
        }
        tree.links.insert(
            "bin/food".into(),
            crate::unpack::UnpackedLink {
                origin: "/usr/sbin/food".into(),
                target: "x".into(),
                text: "x".into(),
            },
        );
        let programs = Programs { tree: &tree, dependencies: &[], interpreters: &[] };
        for (text, expected) in [
            ("exec /usr/sbin/food -d\n", Some("exec /nix/store/own/bin/food -d\n")),
            (". /usr/share/foo/$name.sh", Some(". /nix/store/own/share/foo/$name.sh")),
            ("see /usr/share/foo.", Some("see /nix/store/own/share/foo.")),
            ("PATH=/usr/bin:/bin:/usr/share/foo", Some("PATH=/usr/bin:/bin:/nix/store/own/share/foo")),
            ("PATH=/usr/bin:/bin", None),
            ("$root/usr/share/foo", None),
            ("${root}/usr/share/foo", None),
            ("http://x/usr/share/foo", None),
            ("/usr/share/bar /etc/foo", None),
            ("/usr/sbin/foodie", None),
        ] {
            assert_eq!(relocate(text, &programs).as_deref(), expected, "{text}");
        }
    }
}
