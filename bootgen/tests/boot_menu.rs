//! The boot menu on a directory that stands for the boot partition: what is written, that every prefix of the writes
//! boots, full disks, broken generations, rollbacks, counters. What a loader would do with it is told by small models of
//! systemd-boot's and GRUB's choice.

#![expect(clippy::unwrap_used, reason = "what a test cannot do is its failure")]

#[path = "boot_menu/model.rs"]
mod model;
#[path = "../src/secure_boot/pe/samples.rs"]
mod samples;
#[path = "boot_menu/signed.rs"]
mod signed;

use bootgen::apply::{self, unobserved};
use bootgen::generations::Generations;
use bootgen::partition::Partition;
use bootgen::plan::{self, BootPlan, PlanError, Request, Space, Step};
use bootgen::secure_boot::unified_kernel::Signing;
use formats::bootloader::Bootloader;
use model::{grub_choice, sd_boot_choice, secure_choice};
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const TOKEN: &str = "firn-0a1b2c3d";

struct Machine {
    _directory: tempfile::TempDir,
    root: PathBuf,
    esp: PathBuf,
    loader: Bootloader,
    signing: Option<Arc<Signing>>,
}

impl Machine {
    fn new(loader: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let esp = directory.path().join("esp");
        for path in [&root.join("nix/store"), &root.join("nix/var/nix/profiles"), &esp] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(root.join("nix/store/sd-boot.efi"), "loader one").unwrap();
        std::fs::write(root.join("nix/store/grub.efi"), "grub").unwrap();
        let loader = Bootloader::parse(loader.as_bytes()).unwrap();
        Self { _directory: directory, root, esp, loader, signing: None }
    }

    fn systemd_boot(tries: &str) -> Self {
        let settings = format!(r#"{{"efi":"/nix/store/sd-boot.efi","tries":{tries}}}"#);
        Self::new(&format!(r#"{{"version":1,"timeout":5,"systemdBoot":{settings}}}"#))
    }

    fn both() -> Self {
        Self::new(
            r#"{"version":1,"timeout":5,"systemdBoot":{"efi":"/nix/store/sd-boot.efi"},
                "grub":{"efiCore":"/nix/store/grub.efi","devices":["/dev/vda"]}}"#,
        )
    }

    /// A generation whose kernel and initrd hold these bytes.
    fn generation(&self, number: u64, kernel: &str, initrd: &str) {
        self.generation_with(number, kernel, initrd, "");
    }

    fn generation_with(&self, number: u64, kernel: &str, initrd: &str, more: &str) {
        let store = self.root.join("nix/store");
        std::fs::write(store.join(format!("kernel-{kernel}")), kernel.repeat(1000)).unwrap();
        std::fs::write(store.join(format!("initrd-{initrd}")), initrd.repeat(1000)).unwrap();
        let toplevel = store.join(format!("system-{number}"));
        std::fs::create_dir_all(&toplevel).unwrap();
        let v1 = format!(
            r#"{{"init":"/nix/store/system-{number}/init","initrd":"/nix/store/initrd-{initrd}",
               "kernel":"/nix/store/kernel-{kernel}","kernelParams":["quiet","console=ttyS0"],"label":"Firn 0.1",
               "system":"x86_64-linux","toplevel":"/nix/store/system-{number}"}}"#
        );
        std::fs::write(toplevel.join("boot.json"), format!(r#"{{"org.nixos.bootspec.v1":{v1}{more}}}"#))
            .unwrap();
        symlink(format!("/nix/store/system-{number}"), self.link(number)).unwrap();
    }

    fn link(&self, number: u64) -> PathBuf {
        self.root.join(format!("nix/var/nix/profiles/system-{number}-link"))
    }

    fn plan_with(
        &self,
        default: u64,
        booted: Option<u64>,
        space: Option<Space>,
    ) -> Result<BootPlan, PlanError> {
        let mut generations = Generations::read(&self.root, "system").unwrap();
        // The links' dates change from run to run; golden files do not.
        generations.good.iter_mut().for_each(|generation| generation.made = None);
        let booted = booted.map(|number| PathBuf::from(format!("/nix/store/system-{number}")));
        let request = Request {
            root: &self.root,
            generations: &generations,
            default,
            loader: &self.loader,
            token: TOKEN,
            booted: booted.as_deref(),
            space,
            signing: self.signing.as_ref(),
        };
        plan::plan(&request, &Partition::read(&self.esp, TOKEN).unwrap())
    }

    fn plan(&self, default: u64, booted: Option<u64>) -> BootPlan {
        self.plan_with(default, booted, None).unwrap()
    }

    fn install(&self, default: u64, booted: Option<u64>) -> BootPlan {
        let plan = self.plan(default, booted);
        apply::apply(&plan, &self.esp, &mut unobserved).unwrap();
        assert_eq!(self.plan(default, booted).steps, [], "a second run has nothing to do");
        plan
    }

    /// What systemd-boot boots; when the menu is signed, with Secure Boot on.
    fn sd_boot(&self) -> Option<String> {
        match &self.signing {
            Some(signing) => secure_choice(&self.esp, signing.key().certificate()),
            None => sd_boot_choice(&self.esp),
        }
    }

    fn tree(&self) -> BTreeMap<String, String> {
        let mut tree = BTreeMap::new();
        walk(&self.esp, &self.esp, &mut tree);
        tree
    }

    fn names(&self) -> Vec<String> {
        self.tree().into_keys().collect()
    }

    /// Whether any file that begins with `title` (an entry) names this generation's toplevel.
    fn has_entry(&self, number: u64) -> bool {
        let init = format!("system-{number}/init");
        self.tree().values().any(|text| text.starts_with("title") && text.contains(&init))
    }
}

fn walk(base: &Path, directory: &Path, tree: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(base, &path, tree);
        } else {
            let name = path.strip_prefix(base).unwrap().display().to_string();
            tree.insert(name, String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned());
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn the_files_are_those_of_the_golden_file() {
    let machine = Machine::both();
    machine.generation(1, "old", "one");
    machine.generation_with(
        2,
        "new",
        "two",
        r#","org.nixos.specialisation.v1":{"+something+-+that+-+breaks":{"org.nixos.bootspec.v1":
           {"init":"/nix/store/special/init","kernel":"/nix/store/kernel-old","kernelParams":[],"label":"Firn 0.1",
            "system":"x86_64-linux","toplevel":"/nix/store/special"}}}"#,
    );
    machine.install(2, None);
    assert_eq!(
        sd_boot_choice(&machine.esp).as_deref(),
        Some("/nix/store/system-2"),
        "not its specialisation"
    );
    let text: String = machine
        .tree()
        .into_iter()
        .map(|(name, contents)| match contents.len() {
            ..2000 => format!("== {name}\n{contents}\n"),
            length => format!("== {name}\n({length} bytes)\n"),
        })
        .collect();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/boot_menu.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(golden).unwrap(), "UPDATE_GOLDEN=1 rewrites it");
}

#[test]
fn both_loaders_choose_the_default_whichever_it_is() {
    let machine = Machine::both();
    for number in 1..=12 {
        machine.generation(number, "k", &format!("i{number}"));
    }
    for default in [12, 3, 12, 1, 11] {
        machine.install(default, Some(12));
        let expected = Some(format!("/nix/store/system-{default}"));
        assert_eq!(sd_boot_choice(&machine.esp), expected);
        assert_eq!(grub_choice(&machine.esp), expected);
    }
    let kernels = machine.names().iter().filter(|name| name.ends_with("kernel.efi")).count();
    assert_eq!(kernels, 1, "one kernel, whoever uses it");
}

/// Stops before each operation in turn and asks the loaders what they boot: the old default or the new one, whole.
fn every_prefix_boots(machine: &Machine, from: u64, to: u64, space: Option<Space>) {
    let allowed = [Some(format!("/nix/store/system-{from}")), Some(format!("/nix/store/system-{to}"))];
    let plan = machine.plan_with(to, Some(from), space).unwrap();
    let before = machine.esp.with_extension("before");
    copy(&machine.esp, &before);
    let mut operations = 0;
    for stop_at in 0.. {
        std::fs::remove_dir_all(&machine.esp).unwrap();
        copy(&before, &machine.esp);
        let mut count = 0;
        let result = apply::apply(&plan, &machine.esp, &mut |_| {
            count += 1;
            if count > stop_at { Err(std::io::Error::other("power cut")) } else { Ok(()) }
        });
        let sd_boot = machine.sd_boot();
        assert!(allowed.contains(&sd_boot), "systemd-boot after {stop_at}: {sd_boot:?}");
        if machine.loader.grub.is_some() {
            let grub = grub_choice(&machine.esp);
            assert!(allowed.contains(&grub), "GRUB after {stop_at}: {grub:?}");
        }
        if result.is_ok() {
            operations = stop_at;
            break;
        }
        // And what was interrupted is finished by the next run.
        let again = machine.plan(to, Some(from));
        apply::apply(&again, &machine.esp, &mut unobserved).unwrap();
        assert_eq!(machine.sd_boot(), allowed[1], "finished after {stop_at}");
        assert!(!machine.names().iter().any(|name| name.ends_with(".firn-tmp")));
    }
    assert!(operations > 10, "{operations} operations");
    std::fs::remove_dir_all(before).unwrap();
}

#[test]
fn every_prefix_of_an_update_boots() {
    let machine = Machine::both();
    machine.generation(1, "k1", "i1");
    machine.generation(2, "k2", "i2");
    machine.install(2, None);
    machine.generation(3, "k3", "i3");
    std::fs::write(machine.root.join("nix/store/sd-boot.efi"), "loader two").unwrap();
    every_prefix_boots(&machine, 2, 3, None);
}

#[test]
fn every_prefix_of_a_rollback_and_of_a_deletion_boots() {
    let machine = Machine::both();
    for number in 1..=4 {
        machine.generation(number, &format!("k{number}"), &format!("i{number}"));
    }
    machine.install(4, None);
    every_prefix_boots(&machine, 4, 2, None);
    std::fs::remove_file(machine.link(1)).unwrap();
    every_prefix_boots(&machine, 2, 4, None);
    assert!(!machine.tree().values().any(|text| text.contains("system-1/")));
}

#[test]
fn when_space_is_short_the_unneeded_goes_first_and_every_prefix_still_boots() {
    let machine = Machine::systemd_boot("null");
    for number in 1..=3 {
        machine.generation(number, &format!("k{number}"), &format!("i{number}"));
    }
    machine.install(3, None);
    std::fs::remove_file(machine.link(1)).unwrap();
    machine.generation(4, "k4", "i4");
    let space = Space { free: 4096, cluster: 512 };
    let plan = machine.plan_with(4, Some(3), Some(space)).unwrap();
    assert!(
        matches!(&plan.steps[0], Step::Remove { path } if path.starts_with("loader/entries/")),
        "{:?}",
        plan.steps[0]
    );
    assert!(matches!(&plan.steps[1], Step::Remove { .. }));
    every_prefix_boots(&machine, 3, 4, Some(space));
}

#[test]
fn a_full_partition_drops_the_oldest_but_never_the_booted_nor_the_default() {
    let machine = Machine::systemd_boot("null");
    for number in 1..=3 {
        machine.generation(number, &format!("k{number}"), &format!("i{number}"));
    }
    machine.install(3, None);
    machine.generation(4, "k4", "i4");
    let before = machine.tree();
    let plan = machine.plan_with(4, Some(2), Some(Space { free: 3000, cluster: 512 })).unwrap();
    assert_eq!(plan.shown, [4, 3, 2]);
    assert!(
        plan.notices.iter().any(|notice| notice.contains("generation 1 is left out")),
        "{:?}",
        plan.notices
    );
    // Nothing is free and nothing helps.
    machine.generation(5, &"k5".repeat(10), "i5");
    let error = machine.plan_with(5, Some(3), Some(Space { free: 0, cluster: 512 })).unwrap_err();
    assert!(matches!(error, PlanError::NoSpace { .. }), "{error}");
    assert!(error.to_string().contains("nothing was written"));
    assert_eq!(machine.tree(), before);
}

#[test]
fn a_broken_generation_is_skipped_and_its_files_stay() {
    let machine = Machine::both();
    machine.generation(1, "k1", "i1");
    machine.generation(2, "k2", "i2");
    machine.install(2, None);
    std::fs::write(machine.root.join("nix/store/system-1/boot.json"), "{").unwrap();
    machine.generation(3, "k3", "i3");
    let plan = machine.install(3, Some(2));
    assert!(
        plan.notices.iter().any(|notice| notice.contains("generation 1 is skipped")),
        "{:?}",
        plan.notices
    );
    assert!(machine.has_entry(1));
    assert!(machine.tree()["grub/grub.cfg"].contains("system-1/init"));
    let error = machine.plan_with(1, None, None).unwrap_err().to_string();
    assert!(error.contains("generation 1 was asked for"), "{error}");
    // A kernel that the store has lost.
    std::fs::remove_file(machine.root.join("nix/store/kernel-k2")).unwrap();
    let plan = machine.install(3, None);
    assert!(plan.notices.iter().any(|notice| notice.contains("kernel-k2")), "{:?}", plan.notices);
    assert!(machine.has_entry(2));
}

#[test]
fn a_broken_generation_newer_than_the_default_does_not_become_it() {
    let machine = Machine::both();
    machine.generation(1, "k1", "i1");
    machine.generation(2, "k2", "i2");
    machine.install(2, None);
    std::fs::write(machine.root.join("nix/store/system-2/boot.json"), "").unwrap();
    machine.install(1, None);
    assert_eq!(sd_boot_choice(&machine.esp).as_deref(), Some("/nix/store/system-1"));
    assert_eq!(grub_choice(&machine.esp).as_deref(), Some("/nix/store/system-1"));
}

#[test]
fn no_generation_at_all_wipes_nothing() {
    let machine = Machine::systemd_boot("null");
    machine.generation(1, "k", "i");
    machine.install(1, None);
    let before = machine.tree();
    std::fs::remove_file(machine.link(1)).unwrap();
    assert!(matches!(machine.plan_with(1, None, None), Err(PlanError::NoGeneration { .. })));
    assert_eq!(machine.tree(), before);
}

#[test]
fn files_of_others_stay_and_two_installations_do_not_meet() {
    let machine = Machine::systemd_boot("null");
    machine.generation(1, "k", "i");
    let theirs = [
        "EFI/Microsoft/bootmgfw.efi",
        "EFI/firn-ffffffff/x-kernel.efi",
        "loader/entries/firn-ffffffff-1-x.conf",
        "loader/entries/arch.conf",
    ];
    for path in theirs {
        std::fs::create_dir_all(machine.esp.join(path).parent().unwrap()).unwrap();
        std::fs::write(machine.esp.join(path), "theirs").unwrap();
    }
    machine.install(1, None);
    assert_eq!(machine.tree().values().filter(|text| *text == "theirs").count(), 4);
}

#[test]
fn new_generations_are_counted_and_fall_back() {
    let machine = Machine::systemd_boot("3");
    machine.generation(1, "k1", "i1");
    machine.install(1, Some(1));
    assert!(!machine.names().iter().any(|name| name.contains('+')), "the running one needs no proof");
    machine.generation(2, "k2", "i2");
    machine.install(2, Some(1));
    let prefix = format!("{TOKEN}-2-");
    let entry = || machine.names().into_iter().find(|name| name.contains(&prefix)).unwrap();
    assert!(entry().ends_with("+3-0.conf"));
    assert_eq!(sd_boot_choice(&machine.esp).as_deref(), Some("/nix/store/system-2"));
    // The loader counts down by renaming; a run meanwhile leaves the counter alone.
    let rename =
        |from: &str, to: &str| std::fs::rename(machine.esp.join(from), machine.esp.join(to)).unwrap();
    let name = entry();
    rename(&name, &name.replace("+3-0", "+2-1"));
    machine.install(2, Some(1));
    assert!(entry().ends_with("+2-1.conf"));
    rename(&entry(), &name.replace("+3-0", "+0-3"));
    assert_eq!(
        sd_boot_choice(&machine.esp).as_deref(),
        Some("/nix/store/system-1"),
        "it falls back by itself"
    );
    // Blessed.
    rename(&entry(), &name.replace("+3-0", ""));
    machine.generation(3, "k3", "i3");
    machine.install(3, Some(2));
    assert!(!entry().contains('+'));
    // Both names there: the good one stays (systemd#33504).
    std::fs::copy(machine.esp.join(entry()), machine.esp.join(&name)).unwrap();
    machine.install(3, Some(2));
    assert_eq!(machine.names().iter().filter(|name| name.contains(&prefix)).count(), 1);
    assert!(!entry().contains('+'));
}

#[test]
fn the_booted_generation_stays_though_it_was_deleted_and_the_limit_counts_the_rest() {
    let mut machine = Machine::systemd_boot("null");
    for number in 1..=6 {
        machine.generation(number, &format!("k{number}"), "i");
    }
    machine.loader.systemd_boot.as_mut().unwrap().configuration_limit = Some(2);
    let plan = machine.install(6, Some(1));
    assert_eq!(plan.shown, [6, 5, 1]);
    std::fs::remove_file(machine.link(1)).unwrap();
    machine.install(6, Some(1));
    assert!(machine.has_entry(1));
    machine.install(6, Some(6));
    assert!(!machine.has_entry(1));
}

#[test]
fn damaged_files_are_written_again() {
    let machine = Machine::systemd_boot("null");
    machine.generation(1, "k1", "i1");
    machine.install(1, None);
    let good = machine.tree();
    let kernel = machine.names().into_iter().find(|name| name.ends_with("kernel.efi")).unwrap();
    // Cut short: seen by its size.
    std::fs::write(machine.esp.join(&kernel), "k").unwrap();
    machine.install(1, None);
    assert_eq!(machine.tree(), good);
    // Same size, other bytes: seen when the bytes are checked.
    std::fs::write(machine.esp.join(&kernel), "x".repeat(good[&kernel].len())).unwrap();
    let mut present = Partition::read(&machine.esp, TOKEN).unwrap();
    present.forget_damaged(&machine.esp, &machine.plan(1, None).expected).unwrap();
    assert!(!present.data.contains_key(&kernel));
    // An entry with other bytes under its name.
    let entry = machine.names().into_iter().find(|name| name.contains("entries/firn")).unwrap();
    std::fs::write(machine.esp.join(&entry), "title x\n").unwrap();
    let plan = machine.plan(1, None);
    apply::apply(&plan, &machine.esp, &mut unobserved).unwrap();
    assert_eq!(machine.tree()[&entry], good[&entry]);
}

#[test]
fn no_loader_or_a_missing_one_is_said_before_anything_is_written() {
    let machine = Machine::new(r#"{"version":1}"#);
    machine.generation(1, "k", "i");
    assert_eq!(machine.plan_with(1, None, None).unwrap_err(), PlanError::NoLoader);
    let machine = Machine::new(r#"{"version":1,"systemdBoot":{"efi":"/nix/store/missing.efi"}}"#);
    machine.generation(1, "k", "i");
    assert!(machine.plan_with(1, None, None).unwrap_err().to_string().contains("missing.efi"));
}

#[test]
fn an_image_gets_the_menu_that_the_machine_keeps() {
    let machine = Machine::both();
    machine.generation(1, "k", "i");
    let loader = r#"{"version":1,"timeout":5,"systemdBoot":{"efi":"/nix/store/sd-boot.efi","tries":3}}"#;
    std::fs::write(machine.root.join("nix/store/system-1/bootloader.json"), loader).unwrap();
    let toplevel = Path::new("/nix/store/system-1");
    let menu = bootgen::image_menu::plan(&machine.root, &[(1, toplevel)]).unwrap();
    for file in &menu.files {
        let place = machine.esp.join(&file.path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        match &file.contents {
            plan::Contents::Text(text) => std::fs::write(place, text).unwrap(),
            plan::Contents::File { source, .. } => drop(std::fs::copy(source, place).unwrap()),
            other => panic!("an image has no keys: {other:?}"),
        }
    }
    assert_eq!(sd_boot_choice(&machine.esp).as_deref(), Some("/nix/store/system-1"));
    assert!(!machine.names().iter().any(|name| name.contains('+')), "nothing to fall back to");
    // The machine, once it runs, finds everything as it should be.
    let (path, token) = &menu.token_file;
    let place = machine.root.join(path.trim_start_matches('/'));
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(place, token).unwrap();
    std::fs::create_dir_all(machine.root.join("run")).unwrap();
    symlink("/nix/store/system-1", machine.root.join("run/booted-system")).unwrap();
    std::fs::rename(&machine.esp, machine.root.join("boot")).unwrap();
    let options = bootgen::menu_update::Options {
        root: machine.root.clone(),
        profile: "system".to_owned(),
        default: None,
        dry_run: true,
        check: true,
        installing: false,
        trusted: None,
    };
    let updates = bootgen::menu_update::update(&options).unwrap();
    // Only the date, which an image leaves out for the sake of its bytes, makes another text of the entry.
    let lines = updates.partitions[0].lines();
    assert!(lines.iter().all(|line| line.contains("loader/entries/")), "{lines:?}");
}
