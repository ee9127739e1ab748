//! Binary caches both ways with the real Nix, and caches that are away, lie, break off or stall.

use crate::fixture::Fixture;
use crate::turns::implementations;
use formats::signature::{SecretKey, TrustedKeys};
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use store::build::{BuildOptions, FailureKind, Wanted};
use store::cache::{Address, Cache, Substituters};
use store::trust::{Trust, generate_key};
use store::{Error, Layout, Options, Store};

/// A store that trusts a key and takes from caches.
fn consumer(directory: &Path, keys: &[&SecretKey], caches: &[&str]) -> Store {
    let addresses = caches.iter().map(|text| Address::parse(text).unwrap()).collect();
    let options = Options {
        trust: Trust {
            require_signatures: true,
            keys: TrustedKeys::new(keys.iter().map(|key| key.public())),
        },
        substituters: Arc::new(Substituters::new(addresses, Some(directory.join("memory")))),
        ..Options::default()
    };
    Store::open_with(Layout::below(directory), options).unwrap()
}

/// A store with a derivation `top` that needs `base`, both built, and a signed cache with them in a directory.
struct Published {
    fixture: Fixture,
    key: SecretKey,
    cache: PathBuf,
    top: StorePath,
    paths: BTreeSet<StorePath>,
}

fn publish(parameters: &str) -> Published {
    let fixture = Fixture::new();
    let key = generate_key("test-1").unwrap();
    let key_file = fixture.directory.path().join("key");
    fs::write(&key_file, key.reveal()).unwrap();
    let base = fixture.script(
        "base",
        "mkdir $out; i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done > $out/f",
    );
    let top = fixture.derivation("top", "echo $base > $out", |derivation| {
        derivation.input_drvs.insert(base.clone(), ["out".to_owned()].into());
        let parsed = fixture.store.read_derivation(&base).unwrap();
        let path = fixture.store.dir().print(&fixture.store.output_paths(&parsed).unwrap()["out"]);
        derivation.env.insert(b"base".to_vec(), path.into_bytes());
    });
    let outputs = fixture.store.build_derivation(&top, &BuildOptions::default()).unwrap();
    let paths = fixture.store.closure([outputs["out"].clone()]).unwrap();
    assert_eq!(paths.len(), 2);
    let cache = fixture.directory.path().join("cache");
    let address = format!("file://{}?secret-key={}{parameters}", cache.display(), key_file.display());
    let opened = Cache::open(&Address::parse(&address).unwrap(), fixture.store.dir()).unwrap();
    assert_eq!(opened.upload(&fixture.store, &paths, &|_| {}).unwrap().len(), 2);
    assert!(opened.upload(&fixture.store, &paths, &|_| {}).unwrap().is_empty());
    Published { fixture, key, cache, top: outputs["out"].clone(), paths }
}

/// Copies a derivation with all that it needs to another store, so that it can be built there.
fn copy_derivation(from: &Fixture, to: &Store, output: &StorePath) -> StorePath {
    let derivation = from.store.path_info(output).unwrap().deriver.unwrap();
    let closure = from.store.closure([derivation.clone()]).unwrap();
    from.store.copy_to(to, &closure, true, &|_| {}).unwrap();
    derivation
}

fn nar_file(cache: &Path, path: &StorePath) -> PathBuf {
    let text = fs::read_to_string(cache.join(format!("{}.narinfo", path.hash_part()))).unwrap();
    cache.join(text.lines().find_map(|line| line.strip_prefix("URL: ")).unwrap())
}

fn nix(directory: &Path, root: &Path, settings: &str, arguments: &[&str]) -> String {
    let output = Command::new("timeout")
        .arg("60")
        .arg(directory.join("nix"))
        .args(arguments)
        .env(
            "NIX_CONFIG",
            format!(
                "store = {}\nbuild-users-group =\nsandbox = false\nsubstituters =\nexperimental-features = nix-command\n{settings}",
                root.display()
            ),
        )
        .env("HOME", root)
        .env_remove("NIX_REMOTE")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nix {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_compression_comes_back_and_builds_nothing() {
    for compression in ["none", "xz", "zstd", "gzip", "bzip2"] {
        let published = publish(&format!("&compression={compression}"));
        let directory = tempfile::tempdir().unwrap();
        let cache = format!("file://{}", published.cache.display());
        let store = consumer(directory.path(), &[&published.key], &[&cache]);
        let derivation = copy_derivation(&published.fixture, &store, &published.top);
        let plan = store.missing(&[(derivation.clone(), Wanted::All)]).unwrap();
        assert_eq!((plan.build.len(), plan.substitute.len()), (0, 2), "{compression}");
        let report = store.build(&[(derivation, Wanted::All)], &BuildOptions::default()).unwrap();
        assert!(report.built.is_empty());
        assert_eq!(store.verify(true, &|_| {}).unwrap(), vec![]);
        let info = store.path_info(&published.top).unwrap();
        assert!(!info.ultimate && info.signatures.iter().any(|signature| signature.starts_with("test-1:")));
    }
}

#[test]
fn signed_caches_go_both_ways_with_nix() {
    for directory in implementations() {
        for compression in ["zstd", "xz"] {
            // Ours to theirs.
            let published = publish(&format!("&compression={compression}"));
            let theirs = tempfile::tempdir().unwrap();
            let cache = format!("file://{}", published.cache.display());
            let top = published.fixture.store.dir().print(&published.top);
            let trusted = format!("trusted-public-keys = {}", published.key.public());
            nix(&directory, theirs.path(), &trusted, &["copy", "--from", &cache, &top]);
            nix(&directory, theirs.path(), &trusted, &["store", "verify", "--all", "--sigs-needed", "1"]);
            // And theirs, signed by them, to ours.
            let key = generate_key("theirs-1").unwrap();
            let key_file = theirs.path().join("key");
            fs::write(&key_file, key.reveal()).unwrap();
            let back = theirs.path().join("cache");
            let to = format!(
                "file://{}?compression={compression}&secret-key={}",
                back.display(),
                key_file.display()
            );
            nix(&directory, theirs.path(), "", &["copy", "--to", &to, &top]);
            let ours = tempfile::tempdir().unwrap();
            let store = consumer(ours.path(), &[&key], &[&format!("file://{}", back.display())]);
            store.substitute(&[published.top.clone()].into(), &BuildOptions::default()).unwrap();
            assert_eq!(store.verify(true, &|_| {}).unwrap(), vec![]);
            assert_eq!(store.lacking_signatures(1).unwrap(), vec![]);
            for path in &published.paths {
                let (mine, other) =
                    (store.path_info(path).unwrap(), published.fixture.store.path_info(path).unwrap());
                assert_eq!((mine.references, mine.nar_hash), (other.references, other.nar_hash));
            }
        }
    }
}

#[test]
fn what_nobody_trusted_signed_is_built_instead() {
    let published = publish("");
    let directory = tempfile::tempdir().unwrap();
    let other = generate_key("test-1").unwrap();
    let store = consumer(directory.path(), &[&other], &[&format!("file://{}", published.cache.display())]);
    let error = store.substitute(&[published.top.clone()].into(), &BuildOptions::default()).unwrap_err();
    assert!(error.to_string().contains("no cache has it"), "{error}");
    let derivation = copy_derivation(&published.fixture, &store, &published.top);
    let report = store.build(&[(derivation, Wanted::All)], &BuildOptions::default()).unwrap();
    assert_eq!(report.built.len(), 2);
    // The cache itself may be trusted instead.
    let directory = tempfile::tempdir().unwrap();
    let store =
        consumer(directory.path(), &[], &[&format!("file://{}?trusted=1", published.cache.display())]);
    store.substitute(&[published.top].into(), &BuildOptions::default()).unwrap();
}

#[test]
fn a_lying_cache_never_gets_anything_in() {
    type Lie = fn(&Path);
    let lies: [(&str, Lie); 6] = [
        ("other bytes", |file| fs::write(file, zstd::encode_all(&b"nonsense"[..], 3).unwrap()).unwrap()),
        ("no zstd", |file| fs::write(file, b"nonsense").unwrap()),
        ("cut short", |file| {
            let data = fs::read(file).unwrap();
            fs::write(file, &data[..data.len() / 2]).unwrap();
        }),
        ("empty", |file| fs::write(file, b"").unwrap()),
        ("a directory", |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
        ("another path's archive", |file| {
            let mut archive = Vec::new();
            let mut writer = formats::nar::Writer::new(&mut archive).unwrap();
            writer.file(false, 4, &mut &b"evil"[..]).unwrap();
            writer.finish().unwrap();
            fs::write(file, zstd::encode_all(&archive[..], 3).unwrap()).unwrap();
        }),
    ];
    for (name, lie) in lies {
        let published = publish("");
        lie(&nar_file(&published.cache, &published.top));
        let directory = tempfile::tempdir().unwrap();
        let cache = format!("file://{}", published.cache.display());
        let store = consumer(directory.path(), &[&published.key], &[&cache]);
        let derivation = copy_derivation(&published.fixture, &store, &published.top);
        let request = [(derivation, Wanted::All)];
        match store.build(&request, &BuildOptions::default()) {
            Err(Error::Build(error)) => {
                assert!(
                    matches!(error.failures[0].kind, FailureKind::Substitution { gone: false, .. }),
                    "{error}"
                );
                assert!(error.to_string().contains("--fallback"), "{name}: {error}");
            }
            other => panic!("{name}: {other:?}"),
        }
        assert!(!store.is_valid(&published.top).unwrap(), "{name}");
        assert!(!store.real_path(&published.top).exists(), "{name}");
        // The other cache has it right: the liar is passed over.
        let honest = published.cache.with_extension("honest");
        let address = format!("file://{}", honest.display());
        let opened = Cache::open(&Address::parse(&address).unwrap(), published.fixture.store.dir()).unwrap();
        opened.upload(&published.fixture.store, &published.paths, &|_| {}).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let store = consumer(
            directory.path(),
            &[&published.key],
            &[&format!("{cache}?priority=1"), &format!("{address}?trusted=1")],
        );
        store.substitute(&[published.top.clone()].into(), &BuildOptions::default()).unwrap();
        assert_eq!(store.verify(true, &|_| {}).unwrap(), vec![], "{name}");
        // And with fallback it is built.
        let directory = tempfile::tempdir().unwrap();
        let store = consumer(directory.path(), &[&published.key], &[&cache]);
        copy_derivation(&published.fixture, &store, &published.top);
        let options = BuildOptions { fallback: true, ..BuildOptions::default() };
        let report = store.build(&request, &options).unwrap();
        assert!(!report.built.is_empty(), "{name}");
    }
}

#[test]
fn lies_about_a_path_are_no_offers() {
    for (from, to) in [
        ("NarSize: ", "NarSize: 1"),
        ("NarHash: sha256:", "NarHash: sha256:0"),
        ("StorePath: /nix/store/", "StorePath: /nix/store/../"),
        ("-top", "-tip"),
        ("Sig: test-1:", "Sig: test-1:A"),
        ("References: ", "References: x"),
        ("Compression: zstd", "Compression: cat"),
    ] {
        let published = publish("");
        let file = published.cache.join(format!("{}.narinfo", published.top.hash_part()));
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from));
        fs::write(&file, text.replacen(from, to, 1)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let cache = format!("file://{}", published.cache.display());
        let store = consumer(directory.path(), &[&published.key], &[&cache]);
        assert!(store.substitute(&[published.top.clone()].into(), &BuildOptions::default()).is_err(), "{to}");
        assert!(!store.is_valid(&published.top).unwrap(), "{to}");
    }
}

#[test]
fn an_archive_that_is_gone_needs_no_fallback() {
    let published = publish("");
    fs::remove_file(nar_file(&published.cache, &published.top)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store =
        consumer(directory.path(), &[&published.key], &[&format!("file://{}", published.cache.display())]);
    let derivation = copy_derivation(&published.fixture, &store, &published.top);
    let report = store.build(&[(derivation.clone(), Wanted::All)], &BuildOptions::default()).unwrap();
    assert_eq!(report.built, vec![derivation]);
}

/// How a server behaves.
#[derive(Clone, Copy)]
enum Manners {
    /// As it should.
    Good,
    /// Breaks off every answer after so many bytes; goes on where asked.
    BreaksOff(usize),
    /// The same, but always begins at the beginning, breaking off later and later.
    KnowsNoRanges(usize),
    /// Answers everything with 503.
    Overloaded,
}

/// Serves a directory; the count of requests.
fn serve(directory: &Path, manners: Manners) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (directory, count) = (directory.to_owned(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&count);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (directory, counter) = (directory.clone(), Arc::clone(&counter));
            std::thread::spawn(move || answer(client.unwrap(), &directory, manners, &counter));
        }
    });
    (address, count)
}

fn answer(mut client: TcpStream, directory: &Path, manners: Manners, counter: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    loop {
        let (mut line, mut from, mut length) = (String::new(), 0, 0);
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let number = counter.fetch_add(1, Ordering::SeqCst);
        let mut words = line.split(' ');
        let (method, name) = (words.next()?.to_owned(), words.next()?.trim_start_matches('/').to_owned());
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(range) = header.strip_prefix("range: bytes=") {
                from = range.trim_end_matches('-').parse::<usize>().ok()?;
            }
            if let Some(text) = header.strip_prefix("content-length: ") {
                length = text.parse::<u64>().ok()?;
            }
        }
        if method == "PUT" {
            let mut data = Vec::new();
            reader.by_ref().take(length).read_to_end(&mut data).ok()?;
            fs::create_dir_all(directory.join(&name).parent()?).ok()?;
            fs::write(directory.join(&name), data).ok()?;
            client.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").ok()?;
            continue;
        }
        let data = fs::read(directory.join(&name));
        let (status, data) = match (manners, data) {
            (Manners::Overloaded, _) => ("503 Busy", Vec::new()),
            (_, Err(_)) => ("404 Not Found", Vec::new()),
            (Manners::KnowsNoRanges(_), Ok(data)) => ("200 OK", data),
            (_, Ok(data)) if from > 0 => ("206 Partial Content", data[from..].to_vec()),
            (_, Ok(data)) => ("200 OK", data),
        };
        write!(client, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", data.len()).ok()?;
        let end = match manners {
            Manners::BreaksOff(limit) => limit.min(data.len()),
            Manners::KnowsNoRanges(limit) if name.starts_with("nar/") => (limit * number).min(data.len()),
            _ => data.len(),
        };
        if method != "HEAD" {
            client.write_all(&data[..end]).ok()?;
            if end < data.len() {
                return None;
            }
        }
    }
}

#[test]
fn broken_transfers_go_on() {
    let published = publish("&compression=none");
    for manners in [Manners::Good, Manners::BreaksOff(40_000), Manners::KnowsNoRanges(60_000)] {
        let (address, _) = serve(&published.cache, manners);
        let directory = tempfile::tempdir().unwrap();
        let store = consumer(directory.path(), &[&published.key], &[&address]);
        store.substitute(&[published.top.clone()].into(), &BuildOptions::default()).unwrap();
        assert_eq!(store.verify(true, &|_| {}).unwrap(), vec![]);
    }
}

#[test]
fn a_cache_that_is_away_is_not_waited_for() {
    let published = publish("");
    // A port where nobody listens, a server that has no time, a directory that is not there.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let away = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let (busy, asked) = serve(&published.cache, Manners::Overloaded);
    let directory = tempfile::tempdir().unwrap();
    let store = consumer(directory.path(), &[&published.key], &[&away, &busy, "file:///nowhere/at/all"]);
    let derivation = copy_derivation(&published.fixture, &store, &published.top);
    let started = Instant::now();
    let report = store.build(&[(derivation, Wanted::All)], &BuildOptions::default()).unwrap();
    assert_eq!(report.built.len(), 2);
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert!(asked.load(Ordering::SeqCst) <= 2);
}

#[test]
fn a_server_is_not_asked_twice_what_it_does_not_have() {
    let published = publish("");
    let (address, asked) = serve(&published.cache, Manners::Good);
    let directory = tempfile::tempdir().unwrap();
    let nothing = StorePath::from_base_name("m0iyz1rzcgxw68h6skk8b9sg0p0napwc-foo.txt").unwrap();
    for round in 0..3 {
        let store = consumer(directory.path(), &[&published.key], &[&address]);
        assert!(store.substitute(&[nothing.clone()].into(), &BuildOptions::default()).is_err());
        // nix-cache-info each time, the path once.
        assert_eq!(asked.load(Ordering::SeqCst), 2 + round);
    }
}

#[test]
fn a_server_takes_uploads() {
    let published = publish("");
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("nix-cache-info"), "StoreDir: /nix/store\n").unwrap();
    let (address, _) = serve(directory.path(), Manners::Good);
    let cache = Cache::open(&Address::parse(&address).unwrap(), published.fixture.store.dir()).unwrap();
    assert_eq!(cache.upload(&published.fixture.store, &published.paths, &|_| {}).unwrap().len(), 2);
    let other = tempfile::tempdir().unwrap();
    let store = consumer(other.path(), &[], &[&format!("{address}?trusted=1")]);
    store.substitute(&[published.top].into(), &BuildOptions::default()).unwrap();
    assert_eq!(store.verify(true, &|_| {}).unwrap(), vec![]);
}

#[test]
fn stores_copy_what_is_trusted() {
    let published = publish("");
    let directory = tempfile::tempdir().unwrap();
    let store = consumer(directory.path(), &[&published.key], &[]);
    let source = &published.fixture.store;
    assert!(matches!(source.copy_to(&store, &published.paths, false, &|_| {}), Err(Error::Untrusted { .. })));
    for path in &published.paths {
        source.sign_path(path, &published.key).unwrap();
    }
    assert_eq!(source.copy_to(&store, &published.paths, false, &|_| {}).unwrap().len(), 2);
    assert!(source.copy_to(&store, &published.paths, false, &|_| {}).unwrap().is_empty());
    assert_eq!(store.verify(true, &|_| {}).unwrap(), vec![]);
    assert!(!store.path_info(&published.top).unwrap().ultimate);
}

#[test]
fn what_is_damaged_comes_from_a_cache_again() {
    let published = publish("");
    let own = tempfile::tempdir().unwrap();
    let address = format!("file://{}", published.cache.display());
    let store = consumer(own.path(), &[&published.key], &[&address]);
    store.substitute(&published.paths, &BuildOptions::default()).unwrap();
    for path in &published.paths {
        store::tree::remove(&store.real_path(path)).unwrap();
        fs::write(store.real_path(path), "damaged").unwrap();
    }
    assert_eq!(store.verify(true, &|_| {}).unwrap().len(), 2);
    let store::Mended { left, repaired } =
        store.verify_and_repair(true, &BuildOptions::default(), &|_| {}).unwrap();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(BTreeSet::from_iter(repaired), published.paths);
    assert_eq!(store.verify(true, &|_| {}).unwrap(), vec![]);
}
