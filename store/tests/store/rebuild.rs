//! A lost database, made again from what is in the store directory.

use crate::fixture::Fixture;
use formats::content_address::Method;
use formats::hash::Algorithm;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use store::build::BuildOptions;
use store::{CollectOptions, Store};

/// Loses the database and opens the store again.
fn lose_database(fixture: Fixture) -> Fixture {
    let Fixture { directory, store } = fixture;
    let database = store.layout().state.join("db");
    drop(store);
    fs::remove_dir_all(database).unwrap();
    Fixture { store: Store::open(directory.path()).unwrap(), directory }
}

/// Does something to a read-only object and gives it the form of a finished one again.
fn damage(path: &Path, contents: &str) {
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    fs::write(path, contents).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o444)).unwrap();
    let file = fs::File::open(path).unwrap();
    let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    file.set_times(fs::FileTimes::new().set_accessed(then).set_modified(then)).unwrap();
}

fn filled() -> Fixture {
    let fixture = Fixture::new();
    let text = fixture.store.add_text("text", b"text", &BTreeSet::new()).unwrap();
    let tree = fixture.directory.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), fixture.store.dir().print(&text)).unwrap();
    fixture.store.add_path(&tree, "tree", Method::Recursive, Algorithm::Sha256).unwrap();
    fixture.store.add_path(&tree.join("file"), "flat", Method::Flat, Algorithm::Sha256).unwrap();
    let input = fixture.fixed("fixed", "printf promised > $out", "promised");
    let result = fixture.derivation(
        "result",
        "mkdir $out; echo $out $dev $input > $out/self; echo > $dev",
        |derivation| {
            derivation.outputs.insert("dev".to_owned(), formats::derivation::Output::Deferred);
            derivation.input_drvs.insert(input.clone(), ["out".to_owned()].into());
            let made = fixture.store.output_paths(&fixture.store.read_derivation(&input).unwrap()).unwrap();
            derivation.env.insert(b"input".to_vec(), fixture.store.dir().print(&made["out"]).into_bytes());
        },
    );
    fixture.store.build_derivation(&result, &BuildOptions::default()).unwrap();
    fixture
}

#[test]
fn a_lost_database_comes_back() {
    let fixture = filled();
    let before = fixture.store.dump_database(None).unwrap();
    let all = fixture.store.all_valid().unwrap();
    let fixture = lose_database(fixture);
    assert!(fixture.store.all_valid().unwrap().is_empty());
    let rebuilt = fixture.store.rebuild_database(&|_| {}).unwrap();
    assert!(rebuilt.left.is_empty(), "{:?}", rebuilt.left);
    assert_eq!(rebuilt.registered, all);
    // Hashes, sizes, derivers and references are those of before.
    assert_eq!(fixture.store.dump_database(None).unwrap(), before);
    // Two outputs of a build that is not fixed are taken on trust; all else is proved.
    let trusted: BTreeSet<&str> =
        rebuilt.registered.difference(&rebuilt.proved).map(formats::store_path::StorePath::name).collect();
    assert_eq!(trusted, BTreeSet::from(["result", "result-dev"]));
    // A second time there is nothing to do; the outputs belong to their derivations again.
    assert!(fixture.store.rebuild_database(&|_| {}).unwrap().registered.is_empty());
    let derivation = all.iter().find(|path| path.name() == "result.drv").unwrap();
    assert_eq!(fixture.store.build_derivation(derivation, &BuildOptions::default()).unwrap().len(), 2);
    fixture.assert_clean();
}

#[test]
fn what_is_not_whole_is_left() {
    let fixture = filled();
    let all = fixture.store.all_valid().unwrap();
    let named = |name: &str| fixture.store.real_path(all.iter().find(|path| path.name() == name).unwrap());
    damage(&named("fixed"), "something else");
    damage(&named("result.drv"), "Derive(");
    // As one who is killed while writing leaves it.
    let unfinished = "m0iyz1rzcgxw68h6skk8b9sg0p0napwc-unfinished";
    fs::write(fixture.store.layout().real_store.join(unfinished), "half").unwrap();
    let fixture = lose_database(fixture);
    let rebuilt = fixture.store.rebuild_database(&|_| {}).unwrap();
    let left: BTreeSet<(&str, &str)> =
        rebuilt.left.iter().map(|(path, why)| (path.name(), why.as_str())).collect();
    let says = |name: &str, what: &str| {
        assert!(
            left.iter().any(|(left, why)| *left == name && why.contains(what)),
            "{name}: {what}: {left:?}"
        );
    };
    says("fixed", "not what its derivation promised");
    says("result.drv", "derivation: expected");
    says("unfinished", "modes and times");
    says("result", "which is not whole or not there");
    // What was left goes with the next collection, what is whole is right.
    assert_eq!(fixture.store.verify(true, &|_| {}).unwrap(), vec![]);
    fixture.store.collect_garbage(&CollectOptions::default()).unwrap();
    fixture.assert_clean();
}
