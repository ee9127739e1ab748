//! What activation sets in the kernel: modules, sysctl values, the host's name, where modprobe and firmware lie. Only on
//! the running system; values that are right already are not written again.

use crate::durable;
use crate::error::{Error, Result};
use crate::root::Root;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Writes the settings that differ. Returns the keys written and what could not be set: one key that a kernel does not
/// have must not keep the others from being set. A system that is being installed has no kernel whose settings could be meant.
pub fn apply_sysctl(root: &Root, settings: &BTreeMap<String, String>) -> (Vec<String>, Vec<String>) {
    let (mut written, mut problems) = (Vec::new(), Vec::new());
    if !root.is_running_system() && !root.join("/proc/sys").exists() {
        return (written, problems);
    }
    for (key, value) in settings {
        // sysctl.d(5): a leading `-` means that failure is no error.
        let (name, optional) = key.strip_prefix('-').map_or((key.as_str(), false), |name| (name, true));
        match set(root, name, value) {
            Ok(true) => written.push(format!("{name} = {value}")),
            Ok(false) => {}
            Err(_) if optional => {}
            Err(error) => problems.push(format!("boot.kernel.sysctl.{name:?}: {error}")),
        }
    }
    (written, problems)
}

fn set(root: &Root, name: &str, value: &str) -> Result<bool> {
    let place = root.join("/proc/sys").join(setting_path(name));
    let current = std::fs::read_to_string(&place).map_err(Error::file("read the setting", &place))?;
    if is_set(&current, value) {
        return Ok(false);
    }
    std::fs::write(&place, value).map_err(Error::file("write the setting", &place))?;
    Ok(true)
}

/// Whether the kernel's value is the wanted one. Of several numbers, like those of `kernel.printk`, fewer may be given: the
/// first ones.
fn is_set(current: &str, wanted: &str) -> bool {
    let (current, wanted): (Vec<&str>, Vec<&str>) =
        (current.split_whitespace().collect(), wanted.split_whitespace().collect());
    let is_numbers = || current.iter().chain(&wanted).all(|word| word.parse::<i64>().is_ok());
    current == wanted || (!wanted.is_empty() && current.starts_with(&wanted) && is_numbers())
}

/// `net.ipv4.conf.eth0/1.x` → `net/ipv4/conf/eth0.1/x`: the first separator decides which is which, sysctl.d(5).
fn setting_path(name: &str) -> PathBuf {
    let swapped = |character| match character {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let dots_separate = name.find(['.', '/']).is_none_or(|at| name[at..].starts_with('.'));
    let path: String = if dots_separate { name.chars().map(swapped).collect() } else { name.to_owned() };
    path.split('/').filter(|part| !part.is_empty() && *part != "..").collect()
}

/// Sets the host's name.
///
/// # Errors
/// When the kernel refuses.
pub fn set_host_name(root: &Root, name: &str) -> Result<bool> {
    if name.is_empty() || !root.is_running_system() {
        return Ok(false);
    }
    if rustix::system::uname().nodename().to_bytes() == name.as_bytes() {
        return Ok(false);
    }
    rustix::system::sethostname(name.as_bytes()).map_err(|errno| Error::Kernel {
        doing: format!("set the host's name to `{name}`"),
        source: errno.into(),
    })?;
    Ok(true)
}

/// Tells the kernel where modprobe and the firmware are, as far as the generation has them.
///
/// # Errors
/// When a file of the kernel's cannot be written.
pub fn set_paths(root: &Root, toplevel: &Path, settings: &BTreeMap<String, String>) -> Result<()> {
    if !root.is_running_system() {
        return Ok(());
    }
    // A setting of the configuration's own comes later and counts.
    let modprobe = toplevel.join("sw/bin/modprobe");
    let is_set = settings.contains_key("kernel.modprobe");
    let firmware = toplevel.join("firmware");
    let firmware =
        if firmware.join("lib/firmware").is_dir() { firmware.join("lib/firmware") } else { firmware };
    for (value, place) in [
        (
            (modprobe.exists() && !is_set).then(|| PathBuf::from("/run/current-system/sw/bin/modprobe")),
            "/proc/sys/kernel/modprobe",
        ),
        (firmware.is_dir().then_some(firmware), "/sys/module/firmware_class/parameters/path"),
    ] {
        let place = Path::new(place);
        if let Some(value) = value.filter(|_| place.exists()) {
            let text = value.as_os_str().as_encoded_bytes();
            if std::fs::read(place).is_ok_and(|present| present.trim_ascii_end() == text) {
                continue;
            }
            std::fs::write(place, text).map_err(Error::file("write the setting", place))?;
        }
    }
    Ok(())
}

/// Loads modules with what they depend on, from the tree of the kernel that runs. Returns the problems: a module that is
/// missing must not keep the machine from booting.
pub fn load_modules(root: &Root, toplevel: &Path, names: &[String]) -> Vec<String> {
    if names.is_empty() || !root.is_running_system() {
        return Vec::new();
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let trees = [
        PathBuf::from("/run/booted-system/kernel-modules/lib/modules"),
        toplevel.join("kernel-modules/lib/modules"),
        PathBuf::from("/lib/modules"),
    ];
    let Some(tree) = trees.iter().map(|tree| tree.join(&release)).find(|tree| tree.is_dir()) else {
        return vec![format!("boot.kernelModules: there are no modules for the running kernel {release}")];
    };
    let index = match ModuleIndex::read(&tree) {
        Ok(index) => index,
        Err(error) => return vec![error.to_string()],
    };
    let mut problems = Vec::new();
    for name in names {
        match index.order(name) {
            Some(files) => {
                problems.extend(
                    files
                        .iter()
                        .filter_map(|file| load(&tree.join(file)).err())
                        .map(|error| error.to_string()),
                );
            }
            None => problems.push(format!("boot.kernelModules: the kernel {release} has no module `{name}`")),
        }
    }
    problems
}

fn load(file: &Path) -> Result<()> {
    const COMPRESSED: u32 = 4;
    let compressed = file.extension().is_some_and(|extension| extension != "ko");
    let handle = std::fs::File::open(file).map_err(Error::file("open", file))?;
    let flags = if compressed { COMPRESSED } else { 0 };
    match rustix::system::finit_module(&handle, c"", flags.cast_signed()) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(Error::call("load the module", file)(errno)),
    }
}

/// modules.dep and modules.builtin (depmod(8)): which file a name is, and what it needs.
#[derive(Debug, Default)]
struct ModuleIndex {
    files: BTreeMap<String, (String, Vec<String>)>,
    builtin: Vec<String>,
}

impl ModuleIndex {
    fn read(tree: &Path) -> Result<Self> {
        let text = |name: &str| -> Result<String> {
            let bytes = durable::read_if_there(&tree.join(name))?.unwrap_or_default();
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Self::parse(&text("modules.dep")?, &text("modules.builtin")?))
    }

    fn parse(dependencies: &str, builtin: &str) -> Self {
        let mut index = Self::default();
        for (file, needs) in dependencies.lines().filter_map(|line| line.split_once(':')) {
            let needs = needs.split_whitespace().map(str::to_owned).collect();
            index.files.insert(module_name(file), (file.to_owned(), needs));
        }
        index.builtin = builtin.lines().map(module_name).collect();
        index
    }

    /// The files to load in order, the module's own last. Empty: it is built in. `None`: there is no such module.
    fn order(&self, name: &str) -> Option<Vec<String>> {
        let name = module_name(name);
        if self.builtin.contains(&name) {
            return Some(Vec::new());
        }
        let (file, needs) = self.files.get(&name)?;
        // depmod lists the whole closure, the deepest last.
        let mut order: Vec<String> = needs.iter().rev().cloned().collect();
        order.push(file.clone());
        Some(order)
    }
}

/// `kernel/net/nf-tables.ko.xz` → `nf_tables`.
fn module_name(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split(".ko").next().unwrap_or(name).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_set_is_not_set_again() {
        for (current, wanted, is) in [
            ("4\t4\t1\t7\n", "4", true),
            ("4\t4\t1\t7\n", "4 4 1 7", true),
            ("4\t4\t1\t7\n", "3", false),
            ("core\n", "core", true),
            ("|/bin/x y\n", "|/bin/x", false),
            ("\n", "", true),
            ("1\n", "", false),
        ] {
            assert_eq!(is_set(current, wanted), is, "{current:?} {wanted:?}");
        }
    }

    #[test]
    fn settings_are_written_when_they_differ() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        std::fs::create_dir_all(root.join("/proc/sys/net/ipv4")).unwrap();
        std::fs::write(root.join("/proc/sys/net/ipv4/ip_forward"), "0\n").unwrap();
        std::fs::write(root.join("/proc/sys/net/ipv4/range"), "1\t2\n").unwrap();
        let settings = [
            ("net.ipv4.ip_forward", "1"),
            ("net/ipv4/range", "1 2"),
            ("net.missing", "1"),
            ("-net.gone", "1"),
        ];
        let settings = settings.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let (written, problems) = apply_sysctl(&root, &settings);
        assert_eq!(written, ["net.ipv4.ip_forward = 1"]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("net.missing"));
        assert_eq!(apply_sysctl(&root, &settings).0, [""; 0]);
        assert_eq!(setting_path("net.ipv4.conf.eth0/1.x"), Path::new("net/ipv4/conf/eth0.1/x"));
        assert_eq!(setting_path("net/ipv4/conf/eth0.1/x"), Path::new("net/ipv4/conf/eth0.1/x"));
    }

    #[test]
    fn modules_come_after_what_they_need() {
        let index = ModuleIndex::parse(
            "kernel/net/nf-tables.ko.xz: kernel/net/nfnetlink.ko.xz kernel/lib/crc.ko.xz\nkernel/lib/crc.ko.xz:\n",
            "kernel/fs/ext4.ko\n",
        );
        assert_eq!(
            index.order("nf_tables").unwrap(),
            ["kernel/lib/crc.ko.xz", "kernel/net/nfnetlink.ko.xz", "kernel/net/nf-tables.ko.xz"]
        );
        assert_eq!(index.order("ext4").unwrap(), [""; 0]);
        assert_eq!(index.order("missing"), None);
    }
}
