//! Flakes by Firn and by the real Nix (2.26.3, Debian's, fetched by apt at test time): the same commands on the same flakes
//! print the same on standard output, end the same way and leave the same lock files, byte for byte.
//! `flakes/commands.txt` lists them, `flakes/setup.sh` makes the flakes.

#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const COMMANDS: &str = include_str!("flakes/commands.txt");
const SETUP: &str = include_str!("flakes/setup.sh");

fn real_nix() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let directory = root.join("target/debian-nix-trixie");
    let status = Command::new(root.join("ci/get-debian-nix")).arg("trixie").arg(&directory).status().unwrap();
    assert!(status.success(), "ci/get-debian-nix: the real Nix could not be fetched by apt");
    directory.join("bin")
}

struct World {
    directory: tempfile::TempDir,
    /// The programs of Nix, and Firn under Nix's name.
    programs: [PathBuf; 2],
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let firn = directory.path().join("firn");
        std::fs::create_dir(&firn).unwrap();
        std::fs::create_dir(directory.path().join("conf")).unwrap();
        symlink(env!("CARGO_BIN_EXE_firn"), firn.join("nix")).unwrap();
        Self { programs: [real_nix(), firn], directory }
    }

    fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// Makes the flakes, always in the same place and with the same times.
    fn make_flakes(&self) {
        let work = self.work();
        if work.exists() {
            std::fs::remove_dir_all(&work).unwrap();
        }
        std::fs::create_dir(&work).unwrap();
        let text =
            self.shell(&self.programs[0], &format!("{SETUP}\nfind . -exec touch -h -d '2024-01-02' {{}} +"));
        assert!(text.ends_with("exit 0\n"), "{text}");
    }

    fn shell(&self, programs: &Path, line: &str) -> String {
        let place = self.directory.path();
        let mut command = Command::new("/bin/bash");
        command.args(["-c", line]).current_dir(self.work()).env_clear().stdin(Stdio::null());
        command.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
        // What is remembered by one is not known to the other.
        command.env("HOME", place.join(format!("home-{}", programs.ends_with("firn"))));
        command.env("NIX_CONF_DIR", place.join("conf")).env("NIX_STORE_DIR", place.join("store"));
        command.env("NIX_STATE_DIR", place.join("var")).env("NIX_LOG_DIR", place.join("log"));
        command.env("TZ", "UTC").env("GIT_CONFIG_NOSYSTEM", "1");
        for name in ["GIT_AUTHOR", "GIT_COMMITTER"] {
            command.env(format!("{name}_NAME"), "a").env(format!("{name}_EMAIL"), "a@b");
            command.env(format!("{name}_DATE"), "2024-01-02 03:04:05 +0000");
        }
        command.env(
            "NIX_CONFIG",
            "substituters =\nsandbox = false\nbuild-users-group =\nflake-registry =\ntarball-ttl = 0\n\
             experimental-features = nix-command flakes\nbuild-hook =",
        );
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let mut parts = text.split("\x1b[");
        let mut plain = parts.next().unwrap_or_default().to_owned();
        parts.for_each(|part| plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest)));
        let code = output.status.code().unwrap_or(-1);
        if std::env::var_os("FIRN_SHOW").is_some() {
            let said = String::from_utf8_lossy(&output.stderr);
            return format!("{plain}exit {code}\n{said}");
        }
        format!("{plain}exit {code}\n")
    }
}

#[test]
fn flakes_are_what_they_are_to_nix() {
    let world = World::new();
    world.make_flakes();
    let locks = "; code=$?; for file in */flake.lock; do echo $file; cat $file; done; exit $code";
    let (mut differences, mut count) = (String::new(), 0);
    for line in COMMANDS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let fresh = line.strip_prefix("(fresh) ");
        let line = fresh.unwrap_or(line);
        let said: Vec<String> = world
            .programs
            .iter()
            .map(|programs| {
                if fresh.is_some() {
                    world.make_flakes();
                }
                for made in ["made", "cloned"] {
                    // Left by the one before.
                    let made = world.work().join(made);
                    if made.exists() {
                        std::fs::remove_dir_all(made).unwrap();
                    }
                }
                world.shell(programs, &format!("({line}){locks}"))
            })
            .collect();
        count += 1;
        if said[0] != said[1] {
            differences.extend([format!("\n$ {line}\n--- Nix\n{}--- Firn\n{}", said[0], said[1])]);
        }
    }
    assert!(count > 45, "only {count} commands");
    assert!(differences.is_empty(), "of {count} commands, these differ:{differences}");
}

/// `firn build --flake` makes Firn's systems of a flake's `nixosConfigurations`. That the input nixpkgs is Firn's own shows in
/// that nothing is fetched, and no lock file is written.
#[test]
fn systems_of_flakes_are_of_firn() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for name in ["dist/bin", "flake", "none"] {
        std::fs::create_dir_all(place.join(name)).unwrap();
    }
    symlink(root.join("os"), place.join("dist/os")).unwrap();
    let flake = r#"{
      inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-25.05";
      outputs = { self, nixpkgs }@inputs: {
        nixosConfigurations.one = nixpkgs.lib.nixosSystem {
          system = "x86_64-linux";
          specialArgs = { inherit inputs; };
          modules = [
            ./host.nix
            ({ lib, inputs, ... }: { networking.domain = "${inputs.self.x}.${lib.toLower "ORG"}"; })
          ];
        };
        x = "example";
      };
    }"#;
    std::fs::write(place.join("flake/flake.nix"), flake).unwrap();
    std::fs::write(
        place.join("flake/host.nix"),
        "{ networking.hostName = \"one\"; networking.misspelt = 1; }",
    )
    .unwrap();
    std::fs::write(place.join("none/flake.nix"), "{ outputs = { self }: { }; }").unwrap();
    let firn = |name: &str, words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
        command.arg(name).args(words).current_dir(place.join("flake")).env_clear().stdin(Stdio::null());
        command.env("PATH", "/usr/bin:/bin").env("HOME", place.join("home"));
        command.env("FIRN_DIST", place.join("dist")).env("FIRN_STORE", place.join("root"));
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).replace(&*place.to_string_lossy(), "PLACE")
    };
    let build = |words: &[&str]| firn("build", words);
    // What is of the configuration is there, with the arguments that the flake gives its modules.
    let said = build(&["--flake", ".#one", "-A", "config.networking.fqdn"]);
    assert!(said.contains("The option `networking.misspelt' does not exist"), "{said}");
    std::fs::write(place.join("flake/host.nix"), "{ networking.hostName = \"one\"; }").unwrap();
    let said = build(&["--flake", ".#one", "-A", "config.networking.fqdn"]);
    assert!(
        said.contains("`config.networking.fqdn` is no derivation and holds none: it is a string"),
        "{said}"
    );
    let said = build(&["--flake", ".#two"]);
    let message = "flake 'path:PLACE/flake' has no nixosConfigurations.two: it has one; name one as in --flake \
                   'path:PLACE/flake#one'";
    assert!(said.contains(message), "{said}");
    for command in ["switch", "boot", "test", "dry-activate", "image", "vm"] {
        let said = firn(command, &["--flake", ".#two"]);
        assert!(said.contains(message), "{command}: {said}");
        let said = firn(command, &["--flake", ".#one", "./host.nix"]);
        assert!(said.contains("--flake .#one says where the system is, and so does ./host.nix"), "{said}");
    }
    let said = build(&["--flake", "../none#one"]);
    assert!(said.contains("flake 'path:PLACE/none' has no nixosConfigurations"), "{said}");
    assert!(!place.join("flake/flake.lock").exists());
}

/// `:lf` of the REPL, and again with `:r` after the flake changed.
#[test]
fn flakes_in_the_repl() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    std::fs::create_dir_all(place.join("dist/bin")).unwrap();
    std::fs::create_dir(place.join("flake")).unwrap();
    std::fs::write(
        place.join("flake/flake.nix"),
        "{ outputs = { self }: { x = \"from \" + self.y; y = \"a flake\"; }; }",
    )
    .unwrap();
    let mut command = Command::new("/bin/bash");
    let line = "{ printf ':lf .\\nx\\n'; sleep 1; sed -i 's/a flake/another/' flake.nix; printf ':r\\nx\\n:lf ./none\\n'; } | \"$FIRN\" repl";
    command.args(["-c", line]).current_dir(place.join("flake")).env_clear();
    command
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", place.join("home"))
        .env("FIRN", env!("CARGO_BIN_EXE_firn"));
    command.env("FIRN_DIST", place.join("dist")).env("FIRN_STORE", place.join("root"));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("\"from a flake\"") && text.contains("\"from another\""), "{text}{said}");
    assert!(said.contains("error: getting status of"), "{said}");
}
