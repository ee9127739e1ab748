//! Builds one derivation in a sandbox, in a store of its own: `cargo run -p store --example build`.

use formats::derivation::{Derivation, Output};
use std::io::Write as _;
use store::build::BuildOptions;
use store::{Error, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::open(&std::env::temp_dir().join("firn-example"))?;
    let mut derivation = Derivation {
        name: "hello".to_owned(),
        platform: b"x86_64-linux".to_vec(),
        builder: b"/bin/sh".to_vec(),
        args: vec![b"-c".to_vec(), b"echo hello from $PWD > $out".to_vec()],
        ..Derivation::default()
    };
    derivation.outputs.insert("out".to_owned(), Output::Deferred);
    derivation.fill_output_paths::<Error>(store.dir(), &mut |path| Err(Error::NotValid(path.to_string())))?;
    let path = store.add_derivation(&derivation)?;
    for (output, path) in store.build_derivation(&path, &BuildOptions::default())? {
        let text = std::fs::read_to_string(store.real_path(&path))?;
        writeln!(std::io::stdout(), "{output}: {} = {text}", store.dir().print(&path))?;
    }
    Ok(())
}
