//! Step by step: a process works on a store and something happens between two of its system calls.
//!
//! `kill -9`: it is killed before the first, the second, … call that changes anything. Whatever the step, what was reported is
//! there, everything valid is right, the next one who does the same work is not hindered by what was left, and a collection
//! leaves nothing behind. Onlookers and enemies: what they could see or exchange at each step.
//!
//! All steps with `FIRN_KILL_STEPS=all`; otherwise some, spread over the work.

use crate::fixture::Fixture;
use crate::traced::{Next, Steps, watch};
use formats::content_address::Method;
use formats::hash::Algorithm;
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use store::build::BuildOptions;
use store::{CollectOptions, Store};
use tempfile::TempDir;

/// The name of the test that, run as a process of its own, does one piece of work.
const VICTIM: &str = "steps::works_step_by_step";
/// How many steps of each piece of work are tried in the normal run.
const SAMPLE: usize = 24;

/// What a victim does.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// Writes a derivation and builds it, with an input that is built first.
    Build,
    /// Collects two dead paths beside a live one.
    Collect,
    /// Adds a tree.
    Add,
    /// Removes a tree.
    Remove,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Collect => "collect",
            Self::Add => "add",
            Self::Remove => "remove",
        }
    }

    /// What is in the store before the work begins.
    fn prepare(self, root: &Path) {
        let fixture = opened(root);
        let live = fixture.store.add_text("live", b"live", &BTreeSet::new()).unwrap();
        fixture.store.add_permanent_root(&live, &root.join("live-root")).unwrap();
        if let Self::Collect = self {
            let dead = fixture.store.add_text("dead", b"dead", &BTreeSet::new()).unwrap();
            fixture.store.add_text("referrer", b"of dead", &BTreeSet::from([dead])).unwrap();
        }
        if let Self::Add | Self::Remove = self {
            fs::create_dir_all(root.join("tree/inner")).unwrap();
            fs::write(root.join("tree/inner/file"), "contents").unwrap();
            symlink("inner/file", root.join("tree/link")).unwrap();
        }
    }

    /// The work itself; what it made.
    fn run(self, fixture: &Fixture, root: &Path) -> Vec<StorePath> {
        match self {
            Self::Build => {
                let input = fixture.script("input", "mkdir $out; echo input > $out/file");
                let derivation =
                    fixture.derivation("result", "mkdir $out; echo result > $out/file", |derivation| {
                        derivation.input_drvs.insert(input.clone(), BTreeSet::from(["out".to_owned()]));
                    });
                let outputs = fixture.store.build_derivation(&derivation, &BuildOptions::default()).unwrap();
                outputs.into_values().chain([derivation, input]).collect()
            }
            Self::Collect => {
                fixture.store.collect_garbage(&CollectOptions::default()).unwrap();
                Vec::new()
            }
            Self::Remove => {
                // It may fail on what appears behind it; it may not follow.
                drop(store::tree::remove(&root.join("tree")));
                Vec::new()
            }
            Self::Add => {
                vec![
                    fixture
                        .store
                        .add_path(&root.join("tree"), "tree", Method::Recursive, Algorithm::Sha256)
                        .unwrap(),
                ]
            }
        }
    }
}

/// The store at a root that somebody else made and removes.
fn opened(root: &Path) -> Fixture {
    Fixture { directory: tempfile::tempdir().unwrap(), store: Store::open(root).unwrap() }
}

#[test]
fn works_step_by_step() {
    // Run by the tests below only: without the variable there is nothing to work on.
    let Some(root) = std::env::var_os("FIRN_TEST_STEPS_ROOT") else { return };
    let name = std::env::var("FIRN_TEST_STEPS_WORK").unwrap();
    let all = [Work::Build, Work::Collect, Work::Add, Work::Remove];
    let work = all.into_iter().find(|work| work.name() == name).unwrap();
    let fixture = opened(root.as_ref());
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    for path in work.run(&fixture, root.as_ref()) {
        println!("done {path}");
    }
}

/// A root in memory if there is one: that a killed process loses nothing does not depend on the disk.
fn place() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

fn kill_at_each_step(work: Work) {
    let whole = place();
    work.prepare(whole.path());
    let complete = watch(VICTIM, work.name(), whole.path(), Steps::Changes, &mut |_| Next::Continue);
    assert!(complete.finished && complete.steps > 5, "{work:?} took {} steps", complete.steps);
    let stride = match std::env::var("FIRN_KILL_STEPS") {
        Ok(text) if text == "all" => 1,
        _ => complete.steps.div_ceil(SAMPLE),
    };
    let mut tried = 0;
    for last in (1..=complete.steps).step_by(stride) {
        let root = place();
        work.prepare(root.path());
        let until = &mut |step| if step == last { Next::Die } else { Next::Continue };
        let ended = watch(VICTIM, work.name(), root.path(), Steps::Changes, until);
        tried += usize::from(!ended.finished);
        let fixture = opened(root.path());
        for line in ended.said.iter().filter_map(|line| line.strip_prefix("done ")) {
            // A line that was cut short reports nothing.
            let Ok(path) = StorePath::from_base_name(line) else { continue };
            assert!(
                fixture.store.is_valid(&path).unwrap(),
                "{path} was reported, then killed at step {last}"
            );
        }
        assert_eq!(fixture.store.verify(true, &|_| {}).unwrap(), vec![], "{work:?} killed at step {last}");
        // The same again comes to its end and is right.
        for path in work.run(&fixture, root.path()) {
            assert_eq!(fixture.store.verify_path(&path).unwrap(), None, "{work:?} again after step {last}");
        }
        drop(fixture);
        let fixture = opened(root.path());
        fixture.store.collect_garbage(&CollectOptions::default()).unwrap();
        fixture.assert_clean();
        let valid = fixture.store.all_valid().unwrap();
        assert_eq!(valid.len(), 1, "{work:?} killed at step {last}: {valid:?}");
        let left: Vec<_> = fs::read_dir(fixture.store.layout().state.join("temproots"))
            .map_or_else(|_| Vec::new(), |entries| entries.map(|entry| entry.unwrap().file_name()).collect());
        assert!(left.len() <= 1, "{work:?} killed at step {last} leaves {left:?}");
    }
    println!("{}: killed at {tried} of {} steps", work.name(), complete.steps);
    assert!(tried > 0);
}

#[test]
fn a_build_killed_at_each_step() {
    kill_at_each_step(Work::Build);
}

#[test]
fn a_collection_killed_at_each_step() {
    kill_at_each_step(Work::Collect);
}

#[test]
fn an_addition_killed_at_each_step() {
    kill_at_each_step(Work::Add);
}

/// CVE-2025-46415: a tree that its builder exchanges for links while we remove it. At each step, of those that look as well,
/// the directory becomes a link to somebody else's.
#[test]
fn removing_a_tree_never_leaves_it() {
    let mut tried = 0;
    for at in 1.. {
        let root = place();
        Work::Remove.prepare(root.path());
        let (inner, outside) = (root.path().join("tree/inner"), root.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(outside.join("file"), "precious").unwrap();
        let mut exchanged = false;
        watch(VICTIM, Work::Remove.name(), root.path(), Steps::Looks, &mut |step| {
            if step == at && fs::rename(&inner, root.path().join("aside")).is_ok() {
                symlink(&outside, &inner).unwrap();
                exchanged = true;
            }
            Next::Continue
        });
        assert_eq!(
            fs::read_to_string(outside.join("file")).unwrap(),
            "precious",
            "exchanged before step {at}"
        );
        assert_eq!(
            fs::metadata(&outside).unwrap().permissions().mode() & 0o777,
            0o755,
            "exchanged before step {at}"
        );
        if !exchanged {
            break; // the directory was gone already
        }
        tried += 1;
    }
    assert!(tried > 5, "the directory was exchanged at {tried} steps only");
}

/// CVE-2024-38531, CVE-2025-52991: from its first moment on nobody else may enter what a build is made in.
#[test]
fn a_build_is_closed_at_each_step() {
    let root = place();
    Work::Build.prepare(root.path());
    let store = root.path().join("nix/store");
    let mut seen = 0;
    watch(VICTIM, Work::Build.name(), root.path(), Steps::Changes, &mut |step| {
        for entry in fs::read_dir(&store).unwrap().flatten() {
            if entry.file_name().to_string_lossy().ends_with(".chroot") {
                let Ok(found) = entry.metadata() else { continue };
                let mode = found.permissions().mode() & 0o777;
                assert_eq!(mode, 0o700, "others could enter before step {step}");
                seen += 1;
            }
        }
        Next::Continue
    });
    assert!(seen > 10, "the build directory was seen {seen} times only");
}
