//! Resolving: a derivation whose inputs' paths are known only after they were built (content-addressed derivations, RFC
//! 62) is rewritten to one that names those paths and no derivations; that one is built. Nix manual, "Resolved
//! derivation".

use crate::error::{Error, Result};
use crate::open::Store;
use formats::derivation::{Derivation, Output};
use formats::store_path::{StorePath, downstream_placeholder};
use std::collections::BTreeMap;

/// The outputs of a derivation's inputs, by derivation and output.
pub(crate) type Inputs = BTreeMap<StorePath, BTreeMap<String, StorePath>>;

/// Whether the derivation as it is cannot be built.
pub(super) fn is_needed(store: &Store, derivation: &Derivation) -> Result<bool> {
    if derivation.outputs.values().any(|output| matches!(output, Output::Deferred)) {
        return Ok(true);
    }
    let floating = |output: &Output| matches!(output, Output::Floating { .. } | Output::Impure { .. });
    if derivation.outputs.values().any(floating) {
        return Ok(!derivation.input_drvs.is_empty());
    }
    if !derivation.is_fixed_output() {
        return Ok(false);
    }
    for (input, wanted) in &derivation.input_drvs {
        let input = store.read_derivation(input)?;
        if input
            .output_paths(store.dir())?
            .iter()
            .any(|(output, path)| path.is_none() && wanted.contains(output))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The path of what a valid derivation resolves to, if it must be resolved and its inputs are built.
pub(super) fn path_of_resolved(store: &Store, path: &StorePath) -> Result<Option<StorePath>> {
    if !path.is_derivation() || !store.is_valid(path)? {
        return Ok(None);
    }
    let derivation = store.read_derivation(path)?;
    if !is_needed(store, &derivation)? {
        return Ok(None);
    }
    let mut inputs = Inputs::new();
    for input in derivation.input_drvs.keys() {
        let known = store.known_outputs(&store.read_derivation(input)?)?;
        let known = known.into_iter().filter_map(|(output, path)| Some((output, path?)));
        inputs.insert(input.clone(), known.collect());
    }
    let Ok(resolved) = resolve(store, &derivation, &inputs) else { return Ok(None) };
    let (name, text) = (format!("{}.drv", resolved.name), resolved.unparse(store.dir())?);
    Ok(Some(store.dir().make_text_path(&name, &text, &resolved.references())?))
}

/// Rewrites the derivation.
pub(crate) fn resolve(store: &Store, derivation: &Derivation, inputs: &Inputs) -> Result<Derivation> {
    let mut resolved = derivation.clone();
    let mut rewrites: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (input, wanted) in std::mem::take(&mut resolved.input_drvs) {
        for output in wanted {
            let path = inputs.get(&input).and_then(|outputs| outputs.get(&output)).ok_or_else(|| {
                Error::Invalid(format!("output `{output}` of `{}` was not built", store.dir().print(&input)))
            })?;
            rewrites.push((
                downstream_placeholder(&input, &output).into_bytes(),
                store.dir().print(path).into_bytes(),
            ));
            resolved.input_srcs.insert(path.clone());
        }
    }
    let rewrite = |text: &mut Vec<u8>| {
        for (from, to) in &rewrites {
            replace(text, from, to);
        }
    };
    rewrite(&mut resolved.builder);
    resolved.args.iter_mut().for_each(rewrite);
    resolved.env = std::mem::take(&mut resolved.env)
        .into_iter()
        .map(|(mut name, mut value)| {
            rewrite(&mut name);
            rewrite(&mut value);
            (name, value)
        })
        .collect();
    if resolved.outputs.values().any(|output| matches!(output, Output::Deferred)) {
        resolved.fill_output_paths::<Error>(store.dir(), &mut |input| store.modulo(input))?;
    }
    Ok(resolved)
}

/// Replaces every occurrence of a text by another.
pub(super) fn replace(text: &mut Vec<u8>, from: &[u8], to: &[u8]) {
    let mut start = 0;
    while let Some(position) =
        text.get(start..).and_then(|rest| rest.windows(from.len()).position(|window| window == from))
    {
        let at = start + position;
        text.splice(at..at + from.len(), to.iter().copied());
        start = at + to.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_replaced_wherever_they_are() {
        let mut text = b"aXXbXX".to_vec();
        replace(&mut text, b"XX", b"long");
        assert_eq!(text, b"along".iter().chain(b"blong").copied().collect::<Vec<_>>());
        replace(&mut text, b"nothing", b"x");
        assert_eq!(text, b"alongblong");
    }
}
