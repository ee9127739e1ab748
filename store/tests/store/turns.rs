//! Taking turns on one store with the real Nix: everything that is on the path or in the directories of `FIRN_TEST_NIX`
//! (separated by colons).

use crate::fixture::Fixture;
use formats::content_address::Method;
use formats::hash::Algorithm;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use store::build::BuildOptions;

/// Directories with a `nix-store`.
pub(crate) fn implementations() -> Vec<PathBuf> {
    let given = std::env::var_os("FIRN_TEST_NIX").unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).find(|directory| directory.join("nix-store").exists());
    let found: Vec<PathBuf> = std::env::split_paths(&given)
        .chain(on_path)
        .filter(|directory| directory.join("nix-store").exists())
        .collect();
    if found.is_empty() {
        println!("SKIPPED: no nix-store on the path or in FIRN_TEST_NIX");
    }
    found
}

fn nix(directory: &Path, fixture: &Fixture, tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(directory.join(tool))
        .args(arguments)
        .env(
            "NIX_CONFIG",
            format!(
                "store = {}\nbuild-users-group =\nsandbox = false\nsubstituters =\nexperimental-features = nix-command",
                fixture.directory.path().display()
            ),
        )
        .env("HOME", fixture.directory.path())
        .env_remove("NIX_REMOTE")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{tool} {arguments:?}: {err}");
    out.into_owned()
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
        let Fixture { directory: place, store } = fixture;
        drop(store);
        let fixture = Fixture { store: store::Store::open(place.path()).unwrap(), directory: place };
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
