//! `firn profile` and `firn derivation show`, as their user sees them.

#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

#[path = "fixture/user.rs"]
mod user;

use user::User;

impl User {
    #[track_caller]
    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }
}

#[test]
fn a_users_own_profile_from_the_first_generation_to_the_last() {
    let user = User::new();
    for (name, text) in [("tool-1.0", "one"), ("tool-1.1", "two")] {
        std::fs::write(user.0.path().join(name), text).unwrap();
        let path = user.succeeds(&["store", "add", name]);
        user.succeeds(&["profile", "set", &path]);
    }
    let list: serde_json::Value =
        serde_json::from_str(&user.succeeds(&["profile", "list", "--json"])).unwrap();
    assert_eq!((&list[0]["current"], &list[1]["current"]), (&false.into(), &true.into()));
    assert_eq!(user.succeeds(&["profile", "diff", "1"]), "tool: 1.0 → 1.1");
    let own = user.0.path().join(".nix-profile");
    assert!(own.is_symlink(), "the link that a login shell looks at is there");
    user.succeeds(&["profile", "rollback"]);
    user.succeeds(&["profile", "pin", "2"]);
    user.succeeds(&["profile", "label", "2", "the newer"]);
    let list = user.succeeds(&["profile", "list"]);
    assert!(list.lines().next().unwrap().ends_with("(current)"), "{list}");
    assert!(list.ends_with("“the newer”  (pinned)"), "{list}");
    assert!(user.fails(&["profile", "delete", "2"]).contains("firn profile unpin 2"));
    assert!(user.fails(&["profile", "delete", "7"]).contains("no generation 7"));
    user.succeeds(&["profile", "delete", "old"]);
    assert_eq!(user.succeeds(&["profile", "list"]).lines().count(), 2, "the pinned one is not old");
    user.succeeds(&["profile", "unpin", "2"]);
    user.succeeds(&["profile", "delete", "old"]);
    assert_eq!(user.succeeds(&["profile", "list"]).lines().count(), 1);
}

#[test]
fn derivations_are_shown_as_json() {
    let user = User::new();
    let text = r#"derivation { name = "d"; system = "x"; builder = "/b"; args = [ "one" ]; }"#;
    std::fs::write(user.0.path().join("d.nix"), text).unwrap();
    let path = user.succeeds(&["instantiate", "d.nix"]);
    let shown: serde_json::Value =
        serde_json::from_str(&user.succeeds(&["derivation", "show", &path])).unwrap();
    assert_eq!((&shown[&path]["builder"], &shown[&path]["args"][0]), (&"/b".into(), &"one".into()));
}

/// `nix profile` and `nix repl`: Nix's names over the same store.
#[test]
fn packages_by_name_under_nixs_name() {
    use std::os::unix::process::CommandExt as _;
    let user = User::new();
    let nix = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_firn"));
        command.arg0("nix").args(arguments).current_dir(&user.0).env_clear().env("HOME", user.0.path());
        command.env("FIRN_STORE", user.0.path().join("store")).env("PATH", "/usr/bin:/bin");
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "nix {arguments:?}: {errors}");
        (String::from_utf8(output.stdout).unwrap().trim_end().to_owned(), errors)
    };
    let mut paths = Vec::new();
    for (name, text) in [("tool-1.0", "one"), ("other-2", "two")] {
        let directory = user.0.path().join(name);
        std::fs::create_dir_all(directory.join("bin")).unwrap();
        std::fs::write(directory.join("bin").join(text), text).unwrap();
        paths.push(user.succeeds(&["store", "add", name]));
    }
    nix(&["profile", "install", &paths[0]]);
    nix(&["profile", "add", "--priority", "7", &paths[1]]);
    assert!(nix(&["profile", "install", &paths[0]]).1.contains("'tool' is already added"));
    let list: serde_json::Value = serde_json::from_str(&nix(&["profile", "list", "--json"]).0).unwrap();
    assert_eq!(list["version"], 3);
    assert_eq!(list["elements"]["tool"]["storePaths"][0], paths[0].as_str());
    assert_eq!(list["elements"]["other"]["priority"], 7);
    // The tree has both, by links into the store.
    let tree = |name: &str| {
        let current = std::fs::read_link(user.0.path().join(".nix-profile")).unwrap();
        let generation = current.parent().unwrap().join(std::fs::read_link(&current).unwrap());
        let environment = std::fs::read_link(generation).unwrap();
        let root = user.0.path().join("store");
        root.join(environment.strip_prefix("/").unwrap()).join("bin").join(name).is_symlink()
            || root.join(environment.strip_prefix("/").unwrap()).join("bin").is_symlink()
    };
    assert!(tree("one") && tree("two"));
    assert!(nix(&["profile", "upgrade", "--all"]).1.contains("'tool' is not upgraded"));
    assert!(nix(&["profile", "remove", "tool"]).1.contains("removed 1 packages, kept 1 packages"));
    let names = nix(&["profile", "list"]).0;
    assert!(names.contains("other") && !names.contains("tool"), "{names}");
    nix(&["profile", "rollback"]);
    assert!(nix(&["profile", "list"]).0.contains("tool"));
    assert!(nix(&["profile", "history"]).0.contains("(current)"));
    nix(&["profile", "wipe-history"]);
    assert_eq!(nix(&["profile", "history"]).0.lines().count(), 1);
    assert_eq!(nix(&["repl", "--expr", "{ a = 1; }"]).0, "Added 1 variable.\na");
}
