//! PrivateDevices=: a /dev with the pseudo-devices, terminals, shared memory and the log, and nothing else (systemd.exec(5)).

use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Nodes by name, major and minor number (Documentation/admin-guide/devices.txt).
const NODES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links and where they lead.
const LINKS: [(&str, &str); 6] = [
    ("core", "/proc/kcore"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// File systems that stay.
const KEPT: [&str; 4] = ["pts", "shm", "mqueue", "hugepages"];

/// Where it is put together.
const WORKSHOP: &str = "/run/firn/private-dev";

/// Puts it together and moves it to `dev`.
pub(super) fn mount_at(dev: &Path) -> io::Result<()> {
    let workshop = Path::new(WORKSHOP);
    std::fs::create_dir_all(workshop)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), workshop, Some("tmpfs"), flags, Some("mode=0755,size=64k"))?;
    let before = nix::sys::stat::umask(Mode::empty());
    let mode = Mode::from_bits_truncate(0o666);
    let made = NODES.iter().try_for_each(|(name, major, minor)| {
        mknod(&workshop.join(name), SFlag::S_IFCHR, mode, makedev(*major, *minor))
    });
    nix::sys::stat::umask(before);
    made?;
    // By number as well, as udev has them.
    std::fs::create_dir(workshop.join("char"))?;
    for (name, major, minor) in NODES {
        symlink(Path::new("..").join(name), workshop.join(format!("char/{major}:{minor}")))?;
    }
    for (name, target) in LINKS {
        symlink(target, workshop.join(name))?;
    }
    let bind = |from: &Path, to: &Path| {
        mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
    };
    for name in KEPT {
        std::fs::create_dir(workshop.join(name))?;
        if !dev.join(name).is_dir() {
            continue;
        }
        bind(&dev.join(name), &workshop.join(name))?;
    }
    let log = dev.join("log");
    if let Ok(target) = std::fs::read_link(&log) {
        symlink(target, workshop.join("log"))?;
    } else if log.exists() {
        drop(std::fs::File::create(workshop.join("log"))?);
        bind(&log, &workshop.join("log"))?;
    }
    mount(
        None::<&str>,
        workshop,
        None::<&str>,
        MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | flags,
        Some("mode=0755,size=64k"),
    )?;
    mount(Some(workshop), dev, None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    Ok(())
}
