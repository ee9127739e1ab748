//! A package's symbolic links, once its files lie in the store's layout.
//!
//! A link to something of the package stays relative; one to something of a dependency becomes that store path; one to
//! the machine's state (`/etc`, `/run`, `/var`, …) stays as it is; one to nothing at all is kept and noted: what would
//! have made its target (`update-alternatives`, a maintainer script) does not run.

use super::programs::existing;
use crate::layout;
use crate::unpack::Tree;
use std::path::{Path, PathBuf};

/// Parts of the tree that belong to the machine.
const STATE: &[&str] = &["/etc", "/run", "/var", "/proc", "/sys", "/dev", "/tmp", "/home", "/root"];

/// Sets the text of every link; returns those that lead to nothing.
pub fn relocate(tree: &mut Tree, dependencies: &[PathBuf]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut texts = Vec::new();
    for (place, link) in &tree.links {
        let resolved = link.resolved();
        let Some(target) = layout::place(&resolved) else { continue };
        let text = if tree.has(&target) {
            layout::relative(place, &target)
        } else if let Some(path) = existing(dependencies, &target) {
            path
        } else if STATE.iter().any(|state| resolved.starts_with(state)) {
            resolved
        } else {
            notes.push(format!(
                "{} is a link to {}, which no dependency has",
                link.origin.display(),
                resolved.display()
            ));
            if link.target.is_absolute() { link.target.clone() } else { layout::relative(place, &target) }
        };
        texts.push((place.clone(), text));
    }
    for (place, text) in texts {
        if let Some(link) = tree.links.get_mut(&place) {
            link.text = text;
        }
    }
    notes
}

/// The place that a chain of links within the package ends at.
pub fn end_of_chain(tree: &Tree, place: &Path) -> PathBuf {
    let mut place = place.to_path_buf();
    for _ in 0..40 {
        match tree.links.get(&place).and_then(|link| layout::place(&link.resolved())) {
            Some(next) => place = next,
            None => break,
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::UnpackedLink;

    #[test]
    fn texts() {
        let directory = tempfile::tempdir().expect("a directory");
        let dependency = directory.path().join("dep");
        std::fs::create_dir_all(dependency.join("lib")).expect("made");
        std::fs::write(dependency.join("lib/libdep.so.1"), "").expect("written");
        let mut tree = Tree { root: directory.path().join("own"), ..Tree::default() };
        tree.directories.insert("share/own".into());
        let cases = [
            ("/usr/lib/x86_64-linux-gnu/libdep.so", "libdep.so.1", dependency.join("lib/libdep.so.1"), 0),
            ("/usr/lib/own/data", "../../share/own", PathBuf::from("../../share/own"), 0),
            ("/usr/lib/x86_64-linux-gnu/own/data", "/usr/share/own", PathBuf::from("../../share/own"), 0),
            ("/usr/share/own/conf", "/etc/own.conf", PathBuf::from("/etc/own.conf"), 0),
            ("/usr/share/own/conf2", "../../../etc/own.conf", PathBuf::from("/etc/own.conf"), 0),
            ("/usr/bin/pager", "/usr/bin/less", PathBuf::from("/usr/bin/less"), 1),
        ];
        for (origin, target, expected, notes) in cases {
            let place = layout::place(Path::new(origin)).expect("a place");
            let link = UnpackedLink { origin: origin.into(), target: target.into(), text: PathBuf::new() };
            tree.links = std::iter::once((place.clone(), link)).collect();
            assert_eq!(relocate(&mut tree, std::slice::from_ref(&dependency)).len(), notes, "{origin}");
            assert_eq!(tree.links[&place].text, expected, "{origin}");
        }
    }
}
