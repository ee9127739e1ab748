//! The attribute of a flake that a word names: `.#hello` is `packages.SYSTEM.hello`, or what comes first that is there. Nix
//! manual, `nix`, "Flake output attribute".

use super::locking::Locking;
use super::words::Word;
use anyhow::{Result, bail};
use evaluator::flake::LockedFlake;
use evaluator::{Evaluator, Handle};
use formats::flake::FlakeRef;

/// What a command takes from a flake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Purpose {
    /// Packages, to build and to look at.
    #[default]
    Packages,
    /// Programs to run.
    Apps,
    /// Environments to work in.
    Shells,
    /// What formats the flake's own files.
    Formatter,
    /// Directories to copy.
    Templates,
}

impl Purpose {
    /// The attributes that are meant where none is named.
    fn defaults(self, system: &str) -> Vec<String> {
        let of = |names: &[&str]| names.iter().map(|name| name.replace("SYSTEM", system)).collect();
        match self {
            Self::Packages => of(&["packages.SYSTEM.default", "defaultPackage.SYSTEM"]),
            Self::Apps => of(&[
                "apps.SYSTEM.default",
                "defaultApp.SYSTEM",
                "packages.SYSTEM.default",
                "defaultPackage.SYSTEM",
            ]),
            Self::Shells => of(&[
                "devShells.SYSTEM.default",
                "devShell.SYSTEM",
                "packages.SYSTEM.default",
                "defaultPackage.SYSTEM",
            ]),
            Self::Formatter => of(&["formatter.SYSTEM"]),
            Self::Templates => of(&["templates.default", "defaultTemplate"]),
        }
    }

    /// What may stand before the attribute that is named.
    fn prefixes(self, system: &str) -> Vec<String> {
        let of = |names: &[&str]| names.iter().map(|name| name.replace("SYSTEM", system)).collect();
        match self {
            Self::Packages => of(&["packages.SYSTEM.", "legacyPackages.SYSTEM."]),
            Self::Apps => of(&["apps.SYSTEM.", "packages.SYSTEM.", "legacyPackages.SYSTEM."]),
            Self::Shells => of(&["devShells.SYSTEM.", "packages.SYSTEM.", "legacyPackages.SYSTEM."]),
            Self::Templates => of(&["templates."]),
            Self::Formatter => Vec::new(),
        }
    }

    /// The attributes that a fragment may mean, the first that is there wins.
    pub(crate) fn candidates(self, fragment: &str, system: &str) -> Vec<String> {
        if let Some(exact) = fragment.strip_prefix('.') {
            return vec![exact.to_owned()];
        }
        if fragment.is_empty() {
            return self.defaults(system);
        }
        let mut found: Vec<String> =
            self.prefixes(system).into_iter().map(|prefix| prefix + fragment).collect();
        found.push(fragment.to_owned());
        found
    }
}

/// The steps of an attribute path; a step in quotes may hold dots.
pub(crate) fn steps(path: &str) -> Result<Vec<String>> {
    let (mut steps, mut step, mut quoted) = (Vec::new(), String::new(), false);
    for character in path.chars() {
        match character {
            '"' => quoted = !quoted,
            '.' if !quoted => steps.push(std::mem::take(&mut step)),
            other => step.push(other),
        }
    }
    if quoted {
        bail!("missing closing quote in selection path '{path}'");
    }
    if !path.is_empty() {
        steps.push(step);
    }
    Ok(steps)
}

/// Several names as a sentence has them.
fn listed(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [front @ .., last] => format!("{} or {last}", front.join(", ")),
    }
}

/// An attribute that was found.
#[derive(Debug, Clone)]
pub(crate) struct Found<'a> {
    /// Its path among the outputs.
    pub(crate) path: String,
    pub(crate) value: Handle<'a>,
}

/// Flakes that were locked and called, so that several words of one flake evaluate it once.
#[derive(Debug, Default)]
pub(crate) struct Called<'a> {
    flakes: Vec<(FlakeRef, LockedFlake, Handle<'a>)>,
}

impl<'a> Called<'a> {
    /// The flake and its value.
    pub(crate) fn flake(
        &mut self,
        evaluator: &mut Evaluator<'a>,
        locking: &mut Locking,
        reference: &FlakeRef,
    ) -> Result<(LockedFlake, Handle<'a>)> {
        if let Some((_, locked, value)) = self.flakes.iter().find(|(known, ..)| known == reference) {
            return Ok((locked.clone(), *value));
        }
        let locked = locking.lock(evaluator, reference)?;
        let value = evaluator.call_flake(&locked).map_err(|error| crate::eval::explained(&error))?;
        self.flakes.push((reference.clone(), locked.clone(), value));
        Ok((locked, value))
    }

    /// The output that a word names.
    pub(crate) fn output(
        &mut self,
        evaluator: &mut Evaluator<'a>,
        locking: &mut Locking,
        word: &Word,
        purpose: Purpose,
        system: &str,
    ) -> Result<Found<'a>> {
        let (_, flake) = self.flake(evaluator, locking, &word.flake)?;
        let explain = |error: evaluator::EvalError| crate::eval::explained(&error);
        let outputs = evaluator.attribute(flake, "outputs").map_err(explain)?.unwrap_or(flake);
        let candidates = purpose.candidates(&word.fragment, system);
        let mut hints = Vec::new();
        for path in &candidates {
            let mut value = outputs;
            let mut is_there = true;
            for step in steps(path)? {
                if let Some(inner) = evaluator.attribute(value, &step).map_err(explain)? {
                    value = inner;
                    continue;
                }
                let names = evaluator.attribute_names(value).unwrap_or_default();
                hints.extend(evaluator::closest_names(&step, &names));
                is_there = false;
                break;
            }
            if is_there {
                return Ok(Found { path: path.clone(), value });
            }
        }
        hints.dedup();
        let hint = match hints.as_slice() {
            [] => String::new(),
            [one] => format!("\nDid you mean {one}?"),
            [front @ .., last] => format!("\nDid you mean one of {} or {last}?", front.join(", ")),
        };
        bail!("flake '{}' does not provide attribute {}{hint}", word.flake, listed(&candidates))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_fragment_may_mean() {
        for (purpose, fragment, found) in [
            (Purpose::Packages, "", "packages.S.default defaultPackage.S"),
            (Purpose::Packages, "a", "packages.S.a legacyPackages.S.a a"),
            (Purpose::Packages, ".a", "a"),
            (Purpose::Formatter, "", "formatter.S"),
            (Purpose::Templates, "x", "templates.x x"),
            (Purpose::Shells, "x", "devShells.S.x packages.S.x legacyPackages.S.x x"),
        ] {
            assert_eq!(purpose.candidates(fragment, "S").join(" "), found);
        }
        assert_eq!(steps("a.\"b.c\".d").unwrap(), ["a", "b.c", "d"]);
        assert!(steps("").unwrap().is_empty() && steps("\"a").is_err());
        assert_eq!(listed(&["a".to_owned(), "b".to_owned(), "c".to_owned()]), "'a', 'b' or 'c'");
    }
}
