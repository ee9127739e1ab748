//! File systems that fsck.erofs (erofs-utils) checks and extracts. Where it is not installed the test says so.

use super::*;
use crate::checker;
use crate::file_tree::{Attributes, HardLinks, Ownership};
use crate::region::create_sparse;
use std::path::Path;
use std::process::Command;

/// Writes the tree; gives the image's path.
fn written(tree: &FileTree, directory: &Path) -> PathBuf {
    let path = directory.join("image");
    let options = Options { label: "test".to_owned(), uuid: Uuid::derive(b"seed", "erofs"), time: 1 };
    let plan = Plan::new(tree, &options).unwrap();
    let file = create_sparse(&path, plan.size()).unwrap();
    plan.write(&Region::new(&file, 0, plan.size()), &options).unwrap();
    path
}

/// Checks the image, and extracts it when a directory is given. False when the checker is not installed.
fn fsck(image: &Path, extract: Option<&Path>) -> bool {
    let Some(program) = checker::find("fsck.erofs", "erofs-utils") else { return false };
    let mut command = Command::new(program);
    if let Some(directory) = extract {
        command.arg(format!("--extract={}", directory.display())).arg("--no-preserve-owner");
    }
    let output = command.arg(image).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !text.contains("<E>"), "{text}");
    true
}

fn file(size: usize) -> Kind {
    Kind::File(Contents::Bytes((0..size).map(|n| (n * 31 % 251) as u8).collect()))
}

#[test]
fn every_kind_and_size() {
    let directory = tempfile::tempdir().unwrap();
    let mut tree = FileTree::new(Attributes::root(0o755, 1));
    for size in [0, 1, 31, 4000, 4032, 4064, 4065, 4095, 4096, 4097, 8192, 100_000] {
        tree.add(format!("files/{size}"), file(size), Attributes::root(0o644, 1)).unwrap();
    }
    let odd = Attributes { mode: 0o4711, uid: 100_000, gid: 7, mtime: 1_700_000_000 };
    tree.add("odd", file(4040), odd).unwrap();
    tree.add("link", Kind::Symlink(b"files/1".to_vec()), odd).unwrap();
    tree.add("dev/null", Kind::CharDevice(1, 3), Attributes::root(0o666, 1)).unwrap();
    tree.add("dev/pipe", Kind::Fifo, Attributes::root(0o666, 1)).unwrap();
    for number in 0..5000 {
        tree.add(format!("many/{number}-{}", "n".repeat(number % 90)), file(number % 3), odd).unwrap();
    }
    let image = written(&tree, directory.path());
    fsck(&image, None);
    assert_eq!(std::fs::read(&image).unwrap(), std::fs::read(written(&tree, directory.path())).unwrap());
}

#[test]
fn a_host_directory_comes_out_as_it_went_in() {
    let directory = tempfile::tempdir().unwrap();
    let host = directory.path().join("host");
    std::fs::create_dir_all(host.join("deep/er")).unwrap();
    for number in 0..300_usize {
        std::fs::write(host.join(format!("deep/{number}")), vec![number as u8; number * 97]).unwrap();
    }
    std::fs::hard_link(host.join("deep/7"), host.join("deep/er/seven")).unwrap();
    std::os::unix::fs::symlink("deep/7", host.join("link")).unwrap();
    let mut tree = FileTree::new(Attributes::root(0o755, 1));
    tree.add_from_host("host", &host, Ownership::Root { mtime: 1 }, &mut HardLinks::default()).unwrap();
    let image = written(&tree, directory.path());
    let out = directory.path().join("out");
    if fsck(&image, Some(&out)) {
        let output = Command::new("diff").arg("-r").arg(&host).arg(out.join("host")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(std::fs::read_link(out.join("host/link")).unwrap(), Path::new("deep/7"));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut tree = FileTree::new(Attributes::root(0o755, 1));
    tree.add("x", file(100_000), Attributes::root(0o644, 1)).unwrap();
    let options = Options { label: "test".to_owned(), uuid: Uuid([1; 16]), time: 1 };
    let plan = Plan::new(&tree, &options).unwrap();
    let image = create_sparse(&directory.path().join("image"), 65536).unwrap();
    let error = plan.write(&Region::new(&image, 0, 65536), &options).unwrap_err();
    assert!(matches!(error, ErofsError::Full { .. }));
    let long = Options { label: "sixteen bytes...".to_owned(), ..options };
    assert!(matches!(Plan::new(&tree, &long), Err(ErofsError::Name(_))));
}
