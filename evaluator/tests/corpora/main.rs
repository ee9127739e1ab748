//! What the fuzzers found, replayed: every input of `fuzz/corpora` goes through its target once more, and the seeds
//! too. `make fuzz` looks for more.

#[path = "../../../fuzz/src/targets.rs"]
#[expect(clippy::expect_used, unreachable_pub, reason = "the fuzzer has this file in a crate of its own")]
mod targets;

use formats::nar::Visitor;
use std::io::Read;
use std::path::PathBuf;

struct Files(Vec<(String, Vec<u8>)>);

impl Visitor for Files {
    fn begin_directory(&mut self, _: Option<&[u8]>) -> std::io::Result<()> {
        Ok(())
    }

    fn end_directory(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn file(&mut self, name: Option<&[u8]>, _: bool, _: u64, contents: &mut dyn Read) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        contents.read_to_end(&mut bytes)?;
        self.0.push((String::from_utf8_lossy(name.unwrap_or_default()).into_owned(), bytes));
        Ok(())
    }

    fn symlink(&mut self, _: Option<&[u8]>, _: &[u8]) -> std::io::Result<()> {
        Err(std::io::Error::other("a corpus has no links"))
    }
}

fn fuzz(place: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(place)
}

#[test]
fn nothing_that_was_found_makes_trouble() {
    for (name, target) in targets::TARGETS {
        let mut files = Files(Vec::new());
        let archive = std::fs::read(fuzz(&format!("corpora/{name}.nar"))).unwrap();
        formats::nar::read(&mut archive.as_slice(), &mut files).unwrap();
        for entry in std::fs::read_dir(fuzz(&format!("seeds/{name}"))).unwrap() {
            let entry = entry.unwrap();
            files.0.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
        }
        assert!(files.0.len() > 50, "the corpus of {name} has only {} inputs", files.0.len());
        for (file, bytes) in files.0 {
            let result = std::panic::catch_unwind(|| target(&bytes));
            assert!(result.is_ok(), "{name}: {file} panics: {bytes:?}");
        }
    }
}
