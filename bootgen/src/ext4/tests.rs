//! File systems that e2fsck and debugfs (of e2fsprogs) look at. Where these are not installed the test says so.

use super::*;
use crate::checker;
use crate::file_tree::{Attributes, HardLinks, Ownership};
use crate::region::create_sparse;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Runs one of e2fsprogs' programs, or diff.
fn run(program: &str, arguments: &[&str]) -> Option<(bool, String)> {
    checker::run(program, "e2fsprogs", arguments)
}

/// Writes the tree and has it checked.
fn checked(tree: &FileTree, size: u64, directory: &Path) -> (PathBuf, Summary) {
    let path = directory.join("image");
    let options = Options::new("test", b"seed", 1_000_000_000);
    let file = create_sparse(&path, size).unwrap();
    let summary = write(tree, &Region::new(&file, 0, size), &options).unwrap();
    if let Some((clean, text)) = run("e2fsck", &["-fn", path.to_str().unwrap()]) {
        assert!(clean, "{text}");
        assert!(!text.contains("Fix?"), "{text}");
    }
    (path, summary)
}

fn empty() -> FileTree {
    FileTree::new(Attributes::root(0o755, 1))
}

fn file(size: usize) -> Kind {
    Kind::File(Contents::Bytes((0..size).map(|n| (n * 31 % 251) as u8).collect()))
}

#[test]
fn empty_file_systems_of_many_sizes() {
    for size in
        [8 << 20, 33 << 20, 128 << 20, (128 << 20) + 4096 * 100, 600 << 20, 3 << 30, (20_u64 << 30) + 12345]
    {
        let directory = tempfile::tempdir().unwrap();
        let (path, summary) = checked(&empty(), size, directory.path());
        assert!(summary.free_blocks > 0, "{size}");
        let used = path.metadata().unwrap().blocks() * 512;
        assert!(used < 64 << 10 || used < size / 1000, "{size}: {used} bytes on disk");
    }
}

#[test]
fn every_kind_of_node() {
    let directory = tempfile::tempdir().unwrap();
    let mut tree = empty();
    let root = |mode| Attributes::root(mode, 1);
    tree.add("etc/empty", file(0), root(0o600)).unwrap();
    tree.add("etc/small", file(10), Attributes { mode: 0o4755, uid: 70_000, gid: 1000, mtime: 1 << 32 })
        .unwrap();
    tree.add("etc/block", file(4096), root(0o444)).unwrap();
    tree.add("etc/large", file(3_000_001), root(0o444)).unwrap();
    tree.add("etc/link", Kind::Symlink(b"small".to_vec()), root(0o777)).unwrap();
    tree.add("etc/long-link", Kind::Symlink([b'x'; 200].to_vec()), root(0o777)).unwrap();
    tree.add("dev/console", Kind::CharDevice(5, 1), root(0o600)).unwrap();
    tree.add("dev/disk", Kind::BlockDevice(259, 70_000), root(0o600)).unwrap();
    tree.add("dev/pipe", Kind::Fifo, root(0o600)).unwrap();
    tree.add("dev/socket", Kind::Socket, root(0o600)).unwrap();
    let (path, _) = checked(&tree, 64 << 20, directory.path());
    let image = path.to_str().unwrap();
    if let Some((_, text)) = run("debugfs", &["-R", "stat /etc/small", image]) {
        assert!(
            text.contains("Mode:  04755") && text.contains("User: 70000") && text.contains("Size: 10"),
            "{text}"
        );
    }
    if let Some((_, text)) = run("debugfs", &["-R", "stat /dev/disk", image]) {
        assert!(text.contains("Device major/minor number: 259:70000"), "{text}");
    }
    if let Some((_, text)) = run("debugfs", &["-R", "stat /etc/long-link", image]) {
        assert!(text.contains("Size: 200"), "{text}");
    }
}

#[test]
fn a_host_directory_comes_out_as_it_went_in() {
    let directory = tempfile::tempdir().unwrap();
    let host = directory.path().join("host");
    std::fs::create_dir_all(host.join("deep/er")).unwrap();
    for number in 0..300_usize {
        let name = format!("deep/file-{number}-{}", "n".repeat(number % 60));
        std::fs::write(host.join(name), vec![number as u8; number * 97]).unwrap();
    }
    std::fs::hard_link(host.join("deep/file-0-"), host.join("deep/er/same")).unwrap();
    std::os::unix::fs::symlink("deep/file-0-", host.join("link")).unwrap();
    let sparse = File::create(host.join("sparse")).unwrap();
    sparse.set_len(5 << 30).unwrap();
    for place in [0_u64, 1 << 20, (5 << 30) - 4096] {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", place).unwrap();
    }
    let mut tree = empty();
    tree.add_from_host("host", &host, Ownership::Keep, &mut HardLinks::default()).unwrap();
    let (image, _) = checked(&tree, 128 << 20, directory.path());
    let out = directory.path().join("out");
    std::fs::create_dir(&out).unwrap();
    // A sparse file of 5 GiB would be read out in full.
    std::fs::remove_file(host.join("sparse")).unwrap();
    let commands = directory.path().join("commands");
    std::fs::write(&commands, format!("rdump /host/deep {0}\nrdump /host/link {0}\n", out.display()))
        .unwrap();
    if let Some((_, text)) = run("debugfs", &["-f", commands.to_str().unwrap(), image.to_str().unwrap()]) {
        let (same, difference) =
            run("diff", &["-r", host.join("deep").to_str().unwrap(), out.join("deep").to_str().unwrap()])
                .unwrap_or((true, String::new()));
        assert!(same, "{text}\n{difference}");
    }
}

#[test]
fn large_directories() {
    let directory = tempfile::tempdir().unwrap();
    let mut tree = empty();
    for number in 0..20_000 {
        tree.add(format!("many/entry-{number:06}-with-a-longer-name"), file(0), Attributes::root(0o644, 1))
            .unwrap();
    }
    for number in 0..1000 {
        tree.add_directory(format!("dirs/{number}"), Attributes::root(0o755, 1)).unwrap();
    }
    let (image, _) = checked(&tree, 256 << 20, directory.path());
    if let Some((_, text)) =
        run("debugfs", &["-R", "stat /many/entry-019999-with-a-longer-name", image.to_str().unwrap()])
    {
        assert!(text.contains("Type: regular"), "{text}");
    }
}

#[test]
fn more_subdirectories_than_links_can_count() {
    let directory = tempfile::tempdir().unwrap();
    let mut tree = empty();
    for number in 0..65_100 {
        tree.add_directory(format!("dirs/{number}"), Attributes::root(0o755, 1)).unwrap();
    }
    checked(&tree, 2 << 30, directory.path());
}

#[test]
fn same_bytes_twice_and_full_said_before() {
    let directory = tempfile::tempdir().unwrap();
    let mut tree = empty();
    tree.add("a", file(5_000_000), Attributes::root(0o644, 1)).unwrap();
    let options = Options::new("test", b"seed", 5);
    let bytes = |name: &str, size| {
        let path = directory.path().join(name);
        let file = create_sparse(&path, size).unwrap();
        write(&tree, &Region::new(&file, 0, size), &options).map(|_| std::fs::read(path).unwrap())
    };
    assert_eq!(bytes("one", 16 << 20).unwrap(), bytes("two", 16 << 20).unwrap());
    tree.add("b", file(12_000_000), Attributes::root(0o644, 1)).unwrap();
    let path = directory.path().join("full");
    let image = create_sparse(&path, 16 << 20).unwrap();
    let error = write(&tree, &Region::new(&image, 0, 16 << 20), &options).unwrap_err();
    assert!(matches!(error, Ext4Error::Full { .. }), "{error}");
    assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn the_size_that_is_asked_for_suffices() {
    let directory = tempfile::tempdir().unwrap();
    for count in [0, 3, 40] {
        let mut tree = empty();
        for number in 0..count {
            tree.add(format!("f{number}"), file(4_000_000), Attributes::root(0o644, 1)).unwrap();
        }
        let options = Options::new("test", b"seed", 1_000_000_000);
        let size = size_for(&tree, &options, 20 << 20);
        let (_, summary) = checked(&tree, size, directory.path());
        let free = summary.free_blocks * 4096;
        assert!((20 << 20..60 << 20).contains(&free), "{count} files: {free} bytes free of {size}");
    }
}

#[test]
fn longest_names() {
    let directory = tempfile::tempdir().unwrap();
    let mut tree = empty();
    tree.add("x".repeat(255), file(1), Attributes::root(0o644, 1)).unwrap();
    checked(&tree, 16 << 20, directory.path());
    tree.add("y".repeat(256), file(1), Attributes::root(0o644, 1)).unwrap();
    let image = create_sparse(&directory.path().join("long"), 16 << 20).unwrap();
    let error = write(&tree, &Region::new(&image, 0, 16 << 20), &Options::new("x", b"", 0)).unwrap_err();
    assert!(matches!(error, Ext4Error::Name(_)));
}
