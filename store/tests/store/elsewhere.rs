//! Builds on other machines, which are stores in other directories here; what is behind ssh is in the tests of `cli`.

use crate::fixture::Fixture;
use formats::store_path::StorePath;
use std::collections::{BTreeMap, BTreeSet};
use store::Store;
use store::build::{BuildOptions, FailureKind, Machine};

/// Nothing is built here: only on machines `one`, which has the feature `a`, and `two`, which has `b`.
fn options(fixture: &Fixture, more: &str) -> BuildOptions {
    let place = fixture.directory.path().display();
    let machines = format!("{more}{place}/one - - 1 1 a ; {place}/two - - 1 1 b");
    BuildOptions { max_jobs: 0, machines: Machine::read(&machines).unwrap(), ..BuildOptions::default() }
}

fn requires(
    fixture: &Fixture,
    name: &str,
    script: &str,
    feature: &str,
    input: Option<&StorePath>,
) -> StorePath {
    fixture.derivation(name, script, |derivation| {
        derivation.env.insert(b"requiredSystemFeatures".to_vec(), feature.as_bytes().to_vec());
        if let Some(input) = input {
            derivation.input_drvs.insert(input.clone(), BTreeSet::from(["out".to_owned()]));
        }
    })
}

#[test]
fn each_is_built_where_its_features_are_and_comes_back() {
    let fixture = Fixture::new();
    let first = requires(&fixture, "first", "echo one >&2; echo 1 > $out", "a", None);
    let path = &fixture.store.output_paths(&fixture.store.read_derivation(&first).unwrap()).unwrap()["out"];
    let script = format!("read x < {}; echo $x 2 > $out", fixture.store.dir().print(path));
    let second = requires(&fixture, "second", &script, "b", Some(&first));
    let outputs = fixture.store.build_derivation(&second, &options(&fixture, "")).unwrap();
    assert_eq!(std::fs::read_to_string(fixture.store.real_path(&outputs["out"])).unwrap(), "1 2\n");
    assert_eq!(fixture.store.path_info(&outputs["out"]).unwrap().deriver, Some(second.clone()));
    // Each machine has what it built; the second also what it was given for that.
    let names = |machine: &str| -> BTreeMap<String, bool> {
        let store = Store::open(&fixture.directory.path().join(machine)).unwrap();
        let built = store.all_valid().unwrap().into_iter();
        built.map(|path| (path.name().to_owned(), store.path_info(&path).unwrap().ultimate)).collect()
    };
    assert_eq!(names("one"), BTreeMap::from([("first".to_owned(), true)]));
    assert_eq!(names("two"), BTreeMap::from([("first".to_owned(), false), ("second".to_owned(), true)]));
    // What the builder said is here as well.
    assert_eq!(fixture.store.build_log(&first).unwrap().as_deref(), Some(&b"one\n"[..]));
    fixture.assert_clean();
}

#[test]
fn outputs_addressed_by_content_are_found_there() {
    use formats::content_address::Method;
    use formats::derivation::Output;
    use formats::hash::Algorithm;
    let fixture = Fixture::new();
    let derivation = fixture.derivation("content", "echo text > $out", |derivation| {
        derivation.env.insert(b"requiredSystemFeatures".to_vec(), b"a".to_vec());
        let floating = Output::Floating { method: Method::Recursive, algorithm: Algorithm::Sha256 };
        derivation.outputs.insert("out".to_owned(), floating);
        let placeholder = formats::store_path::placeholder("out");
        derivation.env.insert(b"out".to_vec(), placeholder.into_bytes());
    });
    let outputs = fixture.store.build_derivation(&derivation, &options(&fixture, "")).unwrap();
    assert_eq!(std::fs::read_to_string(fixture.store.real_path(&outputs["out"])).unwrap(), "text\n");
    assert!(fixture.store.path_info(&outputs["out"]).unwrap().content_address.is_some());
    fixture.assert_clean();
}

#[test]
fn what_no_machine_can_build_and_what_fails_there_says_so() {
    let fixture = Fixture::new();
    let strange = requires(&fixture, "strange", "echo > $out", "c", None);
    let FailureKind::Unsupported(text) = fixture.failure(&strange, &options(&fixture, "")).kind else {
        panic!("it cannot be built")
    };
    assert!(text.contains("system feature `c`"), "{text}");
    let plain = fixture.script("broken", "echo why >&2; exit 3");
    let failure = fixture.failure(&plain, &options(&fixture, ""));
    assert!(matches!(failure.kind, FailureKind::Exit(3)), "{}", failure.kind);
    assert_eq!(failure.tail, ["why"]);
    let nobody = BuildOptions { machines: Vec::new(), ..options(&fixture, "") };
    let FailureKind::Unsupported(text) = fixture.failure(&plain, &nobody).kind else {
        panic!("nobody builds")
    };
    assert!(text.contains("max-jobs"), "{text}");
    fixture.assert_clean();
}

#[test]
fn one_that_does_not_answer_is_left_out_and_what_prefers_this_machine_stays() {
    let fixture = Fixture::new();
    // A file is no directory for a store.
    let dead = fixture.directory.path().join("dead");
    std::fs::write(&dead, "").unwrap();
    let options = options(&fixture, &format!("{} - - 1 100 ; ", dead.display()));
    let plain = fixture.script("plain", "echo built > $out");
    let outputs = fixture.store.build_derivation(&plain, &options).unwrap();
    assert!(fixture.store.is_valid(&outputs["out"]).unwrap());
    let here = fixture.derivation("here", "echo here > $out", |derivation| {
        derivation.env.insert(b"preferLocalBuild".to_vec(), b"1".to_vec());
    });
    let outputs = fixture.store.build_derivation(&here, &options).unwrap();
    assert!(fixture.store.path_info(&outputs["out"]).unwrap().ultimate, "built here");
    fixture.assert_clean();
}
