//! Mounts as fstab and units describe them: options split into what the kernel takes as flags and what the file system takes
//! as text (mount(8), mount(2)).

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::io;
use std::path::Path;

/// Options, split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Flags of mount(2).
    pub flags: MsFlags,
    /// What goes to the file system.
    pub data: String,
}

/// Splits an option string. What only mount(8) and fstab know (`noauto`, `nofail`, `x-…`, `_netdev`, …) is left out.
pub fn split_options(text: &str) -> Options {
    let mut flags = MsFlags::empty();
    let mut data = Vec::new();
    for option in text.split(',') {
        let (set, flag) = match option {
            "ro" => (true, MsFlags::MS_RDONLY),
            "rw" => (false, MsFlags::MS_RDONLY),
            "nosuid" => (true, MsFlags::MS_NOSUID),
            "suid" => (false, MsFlags::MS_NOSUID),
            "nodev" => (true, MsFlags::MS_NODEV),
            "dev" => (false, MsFlags::MS_NODEV),
            "noexec" => (true, MsFlags::MS_NOEXEC),
            "exec" => (false, MsFlags::MS_NOEXEC),
            "sync" => (true, MsFlags::MS_SYNCHRONOUS),
            "async" => (false, MsFlags::MS_SYNCHRONOUS),
            "dirsync" => (true, MsFlags::MS_DIRSYNC),
            "noatime" => (true, MsFlags::MS_NOATIME),
            "atime" => (false, MsFlags::MS_NOATIME),
            "nodiratime" => (true, MsFlags::MS_NODIRATIME),
            "relatime" => (true, MsFlags::MS_RELATIME),
            "strictatime" => (true, MsFlags::MS_STRICTATIME),
            "lazytime" => (true, MsFlags::MS_LAZYTIME),
            "bind" => (true, MsFlags::MS_BIND),
            "rbind" => (true, MsFlags::MS_BIND | MsFlags::MS_REC),
            "remount" => (true, MsFlags::MS_REMOUNT),
            "shared" => (true, MsFlags::MS_SHARED),
            "private" => (true, MsFlags::MS_PRIVATE),
            "slave" => (true, MsFlags::MS_SLAVE),
            "" | "defaults" | "auto" | "noauto" | "nofail" | "fail" | "user" | "nouser" | "users"
            | "owner" | "_netdev" => continue,
            other if other.starts_with("x-") || other.starts_with("X-") || other.starts_with("comment=") => {
                continue;
            }
            other => {
                data.push(other);
                continue;
            }
        };
        flags.set(flag, set);
    }
    Options { flags, data: data.join(",") }
}

/// Mounts, making the target first. A read-only bind takes a second call, as the kernel ignores other flags at the first.
pub fn mount_at(source: &str, target: &Path, fs_type: &str, options: &str) -> io::Result<()> {
    let Options { flags, data } = split_options(options);
    make_target(source, target, flags)?;
    let data = Some(data.as_str()).filter(|data| !data.is_empty());
    if flags.contains(MsFlags::MS_BIND) {
        mount(
            Some(source),
            target,
            None::<&str>,
            flags & (MsFlags::MS_BIND | MsFlags::MS_REC),
            None::<&str>,
        )?;
        let rest = flags & !(MsFlags::MS_REC | MsFlags::MS_BIND);
        if rest.is_empty() {
            return Ok(());
        }
        mount(
            None::<&str>,
            target,
            None::<&str>,
            rest | MsFlags::MS_BIND | MsFlags::MS_REMOUNT,
            None::<&str>,
        )?;
        return Ok(());
    }
    mount(Some(source), target, Some(fs_type), flags, data)?;
    Ok(())
}

/// The directory (or for a bound file, the file) to mount on.
fn make_target(source: &str, target: &Path, flags: MsFlags) -> io::Result<()> {
    if target.exists() {
        return Ok(());
    }
    if flags.contains(MsFlags::MS_BIND) && Path::new(source).is_file() {
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        return std::fs::File::create(target).map(drop);
    }
    std::fs::create_dir_all(target)
}

/// Moves a mount to another place.
pub fn move_mount(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    Ok(())
}

/// Makes what lies below a directory readable only, through this path.
pub fn bind_read_only(directory: &Path) -> io::Result<()> {
    mount(Some(directory), directory, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    let flags =
        MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(None::<&str>, directory, None::<&str>, flags, None::<&str>)?;
    Ok(())
}

/// Makes a file system read-only, which also writes everything out.
pub fn remount_read_only(target: &Path) -> io::Result<()> {
    mount(None::<&str>, target, None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None::<&str>)?;
    Ok(())
}

/// Unmounts; detaches when `lazily`.
pub fn unmount(target: &Path, lazily: bool) -> io::Result<()> {
    let flags = if lazily { MntFlags::MNT_DETACH } else { MntFlags::empty() };
    umount2(target, flags | MntFlags::UMOUNT_NOFOLLOW)?;
    Ok(())
}

/// The mount points of the machine in the order of their mounting, with their types, by /proc/self/mountinfo.
pub fn mounted() -> Vec<(String, String)> {
    mounted_as("/proc/self/mountinfo")
}

/// The same from a mountinfo at that path.
pub fn mounted_as(mountinfo: &str) -> Vec<(String, String)> {
    let Ok(text) = std::fs::read_to_string(mountinfo) else { return Vec::new() };
    text.lines().filter_map(parse_mountinfo).collect()
}

/// Mount point and type of one line of proc_pid_mountinfo(5).
fn parse_mountinfo(line: &str) -> Option<(String, String)> {
    let (left, right) = line.split_once(" - ")?;
    Some((unescape(left.split(' ').nth(4)?), right.split(' ').next()?.to_owned()))
}

/// Octal escapes of mountinfo.
fn unescape(field: &str) -> String {
    let mut result = Vec::new();
    let mut rest = field.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.filter(|_| byte == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok());
        result.push(code.unwrap_or(byte));
        rest = if code.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&result).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split() {
        for (text, flags, data) in [
            ("defaults", MsFlags::empty(), ""),
            ("ro,nosuid,mode=755,size=50%", MsFlags::MS_RDONLY | MsFlags::MS_NOSUID, "mode=755,size=50%"),
            ("nofail,x-systemd.automount,rw,noatime", MsFlags::MS_NOATIME, ""),
            ("lowerdir=/a:/b,upperdir=/c", MsFlags::empty(), "lowerdir=/a:/b,upperdir=/c"),
            ("bind,ro", MsFlags::MS_BIND | MsFlags::MS_RDONLY, ""),
        ] {
            assert_eq!(split_options(text), Options { flags, data: data.into() }, "{text}");
        }
    }

    #[test]
    fn mount_points_are_read() {
        let line = "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        assert_eq!(parse_mountinfo(line), Some(("/mnt 2".into(), "ext3".into())));
    }
}
