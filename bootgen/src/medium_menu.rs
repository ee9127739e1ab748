//! The boot menu of an installation medium: the entries that a generation has on a disk, but with kernels and initrds read from the
//! store on the medium, of which no copies are made.

use crate::boot_entry::{self, DataFile};
use crate::file_hashes::Hasher;
use crate::generations::Generation;
use crate::grub::{self, Block};
use formats::bootloader::{Bootloader, Grub};
use std::path::Path;

/// Where GRUB looks for it on the medium.
pub const PATH: &str = "boot/grub/grub.cfg";

/// The menu's text for this toplevel of a store below `root`. `title` stands in the place of a generation's number.
///
/// # Errors
/// With a sentence naming what cannot be read, or lies outside of the store.
pub fn text(root: &Path, toplevel: &Path, title: &str) -> Result<String, String> {
    let generation = Generation::of_toplevel(root, 1, toplevel, None)?;
    let loader = generation.bootloader(root)?;
    let mut entries = boot_entry::of_generation(root, "medium", &generation, None, &mut Hasher::default())?;
    for entry in &mut entries {
        entry.title = match &entry.specialisation {
            Some(name) => format!("{title} ({name})"),
            None => title.to_owned(),
        };
        for file in std::iter::once(&mut entry.kernel).chain(&mut entry.initrd) {
            file.path = in_store(root, file)?;
        }
    }
    let serial = entries.iter().any(|entry| entry.options.contains("console=ttyS0"));
    let blocks: Vec<Block> = entries.iter().map(|entry| Block::of(entry, "medium")).collect();
    let default = blocks.first().map_or("0", |block| &block.id).to_owned();
    let settings = settings(&loader);
    Ok(grub::render(&loader, &settings, &default, &blocks, serial))
}

/// A file's path on the medium, without the slash before it.
fn in_store(root: &Path, file: &DataFile) -> Result<String, String> {
    let path = file.source.strip_prefix(root).ok().filter(|path| path.starts_with("nix/store"));
    let path = path.and_then(Path::to_str).ok_or_else(|| {
        format!("{} is not in the store, and a medium holds nothing else", file.source.display())
    })?;
    Ok(path.to_owned())
}

/// GRUB's settings; a medium has GRUB whether or not the system would install it.
fn settings(loader: &Bootloader) -> Grub {
    loader.grub.clone().unwrap_or(Grub {
        bios_core: None,
        bios_boot: None,
        efi_core: None,
        devices: Vec::new(),
        configuration_limit: None,
        extra_config: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_read_from_the_store() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let toplevel = root.join("nix/store/aaa-system");
        std::fs::create_dir_all(&toplevel).unwrap();
        std::fs::create_dir_all(root.join("nix/store/bbb-linux")).unwrap();
        for name in ["vmlinuz", "initrd"] {
            std::fs::write(root.join("nix/store/bbb-linux").join(name), name).unwrap();
        }
        let document = r#"{"org.nixos.bootspec.v1":{"init":"/nix/store/aaa-system/init","initrd":"/nix/store/bbb-linux/initrd",
            "kernel":"/nix/store/bbb-linux/vmlinuz","kernelParams":["console=ttyS0"],"label":"Firn","system":"x86_64-linux",
            "toplevel":"/nix/store/aaa-system"}}"#;
        std::fs::write(toplevel.join("boot.json"), document).unwrap();
        std::fs::write(toplevel.join("bootloader.json"), r#"{"version":1,"timeout":7}"#).unwrap();
        let text = text(root, Path::new("/nix/store/aaa-system"), "Firn Installer").unwrap();
        for line in [
            "set timeout=7\n",
            "menuentry 'Firn Installer' ",
            "linux /nix/store/bbb-linux/vmlinuz init=/nix/store/aaa-system/init console=ttyS0\n",
            "initrd /nix/store/bbb-linux/initrd\n",
            "terminal_output serial console\n",
        ] {
            assert!(text.contains(line), "{line:?} in:\n{text}");
        }
        std::fs::remove_file(root.join("nix/store/bbb-linux/initrd")).unwrap();
        let error = super::text(root, Path::new("/nix/store/aaa-system"), "x").unwrap_err();
        assert!(error.contains("/nix/store/bbb-linux/initrd"), "{error}");
    }
}
