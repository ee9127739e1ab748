//! The menu with Secure Boot: one signed program a generation, and the loader signed, from the plan to every prefix of its
//! writes. The model is a firmware that starts nothing else.

use super::*;
use bootgen::secure_boot::authenticode::{digest, verify};
use bootgen::secure_boot::key_bundle::{KeyBundle, Role};
use bootgen::secure_boot::keys::{KeyPair, SHORTEST};
use bootgen::secure_boot::pe::Layout;
use samples::program;
use std::time::Duration;

fn signing(name: &str) -> Arc<Signing> {
    let key = KeyPair::generate(SHORTEST, name, Duration::from_secs(1_790_000_000)).unwrap();
    Arc::new(Signing::new(program(&[(".text", b"stub")], b""), key))
}

fn signed_machine() -> Machine {
    let mut machine = Machine::systemd_boot("3");
    machine.signing = Some(signing("CN=owner"));
    std::fs::write(machine.root.join("nix/store/sd-boot.efi"), program(&[(".text", b"loader one")], b""))
        .unwrap();
    machine
}

fn kernels(machine: &Machine) -> Vec<String> {
    machine.names().into_iter().filter(|name| name.ends_with("-linux.efi")).collect()
}

#[test]
fn a_generation_is_one_signed_program_and_nothing_unsigned_is_left() {
    let mut machine = signed_machine();
    // First without: what an image brings.
    let signing = machine.signing.take();
    machine.generation(1, "k", "i");
    machine.install(1, Some(1));
    assert_eq!(machine.sd_boot().as_deref(), Some("/nix/store/system-1"));
    machine.signing = signing;
    assert_eq!(machine.sd_boot(), None, "nothing is signed yet");
    machine.generation(2, "k", "i");
    machine.install(2, Some(1));
    assert_eq!(machine.sd_boot().as_deref(), Some("/nix/store/system-2"));
    let names = machine.names();
    assert_eq!(kernels(&machine).len(), 2, "the older one as well: {names:?}");
    assert!(
        !names.iter().any(|name| name.ends_with("-kernel.efi") || name.ends_with("-initrd")),
        "{names:?}"
    );
    for name in names.iter().filter(|name| name.to_lowercase().ends_with(".efi")) {
        let owner = machine.signing.as_ref().unwrap().key().certificate().clone();
        verify(&std::fs::read(machine.esp.join(name)).unwrap(), &[owner]).unwrap();
    }
    // Back again.
    machine.install(1, Some(2));
    assert_eq!(machine.sd_boot().as_deref(), Some("/nix/store/system-1"));
    assert!(machine.has_entry(2));
    // And the entries count tries as others do: the new one has them, the one that ran has none.
    let counted: Vec<String> = machine.names().into_iter().filter(|name| name.contains('+')).collect();
    assert!(
        matches!(&counted[..], [one] if one.starts_with(&format!("loader/entries/{TOKEN}-2-"))),
        "{counted:?}"
    );
}

#[test]
fn every_prefix_of_a_signed_update_boots() {
    let machine = signed_machine();
    machine.generation(1, "k1", "i1");
    machine.generation(2, "k2", "i2");
    machine.install(2, None);
    machine.generation(3, "k3", "i3");
    std::fs::write(machine.root.join("nix/store/sd-boot.efi"), program(&[(".text", b"loader two")], b""))
        .unwrap();
    every_prefix_boots(&machine, 2, 3, None);
}

#[test]
fn space_is_reckoned_for_the_signed_programs_before_anything_is_written() {
    let machine = signed_machine();
    machine.generation(1, "k1", "i1");
    machine.install(1, None);
    machine.generation(2, "k2", "i2");
    let plan = machine.plan(2, Some(1));
    let kernel_files = plan.files.iter().filter(|file| file.path.ends_with("-linux.efi"));
    let planned: u64 = kernel_files.map(|file| file.contents.size()).sum();
    machine.install(2, Some(1));
    let sizes = kernels(&machine).into_iter().map(|name| machine.esp.join(name).metadata().unwrap().len());
    assert_eq!(sizes.sum::<u64>(), planned);

    machine.generation(3, &"k3".repeat(10), "i3");
    let before = machine.tree();
    let error = machine.plan_with(3, Some(2), Some(Space { free: 4096, cluster: 512 })).unwrap_err();
    assert!(matches!(error, PlanError::NoSpace { needed, .. } if needed > 20_000), "{error}");
    assert_eq!(machine.tree(), before);
}

#[test]
fn other_keys_sign_everything_anew() {
    let mut machine = signed_machine();
    machine.generation(1, "k1", "i1");
    machine.generation(2, "k2", "i2");
    machine.install(2, None);
    let before = kernels(&machine);
    machine.signing = Some(signing("CN=owner"));
    assert_eq!(machine.sd_boot(), None);
    machine.install(2, None);
    assert_eq!(machine.sd_boot().as_deref(), Some("/nix/store/system-2"));
    assert!(kernels(&machine).iter().all(|name| !before.contains(name)) && before.len() == 2);
}

#[test]
fn a_damaged_program_is_written_again_and_a_loader_that_is_none_is_named() {
    let machine = signed_machine();
    machine.generation(1, "k", "i");
    machine.install(1, None);
    let kernel = kernels(&machine).remove(0);
    let good = std::fs::read(machine.esp.join(&kernel)).unwrap();
    let mut bad = good.clone();
    bad[Layout::of(&good).unwrap().section(".linux").unwrap().data.start + 100] ^= 1;
    std::fs::write(machine.esp.join(&kernel), &bad).unwrap();
    assert_ne!(digest(&bad).unwrap(), digest(&good).unwrap());
    assert_eq!(machine.sd_boot(), None);
    let mut present = Partition::read(&machine.esp, TOKEN).unwrap();
    present.forget_damaged(&machine.esp, &machine.plan(1, None).expected).unwrap();
    assert!(!present.data.contains_key(&kernel));

    std::fs::write(machine.root.join("nix/store/sd-boot.efi"), "text").unwrap();
    let error = machine.plan_with(1, None, None).unwrap_err().to_string();
    assert!(error.contains("sd-boot.efi cannot be signed: it is no PE program"), "{error}");
    // A kernel whose bytes are not those that were planned is not signed; the menu is as it was.
    let machine = signed_machine();
    machine.generation(1, "k", "i");
    machine.install(1, None);
    machine.generation(2, "kk", "i");
    let plan = machine.plan(2, Some(1));
    std::fs::write(machine.root.join("nix/store/kernel-kk"), "x".repeat(2000)).unwrap();
    let error = apply::apply(&plan, &machine.esp, &mut unobserved).unwrap_err();
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert!(text.contains("kernel-kk changed while the boot menu was written"), "{text}");
    assert_eq!(machine.sd_boot().as_deref(), Some("/nix/store/system-1"));
}

#[test]
fn without_a_key_nothing_is_written_and_the_sentence_says_how_to_make_one() {
    let machine = signed_machine();
    machine.generation(1, "k", "i");
    let put = |path: &str, text: &[u8]| {
        let place = machine.root.join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, text).unwrap();
    };
    put("nix/store/stub.efi", &program(&[(".text", b"stub")], b""));
    put("etc/machine-id", b"0123456789abcdef0123456789abcdef\n");
    put(
        "nix/store/system-1/bootloader.json",
        br#"{"version":1,"systemdBoot":{"efi":"/nix/store/sd-boot.efi","secureBoot":{"stub":"/nix/store/stub.efi",
             "privateKeyFile":"/var/lib/sbctl/keys/db/db.key","publicKeyFile":"/var/lib/sbctl/keys/db/db.pem"}}}"#,
    );
    std::fs::create_dir(machine.root.join("boot")).unwrap();
    let options = bootgen::menu_update::Options {
        root: machine.root.clone(),
        profile: "system".to_owned(),
        default: None,
        dry_run: false,
        check: false,
        installing: false,
        trusted: Some(Vec::new()),
    };
    let error = bootgen::menu_update::update(&options).unwrap_err().to_string();
    assert!(error.starts_with("boot.lanzaboote.enable is set, and there is no key at "), "{error}");
    assert!(error.contains("keys/db/db.key: make keys with `firn secure-boot create-keys`"), "{error}");
    assert!(std::fs::read_dir(machine.root.join("boot")).unwrap().next().is_none());

    let bundle = KeyBundle::at(&machine.root.join("var/lib/sbctl"));
    bundle.create(SHORTEST, Duration::from_secs(1_790_000_000)).unwrap();
    let owner = bundle.read(Role::Database).unwrap();
    // A key that the firmware does not know signs nothing that it would have to start.
    let error = bootgen::menu_update::update(&options).unwrap_err().to_string();
    assert!(error.contains("(CN=Database Key) is not enrolled in the firmware"), "{error}");
    assert!(std::fs::read_dir(machine.root.join("boot")).unwrap().next().is_none());
    let options =
        bootgen::menu_update::Options { trusted: Some(vec![owner.certificate().clone()]), ..options };
    bootgen::menu_update::update(&options).unwrap();
    // A generation that is not signed is not written where the firmware would refuse it.
    std::fs::write(
        machine.root.join("nix/store/system-1/bootloader.json"),
        r#"{"version":1,"systemdBoot":{"efi":"/nix/store/sd-boot.efi"}}"#,
    )
    .unwrap();
    let error = bootgen::menu_update::update(&options).unwrap_err().to_string();
    assert!(
        error.starts_with("Secure Boot is on, and the new generation's boot menu would not be signed"),
        "{error}"
    );
    let choice = secure_choice(&machine.root.join("boot"), owner.certificate());
    assert_eq!(choice.as_deref(), Some("/nix/store/system-1"));
}
