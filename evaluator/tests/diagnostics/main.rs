//! Every message that people meet, as a picture: `cases/NAME.nix` is evaluated, and what is printed must be `cases/NAME.txt`;
//! `messages/GROUP.txt` has many short sources, each with its message below it (`-----` between the two, `=====` after).
//! `UPDATE_SNAPSHOTS=1 cargo test -p evaluator --test diagnostics` writes the texts anew; review them as a diff.

#![expect(clippy::format_push_string, reason = "a test may panic: that is how it fails")]

use evaluator::io::MemoryIo;
use evaluator::{Arena, Evaluator, Options};
use std::path::Path;
use std::rc::Rc;

/// What evaluating a text prints when it fails.
fn message(text: &str) -> String {
    let world = MemoryIo::default()
        .with_file("/etc/nixos/configuration.nix", text)
        .with_file("/etc/nixos/cycle.nix", "import ./configuration.nix")
        .with_file("/etc/nixos/half.nix", "{ a = 1;")
        .with_file("/etc/nixos/directory/file", "text")
        .with_file("/etc/nixos/zero", "before\0after")
        .with_file("/etc/nixos/made.drv", "text");
    let arena = Arena::new();
    let options = Options { max_call_depth: 200, ..Options::default() };
    let mut evaluator = Evaluator::new(&arena, Rc::new(world), options);
    let result = evaluator
        .eval_file(b"/etc/nixos/configuration.nix")
        .and_then(|value| evaluator.force_deep_value(value));
    match result {
        Ok(()) => "it evaluates\n".to_owned(),
        Err(error) => format!("error: {}\n", error.render(false)),
    }
}

#[test]
fn messages_are_as_pictured() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics/cases");
    let update = std::env::var_os("UPDATE_SNAPSHOTS").is_some();
    let mut report = String::new();
    let mut names: Vec<_> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "nix"));
    names.sort();
    assert!(names.len() >= 15, "only {} cases found", names.len());
    for path in names {
        let shown = message(&std::fs::read_to_string(&path).unwrap());
        let picture = path.with_extension("txt");
        if update {
            std::fs::write(&picture, &shown).unwrap();
        } else if std::fs::read_to_string(&picture).unwrap_or_default() != shown {
            report.push_str(&format!("{}:\n{shown}\n", path.display()));
        }
    }
    assert!(report.is_empty(), "these messages changed:\n{report}");
}

/// The sources of a file of messages; what stands above the first is its head.
fn sources(text: &str) -> (&str, Vec<&str>) {
    let (head, rest) = text.split_once('\n').unwrap_or((text, ""));
    let blocks = rest.split("\n=====\n").filter(|block| !block.is_empty());
    (head, blocks.map(|block| block.split_once("\n-----").unwrap_or((block, "")).0).collect())
}

#[test]
fn every_message_is_as_pictured() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics/messages");
    let update = std::env::var_os("UPDATE_SNAPSHOTS").is_some();
    let mut count = 0;
    let mut report = String::new();
    let mut paths: Vec<_> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let (head, sources) = sources(&text);
        let mut shown = format!("{head}\n");
        for source in sources {
            count += 1;
            shown.push_str(&format!("{source}\n-----\n{}=====\n", message(source)));
        }
        if update {
            std::fs::write(&path, &shown).unwrap();
        } else if text != shown {
            for (was, is) in text.split("=====\n").zip(shown.split("=====\n")).filter(|(was, is)| was != is) {
                report.push_str(&format!("{}:\nwas: {was}\nis: {is}\n", path.display()));
            }
            report.push_str(&format!("{} is not as it was\n", path.display()));
        }
    }
    assert!(count > 200, "only {count} messages found");
    assert!(report.is_empty(), "these messages changed:\n{report}");
}
