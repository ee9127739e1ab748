//! File systems that xorriso (xorriso) reads back. Where it is not installed the test says so.

use super::*;
use crate::checker;
use crate::file_tree::{Attributes, HardLinks, Ownership};
use crate::region::create_sparse;
use std::path::Path;

/// Writes the tree; gives the image's path.
fn written(tree: &FileTree, directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    let options = Options { volume_id: "TEST".to_owned(), time: 1_700_000_000, ..Options::default() };
    let plan = Plan::new(tree, &options).unwrap();
    let file = create_sparse(&path, plan.size()).unwrap();
    plan.write(&Region::new(&file, 0, plan.size())).unwrap();
    path
}

fn file(size: usize) -> Kind {
    Kind::File(Contents::Bytes((0..size).map(|n| (n * 31 % 251) as u8).collect()))
}

/// What xorriso says when it is told that.
fn xorriso(image: &Path, words: &[&str]) -> Option<String> {
    let mut all = vec!["-abort_on", "WARNING", "-indev", image.to_str().unwrap()];
    all.extend(words);
    let (success, text) = checker::run("xorriso", "xorriso", all)?;
    assert!(success, "{text}");
    Some(text)
}

#[test]
fn every_kind_size_and_length_of_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut tree = FileTree::new(Attributes::root(0o755, 1));
    for size in [0, 1, 2047, 2048, 2049, 100_000] {
        tree.add(format!("files/{size}"), file(size), Attributes::root(0o644, 1)).unwrap();
    }
    let odd = Attributes { mode: 0o4711, uid: 100_000, gid: 7, mtime: 1_600_000_000 };
    tree.add("odd", file(4040), odd).unwrap();
    tree.add("dev/null", Kind::CharDevice(1, 3), Attributes::root(0o666, 1)).unwrap();
    tree.add("deep/2/3/4/5/6/7/8/9/10/file", file(3), odd).unwrap();
    for length in 1..=253 {
        tree.add(format!("names/{}", "n".repeat(length)), file(length), odd).unwrap();
        let target = format!("/{}/../{}", "t".repeat(length), "u/".repeat(length));
        tree.add(format!("links/{length}"), Kind::Symlink(target.into_bytes()), odd).unwrap();
    }
    let one = written(&tree, directory.path(), "one");
    let two = written(&tree, directory.path(), "two");
    assert!(std::fs::read(&one).unwrap() == std::fs::read(two).unwrap());
    let Some(text) = xorriso(&one, &["-lsdl", "/odd", "/dev/null", "--", "-lsl", "/links", "--"]) else {
        return;
    };
    assert!(text.contains("-rws--x--x    1 100000   7            4040"), "{text}");
    assert!(text.contains("1,3"), "{text}");
    for length in [1, 20, 128, 247, 248, 253] {
        let target = format!("-> '/{}/../{}'", "t".repeat(length), "u/".repeat(length));
        assert!(text.contains(target.trim_end_matches("/'")), "{length}: {text}");
    }
    let found = xorriso(&one, &["-find", "/names", "-type", "f"]).unwrap();
    for length in 1..=253 {
        assert!(found.contains(&format!("'/names/{}'", "n".repeat(length))), "{length}");
    }
}

#[test]
fn a_host_directory_comes_out_as_it_went_in() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source");
    std::fs::create_dir_all(source.join("a/b")).unwrap();
    std::fs::write(source.join("a/one"), vec![7; 100_000]).unwrap();
    std::fs::write(source.join("empty"), "").unwrap();
    std::fs::hard_link(source.join("a/one"), source.join("a/b/again")).unwrap();
    std::os::unix::fs::symlink("../one", source.join("a/b/link")).unwrap();
    let mut tree = FileTree::new(Attributes::root(0o755, 1));
    tree.add_from_host("tree", &source, Ownership::Root { mtime: 1 }, &mut HardLinks::default()).unwrap();
    let image = written(&tree, directory.path(), "image");
    assert!(image.metadata().unwrap().len() < 2 << 20);
    let out = directory.path().join("out");
    let words = ["-osirrox", "on", "-extract", "/tree", out.to_str().unwrap()];
    if xorriso(&image, &words).is_some() {
        checker::assert_same(&source, &out);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let refused = |name: &str, kind: Kind, volume_id: &str| {
        let mut tree = FileTree::new(Attributes::root(0o755, 1));
        tree.add(name, kind, Attributes::root(0o644, 1)).unwrap();
        let options = Options { volume_id: volume_id.to_owned(), ..Options::default() };
        Plan::new(&tree, &options).unwrap_err().to_string()
    };
    assert!(refused(&"n".repeat(254), file(1), "A").contains("is too long"));
    assert!(refused("link", Kind::Symlink(vec![b'x'; 4000]), "A").contains("`link` is too long"));
    let large = Contents::Host { path: "/x".into(), size: 1 << 32, data: None };
    assert!(refused("large", Kind::File(large), "A").contains("`large` is too large"));
    assert!(refused("file", file(1), "a/b").contains("isoImage.volumeID"));
    assert!(refused("file", file(1), &"a".repeat(33)).contains("isoImage.volumeID"));
}
