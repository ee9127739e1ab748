//! Computes store paths without a store: `cargo run -p formats --example store_paths`.

use formats::hash::{Algorithm, HashingWriter};
use formats::nar::Writer;
use formats::store_path::StoreDir;
use std::collections::BTreeSet;
use std::io::Write as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = StoreDir::default();
    let text = store.make_text_path("foo.txt", b"hello", &BTreeSet::new())?;
    let mut nar = Writer::new(HashingWriter::new(std::io::sink(), Algorithm::Sha256))?;
    nar.file(false, 5, &mut &b"hello"[..])?;
    let (_, hash, size) = nar.finish()?.finish();
    let source = store.make_source_path("hello", &hash, &BTreeSet::new(), false)?;
    let mut out = std::io::stdout();
    writeln!(out, "text    {}", store.print(&text))?;
    writeln!(out, "source  {}  (NAR {} bytes, {})", store.print(&source), size, hash.sri())?;
    Ok(())
}
