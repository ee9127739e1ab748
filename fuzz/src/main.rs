//! libFuzzer's way in: `FIRN_FUZZ=TARGET` says which of the targets gets the bytes. `fuzz/run` builds and runs this.
#![no_main]

mod targets;

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("FIRN_FUZZ").unwrap_or_default();
        let found = targets::TARGETS.iter().find(|(known, _)| *known == name);
        found.expect("FIRN_FUZZ names a target of src/targets.rs").1
    });
    target(bytes);
});
