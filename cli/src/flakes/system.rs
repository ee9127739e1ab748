//! The systems of a flake, `nixosConfigurations`: they are made of `nixpkgs.lib.nixosSystem`, and here that is Firn's. So the
//! flake's inputs that are nixpkgs are replaced by Firn's own (`os/flake`), for this evaluation; its lock file stays as
//! it is. `nixos-rebuild`(8), `--flake`.

use super::locking::Locking;
use super::words::Word;
use crate::eval::explain;
use crate::settings::Settings;
use anyhow::{Context as _, Result, bail};
use evaluator::{Evaluator, Handle};
use formats::flake::{Attribute, Attributes, FlakeRef};

/// Whether a reference leads to nixpkgs: by name, at its forge, or as one of its channels.
fn is_nixpkgs(name: &str, reference: &FlakeRef) -> bool {
    let input = &reference.input;
    let text = |attribute: &str| input.text(attribute).unwrap_or_default();
    match input.kind() {
        "indirect" => text("id") == "nixpkgs",
        "github" => text("owner").eq_ignore_ascii_case("nixos") && text("repo").starts_with("nixpkgs"),
        "tarball" => {
            text("url").contains("channels.nixos.org/") || text("url").contains("nixos.org/channels/")
        }
        _ => name == "nixpkgs",
    }
}

/// The configuration of that name, on Firn.
pub(crate) fn configuration<'a>(
    evaluator: &mut Evaluator<'a>,
    word: &Word,
    name: &str,
) -> Result<Handle<'a>> {
    let own = Settings::current()?.distribution.join("os/flake");
    let own = own.canonicalize().with_context(|| format!("Firn's own flake {}", own.display()))?;
    let own = own.to_str().context("the path of Firn's own files is not UTF-8")?;
    let own = FlakeRef::from_attributes(Attributes::from([
        ("type".to_owned(), Attribute::from("path")),
        ("path".to_owned(), Attribute::from(own)),
    ]))?;
    let mut locking = Locking { write: false, quiet: true, ..Locking::default() };
    let flake = evaluator.fetch_flake(&word.flake, true).map_err(explain)?;
    for (input, reference) in flake.inputs() {
        if reference.is_some_and(|reference| is_nixpkgs(input, reference)) {
            locking.flags.overrides.insert(vec![input.to_owned()], own.clone());
        }
    }
    let locked = locking.lock(evaluator, &word.flake)?;
    let value = evaluator.call_flake(&locked).map_err(explain)?;
    let configurations = evaluator.attribute(value, "nixosConfigurations").map_err(explain)?;
    let Some(configurations) = configurations else {
        bail!("flake '{}' has no nixosConfigurations", word.flake);
    };
    if let Some(found) = evaluator.attribute(configurations, name).map_err(explain)? {
        return Ok(found);
    }
    let names = evaluator.attribute_names(configurations).unwrap_or_default();
    let known = match names.as_slice() {
        [] => "it has none".to_owned(),
        names => format!("it has {}; name one as in --flake '{}#{}'", names.join(", "), word.flake, names[0]),
    };
    bail!("flake '{}' has no nixosConfigurations.{name}: {known}", word.flake)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nixpkgs() {
        for (name, reference, expected) in [
            ("nixpkgs", "github:NixOS/nixpkgs/nixos-25.05", true),
            ("unstable", "github:nixos/nixpkgs", true),
            ("x", "nixpkgs/nixos-unstable", true),
            ("nixpkgs", "https://channels.nixos.org/nixos-25.05/nixexprs.tar.xz", true),
            ("nixpkgs", "git+https://example.org/mine", true),
            ("nixos-hardware", "github:NixOS/nixos-hardware", false),
            ("home-manager", "github:nix-community/home-manager", false),
            ("x", "path:/nixpkgs", false),
        ] {
            let reference = FlakeRef::parse(reference, true, false).unwrap();
            assert_eq!(is_nixpkgs(name, &reference), expected, "{name} {reference}");
        }
    }
}
