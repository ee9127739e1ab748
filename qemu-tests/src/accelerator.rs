//! Which accelerator works here. A `/dev/kvm` proves nothing: there are hosts with one on which a stock kernel never
//! leaves real mode. So a guest of 512 bytes is started under KVM: it goes from real mode through protected to long
//! mode, as every kernel does, takes an exception there, and leaves by the debug exit device. Only when that happens
//! within the time limit is KVM used. The answer is kept until the next boot of the host.

mod guest;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How guest code is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// By the processor, through the kernel's KVM.
    Kvm,
    /// By translation; works everywhere, about ten times slower.
    Tcg,
}

impl Accelerator {
    /// The value of QEMU's `-accel`.
    pub fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// How many times longer than on the processor itself things may take.
    pub(crate) fn slowness(self) -> u32 {
        match self {
            Self::Kvm => 1,
            Self::Tcg => 3,
        }
    }
}

/// The best accelerator that works, from `VM_ACCELERATOR` (`kvm` or `tcg`), this boot's earlier answer, or a trial.
pub fn detect() -> Accelerator {
    match std::env::var("VM_ACCELERATOR").as_deref() {
        Ok("kvm") => return Accelerator::Kvm,
        Ok("tcg") => return Accelerator::Tcg,
        _ => {}
    }
    if !Path::new("/dev/kvm").exists() {
        return Accelerator::Tcg;
    }
    let answer = answer_file();
    if let Some(known) = answer.as_ref().and_then(|path| std::fs::read_to_string(path).ok()) {
        match known.trim() {
            "kvm" => return Accelerator::Kvm,
            "tcg" => return Accelerator::Tcg,
            _ => {}
        }
    }
    let found = if works(Accelerator::Kvm, Duration::from_secs(5)).unwrap_or(false) {
        Accelerator::Kvm
    } else {
        Accelerator::Tcg
    };
    if let Some(path) = answer {
        // Without it the next one tries again.
        drop(keep(&path, found));
    }
    found
}

/// Whether the trial guest runs to its end under this accelerator within the limit.
pub fn works(accelerator: Accelerator, limit: Duration) -> Result<bool> {
    let mut disk = tempfile::NamedTempFile::new()
        .map_err(Error::file("cannot create a file in", std::env::temp_dir()))?;
    disk.write_all(&guest::boot_sector()).map_err(Error::file("cannot write", disk.path()))?;
    let program = crate::host::program("qemu-system-x86_64", "qemu-system-x86")?;
    let mut child = Command::new(&program)
        .args(["-accel", accelerator.argument(), "-M", "pc", "-m", "16", "-nodefaults", "-display", "none"])
        .args(["-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-drive"])
        .arg(format!("format=raw,if=ide,readonly=off,snapshot=on,file={}", disk.path().display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Error::file("cannot run", program))?;
    let end = Instant::now() + limit;
    loop {
        match child.try_wait() {
            // The device ends QEMU with twice the value plus one.
            Ok(Some(status)) => return Ok(status.code() == Some(i32::from(guest::EXIT_VALUE) * 2 + 1)),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
            _ => {
                // Its own child; it may have ended just now.
                drop(child.kill());
                drop(child.wait());
                return Ok(false);
            }
        }
    }
}

/// One file a user and boot of the host.
fn answer_file() -> Option<PathBuf> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(cache.join("qemu-tests").join(format!("accelerator-{}", boot.trim())))
}

fn keep(path: &Path, accelerator: Accelerator) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
        // Answers of earlier boots.
        for entry in std::fs::read_dir(directory)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("accelerator-") {
                std::fs::remove_file(entry.path())?;
            }
        }
    }
    std::fs::write(path, accelerator.argument())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trial_guest_runs_under_translation() {
        assert!(works(Accelerator::Tcg, Duration::from_secs(60)).unwrap());
    }

    #[test]
    fn a_guest_that_does_not_finish_is_found_out_in_time() {
        let start = Instant::now();
        assert!(!works(Accelerator::Tcg, Duration::from_millis(1)).unwrap());
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn some_accelerator_is_always_found() {
        assert!(works(detect(), Duration::from_secs(60)).unwrap());
    }
}
