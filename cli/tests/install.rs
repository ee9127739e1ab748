//! `firn install`, `generate-config` and `enter` as a user calls them, with directories in the place of mounted file systems: a real
//! store with its database, a real `firn-activate`. Disks and boots are in `qemu-tests/tests/firn/install.rs`.

#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

use formats::content_address::Method;
use formats::hash::Algorithm;
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use store::{Layout, Options, Store};

/// A store to install from and a directory to install into.
struct Fixture {
    _directory: tempfile::TempDir,
    from: PathBuf,
    to: PathBuf,
    toplevel: String,
    /// A file that the system needs.
    hosts: StorePath,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        std::fs::create_dir_all(&to).unwrap();
        let store = Store::open(&from).unwrap();
        let none = BTreeSet::new();
        let add = |file: &str, text: &str| store.add_text(file, text.as_bytes(), &none).unwrap();
        let hosts = add("hosts", "127.0.0.1 localhost\n");
        let print = |path: &StorePath| store.dir().print(path);
        let (kernel, loader) = (print(&add("vmlinuz", "kernel")), print(&add("sd-boot.efi", "loader")));
        let tree = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(tree.path().join(file), text).unwrap();
        write("init", "");
        write(
            "bootloader.json",
            &format!(r#"{{"version":1,"timeout":5,"systemdBoot":{{"efi":"{loader}"}}}}"#),
        );
        write(
            "activation.json",
            &format!(
                r#"{{"version":1,"etc":[{{"target":"hosts","source":"{}","mode":"symlink"}}]}}"#,
                print(&hosts)
            ),
        );
        symlink(&kernel, tree.path().join("kernel")).unwrap();
        symlink(firn_activate(), tree.path().join("activate")).unwrap();
        // What was built has references; what is added has none. So it comes as an archive of another store.
        let scratch = Store::open(&directory.path().join("scratch")).unwrap();
        let path = scratch.add_path(tree.path(), "system", Method::Recursive, Algorithm::Sha256).unwrap();
        let mut archive = Vec::new();
        scratch.archive(&path, &mut archive).unwrap();
        let mut info = scratch.path_info(&path).unwrap();
        info.content_address = None;
        let needed = [&kernel, &loader].map(|path| store.dir().parse(path).unwrap());
        info.references = needed.into_iter().chain([hosts.clone()]).collect();
        store.add_nar(&info, &mut archive.as_slice()).unwrap();
        let toplevel = print(&path);
        Self { _directory: directory, from, to, toplevel, hosts }
    }

    fn firn(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_firn"))
            .arg("--store")
            .arg(&self.from)
            .args(arguments)
            .env_remove("NIXOS_CONFIG")
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap()
    }

    fn install(&self, more: &[&str]) -> Output {
        let arguments = ["install", "--root", self.to.to_str().unwrap(), "--system", &self.toplevel];
        self.firn(&[&arguments[..], more].concat())
    }

    fn is_empty(&self) -> bool {
        std::fs::read_dir(&self.to).unwrap().next().is_none()
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
    assert!(status.success());
    program
}

fn talk(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_plan_writes_nothing_and_a_boot_partition_must_be_mounted() {
    let fixture = Fixture::new();
    let plan = fixture.install(&["--plan", "--no-bootloader"]);
    assert!(plan.status.success(), "{}", talk(&plan));
    let text = String::from_utf8(plan.stdout).unwrap();
    assert!(text.contains(&fixture.toplevel) && text.contains("4 store paths"), "{text}");
    assert!(text.contains("systemd-boot at /boot"), "{text}");
    assert!(fixture.is_empty());

    let refused = fixture.install(&[]);
    assert!(!refused.status.success());
    let text = talk(&refused);
    assert!(text.contains("to/boot does not exist: mount the boot partition there"), "{text}");
    std::fs::create_dir(fixture.to.join("boot")).unwrap();
    let text = talk(&fixture.install(&[]));
    assert!(text.contains("to/boot is not a mount point"), "{text}");
    assert!(!fixture.to.join("nix").exists(), "something was written all the same");
}

#[test]
fn what_was_begun_is_completed_and_what_is_complete_stays() {
    let fixture = Fixture::new();
    // An earlier run that was cut off after some paths.
    let layout = Layout::below(&fixture.to);
    let (from, to) =
        (Store::open(&fixture.from).unwrap(), Store::open_with(layout, Options::default()).unwrap());
    from.copy_to(&to, &[fixture.hosts.clone()].into(), true, &|_| {}).unwrap();
    drop((from, to));
    let first = fixture.install(&["--no-bootloader"]);
    assert!(first.status.success(), "{}", talk(&first));
    assert!(
        talk(&first).contains("3 store paths") && talk(&first).contains("1 are there already"),
        "{}",
        talk(&first)
    );

    let store = Store::open(&fixture.to).unwrap();
    let toplevel = store.dir().parse(&fixture.toplevel).unwrap();
    assert_eq!(store.closure([toplevel]).unwrap().len(), 4);
    assert!(store.verify(true, &|_| {}).unwrap().is_empty());
    let profiles = fixture.to.join("nix/var/nix/profiles");
    let link = |name: &str| std::fs::read_link(profiles.join(name)).unwrap();
    assert_eq!(link("system"), Path::new("system-1-link"));
    assert_eq!(link("system-1-link"), Path::new(&fixture.toplevel));
    let machine_id = std::fs::read(fixture.to.join("etc/machine-id")).unwrap();
    assert_eq!(machine_id.len(), 33);
    assert!(fixture.to.join("etc/passwd").exists() && fixture.to.join("etc/hosts").is_symlink());
    drop(store);

    let second = fixture.install(&["--no-bootloader"]);
    assert!(second.status.success() && talk(&second).contains("copied 0 store paths"), "{}", talk(&second));
    assert_eq!(link("system"), Path::new("system-1-link"));
    assert!(!profiles.join("system-2-link").exists());
    assert_eq!(std::fs::read(fixture.to.join("etc/machine-id")).unwrap(), machine_id);
}

#[test]
fn what_is_asked_wrongly_is_said_in_a_sentence() {
    let fixture = Fixture::new();
    let to = fixture.to.to_str().unwrap();
    let fails = |arguments: &[&str], wanted: &str| {
        let output = fixture.firn(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(talk(&output).contains(wanted), "{arguments:?}: {}", talk(&output));
    };
    fails(&["install", "--root", to], &format!("`firn generate-config --root {to}` writes a first one"));
    fails(&["install", "--root", "/"], "`firn switch` changes it");
    fails(&["install", "--root", &format!("{to}/not-there")], "mount the new system's file systems there");
    fails(&["install", "--disk", "/dev/null", "--yes"], "/dev/null is no disk; there ");
    fails(&["install", "--root", to, "--system", "/etc"], "not a store path");
    fails(&["enter", "--root", to], "there is no system in");
    fails(&["enter", "--root", "/"], "there is nothing to enter");
    assert!(fixture.is_empty());
}

#[test]
fn a_first_configuration_is_written_and_then_left_alone() {
    let fixture = Fixture::new();
    let to = fixture.to.to_str().unwrap();
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let generate = |more: &[&str]| {
        let first =
            ["--firn-dist", dist.to_str().unwrap(), "generate-config", "--root", to, "--no-filesystems"];
        let output = fixture.firn(&[&first[..], more].concat());
        assert!(output.status.success(), "{}", talk(&output));
        output
    };
    let shown = generate(&["--show-hardware-config"]);
    assert!(fixture.is_empty());
    generate(&[]);
    let read = |name: &str| std::fs::read(fixture.to.join("etc/nixos").join(name)).unwrap();
    assert_eq!(read("hardware-configuration.nix"), shown.stdout);
    let first = read("configuration.nix");
    let text = String::from_utf8(first.clone()).unwrap();
    assert!(
        text.contains("./hardware-configuration.nix") && text.contains("system.stateVersion = \"26.05\""),
        "{text}"
    );
    std::fs::write(fixture.to.join("etc/nixos/configuration.nix"), "mine").unwrap();
    std::fs::write(fixture.to.join("etc/nixos/hardware-configuration.nix"), "old").unwrap();
    assert!(talk(&generate(&[])).contains("was left as it is; --force writes it anew"));
    assert_eq!(read("configuration.nix"), b"mine");
    assert_eq!(read("hardware-configuration.nix"), shown.stdout);
    generate(&["--force"]);
    assert_eq!(read("configuration.nix"), first);
    generate(&["--dir", "/etc/elsewhere"]);
    assert!(fixture.to.join("etc/elsewhere/configuration.nix").exists());
}
