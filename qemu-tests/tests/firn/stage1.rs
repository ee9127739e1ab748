//! Stage 1 alone: `firn-init` as process 1 of an initrd that a test wrote by hand, and a root file system whose "stage
//! 2" is a busybox script that says what it found.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use qemu_tests::initrd::Initrd;
use qemu_tests::{Builder, Disk, Machine};

use crate::parts;

const UUID: &str = "5f6a0d3c-0d3f-4a5e-9d37-1f0cbb3c6f01";
const STAGE_2: &str = r#"#!/nix/store/busybox sh
export PATH=/nix/store/bin
/nix/store/busybox mkdir -p /run/bin; /nix/store/busybox --install -s /run/bin; PATH=/run/bin
echo "stage 2: $$ as $0"
grep -E ' (/|/nix/store|/dev|/proc|/sys|/run) ' /proc/mounts | sed 's/^/mounted: /'
touch /nix/store/x 2>&1 | sed 's/^/store: /'
touch /written && echo "root: writable"
ls / | sed 's/^/in root: /'
poweroff -f
"#;

/// An ext4 root with a store in it, labelled and numbered.
fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let tree = tempfile::tempdir_in(parts::directory()).unwrap();
        let at = |name: &str| tree.path().join(name);
        for name in ["nix/store", "nix/var/nix/profiles", "dev", "proc", "sys", "run"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        std::fs::copy(parts::busybox(), at("nix/store/busybox")).unwrap();
        std::fs::create_dir(at("nix/store/gen")).unwrap();
        std::fs::write(at("nix/store/gen/init"), STAGE_2).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(at("nix/store/gen/init"), executable).unwrap();
        std::os::unix::fs::symlink("/nix/store/gen", at("nix/var/nix/profiles/system")).unwrap();
        let image = parts::directory().join(format!("root-{}.img", std::process::id()));
        parts::host(
            Command::new("/usr/sbin/mke2fs")
                .args(["-q", "-t", "ext4", "-L", "root", "-U", UUID, "-d"])
                .args([tree.path(), &image])
                .arg("32M"),
        );
        image
    })
}

/// An initrd with this source of the root.
fn initrd(name: &str, source: &str, rescue: bool) -> PathBuf {
    let initrd = Initrd::default().program("init", &parts::static_program("init", "firn-init")).unwrap();
    let initrd = initrd
        .modules(&parts::modules(), &["virtio_pci", "virtio_blk", "crc32c_generic", "crc32c_intel"])
        .unwrap();
    let mut description = String::from("firn-stage1 1\n");
    for module in initrd.module_order() {
        description.extend(["module modules/", &module, "\n"]);
    }
    description.extend(["mount ", source, " / ext4 defaults\ntimeout 5\n"]);
    let mut initrd = initrd;
    if rescue {
        description += "rescue bin/busybox\n";
        initrd = initrd.program("bin/busybox", parts::busybox()).unwrap();
    }
    description += "end\n";
    let path = parts::directory().join(format!("stage1-{name}-{}", std::process::id()));
    initrd.file("stage1.conf", 0o644, description).write(&path).unwrap();
    path
}

fn machine(name: &str, source: &str, words: &str) -> Builder {
    machine_with(name, &initrd(name, source, words.contains("rescue")), words)
}

fn machine_with(name: &str, initrd: &Path, words: &str) -> Builder {
    let line = format!("console=ttyS0 quiet panic=-1 {words}");
    Machine::builder(format!("stage1-{name}")).memory_mib(256).no_reboot().disk(Disk::overlay(root())).kernel(
        parts::vmlinux(),
        Some(initrd),
        &line,
    )
}

/// What the guest said until it powered off.
fn said(machine: &Machine) -> String {
    machine.wait_for_shutdown().unwrap();
    machine.console_text()
}

#[test]
fn root_is_found_by_label_number_device_and_root_parameter() {
    let number = format!("UUID={UUID}");
    for (name, source, words) in [
        ("label", "LABEL=root", "init=/nix/store/gen/init"),
        ("uuid", number.as_str(), ""),
        ("device", "/dev/vda", "init=/nix/store/gen/init"),
        ("parameter", "LABEL=wrong", "root=LABEL=root"),
    ] {
        let text = said(&machine(name, source, words).start().unwrap());
        let expected_name =
            if words.contains("init=") { "/nix/store/gen/init" } else { "/nix/var/nix/profiles/system/init" };
        assert!(text.contains(&format!("stage 2: 1 as {expected_name}")), "{name}:\n{text}");
        assert!(text.contains("root: writable"), "{name}:\n{text}");
        assert!(text.contains("Read-only file system"), "{name}: the store can be written to\n{text}");
        for place in ["/dev devtmpfs", "/proc proc", "/sys sysfs", "/run tmpfs", "/nix/store ext4 ro"] {
            assert!(text.contains(place), "{name}: {place} is missing\n{text}");
        }
        assert!(!text.contains("in root: stage1.conf"), "{name}: still in the initrd\n{text}");
    }
}

#[test]
fn a_root_that_never_appears_is_said() {
    let machine = machine("absent", "LABEL=nowhere", "").limit(Duration::from_secs(60)).start().unwrap();
    machine.wait_for_console("rebooting in").unwrap();
    let text = machine.console_text();
    assert!(text.contains("LABEL=nowhere") && text.contains("vda") && text.contains("root"), "{text}");
}

#[test]
fn an_initrd_that_is_cut_short_is_said() {
    let whole = std::fs::read(initrd("whole", "LABEL=root", false)).unwrap();
    // Its end mark, within its description, and in the middle of a module.
    let description = whole.windows(13).rposition(|text| text == b"firn-stage1 1").unwrap();
    for (name, length) in [("tail", description + 60), ("module", description - 60_000)] {
        let path = parts::directory().join(format!("stage1-cut-{name}-{}", std::process::id()));
        std::fs::write(&path, &whole[..length]).unwrap();
        let machine =
            machine_with(&format!("cut-{name}"), &path, "").limit(Duration::from_secs(60)).start().unwrap();
        machine.wait_for_console("rebooting in").unwrap();
        let text = machine.console_text();
        assert!(text.contains("The initrd is cut short") && text.contains("firn bootmenu --check"), "{text}");
    }
}

#[test]
fn rescue_gives_a_shell() {
    let machine = machine("rescue", "LABEL=root", "firn.rescue").start().unwrap();
    machine.wait_for_console("firn.rescue is on the kernel's command line").unwrap();
    machine.wait_for_console("rescue# ").unwrap();
    machine.type_text("echo here-$((6 * 7))\n").unwrap();
    machine.wait_for_console("here-42").unwrap();
}

#[test]
fn a_generation_that_is_not_there_is_said() {
    let machine = machine("no-init", "LABEL=root", "init=/nix/store/none/init").start().unwrap();
    machine.wait_for_console("rebooting in").unwrap();
    let text = machine.console_text();
    assert!(text.contains("/nix/store/none/init") && text.contains("does not exist"), "{text}");
}
