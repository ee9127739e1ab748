//! `firn boot`, `switch`, `rollback`, `generation`, `bootmenu`, `status` and `confirm` as a user calls them, on a system
//! below a temporary directory: a real store with its database, a real `firn-activate`, a directory as boot partition.

#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

use formats::content_address::Method;
use formats::hash::Algorithm;
use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use store::Store;

struct Machine {
    _directory: tempfile::TempDir,
    root: PathBuf,
    activate: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        for path in ["boot", "run", "etc"] {
            std::fs::create_dir_all(root.join(path)).unwrap();
        }
        std::fs::write(root.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
        Self { _directory: directory, root, activate: firn_activate() }
    }

    /// A system in the store, with a kernel of its own.
    fn system(&self, name: &str, more: &str) -> String {
        let store = Store::open(&self.root).unwrap();
        let none = BTreeSet::new();
        let file = |file: &str, text: &str| {
            let path = store.add_text(file, text.as_bytes(), &none).unwrap();
            store.dir().print(&path)
        };
        let kernel = file(&format!("vmlinuz-{name}"), &format!("kernel {name}"));
        let initrd = file("initrd", "initrd");
        let loader = file("sd-boot.efi", "loader");
        let hosts = file("hosts", &format!("hosts of {name}"));
        let tree = tempfile::tempdir().unwrap();
        let write = |file: &str, text: String| std::fs::write(tree.path().join(file), text).unwrap();
        write(
            "boot.json",
            format!(
                r#"{{"org.nixos.bootspec.v1":{{"init":"/nix/store/{name}/init","initrd":"{initrd}","kernel":"{kernel}",
                    "kernelParams":["quiet"],"label":"Firn {name}","system":"x86_64-linux","toplevel":"/nix/store/{name}"}}}}"#
            ),
        );
        write(
            "bootloader.json",
            format!(r#"{{"version":1,"timeout":5,"systemdBoot":{{"efi":"{loader}"}}}}"#),
        );
        write(
            "activation.json",
            format!(
                r#"{{"version":1,"etc":[{{"target":"hosts","source":"{hosts}","mode":"symlink"}}]{more}}}"#
            ),
        );
        symlink(&kernel, tree.path().join("kernel")).unwrap();
        symlink(&self.activate, tree.path().join("activate")).unwrap();
        let (method, algorithm) = (Method::Recursive, Algorithm::Sha256);
        let path = store.add_path(tree.path(), &format!("system-{name}"), method, algorithm).unwrap();
        store.dir().print(&path)
    }

    fn firn(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_firn"))
            .arg("--store")
            .arg(&self.root)
            .args(arguments)
            .output()
            .unwrap()
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.firn(arguments);
        let talk = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "firn {}: {:?} {talk}", arguments.join(" "), output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.firn(arguments);
        let talk = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "firn {}: {talk}", arguments.join(" "));
        talk
    }

    fn running(&self) -> Option<String> {
        std::fs::read_link(self.root.join("run/current-system")).ok().map(|path| path.display().to_string())
    }

    /// Titles in the boot menu, the default first.
    fn menu(&self) -> Vec<String> {
        let mut entries: Vec<(String, std::cmp::Reverse<u64>, String)> = Vec::new();
        let Ok(files) = std::fs::read_dir(self.root.join("boot/loader/entries")) else { return Vec::new() };
        for file in files {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let value =
                |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned();
            let number = value("version Generation").split(' ').next().unwrap().parse().unwrap();
            entries.push((value("sort-key"), std::cmp::Reverse(number), value("title")));
        }
        entries.sort();
        entries.into_iter().map(|(_, _, title)| title).collect()
    }
}

/// The program that a toplevel's `activate` is, as cargo builds it beside this one.
fn firn_activate() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_firn")).with_file_name("firn-activate");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "-p", "activate", "--bin", "firn-activate"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
        .status()
        .unwrap();
    assert!(status.success() && program.exists(), "{}", program.display());
    program
}

#[test]
fn a_machine_lives_through_its_generations() {
    let machine = Machine::new();
    let (one, two, three) =
        (machine.system("one", ""), machine.system("two", ""), machine.system("three", ""));
    machine.succeeds(&["boot", "--toplevel", &one]);
    assert_eq!(machine.running(), None, "only the next boot is changed");
    assert_eq!(machine.menu(), ["Firn (Generation 1)"]);
    machine.succeeds(&["switch", "--toplevel", &one]);
    machine.succeeds(&["switch", "--toplevel", &two]);
    assert_eq!(machine.running().as_ref(), Some(&two));
    assert_eq!(machine.menu(), ["Firn (Generation 2)", "Firn (Generation 1)"]);
    machine.succeeds(&["test", "--toplevel", &three]);
    assert_eq!(machine.running().as_ref(), Some(&three));
    assert_eq!(machine.menu()[0], "Firn (Generation 2)", "a test does not change what boots");
    machine.succeeds(&["switch", "--toplevel", &three]);
    // Back by one, and to a number.
    machine.succeeds(&["rollback"]);
    assert_eq!(machine.running().as_ref(), Some(&two));
    assert_eq!(machine.menu(), ["Firn (Generation 2)", "Firn (Generation 3)", "Firn (Generation 1)"]);
    machine.succeeds(&["rollback", "1"]);
    assert_eq!(machine.running().as_ref(), Some(&one));
    assert_eq!(machine.menu()[0], "Firn (Generation 1)");
    machine.succeeds(&["rollback", "3"]);
    assert!(machine.fails(1, &["rollback", "9"]).contains("there are 1, 2, 3"));

    let list = machine.succeeds(&["generation", "list"]);
    assert!(list.lines().count() == 3 && list.contains("Firn three  (current, running)"), "{list}");
    let json: serde_json::Value =
        serde_json::from_str(&machine.succeeds(&["generation", "list", "--json"])).unwrap();
    assert_eq!(json[2]["toplevel"], three.as_str());
    let diff = machine.succeeds(&["generation", "diff", "1", "2"]);
    assert!(diff.contains("~hosts") && diff.contains("kernel"), "{diff}");
    assert!(machine.succeeds(&["generation", "show", "2"]).contains("Firn two"));
    assert!(machine.fails(1, &["generation", "delete", "3"]).contains("stays"));
    machine.succeeds(&["generation", "delete", "1"]);
    assert_eq!(machine.menu(), ["Firn (Generation 3)", "Firn (Generation 2)"]);
    machine.succeeds(&["generation", "delete", "old"]);
    assert_eq!(machine.menu(), ["Firn (Generation 3)"]);
    let status = machine.succeeds(&["status"]);
    assert!(status.contains("running    generation 3") && status.contains("switch to"), "{status}");
}

#[test]
fn the_boot_menu_is_shown_before_it_is_written_and_mended_after() {
    let machine = Machine::new();
    let one = machine.system("one", "");
    machine.succeeds(&["boot", "--toplevel", &one]);
    assert!(machine.succeeds(&["bootmenu"]).contains("nothing to do"));
    std::fs::remove_file(machine.root.join("boot/loader/loader.conf")).unwrap();
    let dry = machine.succeeds(&["bootmenu", "--dry-run", "--diff"]);
    assert!(dry.contains("+ loader/loader.conf") && dry.contains("+ timeout 5"), "{dry}");
    assert!(!machine.root.join("boot/loader/loader.conf").exists(), "a dry run writes nothing");
    let json: serde_json::Value = serde_json::from_str(&machine.succeeds(&["bootmenu", "--json"])).unwrap();
    assert_eq!(json["default"], 1);
    assert!(machine.root.join("boot/loader/loader.conf").exists());
    let kernel = std::fs::read_dir(machine.root.join("boot/EFI").join(token(&machine))).unwrap();
    let kernel = kernel
        .map(|entry| entry.unwrap().path())
        .find(|path| path.ends_with("kernel.efi") || path.to_string_lossy().ends_with("kernel.efi"))
        .unwrap();
    std::fs::write(&kernel, "kernel bad").unwrap();
    machine.succeeds(&["bootmenu", "--check"]);
    assert_eq!(std::fs::read_to_string(&kernel).unwrap(), "kernel one");
}

fn token(machine: &Machine) -> String {
    std::fs::read_to_string(machine.root.join("var/lib/firn/entry-token")).unwrap().trim().to_owned()
}

#[test]
fn a_system_that_cannot_boot_changes_nothing() {
    let machine = Machine::new();
    let one = machine.system("one", "");
    machine.succeeds(&["switch", "--toplevel", &one]);
    let bad = machine.system("bad", r#","wrappers":[{"program":"w","source":"/missing","setuid":true}]"#);
    // Known before anything is touched: the plan cannot be made... the wrapper's program is missing.
    let talk = machine.fails(2, &["switch", "--toplevel", &bad]);
    assert!(talk.contains("security.wrappers.w"), "{talk}");
    let other = machine.system("other", "");
    let kernel = std::fs::read_link(machine.root.join(other.trim_start_matches('/')).join("kernel")).unwrap();
    let place = machine.root.join(kernel.strip_prefix("/").unwrap());
    std::fs::remove_file(&place).unwrap();
    let before = (machine.running(), machine.menu());
    let talk = machine.fails(1, &["switch", "--toplevel", &other]);
    assert!(talk.contains("vmlinuz-other") && talk.contains("nothing was changed"), "{talk}");
    assert_eq!((machine.running(), machine.menu()), before);
    assert!(machine.fails(1, &["switch", "--toplevel", "/nix/store/nothing"]).contains("is no system"));
}

#[test]
fn an_unconfirmed_switch_goes_back_and_a_confirmed_one_stays() {
    let machine = Machine::new();
    let (one, two) = (machine.system("one", ""), machine.system("two", ""));
    machine.succeeds(&["switch", "--toplevel", &one]);
    machine.succeeds(&["switch", "--confirm", "1s", "--toplevel", &two]);
    assert_eq!(machine.running().as_ref(), Some(&two));
    assert!(machine.succeeds(&["status"]).contains("waiting"));
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while (machine.running().as_ref() != Some(&one)
        || machine.succeeds(&["generation", "list"]).lines().count() != 1)
        && std::time::Instant::now() < limit
    {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(machine.running().as_ref(), Some(&one));
    assert_eq!(machine.menu(), ["Firn (Generation 1)"]);
    assert!(machine.fails(1, &["confirm"]).contains("no switch waits"));
    machine.succeeds(&["switch", "--confirm", "60s", "--toplevel", &two]);
    assert_eq!(machine.menu(), ["Firn (Generation 1)"], "what boots is changed by the confirmation");
    machine.succeeds(&["confirm"]);
    assert_eq!(machine.running().as_ref(), Some(&two));
    assert_eq!(machine.menu()[0], "Firn (Generation 2)");
}
