//! Firn and the real Nix (2.26.3, Debian's, fetched by apt at test time) answer the same questions: random expressions,
//! each builtin with edge values, and every case that once made a difference (`corpus/`). Compared are the value, as
//! text with types, contexts and exact numbers, or that it fails, and whether `tryEval` can catch it.
//!
//! More than the usual run: `FIRN_DIFFERENTIAL_CASES=100000 FIRN_DIFFERENTIAL_SEED=7 cargo test -p evaluator --test
//! differential`. Differences are made small before they are shown; put them into `corpus/` when they are mended. Another Nix:
//! `FIRN_REAL_NIX=/path/to/nix`.

#![expect(clippy::expect_used, clippy::format_push_string, reason = "a test may panic: that is how it fails")]

mod cases;
mod expression;
mod grammar;
mod random;
mod real_nix;
#[path = "../language/world.rs"]
#[expect(dead_code, reason = "the messages are looked at by the language tests only")]
mod world;

use cases::{Difference, Workshop};
use expression::Expression;
use grammar::{Grammar, Part};
use random::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How many differences are made small and shown.
const SHOWN: usize = 12;

fn grammar() -> Grammar {
    Grammar::parse(include_str!("grammar.txt"))
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("the setting is a number"))
}

fn report(differences: &[Difference], cases: usize) {
    let shown = differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "of {cases} cases, at least {} differ:\n{shown}", differences.len());
}

/// Compares, and makes the first few differences small.
fn judge(workshop: &Workshop, expressions: &[Expression]) {
    assert!(expressions.len() > 500, "only {} cases", expressions.len());
    let texts: Vec<String> = expressions.iter().map(Expression::text).collect();
    let found = workshop.compare(&texts);
    let mut smallest: BTreeMap<String, Difference> = BTreeMap::new();
    for (index, difference) in found {
        if smallest.len() == SHOWN {
            break;
        }
        let small = workshop.shrink(expressions[index].clone(), difference);
        smallest.insert(small.case.clone(), small);
    }
    report(&smallest.into_values().collect::<Vec<_>>(), texts.len());
}

#[test]
fn random_expressions() {
    let grammar = grammar();
    let mut random = Random::new(setting("FIRN_DIFFERENTIAL_SEED", 1));
    let expressions: Vec<Expression> = (0..setting("FIRN_DIFFERENTIAL_CASES", 4000))
        .map(|_| {
            let depth = 1 + random.below(5);
            grammar.expression("any", depth, &mut random)
        })
        .collect();
    judge(&Workshop::new(), &expressions);
}

#[test]
fn builtins_with_edge_values() {
    let grammar = grammar();
    let mut random = Random::new(1);
    let mut expressions = Vec::new();
    for rule in grammar.rules.values().flatten() {
        let mentions =
            |text: &str| ["builtins.", "toString ", "derivation "].iter().any(|name| text.contains(name));
        if rule.iter().any(|part| matches!(part, Part::Text(text) if mentions(text))) {
            expressions.extend(with_edge_values(&grammar, rule, &mut random));
        }
    }
    judge(&Workshop::new(), &expressions);
}

/// A rule with the simple expressions of each place's type: every combination, or many of them; some do not belong there.
fn with_edge_values(grammar: &Grammar, rule: &[Part], random: &mut Random) -> Vec<Expression> {
    const MOST: usize = 60;
    let mut texts = BTreeSet::new();
    let kinds: Vec<&String> = grammar.rules.keys().filter(|kind| !kind.starts_with('.')).collect();
    for round in 0..MOST {
        let mut text = String::new();
        let mut expression = Expression { pieces: Vec::new(), children: Vec::new(), wrapped: false };
        for part in rule {
            match part {
                Part::Text(piece) => text.push_str(piece),
                Part::Name(number, _) => text.push_str(["p", "q", "r", "s"][*number]),
                Part::Place(kind, _) => {
                    let kind = if round % 5 == 4 && kind != "small" { random.pick(&kinds) } else { kind };
                    let mut leaves = grammar.leaves(kind);
                    if leaves.is_empty() || kind == "any" {
                        leaves = kinds.iter().flat_map(|kind| grammar.leaves(kind)).collect();
                    }
                    expression.pieces.push(std::mem::take(&mut text));
                    let leaf: &String = random.pick(&leaves);
                    expression.children.push(Expression::leaf(leaf));
                }
            }
        }
        expression.pieces.push(text);
        texts.insert(expression.text());
        if expression.children.is_empty() {
            break;
        }
    }
    texts.iter().map(|text| Expression::leaf(text)).collect()
}

#[test]
fn every_builtin_is_in_the_grammar() {
    // They download, or depend on the machine or the version; the flake references have a table of their own.
    let elsewhere = [
        "break",
        "currentSystem",
        "currentTime",
        "fetchGit",
        "fetchMercurial",
        "fetchTarball",
        "fetchurl",
        "fetchTree",
        "findFile",
        "getFlake",
        "flakeRefToString",
        "parseFlakeRef",
        "toPath",
        "derivationStrict",
        "filterSource",
    ];
    let text = include_str!("grammar.txt");
    let missing: Vec<&str> =
        evaluator::builtin_names().filter(|name| !text.contains(name) && !elsewhere.contains(name)).collect();
    assert!(missing.is_empty(), "grammar.txt has no rule with {missing:?}");
}

#[test]
fn what_once_differed() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/corpus");
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the corpus is there") {
        let path = entry.expect("the corpus can be read").path();
        let text = std::fs::read_to_string(&path).expect("the corpus can be read");
        texts.extend(text.split("\n---\n").map(str::to_owned));
    }
    assert!(texts.len() > 10, "only {} cases in the corpus", texts.len());
    let found: Vec<Difference> =
        Workshop::new().compare(&texts).into_iter().map(|(_, found)| found).collect();
    report(&found, texts.len());
}
