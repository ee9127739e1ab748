//! The file system of both machines: Debian's systemd with the libraries that it needs, busybox, Firn, and this test's scripts.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use qemu_tests::debian;
use qemu_tests::initrd::Initrd;

use crate::definitions::Cases;

/// systemd and the packages whose libraries it and its tools load.
const PACKAGES: [&str; 24] = [
    "systemd",
    "libsystemd-shared",
    "libsystemd0",
    "libacl1",
    "libapparmor1",
    "libaudit1",
    "libblkid1",
    "libc6",
    "libcap-ng0",
    "libcap2",
    "libcrypt1",
    "libgcrypt20",
    "libgpg-error0",
    "libip4tc2",
    "libkmod2",
    "liblz4-1",
    "liblzma5",
    "libmount1",
    "libpam0g",
    "libpcre2-8-0",
    "libseccomp2",
    "libselinux1",
    "libssl3",
    "libzstd1",
];

/// Directories of packages that no test needs, and units that would only take time.
const LEFT_OUT: [&str; 10] = [
    "usr/share",
    "lib/udev",
    "usr/lib/udev",
    "usr/lib/systemd/boot",
    "usr/lib/systemd/catalog",
    "usr/lib/systemd/user",
    "lib/systemd/system-generators",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/systemd/user-generators",
    "lib/systemd/system/sysinit.target.wants",
];

/// Commands of the scripts that busybox answers.
const APPLETS: [&str; 46] = [
    "sh", "cat", "echo", "sleep", "usleep", "true", "false", "test", "[", "ls", "readlink", "sort", "sed",
    "grep", "wc", "tr", "touch", "mkdir", "rm", "cp", "mv", "ln", "chmod", "chown", "stat", "dd", "head",
    "tail", "mount", "umount", "dmesg", "date", "hostname", "unshare", "nc", "ping", "chrt", "kill", "id",
    "env", "sync", "poweroff", "mkfifo", "timeout", "uniq", "ifconfig",
];

/// What Debian ships of systemd, and the versions of all packages.
pub(crate) fn debian(cache: &Path) -> (Initrd, String) {
    let trees = debian::packages(&PACKAGES, cache).unwrap();
    let versions = trees.iter().map(|tree| tree.file_name().unwrap().to_string_lossy().into_owned());
    let versions = versions.collect::<Vec<_>>().join("\n");
    (trees.iter().fold(Initrd::default(), |initrd, tree| add_tree(initrd, tree, "")), versions)
}

/// Adds what both sides have.
pub(crate) fn common(mut initrd: Initrd, cases: &Cases, data: &Path, cache: &Path, agent: &Path) -> Initrd {
    let busybox_tree = debian::package("busybox-static", cache).unwrap();
    let read = |name: &str| std::fs::read(data.join(name)).unwrap();
    let busybox = "/conformance/busybox";
    for applet in APPLETS {
        initrd = initrd.link(&format!("conformance/bin/{applet}"), busybox);
    }
    for applet in ["sh", "true", "false", "sleep", "echo", "cat", "mount", "umount"] {
        initrd = initrd.link(&format!("bin/{applet}"), busybox);
    }
    let script = |text: &str| format!("#!{busybox} sh\n{text}");
    for directory in ["usr", "lib", "lib64"] {
        initrd = initrd.directory(directory);
    }
    let initrd = initrd
        .program("conformance/busybox", &busybox_tree.join("bin/busybox"))
        .unwrap()
        .program("conformance/reader", agent)
        .unwrap()
        .file("init", 0o755, read("init.sh"))
        .file("conformance/driver", 0o755, read("driver.sh"))
        .file("conformance/functions", 0o644, read("functions.sh"))
        .file("conformance/probe", 0o755, script("/conformance/reader probe $$ \"$@\"\n"))
        .file(
            "conformance/probe-to",
            0o755,
            script("n=$1\nshift\nexec /conformance/probe \"$@\" 9>/dev/null 7>/dev/null >/conformance/out/to.$n\n"),
        )
        .file("conformance/arguments", 0o755, script("for a; do echo \"argument <$a>\"; done\n"))
        .file("conformance/mark", 0o755, script("f=$1\nshift\necho \"$*\" >>$f\n"))
        .file("conformance/stay", 0o755, script("echo \"$2\" >>$1\nexec /conformance/busybox sleep 10000\n"))
        .file("conformance/files/environment", 0o644, read("environment"))
        .file("conformance/files/environment2", 0o644, "A=second\nLAST=yes\n")
        .file("conformance/files/appended", 0o644, "before\n")
        .file("conformance/files/truncated", 0o644, "before, and long\n")
        .file("conformance/files/secret", 0o600, "s3cret\n")
        .file("conformance/files/credentials/one", 0o600, "1\n")
        .file("conformance/files/credentials/two", 0o600, "2\n")
        .file("conformance/probes", 0o644, cases.probes.join("\n") + "\n")
        .file("etc/hostname", 0o644, "conformance\n")
        .file("etc/machine-id", 0o444, "0123456789abcdef0123456789abcdef\n")
        .file("etc/os-release", 0o644, "ID=conformance\n")
        .file("etc/fstab", 0o644, "")
        .file("etc/nsswitch.conf", 0o644, "passwd: files systemd\ngroup: files systemd\n")
        .file("etc/passwd", 0o644, read("passwd"))
        .file("etc/group", 0o644, read("group"))
        .file("var/lib/there/old", 0o644, "old\n");
    let initrd = cases.scripts.iter().fold(initrd, |initrd, (name, text)| {
        initrd.file(&format!("conformance/cases/{name}"), 0o644, text.as_bytes())
    });
    cases.units.iter().fold(initrd, |initrd, (name, text)| {
        initrd.file(&format!("etc/systemd/system/{name}"), 0o644, text.as_bytes())
    })
}

/// Adds the files of an unpacked package.
fn add_tree(mut initrd: Initrd, root: &Path, below: &str) -> Initrd {
    let mut entries: Vec<_> =
        std::fs::read_dir(root.join(below)).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if LEFT_OUT.contains(&name.as_str()) {
            continue;
        }
        let meta = path.symlink_metadata().unwrap();
        initrd = if meta.is_symlink() {
            initrd.link(&name, std::fs::read_link(&path).unwrap().to_str().unwrap())
        } else if meta.is_dir() {
            add_tree(initrd, root, &name)
        } else {
            initrd.file(&name, meta.permissions().mode() & 0o7777, std::fs::read(&path).unwrap())
        };
    }
    initrd
}
