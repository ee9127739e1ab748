//! Signatures made and checked, and the same with Debian's sbsign and sbverify on the other side.

use super::*;
use crate::checker;
use crate::secure_boot::keys::samples::{other, owner};
use crate::secure_boot::pe::samples::program;
use std::path::Path;

fn sample() -> Vec<u8> {
    program(
        &[(".text", &[0x90; 700]), (".data", b"data"), (".reloc", &[1; 0x200])],
        b"symbols, of an odd length",
    )
}

fn trusted(key: &KeyPair) -> Vec<Certificate> {
    vec![key.certificate().clone()]
}

#[test]
fn what_is_signed_is_accepted_and_signing_again_gives_the_same_bytes() {
    let (owner, other) = (owner(), other());
    let signed = sign(&sample(), &owner).unwrap();
    assert_eq!(signed.len() as u64, signed_size(sample().len() as u64, signature_size(&owner).unwrap()));
    assert_eq!(verify(&signed, &trusted(&owner)).unwrap(), *owner.certificate());
    assert_eq!(digest(&signed), digest(&sample()));
    assert!(sign(&sample(), &owner).unwrap() == signed, "a signature is always the same");
    assert!(sign(&signed, &owner).unwrap() == signed, "the old signature is replaced");
    assert!(matches!(verify(&sample(), &trusted(&owner)), Err(ProgramError::Unsigned)));
    let error = verify(&signed, &trusted(&other)).unwrap_err().to_string();
    assert_eq!(error, "it is signed, but not by a key that is trusted here (by CN=owner)");
    assert_eq!(verify(&sign(&signed, &other).unwrap(), &trusted(&other)).unwrap(), *other.certificate());
}

#[test]
fn a_changed_bit_anywhere_is_noticed() {
    let owner = owner();
    let signed = sign(&sample(), &owner).unwrap();
    let layout = Layout::of(&signed).unwrap();
    for at in 0..signed.len() {
        let mut changed = signed.clone();
        changed[at] ^= 1 << (at % 8);
        let accepted = verify(&changed, &trusted(&owner));
        if at < layout.content_end(signed.len()) {
            // Signing itself sets the checksum; nobody looks at it.
            let checksum = (layout.checksum..layout.checksum + 4).contains(&at);
            assert_eq!(accepted.is_ok(), checksum, "byte {at}");
        } else if let Ok(signer) = accepted {
            // Numbers around the signature, such as its version, are not signed; what is accepted is the same all the same.
            assert_eq!(
                (signer.name(), digest(&changed)),
                ("CN=owner".to_owned(), digest(&signed)),
                "byte {at}"
            );
        }
    }
    for length in 0..signed.len() {
        assert!(verify(&signed[..length], &trusted(&owner)).is_err(), "cut off at {length}");
    }
    let mut longer = signed.clone();
    longer.push(0);
    assert!(verify(&longer, &trusted(&owner)).is_err());
}

/// The same program with the table's entries of two programs, one behind the other.
fn with_both(one: &[u8], other: &[u8]) -> Vec<u8> {
    let start = Layout::of(one).unwrap().content_end(one.len());
    let mut both = [one, &other[start..]].concat();
    let entry = Layout::of(one).unwrap().certificate_entry;
    let length = (both.len() - start) as u32;
    both[entry + 4..entry + 8].copy_from_slice(&length.to_le_bytes());
    both
}

#[test]
fn one_good_signature_of_several_is_enough() {
    let (owner, other) = (owner(), other());
    let (ours, theirs) = (sign(&sample(), &owner).unwrap(), sign(&sample(), &other).unwrap());
    for both in [with_both(&ours, &theirs), with_both(&theirs, &ours)] {
        assert_eq!(verify(&both, &trusted(&owner)).unwrap(), *owner.certificate());
        assert_eq!(verify(&both, &trusted(&other)).unwrap(), *other.certificate());
        assert!(matches!(verify(&both, &[]), Err(ProgramError::Untrusted(signers)) if signers.len() == 2));
    }
    // Another program's signature beside the right one, and beside none.
    let another = sign(
        &program(
            &[(".text", &[0x91; 700]), (".data", b"data"), (".reloc", &[1; 0x200])],
            b"symbols, of an odd length",
        ),
        &other,
    )
    .unwrap();
    let both = with_both(&another, &ours);
    assert!(matches!(verify(&both, &trusted(&owner)), Err(ProgramError::Changed)));
    let both = with_both(&ours, &another);
    assert_eq!(verify(&both, &trusted(&owner)).unwrap(), *owner.certificate());
    assert!(matches!(verify(&both, &trusted(&other)), Err(ProgramError::Changed)));
}

/// Numbers that a file may be changed by: any, from a seed.
fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    }
}

#[test]
fn random_damage_neither_crashes_nor_passes() {
    let owner = owner();
    let signed = sign(&sample(), &owner).unwrap();
    let content = Layout::of(&signed).unwrap().content_end(signed.len());
    for seed in 1..3000 {
        let mut number = numbers(seed * 0x9e37_79b9);
        let mut changed = signed.clone();
        // In the headers, where the lengths stand, and in the signature's, more than elsewhere.
        for _ in 0..=number(6) {
            let at = match number(3) {
                0 => number(0x300),
                1 => content + number(changed.len() - content),
                _ => number(changed.len()),
            };
            changed[at] = [0, 0xff, 0x80, 0x7f, number(256) as u8][number(5)];
        }
        if number(4) == 0 {
            changed.truncate(number(changed.len()));
        }
        if changed.len() == signed.len() && digest(&changed) == digest(&signed) {
            continue;
        }
        assert!(verify(&changed, &trusted(&owner)).is_err(), "seed {seed}");
    }
}

#[test]
fn sbverify_accepts_what_is_signed_here_and_sbsigns_signatures_are_accepted() {
    if checker::find("sbverify", "sbsigntool").is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (owner, other) = (owner(), other());
    std::fs::write(path("owner.pem"), owner.certificate().to_pem().unwrap()).unwrap();
    std::fs::write(path("owner.key"), owner.key_to_pem().unwrap()).unwrap();
    std::fs::write(path("other.pem"), other.certificate().to_pem().unwrap()).unwrap();
    let mut programs = vec![("sample", sample())];
    let loader = Path::new("/usr/lib/systemd/boot/efi/systemd-bootx64.efi");
    match std::fs::read(loader) {
        Ok(loader) => programs.push(("systemd-boot", loader)),
        Err(error) => {
            assert!(std::env::var_os("FIRN_REQUIRE_CHECKERS").is_none(), "{}: {error}", loader.display());
        }
    }
    for (name, program) in programs {
        std::fs::write(path(name), &program).unwrap();
        std::fs::write(path("ours"), sign(&program, &owner).unwrap()).unwrap();
        let check = |file: &str, certificate: &str| {
            checker::run("sbverify", "sbsigntool", ["--cert", &path(certificate), &path(file)]).unwrap()
        };
        let (fine, text) = check("ours", "owner.pem");
        assert!(fine, "{name}: {text}");
        assert!(!check("ours", "other.pem").0, "{name}: sbverify must refuse another certificate");

        let arguments = [
            "--key",
            &path("owner.key"),
            "--cert",
            &path("owner.pem"),
            "--output",
            &path("theirs"),
            &path(name),
        ];
        let (fine, text) = checker::run("sbsign", "sbsigntool", arguments).unwrap();
        assert!(fine, "{name}: {text}");
        let theirs = std::fs::read(path("theirs")).unwrap();
        assert_eq!(verify(&theirs, &trusted(&owner)).unwrap(), *owner.certificate(), "{name}");
        assert!(verify(&theirs, &trusted(&other)).is_err(), "{name}");
        assert_eq!(digest(&theirs), digest(&program), "{name}");
    }
}
