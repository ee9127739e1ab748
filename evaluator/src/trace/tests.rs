//! Each kind of input changes, and the trace notices; nothing changes, and it holds.

use super::{Recorder, Trace, Verdict};
use crate::io::{EvalIo as _, LocalIo};
use crate::{Arena, Evaluator, Options};
use formats::hash::Hash;
use std::path::Path;
use std::rc::Rc;

const PROGRAM: &str = r#"
    builtins.readFile ./file
    + (import ./lib).text
    + toString (builtins.attrNames (builtins.readDir ./directory))
    + toString (builtins.pathExists ./absent)
    + builtins.readFile ./link
    + builtins.getEnv "FIRN_TRACE_TEST"
    + "${./tree}"
    + builtins.path { path = ./filtered; filter = path: kind: baseNameOf path != "ignored"; }
    + builtins.readFileType ./directory/entry
"#;

/// A change of the world and what it is called.
type Change = (&'static str, fn(&Path));

fn question() -> Hash {
    Hash::sha256("what is it?")
}

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn world() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    write(root, "program.nix", PROGRAM);
    write(root, "file", "some text");
    write(root, "lib/default.nix", "{ text = \"lib\"; }");
    write(root, "directory/entry", "");
    write(root, "first", "behind the link");
    write(root, "second", "behind the link, elsewhere");
    write(root, "tree/a/b", "deep");
    write(root, "filtered/admitted", "in");
    write(root, "filtered/ignored", "out");
    std::os::unix::fs::symlink("first", root.join("link")).unwrap();
    // Old enough to be trusted.
    std::thread::sleep(std::time::Duration::from_millis(30));
    directory
}

fn evaluate(program: &Path) -> Option<Trace> {
    let recorder = Rc::new(Recorder::new(Rc::new(LocalIo::new("/nix/store"))));
    let arena = Arena::new();
    let mut evaluator = Evaluator::new(&arena, Rc::clone(&recorder) as Rc<_>, Options::default());
    let value = evaluator.eval_file(program.as_os_str().as_encoded_bytes()).unwrap();
    let answer = evaluator.coerce_to_string(value).unwrap().0;
    let trace = recorder.finish(question(), answer)?;
    let copy = Trace::decode(&trace.encode()).unwrap();
    assert_eq!(copy, trace);
    Some(copy)
}

fn check(trace: &Trace) -> Verdict {
    trace.check(&question(), &LocalIo::new("/nix/store"))
}

/// Changes the world; whether the trace notices, and that a new evaluation has another answer or not.
fn after(change: impl FnOnce(&Path)) -> (Verdict, bool, tempfile::TempDir) {
    let world = world();
    let program = world.path().join("program.nix");
    let trace = evaluate(&program).unwrap();
    assert_eq!(check(&trace), Verdict::Holds);
    change(world.path());
    let verdict = check(&trace);
    (verdict, evaluate(&program).unwrap().answer() == trace.answer(), world)
}

#[test]
fn unchanged_it_holds_again_and_again() {
    let (verdict, same, _world) = after(|_| {});
    assert_eq!((verdict, same), (Verdict::Holds, true));
}

#[test]
fn a_change_of_each_kind_is_noticed() {
    let changes: [Change; 9] = [
        ("a file's text of the same length", |root| write(root, "file", "SOME text")),
        ("a file of another size with its old time", |root| {
            let path = root.join("file");
            let time = std::fs::metadata(&path).unwrap().modified().unwrap();
            std::fs::write(&path, "some more text").unwrap();
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }),
        ("an imported file", |root| write(root, "lib/default.nix", "{ text = \"bil\"; }")),
        ("a new entry in a directory", |root| write(root, "directory/new", "")),
        ("a file where none was", |root| write(root, "absent", "")),
        ("a link that points elsewhere", |root| {
            std::fs::remove_file(root.join("link")).unwrap();
            std::os::unix::fs::symlink("second", root.join("link")).unwrap();
        }),
        ("a file behind a link", |root| write(root, "first", "another text")),
        ("a file deep in a tree that was copied", |root| write(root, "tree/a/b", "peed")),
        ("a file that a filter admitted", |root| write(root, "filtered/admitted", "on")),
    ];
    for (what, change) in changes {
        let (verdict, same, _world) = after(change);
        assert!(matches!(verdict, Verdict::Broken(_)), "{what}: {verdict:?}");
        assert!(!same, "{what} should make a difference");
    }
}

#[test]
fn a_file_that_is_gone_is_noticed() {
    let world = world();
    let trace = evaluate(&world.path().join("program.nix")).unwrap();
    std::fs::remove_file(world.path().join("file")).unwrap();
    assert!(matches!(check(&trace), Verdict::Broken(path) if path.ends_with("/file")));
}

#[test]
fn what_makes_no_difference_makes_none() {
    let changes: [Change; 3] = [
        ("a file that was written anew as it was", |root| write(root, "file", "some text")),
        ("a file that the filter left out", |root| write(root, "filtered/ignored", "anything")),
        ("a tree that was written anew as it was", |root| write(root, "tree/a/b", "deep")),
    ];
    for (what, change) in changes {
        let (verdict, same, _world) = after(change);
        assert!(same, "{what} should make no difference");
        match verdict {
            Verdict::Holds => {}
            Verdict::Touched(trace) => {
                std::thread::sleep(std::time::Duration::from_millis(30));
                assert!(!matches!(check(&trace), Verdict::Broken(_)), "{what}");
            }
            Verdict::Broken(path) => panic!("{what}: {path}"),
        }
    }
}

#[test]
fn a_variable_is_noticed() {
    let world = world();
    let mut trace = evaluate(&world.path().join("program.nix")).unwrap();
    let name = b"FIRN_TRACE_TEST".to_vec();
    assert!(trace.variables.contains(&(name.clone(), None)));
    trace.variables = vec![(name, Some(b"set".to_vec()))];
    assert_eq!(check(&trace), Verdict::Broken("variable FIRN_TRACE_TEST".to_owned()));
}

#[test]
fn another_question_has_another_answer() {
    let world = world();
    let trace = evaluate(&world.path().join("program.nix")).unwrap();
    let verdict = trace.check(&Hash::sha256("another"), &LocalIo::new("/nix/store"));
    assert!(matches!(verdict, Verdict::Broken(_)));
}

#[test]
fn who_asks_for_the_time_has_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "time.nix", "toString builtins.currentTime");
    assert!(evaluate(&directory.path().join("time.nix")).is_none());
    write(directory.path(), "mention.nix", "toString (builtins ? currentTime)");
    assert!(evaluate(&directory.path().join("mention.nix")).is_some());
}

#[test]
fn messages_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "trace.nix", "builtins.trace \"said\" \"x\"");
    let trace = evaluate(&directory.path().join("trace.nix")).unwrap();
    assert_eq!(trace.messages(), ["trace: said"]);
}

#[test]
fn torn_and_made_up_bytes_are_errors() {
    let world = world();
    let bytes = evaluate(&world.path().join("program.nix")).unwrap().encode();
    for length in 0..bytes.len() {
        assert!(Trace::decode(&bytes[..length]).is_err());
    }
    for place in (0..bytes.len()).step_by(7) {
        let mut wrong = bytes.clone();
        wrong[place] ^= 0x55;
        assert!(Trace::decode(&wrong).is_err(), "byte {place}");
        // With a checksum that fits, it must still not panic or take memory without end.
        let end = wrong.len() - 32;
        let digest = Hash::sha256(&wrong[..end]);
        wrong.splice(end.., digest.bytes().iter().copied());
        drop(Trace::decode(&wrong));
    }
    // A fifo, a directory and the like answer to nothing.
    assert!(LocalIo::new("/nix/store").fingerprint(b"/nonexistent/path", false).is_none());
}
