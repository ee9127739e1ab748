//! The file systems that are mounted below a directory and what is swapped to, by names that outlive a reboot: what becomes
//! `fileSystems` and `swapDevices`.

use crate::block_device::BlockDevice;
use crate::mount_info::{self, Mount, unescape};
use crate::places::{Places, line};
use std::path::{Path, PathBuf};

/// An entry of `fileSystems`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// Where it is mounted in the system.
    pub mount_point: String,
    /// `/dev/disk/by-uuid/…`, or what stands in a device's place.
    pub device: String,
    /// Its type.
    pub fs_type: String,
    /// Options without which another thing would be mounted.
    pub options: Vec<String>,
}

/// An encrypted volume that file systems lie on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encrypted {
    /// Its name in `/dev/mapper`.
    pub name: String,
    /// What it is encrypted on.
    pub device: String,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// File systems, `/` first.
    pub file_systems: Vec<FileSystem>,
    /// Partitions and files that are swapped to.
    pub swaps: Vec<String>,
    /// Encrypted volumes below them.
    pub encrypted: Vec<Encrypted>,
    /// The kernel's name of the device that `/` lies on.
    pub root_device: Option<String>,
    /// Kernel's names of the disks and partitions that all this lies on.
    pub devices: Vec<String>,
    /// What was left out, a sentence each.
    pub notes: Vec<String>,
}

/// Types that the kernel and PID 1 mount by themselves, or that are no place for files.
const SPECIAL: [&str; 27] = [
    "proc",
    "sysfs",
    "devtmpfs",
    "devpts",
    "cgroup",
    "cgroup2",
    "securityfs",
    "pstore",
    "bpf",
    "tracefs",
    "debugfs",
    "configfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "autofs",
    "efivarfs",
    "ramfs",
    "binfmt_misc",
    "nsfs",
    "rpc_pipefs",
    "rootfs",
    "selinuxfs",
    "smackfs",
    "nfsd",
    "fuse.portal",
    "fuse.gvfsd-fuse",
];

/// Directories whose mounts belong to the running machine.
const RUNNING: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// Reads what is mounted at and below `root`.
///
/// # Errors
/// When the table of mounts cannot be read.
pub fn read(places: &Places, root: &Path) -> std::io::Result<Found> {
    let mounts = mount_info::read(&places.proc)?;
    let mut found = Found::default();
    for mount in &mounts {
        let Some(mount_point) = below(root, &mount.target) else { continue };
        let hidden = mounts.iter().rev().find(|other| other.target == mount.target) != Some(mount);
        if hidden || is_special(mount, &mount_point) {
            continue;
        }
        found.add(places, root, &mounts, mount, mount_point);
    }
    found.file_systems.sort_by(|one, other| order(one).cmp(&order(other)));
    found.read_swaps(places, root);
    found.devices.sort();
    found.devices.dedup();
    Ok(found)
}

fn order(file_system: &FileSystem) -> (usize, &str) {
    let depth = file_system.mount_point.split('/').filter(|part| !part.is_empty()).count();
    (depth, &file_system.mount_point)
}

/// A path of this machine as the system at `root` will see it.
fn below(root: &Path, target: &str) -> Option<String> {
    let rest = Path::new(target).strip_prefix(root).ok()?;
    Some(Path::new("/").join(rest).to_string_lossy().trim_end_matches('/').to_owned())
        .map(|path| if path.is_empty() { "/".to_owned() } else { path })
}

fn is_special(mount: &Mount, mount_point: &str) -> bool {
    let running = RUNNING.iter().any(|directory| Path::new(mount_point).starts_with(directory));
    // The store over itself is made read-only at each boot; /tmp in memory has an option of its own.
    let own = mount_point == "/nix/store" && mount.root.ends_with("/nix/store")
        || mount_point == "/tmp" && mount.fs_type == "tmpfs";
    running || own || SPECIAL.contains(&mount.fs_type.as_str())
}

impl Found {
    fn add(&mut self, places: &Places, root: &Path, mounts: &[Mount], mount: &Mount, mount_point: String) {
        if matches!(mount.fs_type.as_str(), "overlay" | "zfs") {
            self.notes.push(format!(
                "{mount_point} is {} and was left out: write it by hand if the system is to have it",
                mount.fs_type
            ));
            return;
        }
        let mut options = Vec::new();
        let device = if let Some(original) = bound(root, mounts, mount) {
            options.push("bind".to_owned());
            self.file_systems.push(FileSystem {
                mount_point,
                device: original,
                fs_type: "none".to_owned(),
                options,
            });
            return;
        } else if mount.is_on_device() {
            let device = BlockDevice::of_node(places, &mount.source)
                .or_else(|| BlockDevice::numbered(places, mount.device));
            if let Some(device) = &device {
                self.devices.push(device.name.clone());
                self.note_encryption(places, device);
                if mount_point == "/" {
                    self.root_device = Some(device.name.clone());
                }
            }
            device.map_or_else(|| mount.source.clone(), |device| stable_name(places, &device))
        } else {
            mount.source.clone()
        };
        match mount.fs_type.as_str() {
            "btrfs" => {
                let volume = mount.super_option("subvol").unwrap_or(&mount.root).trim_start_matches('/');
                if !volume.is_empty() {
                    options.push(format!("subvol={volume}"));
                }
            }
            // Who may read the kernels and the seed for random numbers.
            "vfat" => options.extend(
                ["fmask", "dmask"]
                    .into_iter()
                    .filter_map(|name| Some(format!("{name}={}", mount.super_option(name)?))),
            ),
            "tmpfs" => options.extend(
                ["size", "mode"]
                    .into_iter()
                    .filter_map(|name| Some(format!("{name}={}", mount.super_option(name)?))),
            ),
            _ => {}
        }
        let fs_type = mount.fs_type.clone();
        self.file_systems.push(FileSystem { mount_point, device, fs_type, options });
    }

    fn note_encryption(&mut self, places: &Places, device: &BlockDevice) {
        let below = crate::places::entries(&device.directory.join("slaves"));
        let below: Vec<BlockDevice> = below
            .iter()
            .filter_map(|path| BlockDevice::named(places, &path.file_name()?.to_string_lossy()))
            .collect();
        if line(&device.directory.join("dm/uuid")).is_some_and(|id| id.starts_with("CRYPT-"))
            && let (Some(name), Some(under)) = (line(&device.directory.join("dm/name")), below.first())
        {
            let encrypted = Encrypted { name, device: stable_name(places, under) };
            if !self.encrypted.contains(&encrypted) {
                self.encrypted.push(encrypted);
            }
        }
        for device in below {
            self.devices.push(device.name.clone());
            self.note_encryption(places, &device);
        }
    }

    /// proc_swaps(5): partitions by their id, files by their path in the system; memory that is compressed is left out.
    fn read_swaps(&mut self, places: &Places, root: &Path) {
        let text = std::fs::read_to_string(places.proc.join("swaps")).unwrap_or_default();
        for entry in text.lines().skip(1) {
            let mut words = entry.split_ascii_whitespace();
            let (Some(name), Some(kind)) = (words.next(), words.next()) else { continue };
            let name = unescape(name);
            if kind == "file" {
                self.swaps.extend(below(root, &name));
                continue;
            }
            let Some(device) = BlockDevice::of_node(places, &name) else { continue };
            if !device.is_virtual() {
                self.devices.push(device.name.clone());
                self.note_encryption(places, &device);
                self.swaps.push(stable_name(places, &device));
            }
        }
    }
}

/// The directory that a bind mount shows, as a path of the system.
fn bound(root: &Path, mounts: &[Mount], mount: &Mount) -> Option<String> {
    if mount.root == "/" || mount.fs_type == "btrfs" {
        return None;
    }
    // The same file system, mounted at a directory above what is shown, below the same root.
    mounts
        .iter()
        .filter(|other| *other != mount && other.device == mount.device)
        .filter_map(|other| {
            let shown = PathBuf::from(&mount.root);
            let rest = shown.strip_prefix(&other.root).ok()?;
            let place = Path::new(&below(root, &other.target)?).join(rest);
            let place = place.to_string_lossy().trim_end_matches('/').to_owned();
            Some((other.root.len(), place))
        })
        .min()
        .map(|(_, place)| place)
}

/// A device by its file system's id, else by its label, else by its node.
pub fn stable_name(places: &Places, device: &BlockDevice) -> String {
    match device.superblock(places) {
        Some(found) if !found.uuid.is_empty() => format!("/dev/disk/by-uuid/{}", found.uuid),
        Some(found) if !found.label.is_empty() && is_plain(&found.label) => {
            format!("/dev/disk/by-label/{}", found.label)
        }
        _ => line(&device.directory.join("dm/name"))
            .map_or_else(|| device.path(), |name| format!("/dev/mapper/{name}")),
    }
}

/// Whether a label is its own name in /dev/disk/by-label, where other characters are escaped.
fn is_plain(label: &str) -> bool {
    label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"#+-.:=@_".contains(&byte))
}

#[cfg(test)]
mod tests;
