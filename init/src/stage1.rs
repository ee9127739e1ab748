//! Stage 1: process 1 in the initrd. It mounts what the kernel offers, loads the generation's modules in order, finds the
//! file systems by what their superblocks say, mounts them below /sysroot, makes the store read-only and hands over to
//! the generation that the kernel's command line names. No shell is in the way; when it is lost it says what it looked
//! for and what there is, and gives a rescue shell if the image has one.

pub mod failure;
mod handover;

use crate::block_device;
use crate::console::{self, Level};
use crate::kernel_command_line::KernelCommandLine;
use crate::mounting;
use crate::uevent::Uevents;
use failure::Failure;
use formats::stage1::{Mount, Source, Stage1};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the description lies in the image, as its last file.
pub const DESCRIPTION: &str = "/stage1.conf";

/// What an image without its end means.
const CUT_SHORT: &str = "The initrd is cut short: its last file, stage1.conf, is missing or not whole. Was the boot partition \
    full or the power cut while it was written? Boot another generation and run `firn bootmenu --check`.";

/// Whether process 1 was started as the initrd's `/init`: it has the description, or it was cut off with the end of the image.
pub fn is_ours(path: &str) -> bool {
    let exists = |path: &str| Path::new(path).exists();
    exists(DESCRIPTION) || (path == "/init" && !exists("/services.graph"))
}

/// Where the booted system is put together.
const SYSROOT: &str = "/sysroot";

/// The generation that boots when the command line names none.
const DEFAULT_INIT: &str = "/nix/var/nix/profiles/system/init";

/// Runs stage 1. It does not return: it executes stage 2, or ends in the rescue shell or a reboot.
pub fn run() -> ! {
    let mut rescue = None;
    let failure = match boot(&mut rescue) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    failure::give_up(&failure, rescue.as_deref())
}

/// The way to stage 2, step by step.
fn boot(rescue: &mut Option<String>) -> Result<std::convert::Infallible, Failure> {
    mount_kernel_file_systems()?;
    let words = KernelCommandLine::of_this_machine();
    let text = match std::fs::read_to_string(DESCRIPTION) {
        // The last file of every image that Firn writes.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure::new(CUT_SHORT.to_owned()));
        }
        text => text.map_err(|error| Failure::io("read", DESCRIPTION, &error))?,
    };
    let mut description = Stage1::parse(&text).map_err(|error| {
        let hint = if text.ends_with("end\n") { String::new() } else { format!("\n{CUT_SHORT}") };
        Failure::new(format!("{error}{hint}"))
    })?;
    rescue.clone_from(&description.rescue);
    override_root(&mut description, &words);
    let uevents = Uevents::open().map_err(|error| Failure::io("listen to", "uevents", &error))?;
    load_modules(&description)?;
    if words.rescue_stage1 {
        return Err(Failure::new("firn.rescue is on the kernel's command line".to_owned()));
    }
    let deadline = Instant::now() + Duration::from_secs(u64::from(description.timeout));
    for mount in &description.mounts {
        mount_one(mount, &uevents, deadline, description.timeout)?;
    }
    let store = Path::new(SYSROOT).join("nix/store");
    if store.is_dir() {
        mounting::bind_read_only(&store)
            .map_err(|error| Failure::io("make read-only", "/nix/store", &error))?;
    }
    handover::switch_root(Path::new(SYSROOT), words.init.as_deref().unwrap_or(DEFAULT_INIT))
}

/// /dev, /proc, /sys and /run. What the kernel mounted already is left as it is.
fn mount_kernel_file_systems() -> Result<(), Failure> {
    for (source, target, fs_type, options) in [
        ("proc", "/proc", "proc", "nosuid,nodev,noexec"),
        ("sysfs", "/sys", "sysfs", "nosuid,nodev,noexec"),
        ("devtmpfs", "/dev", "devtmpfs", "nosuid,mode=755"),
        ("tmpfs", "/run", "tmpfs", "nosuid,nodev,mode=755,size=20%"),
    ] {
        match mounting::mount_at(source, Path::new(target), fs_type, options) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            other => other.map_err(|error| Failure::io("mount", target, &error))?,
        }
    }
    Ok(())
}

/// `root=` and its kin stand over the description's first mount.
fn override_root(description: &mut Stage1, words: &KernelCommandLine) {
    let Some(root) = &words.root else { return };
    let source = Source::parse(root);
    if !source.needs_device() {
        console::log(
            Level::Warning,
            &format!("root={root} names no device that stage 1 knows; the initrd's own is used"),
        );
        return;
    }
    let (fs_type, options) = (words.root_type.clone(), words.root_options.clone());
    match description.mounts.iter_mut().find(|mount| mount.target == "/") {
        Some(mount) => {
            mount.source = source;
            mount.fs_type = fs_type.unwrap_or_else(|| "auto".into());
            mount.options = options.unwrap_or_else(|| mount.options.clone());
        }
        None => description.mounts.insert(
            0,
            Mount {
                source,
                target: "/".into(),
                fs_type: fs_type.unwrap_or_else(|| "auto".into()),
                options: options.unwrap_or_default(),
            },
        ),
    }
}

/// Loads the modules in order. One that is built in, loaded, or has no device here is no fault.
fn load_modules(description: &Stage1) -> Result<(), Failure> {
    for module in &description.modules {
        let path = Path::new("/").join(&module.path);
        let file = File::open(&path).map_err(|error| Failure::io("open module", &module.path, &error))?;
        let parameters = std::ffi::CString::new(module.parameters.as_str()).unwrap_or_default();
        match nix::kmod::finit_module(&file, &parameters, nix::kmod::ModuleInitFlags::empty()) {
            Ok(()) | Err(nix::Error::EEXIST | nix::Error::ENODEV) => {}
            Err(error) => {
                console::log(Level::Error, &format!("cannot load {}: {}", module.path, error.desc()));
            }
        }
    }
    Ok(())
}

/// Mounts one file system below /sysroot, waiting for its device.
fn mount_one(mount: &Mount, uevents: &Uevents, deadline: Instant, timeout: u32) -> Result<(), Failure> {
    let target = Path::new(SYSROOT).join(mount.target.trim_start_matches('/'));
    let device = match &mount.source {
        Source::Other(source) => PathBuf::from(source),
        source => wait_for(source, &mount.target, uevents, deadline, timeout)?,
    };
    let fs_type = if mount.fs_type == "auto" {
        block_device::file_system(&device).map(|found| found.fs_type).ok_or_else(|| {
            Failure::new(format!(
                "{} has no file system that stage 1 knows, for {}",
                device.display(),
                mount.target
            ))
        })?
    } else {
        &mount.fs_type
    };
    let options = below_sysroot(&mount.options, fs_type);
    let source = device.to_string_lossy();
    let is_bind = options.split(',').any(|option| matches!(option, "bind" | "rbind"));
    let source = if is_bind { format!("{SYSROOT}{source}") } else { source.into_owned() };
    mounting::mount_at(&source, &target, fs_type, &options).map_err(|error| {
        let hint = match error.raw_os_error() {
            Some(libc::ENODEV) => format!(" (is the module of {fs_type} in the initrd?)"),
            _ => String::new(),
        };
        Failure::new(format!("cannot mount {source} on {} as {fs_type}: {error}{hint}", mount.target))
    })
}

/// Paths in an overlay's options are those of the booted system. Upper and work directories are made.
fn below_sysroot(options: &str, fs_type: &str) -> String {
    if fs_type != "overlay" {
        return options.to_owned();
    }
    let mut result = Vec::new();
    for option in options.split(',') {
        let Some((name @ ("lowerdir" | "upperdir" | "workdir"), paths)) = option.split_once('=') else {
            result.push(option.to_owned());
            continue;
        };
        let moved: Vec<String> = paths
            .split(':')
            .map(|path| if path.starts_with(SYSROOT) { path.to_owned() } else { format!("{SYSROOT}{path}") })
            .collect();
        if name != "lowerdir" {
            for path in &moved {
                if let Err(error) = std::fs::create_dir_all(path) {
                    console::log(Level::Warning, &format!("cannot make {path}: {error}"));
                }
            }
        }
        result.push(format!("{name}={}", moved.join(":")));
    }
    result.join(",")
}

/// The node of a device, once it is there. Looks when the kernel says that something changed, and never sleeps.
fn wait_for(
    source: &Source,
    target: &str,
    uevents: &Uevents,
    deadline: Instant,
    timeout: u32,
) -> Result<PathBuf, Failure> {
    let mut told = false;
    loop {
        if let Some(path) = block_device::find(source) {
            return Ok(path);
        }
        if !told {
            console::log(
                Level::Info,
                &format!("waiting up to {timeout} s for {source}, to be mounted on {target}"),
            );
            told = true;
        }
        match uevents.wait_for_block_device(deadline) {
            Ok(true) => {}
            Ok(false) => {
                return Err(Failure::new(format!(
                    "{source}, to be mounted on {target}, did not appear within {timeout} seconds"
                )));
            }
            Err(error) => return Err(Failure::io("wait for", &source.to_string(), &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlay_paths_are_put_below_the_new_root() {
        assert_eq!(below_sysroot("noatime,mode=1", "tmpfs"), "noatime,mode=1");
        assert_eq!(
            below_sysroot("lowerdir=/a:/sysroot/b,index=off", "overlay"),
            "lowerdir=/sysroot/a:/sysroot/b,index=off"
        );
    }

    #[test]
    fn root_on_the_command_line_wins() {
        let mut description = Stage1::parse("firn-stage1 1\nmount LABEL=a / ext4 noatime\nend\n").unwrap();
        override_root(&mut description, &KernelCommandLine::parse("root=UUID=ab rootfstype=xfs"));
        assert_eq!(description.to_string(), "firn-stage1 1\nmount UUID=ab / xfs noatime\ntimeout 10\nend\n");
    }
}
