//! Memory: files, archives and graphs of any size pass through in pieces. Each piece of work is done by a process of its own,
//! which says how much memory it ever had (`VmHWM` of proc_pid_status(5)).

use crate::fixture::Fixture;
use formats::content_address::Method;
use formats::hash::{Algorithm, Hash, HashingWriter};
use formats::nar::Writer;
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use store::cache::{Address, Cache};
use store::{CollectOptions, Store};

/// What a process may ever have, in KiB.
const LIMIT: u64 = 64 * 1024;
/// A file that does not fit into it, nor into a few of it.
const LARGE: u64 = 300 << 20;
/// A graph as large as a desktop's twice over.
const PATHS: usize = 20_000;

const WORKER: &str = "memory::works_and_says_its_peak";

#[test]
fn works_and_says_its_peak() {
    // Run by the tests below only.
    let Some(root) = std::env::var_os("FIRN_TEST_MEMORY_ROOT") else { return };
    let root = Path::new(&root);
    let fixture = Fixture { directory: tempfile::tempdir().unwrap(), store: Store::open(root).unwrap() };
    let store = &fixture.store;
    match std::env::var("FIRN_TEST_MEMORY_WORK").unwrap().as_str() {
        "add" => {
            let source = root.join("large");
            File::create(&source).unwrap().set_len(LARGE).unwrap();
            let path = store.add_path(&source, "large", Method::Recursive, Algorithm::Sha256).unwrap();
            assert_eq!(store.add_path(&source, "large", Method::Recursive, Algorithm::Sha256).unwrap(), path);
            assert_eq!(store.verify(true, &|_| {}).unwrap(), vec![]);
        }
        "archive" => {
            let path = StorePath::from_base_name("m0iyz1rzcgxw68h6skk8b9sg0p0napwc-large").unwrap();
            let hashing = HashingWriter::new(std::io::sink(), Algorithm::Sha256);
            let (_, hash, size) = write_large(hashing).finish();
            let (mut reader, writer) = std::io::pipe().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| write_large(writer));
                store.add_nar(&PathInfo::new(path.clone(), hash, size), &mut reader).unwrap();
            });
            let cache = root.join("cache");
            let address = format!("file://{}?compression=zstd", cache.display());
            let cache = Cache::open(&Address::parse(&address).unwrap(), store.dir()).unwrap();
            cache.upload(store, &BTreeSet::from([path.clone()]), &|_| {}).unwrap();
            let described = cache.narinfo(&path).unwrap().unwrap();
            let mut read = HashingWriter::new(std::io::sink(), Algorithm::Sha256);
            std::io::copy(&mut cache.archive(&described).unwrap(), &mut read).unwrap();
            assert!(read.finish().2 > 0);
        }
        "graph" => {
            store.load_registrations(&graph(store), true, false).unwrap();
            let last = StorePath::from_base_name(&name(PATHS - 1)).unwrap();
            assert!(store.closure([last]).unwrap().len() > PATHS / 2);
            assert_eq!(store.all_valid().unwrap().len(), PATHS);
        }
        "collect" => {
            let collected = store.collect_garbage(&CollectOptions::default()).unwrap();
            assert_eq!(collected.paths.len(), PATHS);
        }
        other => panic!("no such work: {other}"),
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("\npeak: {}", peak.trim().trim_end_matches(" kB"));
}

/// A NAR with one large file.
fn write_large<W: std::io::Write>(output: W) -> W {
    let mut writer = Writer::new(output).unwrap();
    writer.file(false, LARGE, &mut std::io::repeat(7).take(LARGE)).unwrap();
    writer.finish().unwrap()
}

fn name(number: usize) -> String {
    format!("{number:032}-p{number}")
}

/// Paths with ten references each, registered as a text; each an empty file.
fn graph(store: &Store) -> String {
    let empty = write_empty();
    let mut text = String::new();
    for number in 0..PATHS {
        File::create(store.layout().real_store.join(name(number))).unwrap();
        let references: BTreeSet<usize> = (1..=10usize)
            .filter(|step| number > 0 && *step <= number)
            .map(|step| if step <= 3 { number - step } else { number * step * 7919 % number })
            .collect();
        let (hash, size) = empty;
        write!(text, "/nix/store/{}\n{}\n{size}\n\n{}\n", name(number), hash.digits16(), references.len())
            .unwrap();
        for reference in references {
            writeln!(text, "/nix/store/{}", name(reference)).unwrap();
        }
    }
    text
}

fn write_empty() -> (Hash, u64) {
    let mut writer = Writer::new(HashingWriter::new(std::io::sink(), Algorithm::Sha256)).unwrap();
    writer.file(false, 0, &mut std::io::empty()).unwrap();
    let (_, hash, size) = writer.finish().unwrap().finish();
    (hash, size)
}

#[track_caller]
fn stays_small(root: &Path, work: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", WORKER, "--nocapture", "--test-threads=1"])
        .env("FIRN_TEST_MEMORY_ROOT", root)
        .env("FIRN_TEST_MEMORY_WORK", work)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{work}: {said}{}", String::from_utf8_lossy(&output.stderr));
    let peak: u64 =
        said.lines().find_map(|line| line.strip_prefix("peak: ")).map(|peak| peak.parse().unwrap()).unwrap();
    println!("{work}: {peak} KiB");
    assert!(peak <= LIMIT, "{work} took {peak} KiB");
}

#[test]
fn large_files_and_archives_pass_in_pieces() {
    let root = tempfile::tempdir().unwrap();
    stays_small(root.path(), "add");
    stays_small(root.path(), "archive");
}

#[test]
fn graphs_of_twenty_thousand_paths_stay_small() {
    let root = tempfile::tempdir().unwrap();
    stays_small(root.path(), "graph");
    stays_small(root.path(), "collect");
}
