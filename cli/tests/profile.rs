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
