//! What a kernel module says about itself: the `.modinfo` section of its ELF file (`key=value` strings, NUL-terminated;
//! kernel `include/linux/module.h`, `MODULE_INFO`) and the symbols that it exports (`__ksymtab_NAME` in its symbol table).

use std::collections::BTreeSet;

/// The fields of `.modinfo` that loading needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modinfo {
    /// `depends=`: modules whose symbols this one uses, directly.
    pub depends: Vec<String>,
    /// `alias=`: patterns by which the kernel asks for it, in file order.
    pub aliases: Vec<String>,
    /// `softdep=… pre:`: wanted before this module, not required.
    pub softdep_pre: Vec<String>,
    /// `softdep=… post:`: wanted after it.
    pub softdep_post: Vec<String>,
    /// The `softdep=` lines as they stand.
    pub softdeps: Vec<String>,
    /// `firmware=`: files that it asks for.
    pub firmware: Vec<String>,
    /// Names of the symbols that it exports.
    pub exports: BTreeSet<String>,
}

impl Modinfo {
    /// Reads an uncompressed module. `None` when it is not an ELF file.
    pub fn from_elf(bytes: &[u8]) -> Option<Self> {
        let elf = goblin::elf::Elf::parse(bytes).ok()?;
        let section = elf
            .section_headers
            .iter()
            .find(|header| elf.shdr_strtab.get_at(header.sh_name) == Some(".modinfo"))
            .and_then(goblin::elf::SectionHeader::file_range)
            .and_then(|range| bytes.get(range))
            .unwrap_or_default();
        let mut info = Self::from_section(section);
        info.exports = elf
            .syms
            .iter()
            .filter_map(|symbol| elf.strtab.get_at(symbol.st_name)?.strip_prefix("__ksymtab_"))
            .map(str::to_owned)
            .collect();
        Some(info)
    }

    /// Reads the section's strings.
    pub fn from_section(section: &[u8]) -> Self {
        let mut info = Self::default();
        for entry in section.split(|byte| *byte == 0) {
            let entry = String::from_utf8_lossy(entry);
            if let Some((key, value)) = entry.split_once('=') {
                info.add(key, value);
            }
        }
        info
    }

    /// Takes one `key=value` in.
    pub(crate) fn add(&mut self, key: &str, value: &str) {
        match key {
            "depends" => {
                self.depends.extend(value.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
            }
            "alias" => self.aliases.push(value.to_owned()),
            "softdep" => {
                self.softdeps.push(value.to_owned());
                let mut list = None;
                for word in value.split_ascii_whitespace() {
                    match word {
                        "pre:" => list = Some(true),
                        "post:" => list = Some(false),
                        _ if list == Some(true) => self.softdep_pre.push(word.to_owned()),
                        _ if list == Some(false) => self.softdep_post.push(word.to_owned()),
                        // "softdep=name" without a word before it: modprobe ignores it as well.
                        _ => {}
                    }
                }
            }
            "firmware" => self.firmware.push(value.to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section() {
        let info = Modinfo::from_section(
            b"license=GPL\0softdep=pre: crc32c sha256 post: late\0alias=fs-x\0alias=y*\0depends=a,b\0softdep=aes\0",
        );
        assert_eq!(info.depends, ["a", "b"]);
        assert_eq!(info.aliases, ["fs-x", "y*"]);
        assert_eq!(info.softdep_pre, ["crc32c", "sha256"]);
        assert_eq!(info.softdep_post, ["late"]);
        assert_eq!(info.softdeps.len(), 2);
    }

    #[test]
    fn no_dependencies() {
        assert!(Modinfo::from_section(b"depends=\0").depends.is_empty());
        assert_eq!(Modinfo::from_elf(b"not an ELF file"), None);
    }
}
