//! GRUB's `grub/grub.cfg` for BIOS and UEFI, GNU GRUB manual 2.06. Every entry is a `menuentry` with an id, between two
//! comment lines that name it, so that the entry of a generation whose files cannot be read any more is found and kept.
//! Paths are those of the partition on which grub.cfg lies.

use crate::boot_entry::BootEntry;
use crate::file_hashes::hex;
use formats::bootloader::{Bootloader, Grub};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// The file's place.
pub const PATH: &str = "grub/grub.cfg";
const BEGIN: &str = "#firn-entry ";
const END: &str = "#firn-end";

/// One entry's text, as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// `<token>-<generation>-<hash8>`.
    pub id: String,
    /// The generation's number.
    pub generation: u64,
    /// The lines between the markers.
    pub text: String,
}

impl Block {
    /// The block of an entry.
    pub fn of(entry: &BootEntry, token: &str) -> Self {
        let mut body = format!("  linux /{} {}\n", entry.kernel.path, escape(&entry.options));
        if let Some(initrd) = &entry.initrd {
            body.push_str("  initrd /");
            body.push_str(&initrd.path);
            body.push('\n');
        }
        let hash = hex(&Sha256::digest(format!("{}{body}", entry.title).as_bytes())[..4]);
        let id = format!("{token}-{}-{hash}", entry.generation);
        let text = format!("menuentry {} --id {id} {{\n{body}}}\n", quote(&entry.title));
        Self { id, generation: entry.generation, text }
    }

    /// The files that it loads, relative to the partition.
    pub fn data_paths(&self) -> Vec<String> {
        let words = self.text.lines().filter_map(|line| {
            let line = line.trim();
            line.strip_prefix("linux ").or_else(|| line.strip_prefix("initrd "))
        });
        words
            .filter_map(|line| line.split(' ').next())
            .map(|path| path.trim_start_matches('/').to_owned())
            .collect()
    }

    /// The toplevel named by `init=`.
    pub fn toplevel(&self) -> Option<&str> {
        let line = self.text.lines().find_map(|line| line.trim().strip_prefix("linux "))?;
        line.split(' ').find_map(|word| word.strip_prefix("init="))?.strip_suffix("/init")
    }
}

/// The blocks of a grub.cfg that Firn wrote, in order.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut current: Option<Block> = None;
    for line in text.lines() {
        if let Some(id) = line.strip_prefix(BEGIN) {
            let generation = id.rsplit('-').nth(1).and_then(|number| number.parse().ok());
            current =
                generation.map(|generation| Block { id: id.to_owned(), generation, text: String::new() });
        } else if line == END {
            blocks.extend(current.take());
        } else if let Some(block) = &mut current {
            block.text.push_str(line);
            block.text.push('\n');
        }
    }
    blocks
}

/// The id that a grub.cfg boots by default.
pub fn default_id(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("set default="))
}

/// The whole file. `serial`: the menu is on the first serial port as well.
pub fn render(loader: &Bootloader, settings: &Grub, default: &str, blocks: &[Block], serial: bool) -> String {
    let mut text = String::from(
        "# Written by firn bootmenu from the system's generations. Changes made here are lost.\n",
    );
    let timeout = loader.timeout.map_or_else(|| "-1".to_owned(), |seconds| seconds.to_string());
    let mut add = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    add(&format!("set default={default}"));
    add(&format!("set timeout={timeout}"));
    if serial {
        // Under UEFI the firmware's console is on the port already; two drivers would take each other's keys.
        add("if [ \"$grub_platform\" = pc ]; then");
        add("  if serial --unit=0 --speed=115200; then");
        add("    terminal_input serial console");
        add("    terminal_output serial console");
        add("  fi");
        add("fi");
    }
    for line in settings.extra_config.lines() {
        add(line);
    }
    for block in blocks {
        // Writing to a String cannot fail.
        if write!(text, "{BEGIN}{}\n{}{END}\n", block.id, block.text).is_err() {
            return text;
        }
    }
    text
}

/// A word in single quotes, in which GRUB's shell expands nothing.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The kernel's words, with what GRUB's shell would take for its own escaped.
fn escape(options: &str) -> String {
    let mut escaped = String::with_capacity(options.len());
    for character in options.chars() {
        if "\\\"'${}|&;<>()#".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot_entry::DataFile;

    fn entry(generation: u64) -> BootEntry {
        let data =
            |path: &str| DataFile { path: path.to_owned(), source: "/x".into(), size: 1, sha256: [0; 32] };
        BootEntry {
            generation,
            specialisation: None,
            title: format!("Firn (Generation {generation})"),
            version: "v".to_owned(),
            kernel: data("EFI/t/k"),
            initrd: Some(data("EFI/t/i")),
            options: "init=/nix/store/a/init foo=\"a;b\" $x".to_owned(),
            unified: None,
        }
    }

    #[test]
    fn blocks_are_found_again() {
        let loader =
            Bootloader::parse(br#"{"version":1,"timeout":3,"grub":{"extraConfig":"set a=b"}}"#).unwrap();
        let written = [Block::of(&entry(12), "firn-00"), Block::of(&entry(3), "firn-00")];
        let text = render(&loader, loader.grub.as_ref().unwrap(), &written[0].id, &written, true);
        assert_eq!(blocks(&text), written);
        assert_eq!(default_id(&text), Some(written[0].id.as_str()));
        assert_eq!(written[1].data_paths(), ["EFI/t/k", "EFI/t/i"]);
        assert_eq!(written[1].toplevel(), Some("/nix/store/a"));
        assert!(text.contains("set a=b\n") && text.contains("foo=\\\"a\\;b\\\" \\$x"), "{text}");
    }
}
