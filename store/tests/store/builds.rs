//! Builds: what a builder sees and what becomes of its outputs.

use crate::fixture::Fixture;
use formats::derivation::Output;
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use store::CollectOptions;
use store::build::{BuildOptions, FailureKind, Sandbox, SandboxPath, Wanted};

#[test]
fn the_builder_sees_only_its_inputs() {
    let fixture = Fixture::new();
    let input = fixture.store.add_text("input", b"from the input", &BTreeSet::new()).unwrap();
    let other = fixture.store.add_text("other", b"secret", &BTreeSet::new()).unwrap();
    let path = fixture.store.dir().print(&input);
    let script =
        format!("echo $(ls /) : $(ls /nix/store) : $(cat {path}) : $(id -u) : $$ : $(hostname) > $out");
    let derivation = fixture.derivation("sees", &script, |derivation| {
        derivation.input_srcs.insert(input.clone());
    });
    let text = fixture.build(&derivation);
    let expected =
        format!("bin build dev etc nix proc tmp : {input} : from the input : 1000 : 1 : localhost\n");
    assert_eq!(text.replace(&format!(" {}", path_of(&fixture, &derivation)), ""), expected);
    assert!(!text.contains(other.base_name()));
    fixture.assert_clean();
}

fn path_of(fixture: &Fixture, derivation: &formats::store_path::StorePath) -> String {
    let derivation = fixture.store.read_derivation(derivation).unwrap();
    fixture.store.output_paths(&derivation).unwrap()["out"].to_string()
}

#[test]
fn inputs_and_privileges_are_out_of_reach() {
    let fixture = Fixture::new();
    let input = fixture.store.add_text("input", b"unchanged", &BTreeSet::new()).unwrap();
    let path = fixture.store.dir().print(&input);
    let script = format!(
        "echo > $out; try() {{ if \"$@\" 2>/dev/null; then echo \"$1 worked\" >> $out; fi; }}
         try chmod 666 {path}; try rm -f {path}; try sh -c 'echo x > {path}'
         try mount -t tmpfs none /tmp; try mknod /tmp/d c 1 1; try chroot /; try touch /etc/x
         echo x > /tmp/f; try chmod 4755 /tmp/f; try chmod 2755 /tmp/f
         try wget -q -O /dev/null http://127.0.0.1:1/; try ping -c1 -W1 1.1.1.1"
    );
    let derivation = fixture.derivation("reach", &script, |derivation| {
        derivation.input_srcs.insert(input.clone());
    });
    assert_eq!(fixture.build(&derivation), "\n");
    assert_eq!(std::fs::read(fixture.store.real_path(&input)).unwrap(), b"unchanged");
}

#[test]
fn outputs_are_canonical_scanned_and_registered_together() {
    let fixture = Fixture::new();
    let input = fixture.store.add_text("input", b"x", &BTreeSet::new()).unwrap();
    let path = fixture.store.dir().print(&input);
    let script = format!(
        "mkdir -p $out/d; echo {path} > $out/d/f; echo $dev > $out/dev; echo $out > $out/self; ln -s {path} $out/link
         echo x > $out/run; chmod 700 $out/run; chmod 000 $out/d/f; chmod 500 $out/d; echo y > $dev"
    );
    let derivation = fixture.derivation("outs", &script, |derivation| {
        derivation.outputs.insert("dev".to_owned(), Output::Deferred);
        derivation.input_srcs.insert(input.clone());
    });
    let outputs = fixture.store.build_derivation(&derivation, &BuildOptions::default()).unwrap();
    let info = fixture.store.path_info(&outputs["out"]).unwrap();
    assert_eq!(info.references, BTreeSet::from([input, outputs["dev"].clone(), outputs["out"].clone()]));
    assert_eq!(info.deriver, Some(derivation.clone()));
    let real = fixture.store.real_path(&outputs["out"]);
    for (name, mode) in [("", 0o555), ("d", 0o555), ("d/f", 0o444), ("run", 0o555), ("dev", 0o444)] {
        let found = std::fs::symlink_metadata(real.join(name)).unwrap();
        assert_eq!((found.permissions().mode() & 0o7777, found.mtime()), (mode, 1), "{name}");
    }
    assert!(fixture.store.path_info(&outputs["dev"]).unwrap().references.is_empty());
    assert!(fixture.store.valid_derivers(&outputs["out"]).unwrap().contains(&derivation));
    fixture.assert_clean();
}

#[test]
fn a_graph_builds_in_order_and_again_costs_nothing() {
    let fixture = Fixture::new();
    let mut last: Option<formats::store_path::StorePath> = None;
    let mut all = Vec::new();
    for number in 0..6 {
        let derivation = fixture.script(&format!("leaf{number}"), &format!("echo {number} > $out"));
        all.push(derivation);
    }
    let sum = fixture.derivation("sum", "cat $inputs > $out", |derivation| {
        let mut inputs = Vec::new();
        for leaf in &all {
            derivation.input_drvs.insert(leaf.clone(), ["out".to_owned()].into());
            let parsed = fixture.store.read_derivation(leaf).unwrap();
            inputs.push(fixture.store.dir().print(&fixture.store.output_paths(&parsed).unwrap()["out"]));
        }
        derivation.env.insert(b"inputs".to_vec(), inputs.join(" ").into_bytes());
        last = Some(all[0].clone());
    });
    // busybox's shell has cat built in.
    assert_eq!(fixture.build(&sum), "0\n1\n2\n3\n4\n5\n");
    let report = fixture.store.build(&[(sum, Wanted::All)], &BuildOptions::default()).unwrap();
    assert!(report.built.is_empty());
    fixture.assert_clean();
}

#[test]
fn fixed_outputs_keep_their_promise_or_are_not_registered() {
    let fixture = Fixture::new();
    let good = fixture.fixed("good", "printf hello > $out", "hello");
    assert_eq!(fixture.build(&good), "hello");
    let bad = fixture.fixed("bad", "printf other > $out", "hello");
    let failure = fixture.failure(&bad, &BuildOptions::default());
    assert!(matches!(failure.kind, FailureKind::HashMismatch { .. }), "{failure:?}");
    fixture.assert_clean();
}

#[test]
fn check_notices_what_differs() {
    let fixture = Fixture::new();
    let same = fixture.script("same", "echo always > $out");
    let random = fixture.script("random", "cat /proc/sys/kernel/random/uuid > $out");
    fixture.build(&same);
    fixture.build(&random);
    let options = BuildOptions { check: true, ..BuildOptions::default() };
    fixture.store.build_derivation(&same, &options).unwrap();
    let failure = fixture.failure(&random, &options);
    assert!(matches!(failure.kind, FailureKind::NotDeterministic(_)), "{failure:?}");
}

#[test]
fn garbage_goes_and_what_is_needed_stays() {
    let fixture = Fixture::new();
    let (kept, lost) =
        (fixture.script("kept", "echo kept > $out"), fixture.script("lost", "echo lost > $out"));
    fixture.build(&kept);
    fixture.build(&lost);
    let (kept, lost) = (path_of(&fixture, &kept), path_of(&fixture, &lost));
    let kept = formats::store_path::StorePath::from_base_name(&kept).unwrap();
    let lost = formats::store_path::StorePath::from_base_name(&lost).unwrap();
    let root = fixture.directory.path().join("result");
    fixture.store.add_permanent_root(&kept, &root).unwrap();
    // This store's own temporary roots protect what it built: another process collects.
    let Fixture { directory, store } = fixture;
    drop(store);
    let fixture = Fixture { store: store::Store::open(directory.path()).unwrap(), directory };
    let stray = fixture.store.layout().real_store.join("0000000000000000000000000000000a-stray");
    std::fs::write(&stray, "left by a crash").unwrap();
    let options = CollectOptions { keep_derivations: true, ..CollectOptions::default() };
    let collected = fixture.store.collect_garbage(&options).unwrap();
    assert!(collected.paths.contains(&lost) && !collected.paths.contains(&kept));
    assert!(fixture.store.is_valid(&kept).unwrap() && !fixture.store.is_valid(&lost).unwrap());
    fixture.assert_clean();
    std::fs::remove_file(root).unwrap();
    fixture.store.collect_garbage(&options).unwrap();
    assert!(fixture.store.all_valid().unwrap().is_empty());
    fixture.assert_clean();
}

#[test]
fn exported_databases_are_the_same_bytes() {
    let fixture = Fixture::new();
    let derivation = fixture.script("thing", "echo thing > $out");
    fixture.build(&derivation);
    let path = formats::store_path::StorePath::from_base_name(&path_of(&fixture, &derivation)).unwrap();
    let (first, second) = (fixture.directory.path().join("1"), fixture.directory.path().join("2"));
    fixture.store.export_database([path.clone()], &first).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let closure = fixture.store.export_database([path.clone()], &second).unwrap();
    assert_eq!(closure, BTreeSet::from([path]));
    assert_eq!(std::fs::read(first).unwrap(), std::fs::read(second).unwrap());
}

/// A builder in a sandbox adds a file and builds something else, sees both, and refers to what it built.
#[test]
fn a_builder_in_a_sandbox_asks_the_store() {
    let nix = crate::turns::implementations().into_iter().find(|directory| directory.starts_with("/usr"));
    let Some(nix) = nix else { panic!("this test needs a real Nix below /usr: install nix-bin") };
    let fixture = Fixture::new();
    let script = format!(
        "set -e; export PATH={}:/usr/bin HOME=$PWD NIX_STATE_DIR=$PWD/state
         echo hello > file; added=$(nix-store --add file); read line < $added; test $line = hello
         echo 'derivation {{ name = \"inner\"; system = \"x86_64-linux\"; builder = \"/bin/sh\";
           args = [ \"-c\" \"echo inside > $out\" ]; }}' > inner.nix
         inner=$(nix-build --no-out-link inner.nix); read line < $inner; test $line = inside
         ! nix-store -q --references {}
         echo $inner > $out",
        nix.display(),
        fixture.store.dir().print(&fixture.store.add_text("secret", b"", &BTreeSet::new()).unwrap()),
    );
    let derivation = fixture.derivation("outer", &script, |derivation| {
        derivation.env.insert(b"requiredSystemFeatures".to_vec(), b"recursive-nix".to_vec());
    });
    let mut paths = vec![SandboxPath {
        target: "/bin/sh".into(),
        source: store::build::static_shell().unwrap(),
        optional: false,
    }];
    for place in ["/usr/bin", "/usr/lib", "/usr/lib64", "/lib", "/lib64"] {
        paths.push(SandboxPath { target: place.into(), source: place.into(), optional: true });
    }
    let mut options = BuildOptions { sandbox: Sandbox::Required(paths), ..BuildOptions::default() };
    options.features.insert("recursive-nix".to_owned());
    let outputs = fixture.store.build_derivation(&derivation, &options).unwrap();
    let info = fixture.store.path_info(&outputs["out"]).unwrap();
    let names: Vec<&str> = info.references.iter().map(StorePath::name).collect();
    assert_eq!(names, ["inner"]);
    let inner = info.references.first().unwrap();
    assert_eq!(std::fs::read_to_string(fixture.store.real_path(inner)).unwrap(), "inside\n");
    fixture.assert_clean();
}
