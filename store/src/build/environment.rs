//! The builder's environment, exactly as Nix gives it: what the store sets first, what the derivation sets (which may
//! override that), what the store sets last. Placeholders become output paths.

use super::FailureKind;
use super::one::Job;
use super::recursive;
use super::resolve::replace;
use super::structured;
use formats::hash::Hash;
use formats::store_path::placeholder;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Variables by name; both are bytes.
type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

/// Makes the environment; writes the files that it names into the build directory. `inside` is what the builder calls
/// that directory.
pub(super) fn prepare(job: &Job<'_>, inside: &Path) -> Result<Vec<CString>, FailureKind> {
    let mut variables = Variables::new();
    let mut set = |name: &str, value: &[u8]| {
        variables.insert(name.as_bytes().to_vec(), value.to_vec());
    };
    set("PATH", b"/path-not-set");
    set("HOME", b"/homeless-shelter");
    set("NIX_STORE", job.store.dir().as_str().as_bytes());
    set("NIX_BUILD_CORES", job.options.cores.to_string().as_bytes());
    if job.attributes.structured.is_some() {
        structured::write(job, inside, &mut variables)?;
    } else {
        derivation_variables(job, inside, &mut variables)?;
    }
    let build = inside.as_os_str().as_bytes();
    for name in ["NIX_BUILD_TOP", "TMPDIR", "TEMPDIR", "TMP", "TEMP", "PWD"] {
        variables.insert(name.into(), build.to_vec());
    }
    if job.goal.derivation.is_fixed_output() {
        variables.insert(b"NIX_OUTPUT_CHECKED".to_vec(), b"1".to_vec());
    }
    if job.may_use_network() {
        for name in job.attributes.words("impureEnvVars").unwrap_or_default() {
            let value = match job.options.impure_env.get(&name) {
                Some(value) => value.clone().into_bytes(),
                None => std::env::var_os(&name).unwrap_or_default().as_bytes().to_vec(),
            };
            variables.insert(name.into_bytes(), value);
        }
    }
    if job.restriction.is_some() {
        variables.insert(b"NIX_REMOTE".to_vec(), recursive::address(inside).into_bytes());
    }
    variables.insert(b"NIX_LOG_FD".to_vec(), b"2".to_vec());
    variables.insert(b"TERM".to_vec(), b"xterm-256color".to_vec());
    variables
        .into_iter()
        .map(|(mut name, value)| {
            name.push(b'=');
            name.extend(value);
            string(name, "a variable of its environment")
        })
        .collect()
}

/// A C string, or why it cannot be one.
pub(super) fn string(bytes: Vec<u8>, what: &str) -> Result<CString, FailureKind> {
    CString::new(bytes).map_err(|_| FailureKind::Unsupported(format!("{what} contains a NUL byte")))
}

fn derivation_variables(job: &Job<'_>, inside: &Path, variables: &mut Variables) -> Result<(), FailureKind> {
    let as_file = job.attributes.words("passAsFile").unwrap_or_default();
    for (name, value) in &job.goal.derivation.env {
        let value = rewrite(job, value);
        if as_file.iter().any(|wanted| wanted.as_bytes() == name) {
            let file = format!(".attr-{}", Hash::sha256(name).digits32());
            job.scratch.write_build_file(&file, &value, &job.identity)?;
            let mut path_variable = name.clone();
            path_variable.extend_from_slice(b"Path");
            variables.insert(path_variable, inside.join(file).as_os_str().as_bytes().to_vec());
        } else {
            variables.insert(name.clone(), value);
        }
    }
    Ok(())
}

/// Replaces placeholders of outputs by their paths.
pub(super) fn rewrite(job: &Job<'_>, text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    for (output, path) in &job.outputs {
        replace(&mut text, placeholder(output).as_bytes(), job.store.dir().print(path).as_bytes());
        // Built at another place than its text says.
        if let Some(Some(known)) = job.finals.get(output).filter(|known| known.as_ref() != Some(path)) {
            replace(
                &mut text,
                job.store.dir().print(known).as_bytes(),
                job.store.dir().print(path).as_bytes(),
            );
        }
    }
    text
}
