//! `firn eval` twice: unchanged, the second is a look-up with the same output; after a change of any kind of input (a file, its
//! time, a listing, a link, a variable, the search path, arguments, the program's own options) it is evaluated anew, with the
//! new answer; a cache that is torn, made up, another user's or not writable is as good as none.

#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

use std::fs::FileTimes;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

const PROGRAM: &str = r#"
{ given ? "nothing" }:
builtins.concatStringsSep " " [
  (builtins.readFile ./file)
  (import ./imported.nix)
  (toString (builtins.attrNames (builtins.readDir ./directory)))
  (if builtins.pathExists ./absent then "present" else "absent")
  (builtins.readFile ./link)
  (builtins.getEnv "FIRN_EVAL_CACHE_TEST")
  (builtins.readFile <searched/file>)
  (builtins.readFileType ./directory/entry)
  (builtins.hashFile "sha256" ./hashed)
  "${./tree}"
  given
]
"#;

/// A directory with a program and all that it reads, and how to call it.
struct World {
    directory: tempfile::TempDir,
    variable: String,
    search_path: String,
    options: Vec<String>,
}

/// What a call printed, and whether that was looked up.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    output: String,
    looked_up: bool,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let world = Self {
            variable: "one".to_owned(),
            search_path: format!("searched={}", directory.path().join("first").display()),
            options: Vec::new(),
            directory,
        };
        for (name, text) in [
            ("default.nix", PROGRAM),
            ("file", "text"),
            ("imported.nix", "\"imported\""),
            ("directory/entry", ""),
            ("directory/other", ""),
            ("target", "behind the link"),
            ("elsewhere", "behind another"),
            ("first/file", "found first"),
            ("second/file", "found second"),
            ("hashed", "hashed"),
            ("tree/a/b", "deep"),
        ] {
            world.write(name, text);
        }
        symlink("target", world.path("link")).unwrap();
        // A file that was written just now could be written again within the clock's step.
        std::thread::sleep(Duration::from_millis(30));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("world").join(name)
    }

    fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    fn write(&self, name: &str, text: &str) {
        let path = if name.starts_with("first") || name.starts_with("second") {
            self.directory.path().join(name)
        } else {
            self.path(name)
        };
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn ask(&self) -> Answer {
        let output = Command::new(env!("CARGO_BIN_EXE_firn"))
            .args(["eval", "--stats", "--raw"])
            .args(&self.options)
            .arg(self.path("default.nix"))
            .current_dir(&self.directory)
            .env_clear()
            .env("HOME", self.directory.path())
            .env("XDG_CACHE_HOME", self.cache())
            .env("NIX_PATH", &self.search_path)
            .env("FIRN_EVAL_CACHE_TEST", &self.variable)
            .output()
            .unwrap();
        let talk = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{talk}");
        let statistics: serde_json::Value = serde_json::from_str(&talk).unwrap();
        Answer {
            output: String::from_utf8(output.stdout).unwrap(),
            looked_up: statistics["evalCache"]["lookUps"] == 1,
        }
    }

    /// The cache's only file.
    fn cached(&self) -> PathBuf {
        let files: Vec<_> = std::fs::read_dir(self.cache().join("firn/eval"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }
}

/// Gives a file other contents and the time that it had.
fn rewrite_in_secret(path: &Path, text: &str) {
    let before = std::fs::metadata(path).unwrap();
    std::fs::write(path, text).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(before.modified().unwrap())).unwrap();
}

#[test]
fn nothing_changed_is_a_look_up() {
    let world = World::new();
    let first = world.ask();
    assert!(!first.looked_up);
    assert!(
        first.output.starts_with("text imported entry other absent behind the link one found first regular ")
    );
    for _ in 0..2 {
        assert_eq!(world.ask(), Answer { output: first.output.clone(), looked_up: true });
    }
}

/// Something done to the world, and what it is called.
type Act = (&'static str, fn(&mut World));

/// Something done to the cache.
type Damage = (&'static str, fn(&World));

#[test]
fn each_kind_of_change_is_evaluated_anew() {
    let changes: [Act; 19] = [
        ("the program", |world| world.write("default.nix", "{ }: \"other\"")),
        ("a file, longer", |world| world.write("file", "more text")),
        ("a file, as long", |world| world.write("file", "TEXT")),
        ("a file, longer, of the same time", |world| rewrite_in_secret(&world.path("file"), "more")),
        ("a file, as long, of the same time", |world| rewrite_in_secret(&world.path("file"), "TEXT")),
        ("an imported file", |world| world.write("imported.nix", "\"changed!\"")),
        ("a hashed file", |world| world.write("hashed", "HASHED")),
        ("an entry added", |world| world.write("directory/third", "")),
        ("an entry removed", |world| std::fs::remove_file(world.path("directory/other")).unwrap()),
        ("an entry renamed", |world| {
            std::fs::rename(world.path("directory/other"), world.path("directory/else")).unwrap();
        }),
        ("an entry of another type", |world| {
            std::fs::remove_file(world.path("directory/entry")).unwrap();
            std::fs::create_dir(world.path("directory/entry")).unwrap();
        }),
        ("what was absent", |world| world.write("absent", "")),
        ("a link's target", |world| {
            std::fs::remove_file(world.path("link")).unwrap();
            symlink("elsewhere", world.path("link")).unwrap();
        }),
        ("what a link leads to", |world| world.write("target", "behind the same link")),
        ("a file deep in a copied tree", |world| world.write("tree/a/b", "DEEP")),
        ("a permission in a copied tree", |world| {
            let executable = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(world.path("tree/a/b"), executable).unwrap();
        }),
        ("a variable", |world| world.variable = "two".to_owned()),
        ("the search path", |world| {
            world.search_path = format!("searched={}", world.directory.path().join("second").display());
        }),
        ("an argument", |world| world.options = ["--argstr", "given", "this"].map(str::to_owned).to_vec()),
    ];
    for (what, change) in changes {
        let mut world = World::new();
        let before = world.ask();
        change(&mut world);
        let after = world.ask();
        assert!(!after.looked_up, "{what}");
        assert_ne!(before.output, after.output, "{what}");
        std::thread::sleep(Duration::from_millis(30));
        // What is evaluated just after a change may not be remembered yet; what it says stays.
        assert_eq!(world.ask().output, after.output, "{what}");
        assert!(world.ask().looked_up, "{what}: the new answer is remembered");
    }
}

#[test]
fn what_makes_no_difference_is_looked_up() {
    let harmless: [Act; 4] = [
        ("a new time", |world| {
            let file = std::fs::File::options().write(true).open(world.path("file")).unwrap();
            let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
            file.set_times(FileTimes::new().set_modified(long_ago)).unwrap();
        }),
        ("the same bytes written again", |world| world.write("file", "text")),
        ("a file that was not read", |world| world.write("unread", "text")),
        ("a link that leads to the same by another name", |world| {
            std::fs::remove_file(world.path("link")).unwrap();
            symlink("./target", world.path("link")).unwrap();
        }),
    ];
    for (what, change) in harmless {
        let mut world = World::new();
        let before = world.ask();
        change(&mut world);
        let after = world.ask();
        assert_eq!(after.output, before.output, "{what}");
        // That a link is another one is noticed; what it leads to need not be compared then.
        assert!(after.looked_up || what.starts_with("a link"), "{what}");
    }
}

#[test]
fn a_cache_that_is_no_good_is_as_good_as_none() {
    let damages: [Damage; 5] = [
        ("cut short", |world| {
            let file = std::fs::File::options().write(true).open(world.cached()).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }),
        ("empty", |world| std::fs::write(world.cached(), "").unwrap()),
        ("a byte turned", |world| {
            let mut bytes = std::fs::read(world.cached()).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(world.cached(), bytes).unwrap();
        }),
        ("writable by all", |world| {
            std::fs::set_permissions(world.cached(), std::fs::Permissions::from_mode(0o666)).unwrap();
        }),
        ("a link", |world| {
            let (file, aside) = (world.cached(), world.directory.path().join("aside"));
            std::fs::rename(&file, &aside).unwrap();
            symlink(aside, file).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let world = World::new();
        let before = world.ask();
        assert!(world.ask().looked_up, "{what}");
        damage(&world);
        let output = Command::new(env!("CARGO_BIN_EXE_firn"))
            .args(["eval", "--raw"])
            .arg(world.path("default.nix"))
            .current_dir(&world.directory)
            .env_clear()
            .env("HOME", world.directory.path())
            .env("XDG_CACHE_HOME", world.cache())
            .env("NIX_PATH", &world.search_path)
            .env("FIRN_EVAL_CACHE_TEST", &world.variable)
            .output()
            .unwrap();
        assert!(output.status.success(), "{what}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), before.output, "{what}");
        assert_eq!(world.ask(), Answer { output: before.output, looked_up: true }, "{what}: it is made good");
    }
}

#[test]
fn who_does_not_want_it_does_not_get_it() {
    for refused in [&["--no-eval-cache"][..], &["--option", "eval-cache", "false"]] {
        let mut world = World::new();
        let before = world.ask();
        assert!(world.ask().looked_up);
        world.options = refused.iter().map(|&word| word.to_owned()).collect();
        assert_eq!(world.ask(), Answer { output: before.output, looked_up: false });
    }
    let world = World::new();
    std::fs::write(world.cache(), "a file where the directory should be").unwrap();
    let before = world.ask();
    assert_eq!(world.ask(), Answer { output: before.output, looked_up: false });
}

#[test]
fn an_error_is_found_again() {
    let world = World::new();
    world.write("default.nix", "{ }: builtins.readFile ./gone");
    let ask = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
        command.args(["eval", "--raw"]).arg(world.path("default.nix")).env_clear();
        command.env("HOME", world.directory.path()).env("XDG_CACHE_HOME", world.cache()).output().unwrap()
    };
    for _ in 0..2 {
        let output = ask();
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("gone' does not exist"));
    }
    world.write("gone", "it is back");
    assert_eq!(String::from_utf8_lossy(&ask().stdout), "it is back");
}
