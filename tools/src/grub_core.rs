//! `grub-core`: GRUB as one file that starts by itself, made by the channel's own grub-mkimage: `core.img` (with `boot.img` beside it)
//! for a BIOS, `eltorito.img` for a BIOS that starts from a CD, `grubx64.efi` for UEFI. It finds its menu wherever a file system has `PREFIX/grub.cfg`, so that one image fits every disk.

use crate::derivation::Derivation;
use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The attributes of the derivation.
#[derive(serde::Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Attributes {
    /// GRUB: `bin/grub-mkimage` and `lib/grub/PLATFORM` with its modules.
    grub: PathBuf,
    /// For which machines.
    platform: Platform,
    /// The modules that it holds; the usual ones when not given.
    #[serde(default)]
    modules: Option<Vec<String>>,
    /// Modules beside those.
    #[serde(default)]
    extra_modules: Vec<String>,
    /// The directory of grub.cfg on its file system.
    #[serde(default = "default_prefix")]
    prefix: String,
    /// Commands run before the menu is looked for, in place of the search.
    #[serde(default)]
    config: Option<String>,
}

fn default_prefix() -> String {
    "/grub".to_owned()
}

/// GRUB's platforms for x86-64 machines.
#[derive(serde::Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
enum Platform {
    /// A BIOS.
    #[serde(rename = "i386-pc")]
    Bios,
    /// A BIOS that starts from a CD; the same file serves disks ([`bootgen::iso_image`]).
    #[serde(rename = "i386-pc-eltorito")]
    Cd,
    /// UEFI.
    #[serde(rename = "x86_64-efi")]
    Efi,
}

/// What a menu of generations needs on any machine.
const MODULES: &[&str] = &[
    "part_gpt",
    "part_msdos",
    "fat",
    "ext2",
    "normal",
    "configfile",
    "linux",
    "boot",
    "search",
    "search_fs_file",
    "search_fs_uuid",
    "search_label",
    "echo",
    "test",
    "true",
    "loadenv",
    "ls",
    "cat",
    "reboot",
    "halt",
    "sleep",
    "serial",
    "terminal",
    "minicmd",
    "gzio",
    "all_video",
    "chain",
];
const BIOS_MODULES: &[&str] = &["biosdisk"];
const EFI_MODULES: &[&str] = &["efi_gop", "efi_uga", "efifwsetup"];

/// Runs grub-mkimage and puts its work in the output.
pub fn run(derivation: &Derivation) -> Result<()> {
    let attributes: Attributes = derivation.attributes()?;
    let out = derivation.out()?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let config = out.join("early.cfg");
    std::fs::write(&config, early_config(&attributes))
        .with_context(|| format!("cannot write {}", config.display()))?;
    let program = attributes.grub.join("bin/grub-mkimage");
    let (name, format, platform) = match attributes.platform {
        Platform::Bios => ("core.img", "i386-pc", "i386-pc"),
        Platform::Cd => ("eltorito.img", "i386-pc-eltorito", "i386-pc"),
        Platform::Efi => ("grubx64.efi", "x86_64-efi", "x86_64-efi"),
    };
    let directory = attributes.grub.join("lib/grub").join(platform);
    let mut modules = attributes.modules.clone().unwrap_or_else(|| usual_modules(attributes.platform));
    modules.extend(attributes.extra_modules.iter().cloned());
    for module in &modules {
        let file = directory.join(format!("{module}.mod"));
        ensure!(
            file.is_file(),
            "GRUB has no module `{module}` for {platform}: there is no {}",
            file.display()
        );
    }
    let output = Command::new(&program)
        .arg("--format")
        .arg(format)
        .arg("--directory")
        .arg(&directory)
        .arg("--prefix")
        .arg(&attributes.prefix)
        .arg("--config")
        .arg(&config)
        .arg("--output")
        .arg(out.join(name))
        .args(&modules)
        .env_clear()
        .env("LC_ALL", "C")
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(
        output.status.success(),
        "grub-mkimage failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    if attributes.platform != Platform::Efi {
        copy(&directory.join("boot.img"), &out.join("boot.img"))?;
    }
    Ok(())
}

fn usual_modules(platform: Platform) -> Vec<String> {
    let own = match platform {
        Platform::Bios | Platform::Cd => BIOS_MODULES,
        Platform::Efi => EFI_MODULES,
    };
    own.iter().chain(MODULES).map(|module| (*module).to_owned()).collect()
}

/// The commands that find the menu.
fn early_config(attributes: &Attributes) -> String {
    match &attributes.config {
        Some(config) => config.clone(),
        None => format!(
            "search --no-floppy --file --set=root {prefix}/grub.cfg\nset prefix=($root){prefix}\n",
            prefix = attributes.prefix
        ),
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    std::fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an installed GRUB makes of it; said aloud where there is none.
    fn built(platform: &str, extra: &str) -> Option<(tempfile::TempDir, Result<()>)> {
        let modules = Path::new("/usr/lib/grub").join(platform.trim_end_matches("-eltorito"));
        if !Path::new("/usr/bin/grub-mkimage").exists() || !modules.is_dir() {
            eprintln!("SKIPPED: GRUB for {platform} is not installed (grub-pc-bin, grub-efi-amd64-bin)");
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let out = directory.path().join("out");
        let json = format!(
            r#"{{"name":"grub","outputs":{{"out":{out:?}}},"grub":"/usr","platform":{platform:?}{extra}}}"#
        );
        let result = run(&Derivation::from_json(&json).expect("valid"));
        Some((directory, result))
    }

    #[test]
    fn a_core_for_each_platform() {
        for (platform, file) in [("i386-pc", "core.img"), ("x86_64-efi", "grubx64.efi")] {
            let Some((directory, result)) = built(platform, "") else { return };
            result.expect("built");
            let first = std::fs::read(directory.path().join("out").join(file)).expect("read");
            assert!((30_000..1_000_000).contains(&first.len()), "{platform}: {} bytes", first.len());
            let Some((again, _)) = built(platform, "") else { return };
            assert!(first == std::fs::read(again.path().join("out").join(file)).expect("read"), "{platform}");
        }
    }

    #[test]
    fn a_cds_core_is_a_disks_behind_the_loader_for_cds() {
        let Some((disk, result)) = built("i386-pc", r#","extraModules":["iso9660"]"#) else { return };
        result.expect("built");
        let Some((cd, result)) = built("i386-pc-eltorito", r#","extraModules":["iso9660"]"#) else { return };
        result.expect("built");
        let read = |directory: &tempfile::TempDir, file: &str| {
            std::fs::read(directory.path().join("out").join(file)).expect("read")
        };
        assert!(read(&cd, "eltorito.img")[2048..] == read(&disk, "core.img"));
        assert_eq!(read(&cd, "boot.img").len(), 512);
    }

    #[test]
    fn a_module_that_does_not_exist_is_named() {
        let Some((_directory, result)) = built("i386-pc", r#","modules":["biosdisk","zzz"]"#) else { return };
        let error = result.expect_err("refused").to_string();
        assert!(error.contains("no module `zzz` for i386-pc"), "{error}");
    }

    #[test]
    fn the_menu_is_searched_for() {
        let json = r#"{"grub":"/g","platform":"i386-pc","prefix":"/boot/grub"}"#;
        let attributes: Attributes = serde_json::from_str(json).expect("valid");
        assert_eq!(
            early_config(&attributes),
            "search --no-floppy --file --set=root /boot/grub/grub.cfg\nset prefix=($root)/boot/grub\n"
        );
    }
}
