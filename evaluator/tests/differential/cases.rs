//! Cases, each a file, given to Firn and to the real Nix; the differences, made small.

use crate::expression::Expression;
use crate::real_nix::{Answer, ask};
use crate::world::World;
use evaluator::{Arena, Evaluator, Options};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A directory with the files that cases read, and the cases themselves.
pub(crate) struct Workshop {
    directory: tempfile::TempDir,
}

/// A case that the two do not agree on.
#[derive(Debug)]
pub(crate) struct Difference {
    /// The case's source text.
    pub(crate) case: String,
    pub(crate) firn: Answer,
    pub(crate) nix: Answer,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(formatter, "{}\n    nix:  {:?}\n    firn: {:?}", self.case, self.nix, self.firn)
    }
}

impl Workshop {
    /// A new one.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let root = directory.path();
        let write = |name: &str, contents: &[u8]| {
            std::fs::write(root.join(name), contents).expect("the temporary directory can be written");
        };
        std::fs::create_dir_all(root.join("fixture/sub/empty")).expect("the directory is new");
        write("show.nix", include_bytes!("show.nix"));
        write("fixture/a.txt", b"text of a\n");
        write("fixture/empty", b"");
        write("fixture/bytes", b"\xff\xfe\x80 not UTF-8");
        write("fixture/zero", b"before\0after");
        write("fixture/one.nix", b"1");
        write("fixture/function.nix", b"{ a ? 1, b }: a + b");
        write("fixture/broken.nix", b"{ a = ");
        write("fixture/scoped.nix", b"given");
        write("fixture/sub/default.nix", b"{ here = ./.; up = ../a.txt; }");
        write("fixture/data.json", br#"{"b": [1, 2.5, null, true, "x"], "a": {"c": "\u00e9"}}"#);
        for (link, target) in
            [("link", "a.txt"), ("dangling", "nowhere"), ("dirlink", "sub"), ("loop", "loop")]
        {
            std::os::unix::fs::symlink(target, root.join("fixture").join(link))
                .expect("the directory is new");
        }
        Self { directory }
    }

    /// Where the cases lie.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Those of the texts that the two do not agree on.
    pub(crate) fn compare(&self, cases: &[String]) -> Vec<(usize, Difference)> {
        let questions: Vec<String> =
            cases.iter().enumerate().map(|(number, text)| self.question(number, text)).collect();
        let root = self.path().to_path_buf();
        let (asked, home) = (questions.clone(), root.clone());
        let real = std::thread::spawn(move || ask(&asked, &home));
        let ours: Vec<Answer> = questions.iter().map(|question| firn(question, &root)).collect();
        let real = real.join().expect("asking does not panic");
        let mut found = Vec::new();
        for (index, (nix, firn)) in real.into_iter().zip(ours).enumerate() {
            if nix != firn && !excused(&cases[index], &nix, &firn, &root) {
                found.push((index, Difference { case: cases[index].clone(), firn, nix }));
            }
        }
        found
    }

    /// Writes a case down; the question that is asked about it.
    fn question(&self, number: usize, text: &str) -> String {
        let file: PathBuf = self.path().join(format!("{number}.nix"));
        std::fs::write(&file, text).expect("the temporary directory can be written");
        format!(
            "let r = builtins.tryEval (import {}/show.nix (import {})); in if r.success then r.value else \"<thrown>\"",
            self.path().display(),
            file.display()
        )
    }

    /// The smallest text found that they still do not agree on.
    pub(crate) fn shrink(&self, mut expression: Expression, mut difference: Difference) -> Difference {
        let mut tried = BTreeSet::new();
        for _ in 0..60 {
            let mut smaller = expression.smaller();
            smaller.retain(|candidate| {
                let text = candidate.text();
                text.len() < difference.case.len() && tried.insert(text)
            });
            smaller.sort_by_key(|candidate| candidate.text().len());
            smaller.truncate(400);
            let texts: Vec<String> = smaller.iter().map(Expression::text).collect();
            let Some((index, found)) = self.compare(&texts).into_iter().next() else { break };
            expression = smaller.swap_remove(index);
            difference = found;
        }
        difference
    }
}

/// Whether a difference says nothing about Firn.
fn excused(case: &str, nix: &Answer, firn: &Answer, root: &Path) -> bool {
    let thrown = Answer::Text("<thrown>".to_owned());
    let workshop = format!("-{}'", root.file_name().unwrap_or_default().to_string_lossy());
    let physical = root.join("store/nix/store").display().to_string();
    match (nix, firn) {
        // Where the real one crashes, any answer is better.
        (Answer::Crashes, _) => true,
        // Nix evaluates the right side of `//` first since 2.32, 2.26 the left: which of two errors it is differs.
        (Answer::Fails, other) | (other, Answer::Fails) if *other == thrown => case.contains("//"),
        _ if case.contains("//") && case.contains("tryEval") => true,
        // Nix 2.26 makes an overflow or a rounded integer of these; an error since 2.32 (NixOS/nix#12899).
        (Answer::Text(_), Answer::Fails)
            if case.contains("builtins.floor") || case.contains("builtins.ceil") =>
        {
            true
        }
        // The real one's store lies elsewhere, and it looks for the file of a derivation where it does not lie.
        (Answer::Fails, Answer::Text(_)) if case.contains("mport") && case.contains("drvPath") => true,
        // The real one's store lies elsewhere, and there its files are; Firn has no store here.
        // Nor is the workshop itself the same when both have looked at it.
        (Answer::Text(text), _) => text.contains(&physical) || text.contains(&workshop),
        _ => false,
    }
}

/// What Firn makes of a question.
fn firn(question: &str, directory: &Path) -> Answer {
    use std::os::unix::ffi::OsStrExt as _;
    let arena = Arena::new();
    let world = Rc::new(World::new());
    let mut evaluator = Evaluator::new(&arena, world, Options::default());
    let value = evaluator.eval_str(question, directory.as_os_str().as_bytes());
    match value {
        Ok(value) => {
            let text = evaluator.as_string(value).expect("the answer to every question is a string");
            Answer::Text(String::from_utf8_lossy(text).into_owned())
        }
        Err(_) => Answer::Fails,
    }
}
