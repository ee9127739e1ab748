//! How fast Nix files are read: every `.nix` file below a directory is turned into code, from memory, as often as asked.
//! `cargo run --release -p evaluator --example parse -- NIXPKGS [TIMES]` prints megabytes a second of one core.

use evaluator::io::LocalIo;
use evaluator::{Arena, Evaluator, Options};
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

/// So many files are read by one evaluator: its memory lasts as long as it does.
const TOGETHER: usize = 500;

fn collect(directory: &Path, texts: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(&path, texts)?;
        } else if path.extension().is_some_and(|extension| extension == "nix") {
            texts.push(String::from_utf8_lossy(&std::fs::read(path)?).into_owned());
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: parse DIRECTORY [TIMES]")?;
    let times: u32 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let mut texts = Vec::new();
    collect(Path::new(&directory), &mut texts)?;
    let bytes: usize = texts.iter().map(String::len).sum();
    for _ in 0..times {
        let (mut refused, start) = (0, Instant::now());
        for some in texts.chunks(TOGETHER) {
            let arena = Arena::new();
            let mut evaluator =
                Evaluator::new(&arena, Rc::new(LocalIo::new("/nix/store")), Options::default());
            refused += some.iter().filter(|text| evaluator.check_syntax(text).is_err()).count();
        }
        let seconds = start.elapsed().as_secs_f64();
        let speed = bytes as f64 / 1e6 / seconds;
        let line = format!(
            "{} files, {:.1} MB in {seconds:.2} s: {speed:.0} MB/s; {refused} refused\n",
            texts.len(),
            bytes as f64 / 1e6
        );
        std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes())?;
    }
    Ok(())
}
