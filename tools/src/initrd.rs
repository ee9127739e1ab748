//! `initrd`: the initial root of a system (`boot.initrd.*`) as `$out/initrd`, with a listing in `$out/contents.json` and what stage 1
//! does in `$out/stage1.conf`.

use crate::derivation::Derivation;
use anyhow::{Context as _, Result};
use bootgen::initrd::{Initrd, InitrdSpec};

/// Writes the initrd. Its times are 1970, or `SOURCE_DATE_EPOCH` where that is set.
pub fn run(derivation: &Derivation) -> Result<()> {
    let spec: InitrdSpec = derivation.attributes()?;
    let initrd = Initrd::collect(&spec)?;
    let bytes = initrd.to_bytes(spec.compression, source_date_epoch()?)?;
    let out = derivation.out()?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    write("initrd", &bytes)?;
    write("stage1.conf", initrd.stage1.as_bytes())?;
    write("contents.json", &serde_json::to_vec_pretty(&initrd.contents())?)
}

/// The time that reproducible-builds.org's variable names, else 0.
fn source_date_epoch() -> Result<u32> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.trim().parse().with_context(|| {
            format!("SOURCE_DATE_EPOCH is `{text}`; it must be a number of seconds since 1970 below 2^32")
        }),
        Err(_) => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initrd_with_its_listing() {
        let directory = tempfile::tempdir().expect("a directory");
        let out = directory.path().join("out");
        let init = directory.path().join("init");
        std::fs::write(&init, "program").expect("written");
        let json = format!(
            r#"{{"name":"initrd","outputs":{{"out":{out:?}}},"init":{init:?},"compression":"none",
                "mounts":[{{"source":"/dev/vda","target":"/","fsType":"ext4","options":[]}}]}}"#
        );
        run(&Derivation::from_json(&json).expect("valid")).expect("written");
        assert!(std::fs::read(out.join("initrd")).expect("read").starts_with(b"070701"));
        let listing = std::fs::read_to_string(out.join("contents.json")).expect("read");
        assert!(listing.contains("\"/stage1.conf\""), "{listing}");
    }
}
