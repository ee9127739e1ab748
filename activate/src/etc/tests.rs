//! /etc on temporary roots: two generations and what lies between them.

use super::*;
use formats::activation::{Activation, EtcEntry};
use std::os::unix::fs::symlink;

struct Fixture {
    _directory: tempfile::TempDir,
    root: Root,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        std::fs::create_dir_all(root.join("/nix/store")).unwrap();
        std::fs::create_dir_all(root.join("/etc")).unwrap();
        Self { _directory: directory, root }
    }

    /// Makes a toplevel with these entries (target, text, mode) and returns its path and document.
    fn generation(&self, name: &str, entries: &[(&str, &str, &str)]) -> (PathBuf, Activation) {
        let mut activation = Activation::empty();
        let toplevel = Path::new("/nix/store").join(name);
        let tree = self.root.join(&toplevel).join("etc");
        std::fs::create_dir_all(&tree).unwrap();
        for (target, text, mode) in entries {
            let source = format!("/nix/store/{name}-{}", target.replace('/', "-"));
            let place = self.root.join(&source);
            match text.strip_prefix("dir:") {
                Some(files) => {
                    std::fs::create_dir(&place).unwrap();
                    files.split(',').for_each(|file| std::fs::write(place.join(file), file).unwrap());
                }
                None => std::fs::write(&place, text).unwrap(),
            }
            if *mode == "symlink" {
                std::fs::create_dir_all(tree.join(target).parent().unwrap()).unwrap();
                symlink(&source, tree.join(target)).unwrap();
            }
            activation.etc.push(EtcEntry {
                target: (*target).to_owned(),
                source,
                mode: (*mode).to_owned(),
                user: "root".to_owned(),
                group: "root".to_owned(),
            });
        }
        (toplevel, activation)
    }

    fn activate(&self, generation: &(PathBuf, Activation)) -> EtcPlan {
        let names = Names::of(&crate::accounts::plan::Accounts::default());
        let plan = changes(&self.root, &generation.0, &generation.1, &names).unwrap();
        apply(&self.root, &plan).unwrap();
        let again = changes(&self.root, &generation.0, &generation.1, &names).unwrap();
        assert_eq!(again.changes, [], "a second run changes nothing");
        assert!(again.is_empty());
        plan
    }

    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.root.resolve(path).unwrap()).ok()
    }
}

#[test]
fn links_copies_and_direct_links_come_change_and_go() {
    let fixture = Fixture::new();
    let one = fixture.generation(
        "one",
        &[
            ("hosts", "h1", "symlink"),
            ("ssh/sshd_config", "s1", "symlink"),
            ("sudoers", "u1", "0440"),
            ("direct", "d1", "direct-symlink"),
        ],
    );
    let two = fixture.generation(
        "two",
        &[("hosts", "h2", "symlink"), ("sudoers", "u2", "0400"), ("motd", "m", "symlink")],
    );
    fixture.activate(&one);
    assert_eq!(std::fs::read_link(fixture.root.join("/etc/hosts")).unwrap(), Path::new("/etc/static/hosts"));
    assert_eq!(fixture.read("/etc/ssh/sshd_config").as_deref(), Some("s1"));
    assert_eq!(fixture.read("/etc/direct").as_deref(), Some("d1"));
    let plan = fixture.activate(&two);
    assert_eq!(fixture.read("/etc/hosts").as_deref(), Some("h2"));
    assert_eq!(fixture.read("/etc/sudoers").as_deref(), Some("u2"));
    assert_eq!(fixture.root.join("/etc/sudoers").metadata().unwrap().mode() & 0o7777, 0o400);
    assert!(
        !fixture.root.join("/etc/ssh").exists()
            && fixture.root.join("/etc/direct").symlink_metadata().is_err()
    );
    assert!(matches!(plan.changes[0], Change::Static { .. }), "the switch comes first: {:?}", plan.changes);
    assert!(
        !plan.changes.iter().any(|change| matches!(change, Change::Link { target, .. } if target == "hosts"))
    );
}

#[test]
fn what_others_made_stays() {
    let fixture = Fixture::new();
    std::fs::write(fixture.root.join("/etc/hosts"), "mine").unwrap();
    std::fs::write(fixture.root.join("/etc/unrelated"), "x").unwrap();
    symlink("/somewhere", fixture.root.join("/etc/foreign")).unwrap();
    let one = fixture.generation("one", &[("hosts", "h1", "symlink"), ("copy", "c", "0644")]);
    fixture.activate(&one);
    assert_eq!(fixture.read("/etc/hosts.before-firn").as_deref(), Some("mine"));
    std::fs::write(fixture.root.join("/etc/copy"), "changed by hand").unwrap();
    let two = fixture.generation("two", &[("other", "o", "symlink")]);
    let plan = fixture.activate(&two);
    assert_eq!(fixture.read("/etc/copy").as_deref(), Some("changed by hand"));
    assert!(plan.notices.iter().any(|notice| notice.contains("/etc/copy")), "{:?}", plan.notices);
    assert!(fixture.root.join("/etc/unrelated").exists());
    assert!(fixture.root.join("/etc/foreign").symlink_metadata().is_ok());
    assert!(fixture.root.join("/etc/hosts").symlink_metadata().is_err());
}

#[test]
fn a_link_becomes_a_directory_and_a_directory_a_link() {
    let fixture = Fixture::new();
    let link = fixture.generation("link", &[("conf", "dir:a,b", "symlink")]);
    let directory =
        fixture.generation("directory", &[("conf/a", "new a", "symlink"), ("conf/c", "c", "0644")]);
    fixture.activate(&link);
    assert_eq!(fixture.read("/etc/conf/b").as_deref(), Some("b"));
    fixture.activate(&directory);
    assert_eq!(fixture.read("/etc/conf/a").as_deref(), Some("new a"));
    assert_eq!(fixture.read("/etc/conf/c").as_deref(), Some("c"));
    assert!(fixture.root.join("/etc/conf/b").symlink_metadata().is_err(), "b is stale");
    fixture.activate(&link);
    assert_eq!(fixture.read("/etc/conf/a").as_deref(), Some("a"));
    assert!(fixture.root.join("/etc/conf").symlink_metadata().unwrap().is_symlink());
    fixture.activate(&directory);
    std::fs::write(fixture.root.join("/etc/conf/mine"), "x").unwrap();
    let plan = fixture.activate(&link);
    assert!(plan.notices[0].contains("conf/mine"), "{:?}", plan.notices);
    assert!(fixture.root.join("/etc/conf/mine").exists());
}

#[test]
fn without_a_tree_entries_link_to_their_sources() {
    let fixture = Fixture::new();
    let mut generation = fixture.generation("one", &[("hosts", "h1", "symlink")]);
    std::fs::remove_dir_all(fixture.root.join("/nix/store/one/etc")).unwrap();
    fixture.activate(&generation);
    assert_eq!(fixture.read("/etc/hosts").as_deref(), Some("h1"));
    generation.1.etc.clear();
    fixture.activate(&generation);
    assert!(fixture.root.join("/etc/hosts").symlink_metadata().is_err());
}

#[test]
fn impossible_entries_are_named() {
    let names = Names::of(&crate::accounts::plan::Accounts::default());
    for (targets, mode, expected) in [
        (vec!["../passwd"], "symlink", "../passwd"),
        (vec!["/x"], "symlink", "relative"),
        (vec!["a", "a/b"], "symlink", "below another entry"),
        (vec!["a", "a"], "symlink", "two entries"),
        (vec!["a"], "rwx", "neither a mode"),
        (vec!["a"], "17777", "neither a mode"),
    ] {
        let mut activation = Activation::empty();
        activation.etc = targets
            .iter()
            .map(|target| EtcEntry {
                target: (*target).to_owned(),
                source: "/x".to_owned(),
                mode: mode.to_owned(),
                user: "root".to_owned(),
                group: "root".to_owned(),
            })
            .collect();
        let wanted = plan::Wanted {
            activation: &activation,
            static_directory: None,
            contents: BTreeMap::new(),
            names: &names,
            owners: false,
        };
        let error = plan::plan(&Observed::default(), &wanted).unwrap_err().to_string();
        assert!(error.contains(expected), "{targets:?}: {error}");
    }
}
