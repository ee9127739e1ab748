//! What loaders do with a boot partition: systemd-boot 252's choice among type 1 entries (boot.c: entries without a kernel
//! are not shown, bad ones sort last, then sort-key, then version descending; `default` is a pattern), and GRUB's
//! default entry. Each answers with the toplevel that would be started, or nothing when no machine would come up:
//! also when the chosen kernel or initrd does not hold the bytes that its name promises.

use bootgen::secure_boot::authenticode::verify;
use bootgen::secure_boot::keys::Certificate;
use bootgen::secure_boot::pe::Layout;
use sha2::{Digest as _, Sha256};
use std::cmp::Ordering;
use std::path::Path;

#[derive(Debug)]
struct Entry {
    id: String,
    bad: bool,
    sort_key: String,
    version: String,
    files: Vec<String>,
    toplevel: Option<String>,
}

/// The toplevel that systemd-boot boots unattended.
pub(crate) fn sd_boot_choice(esp: &Path) -> Option<String> {
    let chosen = sd_boot_entry(esp)?;
    whole(esp, &chosen.files).then_some(chosen.toplevel)?
}

/// The same with Secure Boot on: the firmware starts what the owner signed, and systemd's stub takes the command line that is in
/// it, whatever the entry says.
pub(crate) fn secure_choice(esp: &Path, owner: &Certificate) -> Option<String> {
    let verified = |path: &str| -> Option<Vec<u8>> {
        let program = std::fs::read(esp.join(path.trim_start_matches('/'))).ok()?;
        verify(&program, std::slice::from_ref(owner)).ok().map(|_| program)
    };
    verified("EFI/BOOT/BOOTX64.EFI")?;
    let chosen = sd_boot_entry(esp)?;
    let program = verified(chosen.files.first()?)?;
    let layout = Layout::of(&program).ok()?;
    layout.section(".linux")?;
    let section = layout.section(".cmdline")?;
    let text = &program[section.data.start..][..section.size as usize];
    toplevel(std::str::from_utf8(text).ok()?)
}

fn sd_boot_entry(esp: &Path) -> Option<Entry> {
    if !esp.join("EFI/BOOT/BOOTX64.EFI").metadata().is_ok_and(|found| found.len() > 0) {
        return None;
    }
    let mut entries: Vec<Entry> = Vec::new();
    for file in std::fs::read_dir(esp.join("loader/entries")).ok()? {
        let path = file.ok()?.path();
        let name = path.file_name()?.to_str()?.to_owned();
        let Some(stem) = name.strip_suffix(".conf") else { continue };
        let (id, left) = match stem.rsplit_once('+') {
            Some((id, counter)) => (id, counter.split('-').next()?.parse::<u32>().ok()),
            None => (stem, None),
        };
        let text = std::fs::read_to_string(&path).ok()?;
        let values = |key: &str| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.split_once(' '));
            lines.filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned()).collect()
        };
        let kernel = [values("linux"), values("efi")].concat();
        if kernel.first().is_none_or(|kernel| !esp.join(kernel.trim_start_matches('/')).exists()) {
            continue;
        }
        entries.push(Entry {
            id: format!("{id}.conf"),
            bad: left == Some(0),
            sort_key: values("sort-key").concat(),
            version: values("version").concat(),
            files: [kernel, values("initrd")].concat(),
            toplevel: toplevel(&values("options").concat()),
        });
    }
    entries.sort_by(|one, other| {
        one.bad
            .cmp(&other.bad)
            .then_with(|| one.sort_key.cmp(&other.sort_key))
            .then_with(|| version_cmp(&other.version, &one.version))
    });
    let settings = std::fs::read_to_string(esp.join("loader/loader.conf")).unwrap_or_default();
    let pattern = settings.lines().find_map(|line| line.strip_prefix("default "));
    let chosen = match pattern.and_then(|pattern| pattern.strip_suffix('*')) {
        Some(prefix) => entries.iter().position(|entry| entry.id.starts_with(prefix)).unwrap_or(0),
        None => 0,
    };
    (chosen < entries.len()).then(|| entries.swap_remove(chosen))
}

/// The toplevel that GRUB boots unattended.
pub(crate) fn grub_choice(esp: &Path) -> Option<String> {
    let text = std::fs::read_to_string(esp.join("grub/grub.cfg")).ok()?;
    let default = text.lines().find_map(|line| line.strip_prefix("set default="))?;
    let mut lines = text.lines().skip_while(|line| !line.contains(&format!("--id {default} ")));
    lines.next()?;
    let mut files = Vec::new();
    let mut options = String::new();
    for line in lines.take_while(|line| *line != "}") {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("linux") => {
                files.push(words.next()?.to_owned());
                options = words.collect::<Vec<_>>().join(" ");
            }
            Some("initrd") => files.push(words.next()?.to_owned()),
            _ => {}
        }
    }
    whole(esp, &files).then(|| toplevel(&options))?
}

fn toplevel(options: &str) -> Option<String> {
    let init = options.split(' ').find_map(|word| word.strip_prefix("init="))?;
    init.strip_suffix("/init").map(str::to_owned)
}

/// Whether every file holds the bytes that its name promises.
fn whole(esp: &Path, files: &[String]) -> bool {
    !files.is_empty()
        && files.iter().all(|file| {
            let path = esp.join(file.trim_start_matches('/'));
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            std::fs::read(&path).is_ok_and(|bytes| {
                let digest = Sha256::digest(&bytes);
                let hash =
                    digest[..16].iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
                name.starts_with(&hash)
            })
        })
}

/// The Boot Loader Specification's version order: `~` before everything, numbers as numbers, separators skipped.
fn version_cmp(one: &str, other: &str) -> Ordering {
    let (mut a, mut b) = (one.as_bytes(), other.as_bytes());
    loop {
        let separator = |byte: &u8| !byte.is_ascii_alphanumeric() && !b"-~^.".contains(byte);
        a = &a[a.iter().position(|byte| !separator(byte)).unwrap_or(a.len())..];
        b = &b[b.iter().position(|byte| !separator(byte)).unwrap_or(b.len())..];
        match (a.first() == Some(&b'~'), b.first() == Some(&b'~')) {
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            _ => {}
        }
        if a.is_empty() || b.is_empty() {
            return a.len().min(1).cmp(&b.len().min(1));
        }
        for mark in *b"~-^." {
            match (a.first() == Some(&mark), b.first() == Some(&mark)) {
                (true, false) => return Ordering::Less,
                (false, true) => return Ordering::Greater,
                _ => {}
            }
        }
        if b"~-^.".contains(&a[0]) {
            (a, b) = (&a[1..], &b[1..]);
            continue;
        }
        let digits = a[0].is_ascii_digit() || b[0].is_ascii_digit();
        let run = |text: &[u8]| {
            let same = |byte: &u8| if digits { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() };
            text.iter().position(|byte| !same(byte)).unwrap_or(text.len())
        };
        let ((left, rest_a), (right, rest_b)) = (a.split_at(run(a)), b.split_at(run(b)));
        let order = if digits {
            let number = |text: &[u8]| std::str::from_utf8(text).unwrap().parse::<u64>().unwrap_or(0);
            number(left).cmp(&number(right))
        } else {
            left.cmp(right)
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}
