//! The daemon, driven by the real Nix's clients and by nonsense.

use crate::turns::implementations;
use formats::content_address::Method;
use formats::derivation::{Derivation, Output};
use formats::hash::Algorithm;
use formats::store_path::StorePath;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use store::build::{BuildOptions, Sandbox, Wanted};
use store::daemon::{Settings, listen};
use store::{Layout, NixSettings, Options, Store};

/// Starts a daemon in a thread, on a store at its own logical place; gives its directory and socket.
fn start(directory: &Path) -> (Layout, PathBuf) {
    start_with(directory, &[("trusted-users", "*")])
}

/// The same with settings.
pub(crate) fn start_with(directory: &Path, settings: &[(&str, &str)]) -> (Layout, PathBuf) {
    let directory = std::fs::canonicalize(directory).unwrap();
    let mut layout = Layout::below(&directory);
    layout.store_dir = formats::store_path::StoreDir::new(layout.real_store.to_str().unwrap());
    let socket = directory.join("socket");
    let mut nix = NixSettings::default();
    for (name, value) in settings {
        nix.set(name, value);
    }
    let settings = Settings {
        build: BuildOptions { sandbox: Sandbox::Off, ..BuildOptions::default() },
        nix,
        store_options: |_| Ok(Options::default()),
        version: "2.8.0".to_owned(),
        restriction: None,
    };
    {
        let (layout, socket) = (layout.clone(), socket.clone());
        std::thread::spawn(move || listen(&socket, &layout, &Options::default(), &settings).unwrap());
    }
    for _ in 0..200 {
        if UnixStream::connect(&socket).is_ok() {
            return (layout, socket);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the daemon does not listen");
}

fn client(nix: &Path, layout: &Layout, socket: &Path, tool: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(nix.join(tool))
        .args(arguments)
        .env("NIX_REMOTE", format!("unix://{}", socket.display()))
        .env("NIX_STORE_DIR", &layout.real_store)
        .env("NIX_STATE_DIR", &layout.state)
        .env("NIX_LOG_DIR", &layout.log)
        .env("NIX_CONF_DIR", &layout.state)
        .env("NIX_CONFIG", "substituters =\nsandbox = false\nexperimental-features = nix-command")
        .env("HOME", &layout.state)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{tool} {arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

#[test]
fn real_clients_build_query_copy_and_collect() {
    for nix in implementations() {
        let directory = tempfile::tempdir().unwrap();
        let (layout, socket) = start(directory.path());
        let run = |tool: &str, arguments: &[&str]| {
            let (success, text) = client(&nix, &layout, &socket, tool, arguments);
            assert!(success, "{tool} {arguments:?}");
            text
        };
        let file = directory.path().join("t.nix");
        std::fs::write(
            &file,
            r#"let d = name: deps: derivation { inherit name deps; system = "x86_64-linux"; builder = "/bin/sh";
                 src = ./t.nix; args = [ "-c" "echo $deps $src > $out; echo built $name" ]; };
               in rec { a = d "a" []; b = d "b" [ a ];
                 bad = derivation { name = "bad"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "exit 3" ]; }; }"#,
        )
        .unwrap();
        let (file, link) = (file.to_str().unwrap(), directory.path().join("result"));
        let link = link.to_str().unwrap();
        let built = run("nix-build", &[file, "-A", "b", "-o", link]);
        assert!(!client(&nix, &layout, &socket, "nix-build", &[file, "-A", "bad", "--no-out-link"]).0);
        assert_eq!(run("nix-store", &["-qR", link]).lines().count(), 3);
        assert!(run("nix-store", &["-q", "--roots", link]).contains(link));
        run("nix", &["build", "--no-link", "-f", file, "a"]);
        let exported = directory.path().join("export");
        let paths = run("nix-store", &["-qR", link]);
        let mut arguments = vec!["--export"];
        arguments.extend(paths.lines());
        let output = Command::new(nix.join("nix-store"))
            .args(&arguments)
            .env("NIX_REMOTE", format!("unix://{}", socket.display()))
            .env("NIX_STORE_DIR", &layout.real_store)
            .env("NIX_STATE_DIR", &layout.state)
            .env("NIX_CONF_DIR", &layout.state)
            .output()
            .unwrap();
        assert!(output.status.success());
        std::fs::write(&exported, output.stdout).unwrap();
        run("nix-store", &["--gc"]);
        assert!(Path::new(built.trim()).exists());
        std::fs::remove_file(link).unwrap();
        run("nix-store", &["--gc"]);
        assert!(!Path::new(built.trim()).exists());
        run("nix-store", &["--verify", "--check-contents"]);
        let store = Store::open_with(layout.clone(), Options::default()).unwrap();
        assert!(store.all_valid().unwrap().is_empty());
    }
}

/// A derivation at the layout's own store, with a builder that needs no more than a shell.
pub(crate) fn derivation(name: &str, script: &str, inputs: &[(&StorePath, &str)]) -> Derivation {
    let mut derivation = Derivation {
        name: name.to_owned(),
        platform: format!("{}-linux", std::env::consts::ARCH).into_bytes(),
        builder: b"/bin/sh".to_vec(),
        args: vec![b"-c".to_vec(), script.as_bytes().to_vec()],
        ..Derivation::default()
    };
    derivation.outputs.insert("out".to_owned(), Output::Deferred);
    for (path, output) in inputs {
        derivation.input_drvs.entry((*path).clone()).or_default().insert((*output).to_owned());
    }
    derivation
}

#[test]
fn our_own_client_adds_builds_asks_and_collects() {
    let directory = tempfile::tempdir().unwrap();
    let (layout, socket) = start(directory.path());
    let store = Store::connect(layout.clone(), Options::default(), &socket, Vec::new()).unwrap();
    let add = |mut derivation: Derivation| {
        let dir = store.dir().clone();
        let lookup = &mut |path: &StorePath| store.derivation_hash(path);
        derivation.fill_output_paths::<store::Error>(&dir, lookup).unwrap();
        store.add_derivation(&derivation).unwrap()
    };
    let options = BuildOptions { sandbox: Sandbox::Off, ..BuildOptions::default() };
    let a = add(derivation("a", "echo a > $out", &[]));
    assert_eq!(store.missing(&[(a.clone(), Wanted::All)]).unwrap().build, std::slice::from_ref(&a));
    let built = store.build(&[(a.clone(), Wanted::All)], &options).unwrap();
    let out = built.outputs[&a]["out"].clone();
    assert_eq!(std::fs::read(store.real_path(&out)).unwrap(), b"a\n");
    // A file, a tree and a text that refers to another.
    let file = directory.path().join("file");
    std::fs::write(&file, "contents").unwrap();
    for method in [Method::Flat, Method::Recursive] {
        let added = store.add_path(&file, "file", method, Algorithm::Sha256).unwrap();
        assert!(store.path_info(&added).unwrap().content_address.is_some());
    }
    let text = store.add_text("text", b"it", &[out.clone()].into()).unwrap();
    assert_eq!(store.closure([text.clone()]).unwrap(), [text.clone(), out.clone()].into());
    assert_eq!(store.referrers(&out).unwrap(), [text.clone()].into());
    assert!(store.valid_derivers(&out).unwrap().contains(&a));
    // What fails says so, with the exit code of builds, and the conversation goes on.
    let bad = add(derivation("bad", "echo no; exit 3", &[]));
    let needs = add(derivation("needs", "exit 0", &[(&bad, "out")]));
    for wanted in [&bad, &needs] {
        let error = store.build(&[(wanted.clone(), Wanted::All)], &options).unwrap_err();
        assert!(matches!(&error, store::Error::Build(failed) if failed.exit_code() == 100), "{error}");
    }
    let unknown = StorePath::from_base_name("m0iyz1rzcgxw68h6skk8b9sg0p0napwc-foo").unwrap();
    assert!(!store.is_valid(&unknown).unwrap());
    assert!(matches!(store.substitute(&[unknown].into(), &options), Err(store::Error::Daemon(_))));
    let link = directory.path().join("result");
    store.add_permanent_root(&out, &link).unwrap();
    assert!(store.find_roots().unwrap().iter().any(|root| root.target == out && root.link == link));
    // What this client used stays as long as it is there.
    drop(store);
    let store = Store::connect(layout, Options::default(), &socket, Vec::new()).unwrap();
    let collected = store.collect_garbage(&store::CollectOptions::default()).unwrap();
    assert!(collected.paths.contains(&text) && !collected.paths.contains(&out));
    assert!(store.is_valid(&out).unwrap() && !store.is_valid(&text).unwrap());
    store.verify(true, &|_| {}).unwrap();
}

#[test]
fn nonsense_ends_a_connection_and_not_the_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let (_, socket) = start(directory.path());
    let greeting = [0x6e69_7863u64, 0x123, 0, 0].map(u64::to_le_bytes).concat();
    let number = |number: u64| number.to_le_bytes().to_vec();
    let cases: [Vec<u8>; 6] = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![],
        greeting.clone(),
        [greeting.clone(), number(9999)].concat(),
        // a path of endless length
        [greeting.clone(), number(1), number(u64::MAX)].concat(),
        // a NAR that breaks off
        [greeting, number(7), number(1), b"x\0\0\0\0\0\0\0".to_vec()].concat(),
    ];
    for bytes in cases {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // It ends by itself; what it says does not matter.
        stream.read_to_end(&mut answer).unwrap();
    }
    assert!(UnixStream::connect(&socket).is_ok());
}
