//! Rules on temporary roots.

use super::attributes::attribute;
use super::*;
use crate::accounts::plan::Accounts;

struct Fixture {
    _directory: tempfile::TempDir,
    root: Root,
    names: Names,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        std::fs::create_dir_all(root.join("/var/lib")).unwrap();
        let accounts = Accounts {
            passwd: crate::accounts::database::Table::parse(b"nginx:x:60:61::/:/\n"),
            ..Accounts::default()
        };
        Self { _directory: directory, root, names: Names::of(&accounts) }
    }

    fn run(&self, occasion: Occasion, lines: &[&str]) -> Outcome {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        apply(&self.root, &lines, &self.names, "host", occasion)
    }

    fn mode(&self, path: &str) -> u32 {
        self.root.join(path).symlink_metadata().unwrap().mode() & 0o7777
    }
}

#[test]
fn things_are_made_parents_first_and_a_second_run_changes_nothing() {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.root.join("/nix/conf")).unwrap();
    std::fs::write(fixture.root.join("/nix/conf/a"), "a").unwrap();
    let lines = [
        "f /var/lib/x/file 0600 nginx 61 - line\\n",
        "d /var/lib/x 0750 nginx - -",
        "L+ /var/lib/link - - - - /nix/store/x",
        "p /var/lib/pipe 0620",
        "C /var/lib/conf - - - - /nix/conf",
        "z /var/lib/conf/* 0640 - -",
        "d /var/lib/x 0700 - -",
        "v /var/lib/volume",
        "w /var/lib/x/fil* - - - - again",
    ];
    let outcome = fixture.run(Occasion::Boot, &lines);
    assert_eq!(outcome.problems.len(), 0, "{:?}", outcome.problems);
    assert_eq!(fixture.mode("/var/lib/x"), 0o750, "the first line for a path wins");
    assert_eq!(fixture.mode("/var/lib/x/file"), 0o600);
    assert_eq!(fixture.mode("/var/lib/conf/a"), 0o640);
    assert_eq!(fixture.mode("/var/lib/pipe"), 0o620);
    assert_eq!(std::fs::read_to_string(fixture.root.join("/var/lib/x/file")).unwrap(), "again");
    if fixture.root.sets_owners() {
        let found = fixture.root.join("/var/lib/x").metadata().unwrap();
        assert_eq!((found.uid(), found.gid()), (60, 0));
    }
    assert_eq!(fixture.run(Occasion::Switch, &lines).changed, [""; 0]);
}

#[test]
fn removal_and_boot_lines_only_at_boot() {
    let fixture = Fixture::new();
    let lines = ["D /var/lib/d 0755", "R! /var/lib/gone*", "r /var/lib/one", "d! /var/lib/boot"];
    let fill = || {
        for path in ["d/sub", "gone1/x"] {
            std::fs::create_dir_all(fixture.root.join("/var/lib").join(path)).unwrap();
        }
        std::fs::write(fixture.root.join("/var/lib/one"), "").unwrap();
    };
    fill();
    fixture.run(Occasion::Switch, &lines);
    assert!(fixture.root.join("/var/lib/d/sub").exists() && !fixture.root.join("/var/lib/boot").exists());
    fixture.run(Occasion::Boot, &lines);
    for gone in ["d/sub", "gone1", "one"] {
        assert!(!fixture.root.join("/var/lib").join(gone).exists(), "{gone}");
    }
    assert!(fixture.root.join("/var/lib/d").exists() && fixture.root.join("/var/lib/boot").exists());
}

#[test]
fn old_files_go_and_excluded_ones_stay() {
    let fixture = Fixture::new();
    let old = std::fs::FileTimes::new()
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .set_accessed(std::time::SystemTime::UNIX_EPOCH);
    for name in ["old", "kept", "new"] {
        let place = fixture.root.join("/var/lib").join(name);
        std::fs::write(&place, "").unwrap();
        if name != "new" {
            std::fs::File::options().write(true).open(&place).unwrap().set_times(old).unwrap();
        }
    }
    // ctime cannot be set back, so everything is young; with age 0 everything is old.
    assert_eq!(fixture.run(Occasion::Clean, &["d /var/lib 0755 root root 1h"]).changed, [""; 0]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let outcome = fixture.run(Occasion::Clean, &["d /var/lib 0755 root root 1ms", "x /var/lib/kep*"]);
    assert_eq!(outcome.changed.len(), 2, "{outcome:?}");
    assert!(fixture.root.join("/var/lib/kept").exists());
}

#[test]
fn a_user_cannot_redirect_a_rule() {
    let fixture = Fixture::new();
    if !fixture.root.sets_owners() {
        return;
    }
    let home = fixture.root.join("/var/lib/nginx");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(60), Some(61)).unwrap();
    std::fs::write(fixture.root.join("/secret"), "s").unwrap();
    std::os::unix::fs::symlink("/", home.join("way")).unwrap();
    let outcome = fixture.run(
        Occasion::Boot,
        &["z /var/lib/nginx/way/secret 0666 nginx -", "f+ /var/lib/nginx/way/new - - - - x"],
    );
    assert_eq!(outcome.problems.len(), 2, "{outcome:?}");
    assert!(outcome.problems[0].to_string().contains("could redirect"), "{}", outcome.problems[0]);
    assert!(!fixture.root.join("/new").exists());
    // A hard link to somebody else's file.
    let mine = home.join("mine");
    std::fs::write(&mine, "").unwrap();
    std::os::unix::fs::chown(&mine, Some(60), Some(61)).unwrap();
    std::fs::hard_link(&mine, home.join("second")).unwrap();
    let outcome = fixture.run(Occasion::Boot, &["z /var/lib/nginx/second 0666 root -"]);
    assert!(outcome.problems[0].to_string().contains("several names"), "{outcome:?}");
}

#[test]
fn problems_are_collected_and_stop_no_other_line() {
    let fixture = Fixture::new();
    std::fs::write(fixture.root.join("/var/lib/file"), "").unwrap();
    let outcome = fixture.run(
        Occasion::Boot,
        &[
            "d /var/lib/file 0755",
            "d= /var/lib/file/../x",
            "d /var/lib/a 0755 nobody",
            "k /x",
            "d /var/lib/good",
            "d- /var/lib/file",
        ],
    );
    assert_eq!(outcome.problems.len(), 4, "{:?}", outcome.problems);
    assert!(fixture.root.join("/var/lib/good").is_dir());
    let outcome = fixture.run(Occasion::Boot, &["d= /var/lib/file 0755"]);
    assert!(outcome.problems.is_empty() && fixture.root.join("/var/lib/file").is_dir());
}

#[test]
fn access_lists_and_attributes_are_set_and_a_second_run_changes_nothing() {
    let fixture = Fixture::new();
    if !fixture.root.sets_owners() {
        return;
    }
    std::fs::create_dir_all(fixture.root.join("/var/lib/shared/deep")).unwrap();
    std::fs::write(fixture.root.join("/var/lib/shared/deep/file"), "x").unwrap();
    let lines = [
        "A+ /var/lib/shared - - - - u:nginx:rX,d:u:nginx:rX",
        "t /var/lib/shared - - - - user.firn=\"two words\"",
        "T /var/lib/shared/deep - - - - user.firn=below",
    ];
    let outcome = fixture.run(Occasion::Boot, &lines);
    assert_eq!(outcome.problems.len(), 0, "{:?}", outcome.problems);
    let list = |path: &str| {
        access_list::decode(&attribute(&fixture.root.join(path), access_list::ACCESS).unwrap_or_default())
    };
    assert_eq!(list("/var/lib/shared/deep").get(&(2, 60)), Some(&5));
    assert_eq!(list("/var/lib/shared/deep/file").get(&(2, 60)), Some(&4));
    assert!(attribute(&fixture.root.join("/var/lib/shared"), access_list::DEFAULT).is_some());
    let named = |path: &str| attribute(&fixture.root.join(path), "user.firn").unwrap();
    assert_eq!(named("/var/lib/shared"), b"two words");
    assert_eq!(named("/var/lib/shared/deep/file"), b"below");
    assert_eq!(fixture.run(Occasion::Switch, &lines).changed, Vec::<String>::new());
}
