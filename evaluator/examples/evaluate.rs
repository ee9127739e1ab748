//! Evaluates an expression and prints its value: `cargo run -p evaluator --example evaluate -- 'map (x: x * 2) [ 1 2 ]'`.

use evaluator::io::LocalIo;
use evaluator::{Arena, Evaluator, Options, Style};
use std::rc::Rc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1).unwrap_or_else(|| "builtins.nixVersion".to_owned());
    let here = std::env::current_dir()?.to_string_lossy().into_owned();
    let arena = Arena::new();
    let mut evaluator = Evaluator::new(&arena, Rc::new(LocalIo::new("/nix/store")), Options::default());
    let value = evaluator.eval_str(&text, here.as_bytes())?;
    evaluator.force_deep_value(value)?;
    let printed = evaluator.print(value, Style::Plain);
    std::io::Write::write_all(&mut std::io::stdout(), &[printed.as_slice(), b"\n"].concat())?;
    Ok(())
}
