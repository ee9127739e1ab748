//! What breaks: builders that misbehave, processes that are killed, disks that are full, content that lies. Nothing
//! invalid is registered, nothing valid is lost.

use crate::fixture::Fixture;
use formats::derivation::Output;
use formats::hash::Hash;
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use store::build::{BuildOptions, FailureKind};
use store::{CollectOptions, Error, Store};

#[test]
fn a_builder_that_forks_away_is_killed_with_all_it_started() {
    let fixture = Fixture::new();
    let script = "echo $$ > $out; (setsid sh -c 'sleep 600' >/dev/null 2>&1 </dev/null &) ; (sleep 600 &)";
    let started = Instant::now();
    fixture.build(&fixture.script("forker", script));
    assert!(started.elapsed() < Duration::from_secs(60), "the build waited for what it left behind");
    fixture.assert_clean();
}

#[test]
fn limits_end_a_builder() {
    let fixture = Fixture::new();
    let endless = fixture.script("endless", "while true; do echo y; sleep 1; done");
    let options = BuildOptions { timeout: Some(Duration::from_secs(2)), ..BuildOptions::default() };
    assert!(matches!(fixture.failure(&endless, &options).kind, FailureKind::Timeout(_)));
    let silent = fixture.script("silent", "echo begin; sleep 600");
    let options = BuildOptions { max_silent: Some(Duration::from_secs(1)), ..BuildOptions::default() };
    let failure = fixture.failure(&silent, &options);
    assert!(matches!(failure.kind, FailureKind::Silent(_)));
    assert_eq!(failure.tail, ["begin"]);
    let loud = fixture.script("loud", "yes");
    let options = BuildOptions { max_log_size: Some(100_000), ..BuildOptions::default() };
    assert!(matches!(fixture.failure(&loud, &options).kind, FailureKind::LogLimit(_)));
    fixture.assert_clean();
}

#[test]
fn failures_say_why_and_leave_nothing() {
    let fixture = Fixture::new();
    let cases = [
        ("exit", "echo doing; echo went wrong >&2; exit 7", "exit code 7"),
        ("nothing", "true", "did not produce the output `out`"),
        ("pipe", "mkfifo $out", "named pipe"),
        ("writable", "echo > $out; chmod 666 $out", "writable"),
        ("killed", "kill -9 $$; kill -SEGV $$; exit 3", "exit code 3"),
    ];
    for (name, script, expected) in cases {
        let failure = fixture.failure(&fixture.script(name, script), &BuildOptions::default());
        assert!(failure.kind.to_string().contains(expected), "{name}: {}", failure.kind);
    }
    let failure = fixture.failure(
        &fixture.derivation("missing", "", |derivation| derivation.builder = b"/no/such/program".to_vec()),
        &BuildOptions::default(),
    );
    assert!(failure.kind.to_string().contains("/no/such/program"), "{}", failure.kind);
    fixture.assert_clean();
}

#[test]
fn cancelling_ends_the_builders() {
    let fixture = Fixture::new();
    let derivation = fixture.script("long", "sleep 600");
    let cancel = Arc::new(AtomicBool::new(false));
    let options = BuildOptions { cancel: Arc::clone(&cancel), ..BuildOptions::default() };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            cancel.store(true, Ordering::SeqCst);
        });
        assert!(matches!(fixture.failure(&derivation, &options).kind, FailureKind::Cancelled));
    });
    fixture.assert_clean();
}

#[test]
fn a_nar_that_lies_is_not_registered() {
    let fixture = Fixture::new();
    let other = Fixture::new();
    let text = other.store.add_text("text", b"contents", &BTreeSet::new()).unwrap();
    let info = other.store.path_info(&text).unwrap();
    let mut archive = store::tree::dump(&other.store.real_path(&text), Vec::new()).unwrap();
    let mut wrong_hash = info.clone();
    wrong_hash.nar_hash = Hash::sha256("something else");
    let mut wrong_size = info.clone();
    wrong_size.nar_size += 1;
    let mut wrong_address = info.clone();
    wrong_address.content_address =
        Some("text:sha256:1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s".parse().unwrap());
    let mut wrong_reference = info.clone();
    wrong_reference.content_address = None;
    wrong_reference.references =
        [StorePath::from_base_name("m0iyz1rzcgxw68h6skk8b9sg0p0napwc-foo.txt").unwrap()].into();
    // With a content address, that would be refused first.
    wrong_reference.content_address = None;
    let refused =
        |info: &PathInfo, archive: &[u8]| fixture.store.add_nar(info, &mut &archive[..]).unwrap_err();
    assert!(matches!(refused(&wrong_hash, &archive), Error::HashMismatch { .. }));
    assert!(matches!(refused(&wrong_address, &archive), Error::HashMismatch { .. }));
    assert!(matches!(refused(&wrong_size, &archive), Error::Invalid(_)));
    assert!(matches!(refused(&wrong_reference, &archive), Error::NotValid(_)));
    assert!(matches!(refused(&info, &archive[..archive.len() - 8]), Error::Nar { .. }));
    fixture.assert_clean();
    fixture.store.add_nar(&info, &mut archive.as_slice()).unwrap();
    fixture.assert_clean();
    archive.clear();
}

#[test]
fn a_forged_derivation_is_refused() {
    let fixture = Fixture::new();
    let victim = fixture.script("victim", "echo good > $out");
    let victim = fixture.store.read_derivation(&victim).unwrap();
    let mut forged = victim.clone();
    forged.args = vec![b"-c".to_vec(), b"echo evil > $out".to_vec()];
    let error = fixture.store.add_derivation(&forged).unwrap_err();
    assert!(matches!(error, Error::ForeignOutput(_)), "{error}");
    fixture.assert_clean();
}

/// Nix writes the system as it is, so that with one of these characters the text is another derivation's or none's.
#[test]
fn a_system_that_a_derivation_cannot_hold_is_refused() {
    let fixture = Fixture::new();
    let plain = fixture.script("plain", "echo > $out");
    let plain = fixture.store.read_derivation(&plain).unwrap();
    for system in ["x86\\_64-linux", "x86\"64-linux", "x86_64-linux\",\"/bin/evil"] {
        let mut derivation = plain.clone();
        derivation.platform = system.as_bytes().to_vec();
        derivation.outputs.insert("out".to_owned(), Output::Deferred);
        derivation
            .fill_output_paths(fixture.store.dir(), &mut |_| Err(Error::Invalid("no inputs".to_owned())))
            .unwrap();
        let error = fixture.store.add_derivation(&derivation).unwrap_err();
        assert!(matches!(error, Error::ForeignOutput(_) | Error::Derivation { .. }), "{system}: {error}");
    }
    fixture.assert_clean();
}

/// The name of the test that, run as a process of its own, works in the store of `FIRN_TEST_VICTIM` until killed.
const VICTIM: &str = "faults::works_until_killed";

#[test]
fn works_until_killed() {
    // Run by `kill_nine_at_any_time_loses_nothing` only: without the variable there is nothing to work on.
    let Some(root) = std::env::var_os("FIRN_TEST_VICTIM") else { return };
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture { directory, store: Store::open(root.as_ref()).unwrap() };
    for round in 0.. {
        let script = format!("mkdir $out; for i in 1 2 3 4 5 6 7 8; do echo {round} > $out/$i; done");
        let derivation = fixture.script(&format!("round{round}"), &script);
        let outputs = fixture.store.build_derivation(&derivation, &BuildOptions::default()).unwrap();
        println!("done {}", outputs["out"]);
        fixture.store.add_text("text", format!("{round}").as_bytes(), &BTreeSet::new()).unwrap();
        if round % 4 == 3 {
            // Our own temporary roots protect all; a second store of the process has others.
            fixture.store.collect_garbage(&CollectOptions::default()).unwrap();
        }
    }
}

#[test]
fn kill_nine_at_any_time_loses_nothing() {
    let fixture = Fixture::new();
    for attempt in 0..12u64 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", VICTIM, "--nocapture", "--test-threads=1"])
            .env("FIRN_TEST_VICTIM", fixture.directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(150 + attempt * 37));
        victim.kill().unwrap();
        let output = String::from_utf8(victim.wait_with_output().unwrap().stdout).unwrap();
        // What was reported as done is there and right.
        for line in output.lines().filter_map(|line| line.strip_prefix("done ")) {
            let Ok(path) = StorePath::from_base_name(line) else { continue };
            assert!(fixture.store.is_valid(&path).unwrap(), "{path} was reported and is not valid");
        }
        assert_eq!(fixture.store.verify(true, &|_| {}).unwrap(), vec![], "after attempt {attempt}");
    }
    assert!(!fixture.store.all_valid().unwrap().is_empty(), "the victim never got to work");
    // What was left half done goes with the next collection.
    fixture.store.collect_garbage(&CollectOptions::default()).unwrap();
    fixture.assert_clean();
}

#[test]
fn a_full_disk_is_an_error_and_nothing_more() {
    // A small file system needs a mount: a namespace of our own, or root.
    let directory = tempfile::tempdir().unwrap();
    let script =
        "mount -t tmpfs -o size=2m none \"$1\" && exec \"$2\" --exact faults::fills_the_disk --nocapture";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(directory.path())
        .arg(std::env::current_exe().unwrap())
        .env("FIRN_TEST_SMALL_DISK", directory.path())
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("the disk was full"), "{text}");
}

#[test]
fn fills_the_disk() {
    // Run by `a_full_disk_is_an_error_and_nothing_more` only, on the small file system.
    let Some(root) = std::env::var_os("FIRN_TEST_SMALL_DISK") else { return };
    let store = Store::open(root.as_ref()).unwrap();
    let mut kept = Vec::new();
    for number in 0u32.. {
        match store.add_text("filler", &vec![number as u8; 200_000], &BTreeSet::new()) {
            Ok(path) => kept.push(path),
            Err(error) => {
                println!("the disk was full after {number}: {error}");
                break;
            }
        }
    }
    assert!(!kept.is_empty());
    for path in &kept {
        assert!(store.verify_path(path).unwrap().is_none());
    }
    // A collection gives the space back, also on a full disk.
    drop(store);
    let store = Store::open(root.as_ref()).unwrap();
    store.collect_garbage(&CollectOptions::default()).unwrap();
    assert!(store.all_valid().unwrap().is_empty());
    store.add_text("again", &vec![1; 200_000], &BTreeSet::new()).unwrap();
}

/// Damages a valid path: another file in it, as a bad disk or a careless root would.
fn damage(fixture: &Fixture, path: &StorePath) {
    let place = fixture.store.real_path(path);
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(place.join("bad"), "x").unwrap();
}

#[test]
fn what_is_damaged_or_gone_is_built_again() {
    let fixture = Fixture::new();
    let derivation = fixture.script("mended", "mkdir $out; echo right > $out/f");
    let path = fixture.store.build_derivation(&derivation, &BuildOptions::default()).unwrap()["out"].clone();
    let other = fixture.store.add_text("by-hand", b"nobody builds this", &BTreeSet::new()).unwrap();
    damage(&fixture, &path);
    fixture.store.repair_path(&path, &BuildOptions::default()).unwrap();
    fixture.assert_clean();
    store::tree::remove(&fixture.store.real_path(&path)).unwrap();
    std::fs::remove_file(fixture.store.real_path(&other)).unwrap();
    let store::Mended { left, repaired } =
        fixture.store.verify_and_repair(true, &BuildOptions::default(), &|_| {}).unwrap();
    assert_eq!(repaired, vec![path.clone()]);
    assert_eq!(left.iter().map(|(problem, _)| problem.path().clone()).collect::<Vec<_>>(), vec![other]);
    assert!(left[0].1.to_string().contains("nothing is known that would build it"), "{}", left[0].1);
    assert_eq!(fixture.store.verify_path(&path).unwrap(), None);
}

#[test]
fn what_cannot_be_mended_stays_as_it_is() {
    let fixture = Fixture::new();
    let derivation = fixture.script("lost", "mkdir $out");
    let path = fixture.store.build_derivation(&derivation, &BuildOptions::default()).unwrap()["out"].clone();
    fixture.store.delete_paths_alive_or_not(&BTreeSet::from([derivation])).unwrap();
    damage(&fixture, &path);
    let error = fixture.store.repair_path(&path, &BuildOptions::default()).unwrap_err().to_string();
    assert!(error.contains("is not in the store") && error.contains("--substituters"), "{error}");
    assert!(fixture.store.real_path(&path).join("bad").exists());
}

#[test]
fn garbage_makes_room_while_a_build_runs() {
    let fixture = Fixture::new();
    let garbage = fixture.store.add_text("garbage", b"nobody needs this", &BTreeSet::new()).unwrap();
    let directory = fixture.directory.path().to_owned();
    drop(fixture.store);
    // A process of its own has no temporary root for it any more.
    let store = Store::open(&directory).unwrap();
    let fixture = Fixture { directory: fixture.directory, store };
    let derivation = fixture.script("slow", "sleep 2; echo done > $out");
    let free_space = store::build::FreeSpace {
        min: u64::MAX - 1,
        max: u64::MAX,
        interval: Duration::from_millis(100),
        keep_outputs: false,
        keep_derivations: true,
    };
    let options = BuildOptions { free_space: Some(free_space), ..BuildOptions::default() };
    let outputs = fixture.store.build_derivation(&derivation, &options).unwrap();
    assert!(!fixture.store.is_valid(&garbage).unwrap(), "what nobody needs should be gone");
    assert_eq!(std::fs::read_to_string(fixture.store.real_path(&outputs["out"])).unwrap(), "done\n");
    fixture.assert_clean();
}

#[test]
fn garbage_makes_room_before_an_addition() {
    let fixture = Fixture::new();
    let garbage = fixture.store.add_text("garbage", b"nobody needs this", &BTreeSet::new()).unwrap();
    let directory = fixture.directory.path().to_owned();
    drop(fixture.store);
    let file = directory.join("file");
    std::fs::write(&file, "contents").unwrap();
    let free_space = store::build::FreeSpace {
        min: 0,
        max: u64::MAX,
        interval: Duration::from_secs(3600),
        keep_outputs: false,
        keep_derivations: true,
    };
    let add = |min: u64, name: &str| {
        let free_space = Some(store::build::FreeSpace { min, ..free_space });
        let options = store::Options { free_space, ..store::Options::default() };
        let store = Store::open_with(store::Layout::below(&directory), options).unwrap();
        let method = formats::content_address::Method::Recursive;
        let added = store.add_path(&file, name, method, formats::hash::Algorithm::Sha256).unwrap();
        assert!(store.is_valid(&added).unwrap());
        store.is_valid(&garbage).unwrap()
    };
    assert!(add(1, "enough"), "there is room: nothing is to be collected");
    assert!(!add(u64::MAX - 1, "more"), "what nobody needs should be gone");
}

#[test]
fn an_evaluation_writes_to_a_store_of_its_own() {
    let (builds, evaluations) = (Fixture::new(), Fixture::new());
    let source = evaluations.store.add_text("source", b"from elsewhere\n", &BTreeSet::new()).unwrap();
    let text = evaluations.store.dir().print(&source);
    let inner = evaluations.derivation(
        "inner",
        &format!("while read line; do echo $line; done < {text} > $out"),
        |derivation| {
            derivation.input_srcs.insert(source.clone());
        },
    );
    let directory = evaluations.directory.path().to_owned();
    builds.store.evaluate_in(Store::open(&directory).unwrap()).unwrap();
    let outputs = builds.store.build_derivation(&inner, &BuildOptions::default()).unwrap();
    let made = builds.store.real_path(&outputs["out"]);
    assert_eq!(std::fs::read_to_string(made).unwrap(), "from elsewhere\n");
    assert!(builds.store.is_valid(&source).unwrap());
    assert!(!builds.store.is_valid(&inner).unwrap(), "the derivation stays where it was written");
    assert!(!evaluations.store.is_valid(&outputs["out"]).unwrap());
    let other = store::Layout {
        store_dir: formats::store_path::StoreDir::new("/elsewhere"),
        ..store::Layout::below(&directory)
    };
    let other = Store::open_with(other, store::Options::default()).unwrap();
    assert!(Fixture::new().store.evaluate_in(other).unwrap_err().to_string().contains("/elsewhere"));
}
