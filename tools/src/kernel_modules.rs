//! `kernel-modules`: `$out/lib/modules/VERSION` of a running system: the kernel's modules (linked, not copied), further
//! modules below `updates/`, and the indexes by which modprobe finds them.

use crate::derivation::Derivation;
use anyhow::{Context as _, Result, ensure};
use bootgen::module_tree::{ModuleTree, write_indexes};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// The attributes of the derivation.
#[derive(serde::Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Attributes {
    /// A store path with `lib/modules/VERSION`.
    kernel: PathBuf,
    /// More of these, for the same version; theirs win.
    #[serde(default)]
    extra_modules: Vec<PathBuf>,
}

/// What the kernel's build leaves beside the modules and depmod reads.
const BESIDE: &[&str] = &["modules.builtin", "modules.builtin.modinfo", "modules.order"];

/// Links the modules and writes the indexes.
pub fn run(derivation: &Derivation) -> Result<()> {
    let attributes: Attributes = derivation.attributes()?;
    let kernel = ModuleTree::open(&attributes.kernel)?;
    let out = derivation.out()?.join("lib/modules").join(kernel.version());
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let link = |from: PathBuf, to: PathBuf| {
        symlink(&from, &to).with_context(|| format!("cannot link {} to {}", to.display(), from.display()))
    };
    link(kernel.directory().join("kernel"), out.join("kernel"))?;
    for name in BESIDE {
        let from = kernel.directory().join(name);
        if from.exists() {
            std::fs::copy(&from, out.join(name))
                .with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    for (number, extra) in attributes.extra_modules.iter().enumerate() {
        let tree = ModuleTree::open(extra)?;
        ensure!(
            tree.version() == kernel.version(),
            "{} has modules for kernel {}, and the kernel is {}",
            extra.display(),
            tree.version(),
            kernel.version()
        );
        let updates = out.join("updates");
        std::fs::create_dir_all(&updates).with_context(|| format!("cannot make {}", updates.display()))?;
        link(tree.directory().to_owned(), updates.join(number.to_string()))?;
    }
    // Opened anew: now with the extra modules in it.
    write_indexes(&ModuleTree::open(&out)?, &out)?;
    Ok(())
}
