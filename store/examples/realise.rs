//! Builds derivations that are in a store: `cargo run -p store --example realise -- ROOT /nix/store/….drv …`.

use std::io::Write as _;
use std::path::Path;
use store::Store;
use store::build::BuildOptions;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let store = Store::open(Path::new(&arguments.next().ok_or("the store's root is missing")?))?;
    let mut out = std::io::stdout();
    for derivation in arguments {
        match store.build_derivation(&store.dir().parse(&derivation)?, &BuildOptions::default()) {
            Ok(outputs) => {
                for path in outputs.values() {
                    writeln!(out, "{}", store.dir().print(path))?;
                }
            }
            Err(error) => writeln!(out, "error: {error}")?,
        }
    }
    Ok(())
}
