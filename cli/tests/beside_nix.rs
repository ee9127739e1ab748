//! The same commands by Firn and by the real Nix (2.26.3, Debian's, fetched by apt at test time) on one store: what they print on
//! standard output and how they end must be the same. `beside_nix/commands.txt` lists them; standard error is for people.

#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const COMMANDS: &str = include_str!("beside_nix/commands.txt");
const EXPRESSIONS: &str = include_str!("beside_nix/packages.nix");

/// The names under which Firn is Nix.
const NAMES: [&str; 7] =
    ["nix", "nix-build", "nix-collect-garbage", "nix-env", "nix-hash", "nix-instantiate", "nix-store"];

fn real_nix() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let directory = root.join("target/debian-nix-trixie");
    let status = Command::new(root.join("ci/get-debian-nix")).arg("trixie").arg(&directory).status().unwrap();
    assert!(status.success(), "ci/get-debian-nix: the real Nix could not be fetched by apt");
    directory.join("bin")
}

/// A store of its own, and both Nixes.
struct World {
    directory: tempfile::TempDir,
    nix: PathBuf,
    firn: PathBuf,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let firn = place.join("firn");
        for name in ["firn", "conf", "home"] {
            std::fs::create_dir(place.join(name)).unwrap();
        }
        for name in NAMES {
            symlink(env!("CARGO_BIN_EXE_firn"), firn.join(name)).unwrap();
        }
        std::fs::write(place.join("packages.nix"), EXPRESSIONS).unwrap();
        Self { nix: real_nix(), firn, directory }
    }

    /// What a shell prints that finds these programs first, and its exit code; without colours.
    fn run(&self, programs: &Path, line: &str) -> String {
        let place = self.directory.path();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).current_dir(place).env_clear().stdin(Stdio::null());
        command.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
        command.env("HOME", place.join("home")).env("NIX_CONF_DIR", place.join("conf"));
        command.env("NIX_STORE_DIR", place.join("store")).env("NIX_STATE_DIR", place.join("var"));
        command.env("NIX_LOG_DIR", place.join("log"));
        command.env(
            "NIX_CONFIG",
            "substituters =\nsandbox = false\nbuild-users-group =\nmax-jobs = 1\ncores = 1\nexperimental-features = nix-command\nbuild-hook =",
        );
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let mut parts = text.split("\x1b[");
        let mut plain = parts.next().unwrap_or_default().to_owned();
        parts.for_each(|part| plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest)));
        format!("{plain}exit {}\n", output.status.code().unwrap_or(-1))
    }
}

/// Stands before a command whose lines Nix prints in the order of a hash table.
const IN_ANY_ORDER: &str = "(in any order) ";

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n") + "\n"
}

#[test]
fn commands_print_what_nix_prints() {
    let world = World::new();
    // Both build the same: what is there is valid for the other.
    assert_eq!(
        world.run(&world.nix, "nix-build packages.nix -A top -o top"),
        world.run(&world.firn, "nix-build packages.nix -A top -o again")
    );
    let variables = "T=$(readlink top); D=$(nix-store -q --deriver $T); B=$(nix-store -q --outputs $(nix-instantiate packages.nix -A base 2>/dev/null)); ";
    let mut count = 0;
    let mut differences = Vec::new();
    for line in COMMANDS.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        count += 1;
        let (command, in_any_order) =
            line.strip_prefix(IN_ANY_ORDER).map_or((line, false), |command| (command, true));
        let line = format!("{variables}{command}");
        let (mut expected, mut found) = (world.run(&world.nix, &line), world.run(&world.firn, &line));
        if in_any_order {
            (expected, found) = (sorted(&expected), sorted(&found));
        }
        if expected != found {
            differences.push(format!("$ {command}\nNix:\n{expected}Firn:\n{found}"));
        }
    }
    assert!(count > 80, "{count}");
    assert!(differences.is_empty(), "of {count} commands differ:\n{}", differences.join("\n"));
}
