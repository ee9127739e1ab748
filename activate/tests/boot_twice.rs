//! The whole program on a temporary root: the first boot of an empty root, a second one that changes nothing, a switch to
//! another generation and back. The program is run as it is on a machine, as `TOPLEVEL/activate`.

#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Machine {
    _directory: tempfile::TempDir,
    root: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_path_buf();
        std::fs::create_dir_all(root.join("nix/store")).unwrap();
        std::fs::create_dir_all(root.join("nix/var/nix")).unwrap();
        Self { _directory: directory, root }
    }

    fn generation(&self, name: &str, hosts: &str, json: &str) -> PathBuf {
        let toplevel = self.root.join("nix/store").join(name);
        std::fs::create_dir_all(toplevel.join("etc")).unwrap();
        std::fs::create_dir_all(toplevel.join("sw/bin")).unwrap();
        std::fs::write(toplevel.join("sw/bin/sh"), "").unwrap();
        std::fs::write(self.root.join("nix/store/ping"), b"\x7fELF").unwrap();
        std::fs::write(self.root.join(format!("nix/store/{name}-hosts")), hosts).unwrap();
        symlink(format!("/nix/store/{name}-hosts"), toplevel.join("etc/hosts")).unwrap();
        std::fs::write(toplevel.join("activation.json"), json.replace("NAME", name)).unwrap();
        symlink(env!("CARGO_BIN_EXE_firn-activate"), toplevel.join("activate")).unwrap();
        toplevel
    }

    fn activate(&self, toplevel: &Path, action: &str) -> Output {
        let inside = Path::new("/").join(toplevel.strip_prefix(&self.root).unwrap());
        Command::new(toplevel.join("activate"))
            .args([action, "--toplevel", inside.to_str().unwrap(), "--root", self.root.to_str().unwrap()])
            .output()
            .unwrap()
    }

    /// Everything that can be seen of the root, but for times.
    fn tree(&self) -> BTreeMap<PathBuf, String> {
        let mut tree = BTreeMap::new();
        walk(&self.root, &mut tree);
        tree
    }
}

fn walk(directory: &Path, tree: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let found = path.symlink_metadata().unwrap();
        let contents = if found.is_symlink() {
            std::fs::read_link(&path).unwrap().display().to_string()
        } else if found.is_dir() {
            walk(&path, tree);
            String::new()
        } else {
            // The inode tells a file that was written again from one that was left alone.
            format!("{} {:?}", found.ino(), std::fs::read(&path).unwrap())
        };
        tree.insert(path, format!("{:o} {}:{} {contents}", found.mode(), found.uid(), found.gid()));
    }
}

const ONE: &str = r#"{"version":1,
  "etc":[{"target":"hosts","source":"/nix/store/NAME-hosts","mode":"symlink"},
         {"target":"sudoers","source":"/nix/store/NAME-hosts","mode":"0440"}],
  "users":[{"name":"alice","group":"users","home":"/home/alice","createHome":true,"isNormalUser":true,"password":"x",
            "autoSubUidGidRange":true},
           {"name":"nginx","group":"nginx","isSystemUser":true}],
  "groups":[{"name":"users","gid":100},{"name":"nginx"}],
  "wrappers":[{"program":"ping","source":"/nix/store/ping","capabilities":"cap_net_raw+ep"}],
  "tmpfiles":["d /var/lib/nginx 0750 nginx nginx - -","L+ /run/x - - - - /y","r! /run/gone"],
  "hostName":"firn"}"#;

#[test]
fn an_empty_root_becomes_a_machine_and_a_second_boot_changes_nothing() {
    let machine = Machine::new();
    let one = machine.generation("one", "first", ONE);
    let first = machine.activate(&one, "boot");
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert_eq!(
        std::fs::read_link(machine.root.join("run/current-system")).unwrap(),
        Path::new("/nix/store/one")
    );
    assert_eq!(
        std::fs::read_link(machine.root.join("bin/sh")).unwrap(),
        Path::new("/nix/store/one/sw/bin/sh")
    );
    let shadow = std::fs::read_to_string(machine.root.join("etc/shadow")).unwrap();
    assert!(shadow.contains("alice:$6$") && shadow.contains("root:!:"), "{shadow}");
    assert_eq!(std::fs::read_to_string(machine.root.join("etc/machine-id")).unwrap().len(), 33);
    assert!(machine.root.join("var/lib/nginx").is_dir());
    let before = machine.tree();
    for action in ["boot", "switch", "test", "dry-activate"] {
        let again = machine.activate(&one, action);
        assert!(again.status.success(), "{action}: {}", String::from_utf8_lossy(&again.stderr));
        let talk = String::from_utf8_lossy(&again.stderr).into_owned();
        assert!(talk.lines().all(|line| line.contains("no supervisor is running")), "{action}: {talk}");
        let mut after = machine.tree();
        // The journal says when the last switch was.
        after.remove(&machine.root.join("var/lib/firn/switch.json"));
        for (path, state) in &after {
            assert_eq!(before.get(path), Some(state), "{action}: {}", path.display());
        }
        assert_eq!(before.len(), after.len(), "{action}");
    }
}

#[test]
fn a_switch_and_back_ends_where_it_began() {
    let machine = Machine::new();
    let one = machine.generation("one", "first", ONE);
    let two = machine.generation(
        "two",
        "second",
        r#"{"version":1,"etc":[{"target":"hosts","source":"/nix/store/NAME-hosts","mode":"symlink"}],
            "users":[{"name":"bob","group":"users","isNormalUser":true}],"groups":[{"name":"users","gid":100}]}"#,
    );
    assert!(machine.activate(&one, "boot").status.success());
    let dry = machine.activate(&two, "dry-activate");
    let plan = String::from_utf8_lossy(&dry.stderr).into_owned();
    for expected in ["etc: remove /etc/sudoers", "+bob", "-alice", "wrappers: -ping"] {
        assert!(plan.contains(expected), "{expected} in {plan}");
    }
    let passwd = || std::fs::read_to_string(machine.root.join("etc/passwd")).unwrap();
    let before = passwd();
    assert!(before.contains("alice:x:1000:"), "a dry run changes nothing: {before}");
    assert!(machine.activate(&two, "switch").status.success());
    assert!(!passwd().contains("alice") && passwd().contains("bob:x:1001:"), "{}", passwd());
    assert!(!machine.root.join("etc/sudoers").exists());
    assert!(machine.root.join("home/alice").is_dir(), "homes are never removed");
    assert!(machine.activate(&one, "switch").status.success());
    assert_eq!(passwd(), before, "the same id again");
}

#[test]
fn what_cannot_be_done_is_said_and_the_rest_is_done() {
    let machine = Machine::new();
    let bad = machine.generation(
        "bad",
        "x",
        r#"{"version":1,"etc":[{"target":"hosts","source":"/nix/store/NAME-hosts","mode":"symlink"}],
            "tmpfiles":["k /x"],"wrappers":[{"program":"w","source":"/missing"}],
            "snippets":[{"name":"s","deps":[],"text":"true"}]}"#,
    );
    let output = machine.activate(&bad, "boot");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for expected in ["security.wrappers.w", "`k /x`", "snippet `s`"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert!(machine.root.join("etc/hosts").symlink_metadata().is_ok());
    assert!(machine.root.join("run/current-system").symlink_metadata().is_ok());
    std::fs::write(bad.join("activation.json"), r#"{"version":1,"ect":[]}"#).unwrap();
    let output = machine.activate(&bad, "switch");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ect"));
}
