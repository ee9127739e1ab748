//! Taking turns on one store with the real Nix: 2.26.3 from Debian's next release, what is on the path, and the directories of
//! `FIRN_TEST_NIX` (separated by colons).

use crate::fixture::Fixture;
use formats::content_address::Method;
use formats::hash::Algorithm;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use store::CollectOptions;
use store::build::BuildOptions;

/// Directories with a `nix-store`: 2.26.3, fetched from Debian once; the one on the path (2.8.0 on Debian 12); those of
/// `FIRN_TEST_NIX`.
pub(crate) fn implementations() -> Vec<PathBuf> {
    let given = std::env::var_os("FIRN_TEST_NIX").unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).find(|directory| directory.join("nix-store").exists());
    let found: Vec<PathBuf> = std::env::split_paths(&given)
        .chain(on_path)
        .chain([fetched()])
        .filter(|directory| directory.join("nix-store").exists())
        .collect();
    assert!(!found.is_empty(), "these tests need a real Nix: install nix-bin");
    found
}

/// Where Debian's newer Nix is unpacked (`ci/get-debian-nix`, as the evaluator's tests do).
fn fetched() -> PathBuf {
    static FETCHED: OnceLock<PathBuf> = OnceLock::new();
    let fetch = || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let directory = root.join("target/debian-nix-trixie");
        let status =
            Command::new(root.join("ci/get-debian-nix")).arg("trixie").arg(&directory).status().unwrap();
        assert!(status.success(), "ci/get-debian-nix: the real Nix could not be fetched by apt");
        directory.join("bin")
    };
    FETCHED.get_or_init(fetch).clone()
}

fn nix(directory: &Path, fixture: &Fixture, tool: &str, arguments: &[&str]) -> String {
    String::from_utf8(nix_reading(directory, fixture, tool, arguments, Stdio::null())).unwrap()
}

/// The same with a standard input, and for an output that is no text.
fn nix_reading(directory: &Path, fixture: &Fixture, tool: &str, arguments: &[&str], input: Stdio) -> Vec<u8> {
    let shell = store::build::static_shell().unwrap();
    // One that was unpacked aside does not find its own hook for other machines: it goes without.
    let hook = if directory.join("../root").exists() { "build-hook =\n" } else { "" };
    let output = Command::new(directory.join(tool))
        .args(arguments)
        .env(
            "NIX_CONFIG",
            format!(
                "store = {}\nbuild-users-group =\nsandbox = true\nsandbox-paths = /bin/sh={}\n{hook}\
                 substituters =\nexperimental-features = nix-command",
                fixture.directory.path().display(),
                shell.display()
            ),
        )
        .env("HOME", fixture.directory.path())
        .env_remove("NIX_REMOTE")
        .stdin(input)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {errors}");
    output.stdout
}

/// Drops the store's temporary roots and opens it again.
fn reopened(fixture: Fixture) -> Fixture {
    let Fixture { directory, store } = fixture;
    drop(store);
    Fixture { store: store::Store::open(directory.path()).unwrap(), directory }
}

#[test]
fn what_firn_builds_nix_verifies_queries_and_collects() {
    for directory in implementations() {
        let fixture = Fixture::new();
        let input = fixture.store.add_text("input", b"x", &BTreeSet::new()).unwrap();
        let print = |path| fixture.store.dir().print(path);
        let derivation =
            fixture.derivation("thing", &format!("echo {} > $out", print(&input)), |derivation| {
                derivation.input_srcs.insert(input.clone());
            });
        let outputs = fixture.store.build_derivation(&derivation, &BuildOptions::default()).unwrap();
        let out = print(&outputs["out"]);
        nix(&directory, &fixture, "nix-store", &["--verify", "--check-contents"]);
        assert_eq!(
            nix(&directory, &fixture, "nix-store", &["-q", "--references", &out]).trim(),
            print(&input)
        );
        assert_eq!(
            nix(&directory, &fixture, "nix-store", &["-q", "--deriver", &out]).trim(),
            print(&derivation)
        );
        assert_eq!(
            nix(&directory, &fixture, "nix-store", &["-q", "--hash", &out]).trim(),
            fixture.store.path_info(&outputs["out"]).unwrap().nar_hash.base32()
        );
        let log = fixture.store.build_log(&derivation).unwrap();
        assert!(log.is_some());
        // A root that Firn made keeps it through Nix's collection; without it, it goes. Our temporary roots do as well,
        // so they must be gone.
        let root = fixture.directory.path().join("result");
        fixture.store.add_permanent_root(&outputs["out"], &root).unwrap();
        let fixture = reopened(fixture);
        nix(&directory, &fixture, "nix-store", &["--gc"]);
        assert!(fixture.store.is_valid(&outputs["out"]).unwrap());
        std::fs::remove_file(&root).unwrap();
        nix(&directory, &fixture, "nix-store", &["--gc"]);
        assert!(!fixture.store.is_valid(&outputs["out"]).unwrap());
        fixture.assert_clean();
    }
}

#[test]
fn what_nix_adds_firn_verifies_and_collects() {
    for directory in implementations() {
        let fixture = Fixture::new();
        let tree = fixture.directory.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(tree.join("a"), "a").unwrap();
        std::os::unix::fs::symlink("a", tree.join("l")).unwrap();
        let theirs = nix(&directory, &fixture, "nix-store", &["--add", tree.to_str().unwrap()]);
        let ours = fixture.store.add_path(&tree, "tree", Method::Recursive, Algorithm::Sha256).unwrap();
        assert_eq!(theirs.trim(), fixture.store.dir().print(&ours));
        let expression = fixture.directory.path().join("t.nix");
        std::fs::write(
            &expression,
            r#"derivation { name = "n"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo $t > $out" ];
                 t = ./tree; outputs = [ "out" ]; }"#,
        )
        .unwrap();
        let derivation = nix(&directory, &fixture, "nix-instantiate", &[expression.to_str().unwrap()]);
        let derivation = fixture.store.dir().parse(derivation.trim()).unwrap();
        assert_eq!(fixture.build(&derivation).trim(), theirs.trim());
        fixture.assert_clean();
        let hash =
            nix(&directory, &fixture, "nix-hash", &["--type", "sha256", "--base32", tree.to_str().unwrap()]);
        assert_eq!(hash.trim(), store::tree::hash_tree(&tree, Algorithm::Sha256).unwrap().0.digits32());
        let dumped = nix(&directory, &fixture, "nix-store", &["--dump-db"]);
        let sort = |text: &str| -> BTreeSet<String> { text.lines().map(str::to_owned).collect() };
        assert_eq!(sort(&dumped), sort(&fixture.store.dump_database(None).unwrap()));
    }
}

#[test]
fn what_nix_builds_firn_queries_copies_and_collects() {
    for directory in implementations() {
        let fixture = Fixture::new();
        let expression = fixture.directory.path().join("t.nix");
        std::fs::write(
            &expression,
            r#"let make = name: script: derivation { inherit name; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" script ]; };
                   input = make "input" "echo input > $out";
               in make "result" "echo ${input} > $out""#,
        )
        .unwrap();
        let derivation = nix(&directory, &fixture, "nix-instantiate", &[expression.to_str().unwrap()]);
        let root = fixture.directory.path().join("result");
        let built = nix(
            &directory,
            &fixture,
            "nix-store",
            &["-r", derivation.trim(), "--add-root", root.to_str().unwrap()],
        );
        assert_eq!(built.trim(), root.to_str().unwrap());
        let fixture = reopened(fixture);
        let store = &fixture.store;
        let derivation = store.dir().parse(derivation.trim()).unwrap();
        // Nothing is left to do for Firn, which knows what came from where and finds it right.
        let report = store
            .build(&[(derivation.clone(), store::build::Wanted::All)], &BuildOptions::default())
            .unwrap();
        assert!(report.built.is_empty());
        let outputs = store.build_derivation(&derivation, &BuildOptions::default()).unwrap();
        let result = &outputs["out"];
        let info = store.path_info(result).unwrap();
        assert_eq!(info.deriver.as_ref(), Some(&derivation));
        assert_eq!(info.references.len(), 1);
        let input = info.references.first().unwrap().clone();
        assert!(info.ultimate);
        assert_eq!(store.verify(true, &|_| {}).unwrap(), vec![]);
        assert_eq!(
            std::fs::read_to_string(store.real_path(result)).unwrap().trim(),
            store.dir().print(&input)
        );
        assert!(store.build_log(&derivation).unwrap().is_some(), "Nix's build log");
        // Firn copies it out, Nix takes it in elsewhere; and the other way.
        let both = BTreeSet::from([input.clone(), result.clone()]);
        let other = Fixture::new();
        let file = other.directory.path().join("exported");
        store.export_paths(&both, &mut std::fs::File::create(&file).unwrap()).unwrap();
        let exported = Stdio::from(std::fs::File::open(&file).unwrap());
        nix_reading(&directory, &other, "nix-store", &["--import"], exported);
        assert_eq!(other.store.all_valid().unwrap(), both);
        let paths: Vec<String> = both.iter().map(|path| store.dir().print(path)).collect();
        let arguments: Vec<&str> =
            std::iter::once("--export").chain(paths.iter().map(String::as_str)).collect();
        let theirs = nix_reading(&directory, &fixture, "nix-store", &arguments, Stdio::null());
        let third = Fixture::new();
        third.store.import_paths(&mut theirs.as_slice()).unwrap();
        for copy in [&other, &third] {
            assert_eq!(copy.store.path_info(result).unwrap().references, info.references);
            copy.assert_clean();
        }
        // Firn's collection honours the root that Nix made, and takes all without it.
        let fixture = reopened(fixture);
        fixture.store.collect_garbage(&CollectOptions::default()).unwrap();
        assert!(fixture.store.is_valid(result).unwrap() && fixture.store.is_valid(&input).unwrap());
        nix(&directory, &fixture, "nix-store", &["--verify", "--check-contents"]);
        std::fs::remove_file(&root).unwrap();
        let fixture = reopened(fixture);
        fixture.store.collect_garbage(&CollectOptions::default()).unwrap();
        assert_eq!(fixture.store.all_valid().unwrap(), BTreeSet::new());
        fixture.assert_clean();
    }
}
