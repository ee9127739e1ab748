//! The real Nix: one `nix repl` answers thousands of questions in one process, and goes on after an error.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// What an evaluator makes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The text of a string.
    Text(String),
    /// An error.
    Fails,
    /// The process died or never came back.
    Crashes,
}

const PROMPT: &str = "nix-repl> ";
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A Debian suite's Nix, fetched by apt once (`ci/get-debian-nix`); trixie has 2.26.3.
pub(crate) fn program() -> PathBuf {
    static FETCHED: OnceLock<PathBuf> = OnceLock::new();
    FETCHED.get_or_init(fetch).clone()
}

fn fetch() -> PathBuf {
    if let Some(given) = std::env::var_os("FIRN_REAL_NIX") {
        return given.into();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let directory = root.join("target/debian-nix-trixie");
    let status = Command::new(root.join("ci/get-debian-nix"))
        .args(["trixie".as_ref(), directory.as_os_str()])
        .status()
        .expect("ci/get-debian-nix can be run");
    assert!(status.success(), "ci/get-debian-nix: the real nix could not be fetched by apt");
    directory.join("bin/nix")
}

/// Asks the real Nix; each question is an expression on one line that gives a string.
pub(crate) fn ask(questions: &[String], home: &Path) -> Vec<Answer> {
    let mut answers = vec![Answer::Fails; questions.len()];
    let mut next = 0;
    while next < questions.len() {
        // The one that a process did not survive is not asked again.
        next = session(questions, next, &mut answers, home);
    }
    answers
}

/// What one process answers, from that question on; where to go on.
fn session(questions: &[String], first: usize, answers: &mut [Answer], home: &Path) -> usize {
    let mut child = start(home);
    let mut input = child.stdin.take().expect("stdin is a pipe");
    // The prompt's line shows the end of the question: there is its number.
    let mut text = String::new();
    for (number, question) in questions.iter().enumerate().skip(first) {
        text.push_str(question);
        // A syntax error behind it, since an error that speaks of an end of file makes the REPL wait for more.
        text.push_str(&format!(" # {number}\n)\n"));
    }
    text.push_str("1 # end\n");
    // Nobody reads what is written after the process has died.
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).is_ok());
    let lines = lines_of(&mut child);
    let mut printed = String::new();
    let mut current: Option<usize> = None;
    let mut last = None;
    let mut ended = false;
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) if line.starts_with(PROMPT) => {
                if let Some(number) = current {
                    answers[number] = answer(&printed);
                }
                printed.clear();
                let number = line.trim_end().rsplit(' ').next().unwrap_or_default();
                ended |= number == "end";
                current = number.parse().ok();
                last = current.or(last);
            }
            Ok(line) => printed.push_str(&line),
            Err(RecvTimeoutError::Timeout) => {
                child.kill().expect("the process is ours");
                break;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    child.wait().expect("the process is ours");
    writer.join().expect("the writer does not panic");
    if ended {
        return questions.len();
    }
    let crashed = last.expect("the real nix answers one question before it dies");
    answers[crashed] = Answer::Crashes;
    crashed + 1
}

fn start(home: &Path) -> Child {
    Command::new("prlimit")
        // A case that needs more is no case.
        .arg("--as=6000000000")
        .arg(program())
        .args([
            "--extra-experimental-features",
            "nix-command",
            "repl",
            "--offline",
            "--option",
            "fsync-metadata",
            "false",
        ])
        .arg("--store")
        .arg(home.join("store"))
        .env_clear()
        .envs([("TEST_VAR", "foo"), ("HOME", "/fake-home"), ("NO_COLOR", "1"), ("NIX_PATH", "")])
        .env("GC_MAXIMUM_HEAP_SIZE", "600000000")
        .env("XDG_DATA_HOME", home)
        .env("XDG_CACHE_HOME", home)
        .current_dir(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the real nix starts")
}

fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    let output = child.stdout.take().expect("stdout is a pipe");
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}

/// The string that was printed, without quotes, escapes and colours.
fn answer(printed: &str) -> Answer {
    let mut text = String::new();
    let mut characters = printed.trim().chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => drop(characters.by_ref().find(char::is_ascii_alphabetic)),
            '\\' => match characters.next() {
                Some('n') => text.push('\n'),
                Some('r') => text.push('\r'),
                Some('t') => text.push('\t'),
                other => text.extend(other),
            },
            other => text.push(other),
        }
    }
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(text) => Answer::Text(text.to_owned()),
        None => Answer::Fails,
    }
}
