//! File systems that fsck.vfat (dosfstools) and mtools look at. Where these are not installed the test says so.

use super::*;
use crate::checker;
use crate::file_tree::Attributes;
use crate::region::create_sparse;
use std::path::Path;
use std::process::Command;

fn tool(program: &str, package: &str) -> Option<Command> {
    checker::find(program, package).map(Command::new)
}

fn options() -> Options {
    Options { label: "ESP".to_owned(), serial: 0x1234_abcd, hidden_sectors: 2048, time: 1_700_000_000 }
}

fn bytes(size: usize) -> Kind {
    Kind::File(Contents::Bytes((0..size).map(|n| (n * 37 % 253) as u8).collect()))
}

fn tree() -> FileTree {
    let mut tree = FileTree::new(Attributes::root(0o755, 1));
    let attributes = Attributes::root(0o644, 1_600_000_000);
    for (path, size) in [
        ("EFI/BOOT/BOOTX64.EFI", 100_000),
        ("EFI/systemd/systemd-bootx64.efi", 100_000),
        ("loader/loader.conf", 40),
        ("loader/entries/firn-1-0a1b2c3d+3-0.conf", 300),
        ("loader/empty", 0),
        ("firn/kernel-with-a-very-long-name-0123456789abcdef-ünïcode.efi", 1_234_567),
    ] {
        tree.add(path, bytes(size), attributes).unwrap();
    }
    for number in 0..200 {
        tree.add(format!("many/generation-{number}.conf"), bytes(number), attributes).unwrap();
    }
    tree
}

#[test]
fn clean_at_every_size() {
    for size in [
        4_u64 << 20,
        16 << 20,
        35 << 20,
        36 << 20,
        64 << 20,
        100 << 20,
        256 << 20,
        512 << 20,
        3 << 30,
        40 << 30,
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        let file = create_sparse(&path, size).unwrap();
        let summary = write(&tree(), &Region::new(&file, 0, size), &options()).unwrap();
        assert!(
            summary.clusters >= if size >= 36 << 20 { FEWEST_FAT32 } else { FEWEST_FAT16 },
            "{size}: {summary:?}"
        );
        if let Some(mut fsck) = tool("fsck.vfat", "dosfstools") {
            let output = fsck.args(["-n", "-v"]).arg(&path).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{size}: {text}");
            for word in ["Free cluster summary wrong", "differ", "Dirty"] {
                assert!(!text.contains(word), "{size}: {text}");
            }
        }
    }
}

#[test]
fn mtools_read_back_what_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let file = create_sparse(&path, 64 << 20).unwrap();
    let tree = tree();
    write(&tree, &Region::new(&file, 0, 64 << 20), &options()).unwrap();
    let out = directory.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let Some(mut mcopy) = tool("mcopy", "mtools") else { return };
    let output = mcopy
        .args(["-s", "-m", "-Q", "-i"])
        .arg(&path)
        .arg("::*")
        .arg(&out)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    compare(&tree, NodeId::ROOT, &out);
    if let Some(mut mlabel) = tool("mlabel", "mtools") {
        let output = mlabel.args(["-s", "-i"]).arg(&path).arg("::").output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("ESP"));
    }
}

/// Every file of the tree is in the directory with the same bytes, and nothing else is.
fn compare(tree: &FileTree, id: NodeId, directory: &Path) {
    let mut found: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    let expected: Vec<String> =
        tree.entries(id).map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
    assert_eq!(found, expected, "{}", directory.display());
    for (name, child) in tree.entries(id) {
        let path = directory.join(std::str::from_utf8(name).unwrap());
        match &tree.node(child).kind {
            Kind::File(Contents::Bytes(bytes)) => {
                assert!(std::fs::read(&path).unwrap() == *bytes, "{}", path.display());
            }
            _ => compare(tree, child, &path),
        }
    }
}

#[test]
fn same_bytes_twice() {
    let directory = tempfile::tempdir().unwrap();
    let image = |name: &str| {
        let path = directory.path().join(name);
        let file = create_sparse(&path, 40 << 20).unwrap();
        write(&tree(), &Region::new(&file, 0, 40 << 20), &options()).unwrap();
        std::fs::read(path).unwrap()
    };
    assert!(image("one") == image("two"));
}

#[test]
fn what_does_not_fit_is_said_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let file = create_sparse(&path, 4 << 20).unwrap();
    let mut tree = tree();
    tree.add("large", bytes(4 << 20), Attributes::root(0o644, 1)).unwrap();
    let error = write(&tree, &Region::new(&file, 0, 4 << 20), &options()).unwrap_err();
    assert!(matches!(error, FatError::Full { .. }), "{error}");
    assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
    let size = size_for(&tree, 3 << 20);
    let file = create_sparse(&path, size).unwrap();
    let summary = write(&tree, &Region::new(&file, 0, size), &options()).unwrap();
    assert!(summary.free_clusters * summary.cluster_bytes >= 3 << 20);
}

#[test]
fn links_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = create_sparse(&directory.path().join("image"), 8 << 20).unwrap();
    let mut tree = FileTree::new(Attributes::root(0o755, 1));
    tree.add("x", Kind::Symlink(b"y".to_vec()), Attributes::root(0o777, 1)).unwrap();
    assert!(matches!(write(&tree, &Region::new(&file, 0, 8 << 20), &options()), Err(FatError::Kind(_))));
}

#[test]
fn dates() {
    for (time, date, clock) in [
        (0, (0, 1, 1), (0, 0, 0)),
        (951_827_696, (20, 2, 29), (12, 34, 56)),
        (1_700_000_000, (43, 11, 14), (22, 13, 20)),
        (4_102_444_800, (120, 1, 1), (0, 0, 0)),
    ] {
        let expected =
            ((date.0 << 9) | (date.1 << 5) | date.2, (clock.0 << 11) | (clock.1 << 5) | (clock.2 / 2));
        assert_eq!(dos_time(time), expected, "{time}");
    }
}
