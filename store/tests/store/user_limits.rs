//! What one user may have of the daemon: connections and builds. Needs root, to be somebody else in a thread.

use crate::daemon::{derivation, start_with};
use formats::store_path::StorePath;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use store::build::{BuildOptions, Sandbox, Wanted};
use store::{Layout, Options, Store};

/// Somebody whom no setting trusts.
const SOMEBODY: u32 = 65_534;

/// A connection and what the daemon said to the greeting.
fn greet(socket: &Path) -> (UnixStream, Vec<u8>) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(&[0x6e69_7863u64, 0x123, 0, 0].map(u64::to_le_bytes).concat()).unwrap();
    // magic, version, the daemon's text (a length of 5, padded to 8), trust, and then the end of the greeting or an error
    let mut answer = vec![0; 48];
    stream.read_exact(&mut answer).unwrap();
    (stream, answer.split_off(40))
}

/// Does something as somebody else: the kernel keeps a thread's user apart from the others'.
fn as_somebody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let uid = rustix::process::Uid::from_raw(SOMEBODY);
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

fn open_to_all(directory: &Path) {
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_user_who_has_all_connections_keeps_nobody_else_out() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    open_to_all(directory.path());
    let (_, socket) = start_with(directory.path(), &[("user-connections-max", "2")]);
    let welcome = 0x616c_7473u64.to_le_bytes();
    let mut held = as_somebody(|| vec![greet(&socket), greet(&socket)]);
    assert!(held.iter().all(|(_, answer)| *answer == welcome));
    let (mut third, answer) = as_somebody(|| greet(&socket));
    assert_ne!(answer, welcome);
    let mut text = Vec::new();
    third.read_to_end(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("no more are allowed (`user-connections-max` in nix.conf)"), "{text}");
    for _ in 0..3 {
        assert_eq!(greet(&socket).1, welcome, "root is somebody else");
    }
    held.pop();
    let begun = Instant::now();
    while as_somebody(|| greet(&socket).1) != welcome {
        assert!(begun.elapsed() < Duration::from_secs(20), "a connection that ended is still counted");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Builds something that notices when another builds at the same time.
fn build_alone(layout: &Layout, socket: &Path, name: &str, lock: &Path) -> Result<(), String> {
    let store = Store::connect(layout.clone(), Options::default(), socket, Vec::new()).unwrap();
    let script = format!(
        "export PATH=/usr/bin:/bin; mkdir {lock} || exit 1; sleep 0.3; rmdir {lock}; echo > $out",
        lock = lock.display()
    );
    let mut derivation = derivation(name, &script, &[]);
    let lookup = &mut |path: &StorePath| store.derivation_hash(path);
    derivation.fill_output_paths::<store::Error>(store.dir(), lookup).unwrap();
    let path = store.add_derivation(&derivation).unwrap();
    let options = BuildOptions { sandbox: Sandbox::Off, ..BuildOptions::default() };
    store.build(&[(path, Wanted::All)], &options).map(drop).map_err(|error| error.to_string())
}

#[test]
fn a_users_builds_take_turns_over_all_connections() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let builds = |settings: &[(&str, &str)]| -> Vec<Result<(), String>> {
        let directory = tempfile::tempdir().unwrap();
        open_to_all(directory.path());
        let (layout, socket) = start_with(directory.path(), settings);
        let lock = directory.path().join("lock");
        std::thread::scope(|scope| {
            let threads: Vec<_> = ["a", "b", "c"]
                .map(|name| scope.spawn(|| as_somebody(|| build_alone(&layout, &socket, name, &lock))))
                .into();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    };
    let one_by_one = builds(&[("user-builds-max", "1")]);
    assert!(one_by_one.iter().all(Result::is_ok), "{one_by_one:?}");
    assert!(builds(&[]).iter().any(Result::is_err), "without the limit they do not take turns");
}
