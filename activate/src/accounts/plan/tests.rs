//! Plans over small sets of account files: each case is files before, a configuration, files after.

use super::*;

fn user(name: &str) -> User {
    serde_json::from_str(&format!(
        r#"{{"name":"{name}","group":"users","home":"/home/{name}","shell":"/bin/sh","isNormalUser":true}}"#
    ))
    .unwrap()
}

fn group(name: &str, gid: Option<u32>) -> Group {
    Group { name: name.to_owned(), gid, members: Vec::new() }
}

fn configuration(users: Vec<User>, groups: Vec<Group>, mutable_users: bool) -> Activation {
    Activation { users, groups, mutable_users, ..Activation::empty() }
}

fn files(passwd: &str, group: &str, shadow: &str) -> Accounts {
    Accounts {
        passwd: Table::parse(passwd.as_bytes()),
        group: Table::parse(group.as_bytes()),
        shadow: Table::parse(shadow.as_bytes()),
        ..Accounts::default()
    }
}

fn planned(current: &Accounts, activation: &Activation) -> AccountPlan {
    let none = BTreeMap::new();
    plan(current, activation, &Inputs { password_files: &none, random: &|| *b"twelve bytes" }).unwrap()
}

#[test]
fn an_empty_root_gets_root_and_the_declared() {
    let mut alice = user("alice");
    alice.initial_hashed_password = Some("$6$x$y".to_owned());
    alice.extra_groups = vec!["wheel".to_owned()];
    let mut daemon = user("nginx");
    (daemon.is_normal_user, daemon.is_system_user, daemon.group) = (false, true, "nginx".to_owned());
    let activation = configuration(
        vec![alice, daemon],
        vec![group("users", Some(100)), group("wheel", Some(1)), group("nginx", None)],
        true,
    );
    let result = planned(&Accounts::default(), &activation);
    assert_eq!(
        result.wanted.passwd.render(),
        "root:x:0:0:System administrator:/root:/bin/sh\n\
         nginx:x:999:999::/home/nginx:/bin/sh\n\
         alice:x:1000:100::/home/alice:/bin/sh\n"
    );
    assert_eq!(result.wanted.group.render(), "wheel:x:1:alice\nusers:x:100:\nnginx:x:999:\n");
    assert_eq!(result.wanted.shadow.render(), "root:!:1::::::\nnginx:!:1::::::\nalice:$6$x$y:1::::::\n");
    let again = planned(&result.wanted, &activation);
    assert_eq!(again.wanted, result.wanted, "a second run changes nothing");
    assert!(again.notices.is_empty());
}

#[test]
fn nobody_is_lost_when_users_are_mutable() {
    let mut before = files(
        "root:x:0:0::/root:/bin/sh\nbyhand:x:1500:100::/h:/s\nold:x:1001:100::/h:/s\n",
        "users:x:100:byhand,old\nmine:x:1500:byhand\noldgroup:x:998:\n",
        "root:$y$r:19000::::::\nbyhand:$y$b:19000:0:9:7:::\nold:$y$o:1::::::\n",
    );
    before.ids.declared_users.insert("old".to_owned());
    before.ids.declared_groups.insert("oldgroup".to_owned());
    let activation = configuration(vec![user("alice")], vec![group("users", Some(100))], true);
    let result = planned(&before, &activation);
    let names: Vec<&str> = result.wanted.passwd.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["root", "alice", "byhand"], "old was declared before and is not any more");
    assert_eq!(result.wanted.group.render(), "users:x:100:byhand\nmine:x:1500:byhand\n");
    assert!(result.wanted.shadow.render().contains("byhand:$y$b:19000:0:9:7:::\n"));
    assert!(result.wanted.shadow.render().contains("root:$y$r:19000::::::\n"));
}

#[test]
fn immutable_users_are_exactly_the_declared_with_their_passwords() {
    let before = files(
        "root:x:0:0::/root:/bin/sh\nbyhand:x:1500:100::/h:/s\nalice:x:1000:100::/h:/s\n",
        "users:x:100:byhand\n",
        "root:$y$r:1::::::\nalice:$changed:5::::::\nbyhand:x:1::::::\n",
    );
    let mut alice = user("alice");
    alice.hashed_password = Some("$6$declared".to_owned());
    let mut bob = user("bob");
    bob.password = Some("geheim".to_owned());
    let activation = configuration(vec![alice, bob], vec![group("users", Some(100))], false);
    let result = planned(&before, &activation);
    assert!(result.wanted.passwd.get("byhand").is_none());
    assert!(result.wanted.passwd.get("root").is_some(), "root always stays");
    assert_eq!(result.wanted.shadow.get("alice").unwrap().hash, "$6$declared");
    assert!(crypt::verify("geheim", &result.wanted.shadow.get("bob").unwrap().hash));
    assert_eq!(
        planned(&result.wanted, &activation).wanted,
        result.wanted,
        "the salt is not changed each time"
    );
}

#[test]
fn a_password_changed_by_hand_stays_when_users_are_mutable() {
    let before = files("alice:x:1000:100::/h:/s\n", "", "alice:$by$hand:1::::::\n");
    let mut alice = user("alice");
    alice.hashed_password = Some("$6$declared".to_owned());
    let result = planned(&before, &configuration(vec![alice], vec![], true));
    assert_eq!(result.wanted.shadow.get("alice").unwrap().hash, "$by$hand");
}

#[test]
fn ids_stay_and_return() {
    let mut before = files("alice:x:1234:100::/h:/s\n", "db:x:55:\n", "");
    before.ids.uids.insert("bob".to_owned(), 1777);
    let mut alice = user("alice");
    alice.uid = Some(1000);
    let activation = configuration(vec![alice, user("bob"), user("carl")], vec![group("db", Some(99))], true);
    let result = planned(&before, &activation);
    let uid = |name| result.wanted.passwd.get(name).unwrap().uid;
    assert_eq!((uid("alice"), uid("bob"), uid("carl")), (1234, 1777, 1001));
    assert_eq!(result.wanted.group.get("db").unwrap().gid, 55);
    assert_eq!(
        result.notices.len(),
        2 + 3,
        "two ids kept, three users without the group `users`: {:?}",
        result.notices
    );
}

#[test]
fn damaged_files_neither_stop_the_activation_nor_take_the_rest_along() {
    let before = files("\0\0\0\0\nalice:x:1000:100::/h:/s\n", "\0\n", "alice:$y$a:1::::::\n\0");
    let result = planned(&before, &configuration(vec![], vec![], true));
    assert_eq!(result.wanted.shadow.get("alice").unwrap().hash, "$y$a");
    assert!(result.wanted.passwd.get("root").is_some());
    assert!(result.notices.iter().any(|notice| notice.contains("/etc/passwd had 1 damaged")));
}

#[test]
fn what_would_make_another_account_is_refused() {
    let mut alice = user("alice");
    alice.description = "x\nroot2::0:0::/:/bin/sh".to_owned();
    let activation = configuration(vec![alice], vec![], true);
    let none = BTreeMap::new();
    let error =
        plan(&Accounts::default(), &activation, &Inputs { password_files: &none, random: &|| [0; 12] });
    assert!(error.unwrap_err().to_string().contains("users.users.alice.description"));
}

#[test]
fn subordinate_ranges_are_declared_or_chosen_once() {
    let mut alice = user("alice");
    alice.auto_sub_uid_gid_range = true;
    let mut bob = user("bob");
    bob.sub_uid_ranges = vec![formats::activation::SubordinateRange { start: 100_000, count: 65_536 }];
    let activation = configuration(vec![alice, bob], vec![], true);
    let before = Accounts { subuid: Table::parse(b"byhand:900000:1000\n"), ..Accounts::default() };
    let result = planned(&before, &activation);
    assert_eq!(result.wanted.subuid.render(), "byhand:900000:1000\nbob:100000:65536\nalice:165536:65536\n");
    assert_eq!(result.wanted.subgid.render(), "alice:165536:65536\n");
    assert_eq!(planned(&result.wanted, &activation).wanted, result.wanted);
}
