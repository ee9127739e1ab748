//! The same units on Firn and on Debian's systemd, each booted once, and what they did compared line by line: what processes see of
//! themselves (`probes.txt`), and in which order and states units go (`cases/`). What differs has a reason in `accepted.txt`;
//! all of it stands in `docs/systemd-conformance.md`, which this test writes with `FIRN_BLESS=1` and otherwise compares.
//!
//! The comparison takes two boots of some minutes and is made by `make conformance`, which sets `FIRN_CONFORMANCE`. Every other run of this
//! test boots Firn's side with the few units of `short.txt`, and they must do what `short-expected.txt` says, which the comparison keeps
//! true.

#[cfg(test)]
mod definitions;
#[cfg(test)]
mod image;
#[cfg(test)]
mod report;
#[cfg(test)]
mod sides;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where the data of this test is.
fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

#[test]
fn every_directive_is_in_some_unit() {
    let cases = definitions::read(&data());
    let used: BTreeSet<(String, String)> = cases
        .units
        .values()
        .flat_map(|text| units::unit_file::parse(text).unwrap())
        .flat_map(|(section, directives)| {
            directives.into_keys().map(move |directive| (section.clone(), directive)).collect::<Vec<_>>()
        })
        .collect();
    let is_used = |section: &str, name: &str| used.contains(&(section.to_owned(), name.to_owned()));
    let mut missing = Vec::new();
    for section in ["Unit", "Install", "Service", "Mount", "Swap", "Socket", "Slice", "Timer", "Path"] {
        for name in units::directive::names(section) {
            // What all have in common is tried with services.
            let is_common = section != "Unit" && section != "Install";
            let is_covered = is_used(section, &name) || (is_common && is_used("Service", &name));
            if !is_covered && !name.starts_with("X-") {
                missing.push(format!("[{section}] {name}"));
            }
        }
    }
    assert!(cases.units.len() >= 300, "{} units", cases.units.len());
    assert!(missing.is_empty(), "no unit has {missing:#?}");
}

#[test]
fn a_few_units_do_what_they_did_beside_systemd() {
    let cases = definitions::short(&definitions::read(&data()));
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    std::fs::create_dir_all(&cache).unwrap();
    report::check_short(&report::observed(&cases, &sides::firn(&cases, &cache, "short")), false);
}

/// Compares with `FIRN_CONFORMANCE=all` all, with `FIRN_CONFORMANCE="sockets user-* …"` only the probes and scenarios of such names; then
/// nothing is written, and unused reasons are no fault.
#[test]
fn firn_does_what_systemd_does() {
    let Ok(wanted) = std::env::var("FIRN_CONFORMANCE") else {
        println!("NOT compared with systemd, which takes ten minutes: `make conformance` does it");
        return;
    };
    let is_whole = wanted == "all";
    let cases = definitions::read(&data()).only(|name| is_whole || definitions::is_named(&wanted, name));
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    std::fs::create_dir_all(&cache).unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".cache/conformance");
    let systemd = sides::systemd(&cases, &cache, &kept);
    let firn = sides::firn(&cases, &cache, "firn");
    report::compare(&cases, &firn, &systemd, is_whole);
    if is_whole {
        report::check_short(&report::observed(&definitions::short(&cases), &firn), true);
    }
}
