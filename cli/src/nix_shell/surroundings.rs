//! The variables of a derivation as its builder would see them, and the files that they name, for a shell outside of any
//! sandbox.

use super::Built;
use crate::nix_front::Front;
use anyhow::{Context as _, Result};
use formats::derivation::Derivation;
use formats::hash::Hash;
use formats::store_path::{downstream_placeholder, placeholder};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use store::Store;

/// See the module.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// By name.
    pub(crate) variables: BTreeMap<OsString, OsString>,
    /// The file with structured attributes for bash, if there are any.
    pub(crate) attributes: Option<PathBuf>,
}

impl Surroundings {
    /// Those of a derivation whose inputs are built. Files are written into the directory.
    pub(crate) fn of(
        store: &Store,
        derivation: &Derivation,
        built: &Built,
        directory: &Path,
        front: &Front,
    ) -> Result<Self> {
        let mut own = Self { variables: BTreeMap::new(), attributes: None };
        for name in ["NIX_BUILD_TOP", "TMPDIR", "TEMPDIR", "TMP", "TEMP"] {
            own.set(name, &directory.to_string_lossy());
        }
        own.set("NIX_STORE", store.dir().as_str());
        own.set("NIX_BUILD_CORES", &front.build_options(store).cores.to_string());
        let known = store.known_outputs(derivation)?;
        let mut rewrites: Vec<(String, String)> = Vec::new();
        for (input, outputs) in built {
            for (output, path) in outputs {
                rewrites.push((downstream_placeholder(input, output), store.dir().print(path)));
            }
        }
        for (output, path) in &known {
            rewrites.extend(path.as_ref().map(|path| (placeholder(output), store.dir().print(path))));
        }
        let rewritten = |text: &[u8]| {
            let mut text = String::from_utf8_lossy(text).into_owned();
            for (from, to) in &rewrites {
                if text.contains(from.as_str()) {
                    text = text.replace(from, to);
                }
            }
            text
        };
        if let Some(json) = derivation.variable("__json") {
            let outputs = known.iter().map(|(output, path)| {
                let path = path.as_ref().map_or_else(|| placeholder(output), |path| store.dir().print(path));
                (output.clone(), path)
            });
            let outputs: BTreeMap<String, String> = outputs.collect();
            let (json, shell) = store.attribute_files(rewritten(json).as_bytes(), &outputs)?;
            let write = |name: &str, text: &[u8]| -> Result<PathBuf> {
                let file = directory.join(name);
                std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
                Ok(file)
            };
            let json = write(".attrs.json", &json)?;
            let shell = write(".attrs.sh", shell.as_bytes())?;
            own.set("NIX_ATTRS_JSON_FILE", &json.to_string_lossy());
            own.set("NIX_ATTRS_SH_FILE", &shell.to_string_lossy());
            own.attributes = Some(shell);
            return Ok(own);
        }
        let as_files =
            String::from_utf8_lossy(derivation.variable("passAsFile").unwrap_or_default()).into_owned();
        for (name, value) in &derivation.env {
            let value = rewritten(value);
            let name = String::from_utf8_lossy(name);
            if as_files.split_whitespace().any(|file| file == name) {
                let file = directory.join(format!(".attr-{}", Hash::sha256(name.as_bytes()).digits32()));
                std::fs::write(&file, value).with_context(|| format!("writing {}", file.display()))?;
                own.set(&format!("{name}Path"), &file.to_string_lossy());
            } else {
                own.set(&name, &value);
            }
        }
        Ok(own)
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let text = |text: &str| OsString::from_vec(text.as_bytes().to_vec());
        self.variables.insert(text(name), text(value));
    }
}
