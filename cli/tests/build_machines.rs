//! `firn build` with machines behind ssh: the programs on the other end are Firn's own, started here as `localhost` means,
//! and behind a real sshd where one is installed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot do is its failure")]

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

struct User(tempfile::TempDir);

/// More for ssh: `-p PORT`.
type SshOptions<'a> = &'a str;

impl User {
    fn new() -> Self {
        let user = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(user.0.path().join("bin")).unwrap();
        for name in ["nix-store", "nix-daemon"] {
            symlink(env!("CARGO_BIN_EXE_firn"), user.0.path().join("bin").join(name)).unwrap();
        }
        user
    }

    fn place(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn run(&self, arguments: &[&str], ssh: SshOptions<'_>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
        command.args(arguments).current_dir(&self.0).env_clear();
        command.env("HOME", self.0.path()).env("FIRN_STORE", self.0.path().join("store"));
        command.env("NIX_CONF_DIR", self.0.path()).env("NIX_SSHOPTS", ssh);
        command.env("PATH", "/usr/bin:/bin").output().unwrap()
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        self.succeeds_over(arguments, "")
    }

    #[track_caller]
    fn succeeds_over(&self, arguments: &[&str], ssh: SshOptions<'_>) -> String {
        let output = self.run(arguments, ssh);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "firn {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// What the store in a directory has, by name.
    fn names(&self, store: &str) -> Vec<String> {
        let list = self.succeeds(&["--store", &self.place(store), "path-info", "--all"]);
        let mut names: Vec<String> =
            list.lines().map(|line| line.rsplit('/').next().unwrap()[33..].to_owned()).collect();
        names.sort();
        names
    }
}

/// Two derivations, each for one of two machines; the second needs the first.
const EXPRESSION: &str = r#"
let
  made = name: feature: text: derivation {
    inherit name; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" text ]; requiredSystemFeatures = [ feature ];
  };
  one = made "one" "a" "echo first says >&2; echo 1 > $out";
in made "two" "b" "echo second says >&2; read x < ${one}; echo $x 2 > $out"
"#;

#[test]
fn machines_of_both_protocols() {
    let user = User::new();
    let place = |name: &str| user.place(name);
    let machines = format!(
        "ssh://localhost?remote-program={}&remote-store={}?system-features=a - - 1 1 a\n\
         ssh-ng://localhost?remote-program={}&remote-store={}?system-features=b - - 1 1 b\n",
        place("bin/nix-store"),
        place("m1"),
        place("bin/nix-daemon"),
        place("m2"),
    );
    std::fs::write(user.0.path().join("machines"), machines).unwrap();
    std::fs::write(user.0.path().join("two.nix"), EXPRESSION).unwrap();
    let built = user.succeeds(&["build", "-j", "0", "--file", "two.nix"]);
    let real = Path::new(&place("store")).join(built.trim_start_matches('/'));
    let real = if real.exists() { real } else { PathBuf::from(&built) };
    assert_eq!(std::fs::read_to_string(real).unwrap(), "1 2\n");
    assert_eq!(user.names("m1"), ["one"]);
    assert_eq!(user.names("m2"), ["one", "two"]);
    let one = user.succeeds(&["--store", &place("m1"), "path-info", "--all"]);
    assert_eq!(user.succeeds(&["log", &one]), "first says");
    assert_eq!(user.succeeds(&["log", &built]), "second says");
}

/// An sshd of this test's own, on a free port, with keys of its own.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn start_sshd(user: &User) -> Option<(Daemon, u16)> {
    let sshd = Path::new("/usr/sbin/sshd");
    // Where it has nothing to do it wants to be shut in.
    let separation = Path::new("/run/sshd");
    if !sshd.exists() || (!separation.exists() && std::fs::create_dir(separation).is_err()) {
        return None;
    }
    let generate = |name: &str| {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(user.place(name));
        assert!(keygen.status().unwrap().success());
    };
    generate("host");
    generate("key");
    std::fs::copy(user.place("key.pub"), user.place("authorized")).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
         PidFile none\nPermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
        user.place("host"),
        user.place("authorized"),
    );
    std::fs::write(user.0.path().join("sshd_config"), text).unwrap();
    let mut command = Command::new(sshd);
    command
        .args(["-D", "-e", "-f"])
        .arg(user.place("sshd_config"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let daemon = Daemon(command.spawn().unwrap());
    for _ in 0..100 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some((daemon, port));
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("sshd does not listen; try it by hand: sshd -d -f {}", user.place("sshd_config"));
}

#[test]
fn behind_a_real_sshd() {
    let user = User::new();
    let Some((_daemon, port)) = start_sshd(&user) else {
        writeln!(
            std::io::stderr(),
            "skipped: no /usr/sbin/sshd (package openssh-server), or no right to make /run/sshd"
        )
        .unwrap();
        return;
    };
    // The port is no part of the name by which the key is known.
    let ssh = format!(
        "-F /dev/null -p {port} -o HostKeyAlias=127.0.0.1 -o BatchMode=yes -o StrictHostKeyChecking=yes"
    );
    let base64 = |name: &str| {
        let coded = Command::new("base64").args(["-w0", &user.place(name)]).output().unwrap();
        String::from_utf8(coded.stdout).unwrap()
    };
    let host_key = base64("host.pub");
    let key = user.place("key");
    let address = |scheme: &str, program: &str, store: &str| {
        let (program, store) = (user.place(program), user.place(store));
        format!("{scheme}://127.0.0.1?remote-program={program}&remote-store={store}")
    };
    let whole = |address: &str| format!("{address}&ssh-key={key}&base64-ssh-public-host-key={host_key}");
    std::fs::write(user.0.path().join("file"), "contents").unwrap();
    let path = user.succeeds(&["store", "add", "file"]);
    for (scheme, program, store) in [("ssh", "bin/nix-store", "c1"), ("ssh-ng", "bin/nix-daemon", "c2")] {
        let there = whole(&address(scheme, program, store));
        user.succeeds_over(&["copy", "--to", &there, &path], &ssh);
        assert_eq!(user.names(store), ["file"]);
        // And back, into a store that has nothing.
        let new = user.place(&format!("back-{scheme}"));
        user.succeeds_over(&["--store", &new, "copy", "--no-check-sigs", "--from", &there, &path], &ssh);
        assert_eq!(user.names(&format!("back-{scheme}")), ["file"]);
    }
    // Another key than the machine's: nothing is sent there.
    let wrong = base64("key.pub");
    let there = format!(
        "{}&ssh-key={key}&base64-ssh-public-host-key={wrong}",
        address("ssh-ng", "bin/nix-daemon", "c3")
    );
    let refused = user.run(&["copy", "--to", &there, &path], &ssh);
    assert!(!refused.status.success());
    assert!(!Path::new(&user.place("c3")).exists());
    // Key and host key as a line of machines has them.
    let inner = |scheme, program, store, feature: &str| {
        let address = address(scheme, program, store);
        format!("{address}?system-features={feature} - {key} 1 1 {feature} - {host_key}\n")
    };
    let machines = inner("ssh", "bin/nix-store", "m1", "a") + &inner("ssh-ng", "bin/nix-daemon", "m2", "b");
    std::fs::write(user.0.path().join("machines"), machines).unwrap();
    std::fs::write(user.0.path().join("two.nix"), EXPRESSION).unwrap();
    user.succeeds_over(&["build", "-j", "0", "--file", "two.nix"], &ssh);
    assert_eq!((user.names("m1"), user.names("m2")), (vec!["one".into()], vec!["one".into(), "two".into()]));
}
