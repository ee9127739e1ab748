//! The file system and network that a service sees (systemd.exec(5), "Sandboxing"): a mount namespace of its own in which
//! paths are read-only, hidden or private.

use formats::service_graph::key::{Key, sandbox};
use formats::service_graph::view::Unit;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::io;
use std::path::Path;

/// Enters the sandbox that the unit asks for, if any.
pub(super) fn enter(unit: &Unit<'_>) -> io::Result<()> {
    let bits = unit.number(Key::Sandbox).unwrap_or(0);
    let system = unit.number(Key::ProtectSystem).unwrap_or(0);
    let home = unit.number(Key::ProtectHome).unwrap_or(0);
    if bits & sandbox::PRIVATE_NETWORK != 0 {
        unshare(CloneFlags::CLONE_NEWNET)?;
    }
    if bits & sandbox::PRIVATE_IPC != 0 {
        unshare(CloneFlags::CLONE_NEWIPC)?;
    }
    let mounts = sandbox::PRIVATE_TMP | sandbox::PRIVATE_MOUNTS | sandbox::PROTECT_CONTROL_GROUPS;
    let paths = [Key::ReadOnlyPaths, Key::InaccessiblePaths, Key::ReadWritePaths];
    if bits & mounts == 0 && system == 0 && home == 0 && !paths.iter().any(|key| unit.has(*key)) {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)?;
    let mut read_only: Vec<&str> = match system {
        0 => Vec::new(),
        1 => vec!["/usr", "/boot", "/nix"],
        2 => vec!["/usr", "/boot", "/nix", "/etc"],
        _ => vec!["/"],
    };
    let homes = ["/home", "/root", "/run/user"];
    match home {
        1 => homes.iter().try_for_each(|path| hide(Path::new(path)))?,
        2 => read_only.extend(homes),
        3 => homes.iter().try_for_each(|path| cover(Path::new(path), "mode=755"))?,
        _ => {}
    }
    if bits & sandbox::PROTECT_CONTROL_GROUPS != 0 {
        read_only.push("/sys/fs/cgroup");
    }
    for path in read_only {
        make_read_only(Path::new(path))?;
    }
    for (is_optional, path) in unit.tagged(Key::ReadOnlyPaths) {
        only_if_there(path, is_optional, make_read_only)?;
    }
    for (is_optional, path) in unit.tagged(Key::InaccessiblePaths) {
        only_if_there(path, is_optional, hide)?;
    }
    if bits & sandbox::PRIVATE_TMP != 0 {
        for path in ["/tmp", "/var/tmp"] {
            cover(Path::new(path), "mode=1777")?;
        }
    }
    // What the unit owns or names stays writable under ProtectSystem=strict, as do the kernel's own file systems.
    if system == 3 {
        for path in ["/dev", "/proc", "/sys"] {
            make_writable(Path::new(path))?;
        }
    }
    if system != 0 {
        for (key, _, base, _) in super::DIRECTORIES {
            for name in unit.texts(key).filter(|_| key != Key::ConfigurationDirectory) {
                make_writable(&Path::new(base).join(name.split(':').next().unwrap_or(name)))?;
            }
        }
    }
    for (is_optional, path) in unit.tagged(Key::ReadWritePaths) {
        only_if_there(path, is_optional, make_writable)?;
    }
    Ok(())
}

fn only_if_there(path: &str, is_optional: u32, change: fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let path = Path::new(path);
    if is_optional != 0 && !path.exists() { Ok(()) } else { change(path) }
}

fn bind(path: &Path) -> io::Result<()> {
    mount(Some(path), path, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
    Ok(())
}

/// Changes one attribute of the mount at exactly this path and of all below it.
fn remount_below(path: &Path, read_only: bool) -> io::Result<()> {
    let places = crate::mounting::mounted();
    let below = places.iter().filter(|(place, _)| Path::new(place).starts_with(path));
    for (place, fs_type) in below {
        let is_kernels =
            matches!(fs_type.as_str(), "proc" | "sysfs" | "devtmpfs" | "devpts" | "cgroup2" | "mqueue");
        if read_only && is_kernels && path != Path::new("/sys/fs/cgroup") {
            continue;
        }
        let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
        flags.set(MsFlags::MS_RDONLY, read_only);
        if let Ok(now) = nix::sys::statvfs::statvfs(place.as_str()) {
            use nix::sys::statvfs::FsFlags;
            flags.set(MsFlags::MS_NOSUID, now.flags().contains(FsFlags::ST_NOSUID));
            flags.set(MsFlags::MS_NODEV, now.flags().contains(FsFlags::ST_NODEV));
            flags.set(MsFlags::MS_NOEXEC, now.flags().contains(FsFlags::ST_NOEXEC));
        }
        match mount(None::<&str>, place.as_str(), None::<&str>, flags, None::<&str>) {
            // Made read-only by somebody else on purpose, or out of reach: it is at least as closed as asked.
            Ok(())
            | Err(nix::Error::EACCES | nix::Error::EPERM | nix::Error::EINVAL | nix::Error::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn make_read_only(path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    bind(path)?;
    remount_below(path, true)
}

fn make_writable(path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    bind(path)?;
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
    if let Ok(now) = nix::sys::statvfs::statvfs(path) {
        use nix::sys::statvfs::FsFlags;
        flags.set(MsFlags::MS_NOSUID, now.flags().contains(FsFlags::ST_NOSUID));
        flags.set(MsFlags::MS_NODEV, now.flags().contains(FsFlags::ST_NODEV));
        flags.set(MsFlags::MS_NOEXEC, now.flags().contains(FsFlags::ST_NOEXEC));
    }
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>)?;
    Ok(())
}

/// An empty file system that nobody can enter or write; a file becomes empty.
fn hide(path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    if path.is_dir() {
        mount(
            Some("tmpfs"),
            path,
            Some("tmpfs"),
            MsFlags::MS_RDONLY | MsFlags::MS_NOSUID,
            Some("mode=000,size=4k"),
        )?;
    } else {
        mount(Some("/dev/null"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    }
    Ok(())
}

/// A fresh, empty file system in its place.
fn cover(path: &Path, options: &str) -> io::Result<()> {
    if path.is_dir() {
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options))?;
    }
    Ok(())
}
