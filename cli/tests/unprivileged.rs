//! A user without root, on a machine without a `/nix` of their own: `firn build` works, sandboxed, in the user's own store.

#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The user that every Debian has for those who own nothing.
const NOBODY: u32 = 65534;

/// A home with a file to build; its user's commands.
struct User {
    directory: tempfile::TempDir,
    program: PathBuf,
}

impl User {
    /// As root, the user is `nobody`, with a copy of the program that it may read; otherwise whoever runs the test.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut program = PathBuf::from(env!("CARGO_BIN_EXE_firn"));
        if nix::unistd::geteuid().is_root() {
            std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
            let copy = directory.path().join("firn");
            std::fs::copy(&program, &copy).unwrap();
            program = copy;
        }
        let user = Self { directory, program };
        std::fs::create_dir(user.home()).unwrap();
        if nix::unistd::geteuid().is_root() {
            chown(user.home(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        user
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    fn firn(&self, arguments: &[&str]) -> Output {
        let mut command = if nix::unistd::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            let id = NOBODY.to_string();
            command.args([
                "--reuid",
                &id,
                "--regid",
                &id,
                "--clear-groups",
                "--inh-caps=-all",
                "--bounding-set=-all",
            ]);
            command.arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        command.args(arguments).current_dir(self.home()).env_clear();
        command.env("HOME", self.home()).env("PATH", "/usr/bin:/bin").output().unwrap()
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.firn(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "firn {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn firn_build_works_out_of_the_box() {
    let user = User::new();
    let expression = user.home().join("greeting.nix");
    std::fs::write(
        &expression,
        r#"let make = name: script: derivation {
             inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" script ];
           };
           word = make "word" "echo hello > $out";
           in make "greeting" ''
             mkdir $out
             read word < ${word}
             echo "$word from $NIX_BUILD_TOP" > $out/text
             { ls /home /root /tmp/.X11-unix; ls /proc/1/root/etc/shadow; } > $out/seen 2>&1 || true
             ip link > $out/network 2>&1 || true
           ''"#,
    )
    .unwrap();
    let printed = user.succeeds(&["build", "-f", "greeting.nix"]);
    assert!(printed.starts_with("/nix/store/") && printed.trim().ends_with("-greeting"), "{printed}");
    // The link can be followed, although nothing is at /nix/store, and what was built ran in a sandbox.
    let result = user.home().join("result");
    assert_eq!(text(&result.join("text")), "hello from /build\n");
    assert!(
        !text(&result.join("seen")).contains("shadow\n/"),
        "the machine is visible: {}",
        text(&result.join("seen"))
    );
    assert!(!text(&result.join("network")).contains("eth"), "there is a network");
    // It is a root: a collection spares it, and takes it when the link is gone.
    user.succeeds(&["gc"]);
    assert!(result.join("text").exists());
    assert_eq!(user.succeeds(&["store", "verify", "--contents"]), "");
    // The second time there is nothing to do, and the link is replaced without complaint.
    assert_eq!(user.succeeds(&["build", "-f", "greeting.nix"]), printed);
    std::fs::remove_file(&result).unwrap();
    user.succeeds(&["gc"]);
    assert_eq!(user.succeeds(&["path-info", "--all"]), "");
    // Not a file of it is anywhere but at home.
    let store = user.home().join(".local/state/firn/root/nix/store");
    assert!(store.is_dir());
}
