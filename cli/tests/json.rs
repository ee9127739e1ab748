//! `--json`: every command that reads has it, and what it prints is one document that says what the text says.

#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

#[path = "fixture/user.rs"]
mod user;

use serde_json::Value;
use user::User;

/// Commands that read, and by which words they are called.
const READING: &[&str] = &[
    "bootmenu",
    "build",
    "channel list",
    "eval",
    "gc",
    "generation diff",
    "generation list",
    "generation show",
    "hash convert",
    "hash file",
    "hash path",
    "logs",
    "path-info",
    "profile diff",
    "profile list",
    "secure-boot status",
    "secure-boot verify",
    "service blame",
    "service graph",
    "service list",
    "service status",
    "status",
    "store closure",
    "store optimise",
    "store rebuild",
    "store references",
    "store referrers",
    "store roots",
    "store usage",
    "store verify",
    "why-depends",
];

/// Commands that write, ask, or print text or JSON of their own kind.
const OTHERS: &[&str] = &[
    "boot",
    "channel add",
    "channel remove",
    "channel update",
    "confirm",
    "copy",
    "daemon",
    "derivation show",
    "dry-activate",
    "enter",
    "generate-config",
    "generation delete",
    "generation label",
    "generation pin",
    "generation unpin",
    "image",
    "install",
    "instantiate",
    "kexec",
    "key convert-secret-to-public",
    "key generate-secret",
    "key sign",
    "log",
    "parse",
    "poweroff",
    "profile delete",
    "profile label",
    "profile pin",
    "profile rollback",
    "profile set",
    "profile switch",
    "profile unpin",
    "reboot",
    "repl",
    "rollback",
    "secure-boot create-keys",
    "secure-boot enroll-keys",
    "secure-boot sign",
    "service enable-until-reboot",
    "service kill",
    "service reload",
    "service reload-or-restart",
    "service reset-failed",
    "service restart",
    "service start",
    "service stop",
    "service try-restart",
    "service wait",
    "soft-reboot",
    "store add",
    "store delete",
    "store dump",
    "store dump-db",
    "store load-db",
    "store realise",
    "store sign",
    "switch",
    "test",
    "vm",
];

impl User {
    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// The subcommands that a help text lists.
fn subcommands(help: &str) -> Vec<String> {
    let listed = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let lines = listed.lines().take_while(|line| !line.is_empty());
    let words = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    words.filter(|word| !word.is_empty() && *word != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_that_reads_has_it() {
    let user = User::new();
    let mut commands = Vec::new();
    for family in subcommands(&user.succeeds(&["--help"])) {
        let help = user.succeeds(&[&family, "--help"]);
        let below = subcommands(&help);
        if below.is_empty() {
            commands.push((family.clone(), help));
        }
        for command in below {
            let help = user.succeeds(&[&family, &command, "--help"]);
            commands.push((format!("{family} {command}"), help));
        }
    }
    assert!(commands.len() > 70, "{}", commands.len());
    for (command, help) in commands {
        let reads = READING.contains(&command.as_str());
        assert!(
            reads || OTHERS.contains(&command.as_str()),
            "put `firn {command}` into one of the two lists"
        );
        assert_eq!(reads, help.contains("--json"), "firn {command}");
    }
}

#[test]
fn documents_say_what_the_texts_say() {
    let user = User::new();
    std::fs::write(user.0.path().join("base"), "b").unwrap();
    let base = user.succeeds(&["store", "add", "base"]);
    let expression = format!(
        r#"derivation {{ name = "top"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo ${{builtins.storePath "{base}"}} >$out" ]; }}"#
    );
    std::fs::write(user.0.path().join("top.nix"), &expression).unwrap();
    let built = user.json(&["build", "--file", "top.nix", "--option", "sandbox", "false"]);
    let top = built[0]["outputs"]["out"].as_str().unwrap().to_owned();
    assert!(built[0]["drvPath"].as_str().unwrap().ends_with("-top.drv"), "{built}");

    for relation in ["references", "closure"] {
        let list = user.json(&["store", relation, &top]);
        let words: Vec<&str> = list.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(words.contains(&base.as_str()), "{relation}: {list}");
        assert_eq!(words.join("\n"), user.succeeds(&["store", relation, &top]));
    }
    assert!(user.json(&["store", "referrers", &base]).as_array().unwrap().contains(&top.clone().into()));
    assert_eq!(user.json(&["why-depends", &top, &base]), serde_json::json!([top, base]));
    assert_eq!(user.json(&["why-depends", &base, &top]), serde_json::json!([]));
    let roots = user.json(&["store", "roots"]);
    assert!(roots.as_array().unwrap().iter().any(|root| root["path"] == top.as_str()), "{roots}");

    let hash = user.succeeds(&["hash", "file", "base"]);
    assert_eq!(user.json(&["hash", "file", "base"]), serde_json::json!([{ "path": "base", "hash": hash }]));
    let digits = user.json(&["hash", "convert", "--to", "base16", &hash]);
    assert_eq!(digits[0]["given"], hash.as_str());
    assert_eq!(digits[0]["hash"].as_str().unwrap().len(), 64);

    let plan = user.json(&["gc", "--dry-run"]);
    assert_eq!(plan["dryRun"], true);
    assert!(!plan["paths"].as_array().unwrap().contains(&top.clone().into()), "its link keeps it: {plan}");

    let good = user.json(&["store", "verify", "--contents"]);
    assert_eq!(good, serde_json::json!({ "problems": [], "mended": [], "unsigned": [] }));
    let place = user.0.path().join("store").join(base.trim_start_matches('/'));
    let mut permissions = std::fs::metadata(&place).unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "the test's own file")]
    permissions.set_readonly(false);
    std::fs::set_permissions(&place, permissions).unwrap();
    std::fs::write(&place, "c").unwrap();
    let output = user.run(&["store", "verify", "--contents", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let bad: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problem = &bad["problems"][0];
    assert_eq!((&problem["path"], &problem["problem"]), (&base.clone().into(), &"modified".into()), "{bad}");
    assert_ne!(problem["got"], problem["expected"]);
}
