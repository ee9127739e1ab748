//! What `firn build` writes while it builds, by `--log-format`: to a pipe, to a program, to a terminal.

#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// `top` needs `one` and `two`; `one` says a phase and a line.
const PLAN: &str = r#"
{ fails }:
let
  step = name: script: needs: derivation {
    inherit name needs;
    system = "x86_64-linux";
    builder = "/bin/sh";
    args = [ "-c" "${script}; echo > $out" ];
  };
  one = step "one" "echo '@nix {\"action\":\"setPhase\",\"phase\":\"buildPhase\"}' >&2; echo said by one" [ ];
  two = step "two" (if fails then "echo the last words; sleep 1; exit 3" else ":") [ ];
in
step "top" ":" [ one two ]
"#;

fn build(home: &Path, fails: bool, flags: &[&str]) -> Command {
    std::fs::write(home.join("plan.nix"), PLAN).unwrap();
    std::fs::write(home.join("use.nix"), format!("import ./plan.nix {{ fails = {fails}; }}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command.args(["build", "--no-link", "-j1", "-f", "use.nix"]).args(flags).current_dir(home);
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").env("FIRN_STORE", home.join("store"));
    command.stdin(Stdio::null());
    command
}

fn run(fails: bool, flags: &[&str]) -> (Output, String) {
    let home = tempfile::tempdir().unwrap();
    let output = build(home.path(), fails, flags).output().unwrap();
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    (output, errors)
}

#[test]
fn without_a_terminal_only_what_begins_is_told() {
    let (output, errors) = run(false, &[]);
    assert!(output.status.success(), "{errors}");
    assert!(errors.starts_with("3 to build, 0 to download\n"), "{errors}");
    for name in ["one", "two", "top"] {
        assert_eq!(errors.matches(&format!("building {name}\n")).count(), 1, "{errors}");
    }
    assert!(!errors.contains('\x1b') && !errors.contains("said by one"), "{errors}");
}

#[test]
fn builders_are_heard_when_that_is_wanted() {
    let (_, errors) = run(false, &["-L"]);
    assert!(errors.contains("one> said by one\n"), "{errors}");
    let (_, errors) = run(false, &["--log-format", "raw-with-logs"]);
    assert!(errors.contains("-one.drv'...\nsaid by one\n"), "{errors}");
}

#[test]
fn programs_read_json_and_nothing_else() {
    for fails in [false, true] {
        let (output, errors) = run(fails, &["--log-format", "internal-json"]);
        assert_eq!(output.status.success(), !fails, "{errors}");
        let objects: Vec<serde_json::Value> = errors
            .lines()
            .map(|line| serde_json::from_str(line.strip_prefix("@nix ").unwrap()).unwrap())
            .collect();
        let count = |action: &str| objects.iter().filter(|object| object["action"] == action).count();
        assert_eq!(count("start"), count("stop"), "{errors}");
        let said = |kind: u64, text: &str| {
            objects.iter().any(|object| object["type"] == kind && object["fields"][0] == text)
        };
        assert!(said(104, "buildPhase") && said(101, "said by one"), "{errors}");
        let last = objects.last().unwrap();
        if fails {
            assert_eq!((&last["action"], &last["level"]), (&"msg".into(), &0.into()), "{errors}");
            let message = last["msg"].as_str().unwrap();
            assert!(message.contains("exit code 3") && message.contains("the last words"), "{message}");
        }
    }
}

#[test]
fn an_unknown_format_is_refused_with_those_there_are() {
    let (output, errors) = run(false, &["--log-format", "yaml"]);
    assert!(!output.status.success());
    assert!(errors.contains("`yaml`") && errors.contains("internal-json"), "{errors}");
}

#[test]
fn the_tree_is_gone_from_the_terminal_in_the_end() {
    let home = tempfile::tempdir().unwrap();
    let inner = build(home.path(), true, &[]);
    let words: Vec<_> = inner.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let line = format!("stty cols 50 rows 6; exec {} {}", env!("CARGO_BIN_EXE_firn"), words.join(" "));
    // script(1) of util-linux gives it a terminal.
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(home.path()).stdin(Stdio::null()).env_clear();
    command.env("HOME", home.path()).env("PATH", "/usr/bin:/bin");
    command.env("FIRN_STORE", home.path().join("store")).env("NO_COLOR", "1");
    let output = command.output().unwrap();
    let written = String::from_utf8_lossy(&output.stdout).into_owned();
    let screen = Screen::after(&written);
    assert_eq!(output.status.code(), Some(100), "{written:?}");
    assert!(
        written.contains("> one 0:0") || written.contains("> two 0:0"),
        "the tree was shown: {written:?}"
    );
    let first = screen.lines.iter().find(|line| !line.is_empty()).unwrap();
    assert!(first.starts_with("error: "), "nothing of the tree is left: {:?}", screen.lines);
    assert!(screen.highest <= 5, "{} lines of 6 were used: {written:?}", screen.highest);
    assert!(screen.wraps, "wrapping is on again");
}

/// As much of a terminal as the tree needs, with endless scroll-back.
#[derive(Debug)]
struct Screen {
    lines: Vec<String>,
    row: usize,
    column: usize,
    wraps: bool,
    /// How far the tree went below where it began.
    highest: usize,
}

impl Screen {
    fn after(text: &str) -> Self {
        let mut screen = Self { lines: vec![String::new()], row: 0, column: 0, wraps: true, highest: 0 };
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            rest = &rest[character.len_utf8()..];
            match character {
                '\r' => screen.column = 0,
                '\n' => {
                    screen.row += 1;
                    screen.lines.resize((screen.row + 1).max(screen.lines.len()), String::new());
                }
                '\x1b' => {
                    let end = rest.find(|character: char| character.is_ascii_alphabetic()).unwrap();
                    screen.control(&rest[1..end], &rest[end..=end]);
                    rest = &rest[end + 1..];
                }
                character => {
                    let line = &mut screen.lines[screen.row];
                    while line.chars().count() <= screen.column {
                        line.push(' ');
                    }
                    *line = line
                        .chars()
                        .enumerate()
                        .map(|(column, old)| if column == screen.column { character } else { old })
                        .collect();
                    screen.column += 1;
                }
            }
        }
        for line in &mut screen.lines {
            line.truncate(line.trim_end().len());
        }
        screen
    }

    fn control(&mut self, parameter: &str, letter: &str) {
        match (parameter, letter) {
            (count, "A") => {
                let count: usize = count.parse().unwrap();
                self.highest = self.highest.max(count + 1);
                self.row -= count;
            }
            ("", "J") => {
                self.lines.truncate(self.row + 1);
                self.lines[self.row] = self.lines[self.row].chars().take(self.column).collect();
            }
            ("?7", "l") => self.wraps = false,
            ("?7", "h") => self.wraps = true,
            (_, letter) => assert_eq!(letter, "m", "the screen of this test does not know it"),
        }
    }
}
