//! What the machines of these tests are made of: Debian's cloud kernel (downloaded with apt-get, unpacked below target/),
//! the static busybox, and `firn-agent` as it is shipped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use qemu_tests::debian::{self, Kernel};
use qemu_tests::initrd::Initrd;
use qemu_tests::{Builder, Machine};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Modules for a guest with disks, network and an agent.
const MODULES: &[&str] =
    &["virtio_pci", "virtio_console", "virtio_blk", "virtio_net", "vfat", "nls_ascii", "nls_cp437"];

/// The first program: loads modules, starts the agent, and then shows a shell prompt.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /tmp /boot
for module in $(cat /modules.list); do insmod /modules/$module; done
ip link set lo up
echo "guest: booted with $(cat /proc/cmdline)"
firn-agent &
exec setsid cttyhack sh
"#;

/// Where these tests keep what they make.
pub(crate) fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("driver");
        std::fs::create_dir_all(&directory).unwrap();
        directory
    })
}

/// Runs a command of the host, which must succeed.
pub(crate) fn host(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Debian's cloud kernel.
fn kernel() -> &'static Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    KERNEL.get_or_init(|| debian::cloud_kernel(directory()).unwrap())
}

/// The kernel as a bzImage.
pub(crate) fn bzimage() -> PathBuf {
    kernel().bzimage.clone()
}

/// The same without its compression.
pub(crate) fn vmlinux() -> PathBuf {
    qemu_tests::kernel::for_direct_boot(&bzimage(), directory()).unwrap()
}

/// One of Firn's static programs: that of the distribution directory, or one built here.
pub(crate) fn static_program(package: &str, name: &str) -> PathBuf {
    if let Some(dist) = std::env::var_os("FIRN_DIST") {
        return PathBuf::from(dist).join("bin").join(name);
    }
    let target = directory().join("static");
    host(
        Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "-p", package, "--bin", name, "--target", TARGET])
            .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "--target-dir"])
            .arg(&target)
            .env("RUSTFLAGS", "-C target-feature=+crt-static"),
    );
    target.join(TARGET).join("release").join(name)
}

/// The static busybox of the host.
pub(crate) fn busybox() -> &'static Path {
    ["/usr/bin/busybox", "/bin/busybox"].map(Path::new).into_iter().find(|path| path.exists()).unwrap()
}

/// The kernel's modules.
pub(crate) fn modules() -> PathBuf {
    kernel().modules.clone()
}

/// An initrd that is a whole small system.
pub(crate) fn initrd() -> &'static Path {
    static INITRD: OnceLock<PathBuf> = OnceLock::new();
    INITRD.get_or_init(|| {
        let path = directory().join(format!("initrd-{}", std::process::id()));
        let empty = ["proc", "sys", "dev"].into_iter().fold(Initrd::default(), Initrd::directory);
        let initrd = empty.file("init", 0o755, INIT).program("bin/busybox", busybox()).unwrap();
        let initrd = initrd.program("bin/firn-agent", &static_program("qemu-tests", "firn-agent")).unwrap();
        initrd.modules(&modules(), MODULES).unwrap().write(&path).unwrap();
        path
    })
}

/// A machine that boots the small system directly.
pub(crate) fn small_system(name: &str) -> Builder {
    Machine::builder(name).memory_mib(256).agent().kernel(
        vmlinux(),
        Some(initrd()),
        "console=ttyS0 quiet panic=-1",
    )
}
