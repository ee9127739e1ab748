//! Cgroups of builds. What can be tested depends on the machine: where a cgroup can be had the builds are in one, and limits hold;
//! where it or a controller is missing a wanted limit is an error and never passed over.

use crate::fixture::Fixture;
use formats::store_path::StoreDir;
use std::path::{Path, PathBuf};
use store::Store;
use store::build::{BuildOptions, FailureKind, Limits, Sandbox};

/// Where builds have their cgroups on this machine; none where only a delegation could give one.
fn parent() -> Option<PathBuf> {
    let is_ours = Path::new("/run/firn").exists() || !Path::new("/run/systemd/system").exists();
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .map(Path::new)
        .into_iter()
        .find(|root| root.join("cgroup.controllers").exists())
        .filter(|root| nix::unistd::geteuid().is_root() && is_ours && writable(root))
        .map(|root| root.join("firn.builds"))
}

fn writable(root: &Path) -> bool {
    let probe = root.join(format!("firn.probe-{}", std::process::id()));
    std::fs::create_dir(&probe).and_then(|()| std::fs::remove_dir(&probe)).is_ok()
}

fn has_controller(parent: &Path, name: &str) -> bool {
    let known = std::fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
    known.split_whitespace().any(|controller| controller == name)
}

fn limited(limits: Limits) -> BuildOptions {
    BuildOptions { limits, ..BuildOptions::default() }
}

#[test]
fn a_build_has_a_cgroup_of_its_own_that_it_cannot_name() {
    let fixture = Fixture::new();
    let seen = fixture.build(&fixture.script("cgroup", "cat /proc/self/cgroup > $out"));
    let unified = seen.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    match parent() {
        Some(parent) => {
            assert_eq!(unified, "/", "the builder sees no more of the hierarchy");
            let prefix = format!("build-{}-", std::process::id());
            let left = std::fs::read_dir(parent).unwrap().filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                // Other tests of this process build at the same time; what is left has nobody in it.
                let place = entry.as_ref().unwrap().path().join("cgroup.procs");
                name.to_string_lossy().starts_with(&prefix)
                    && std::fs::read_to_string(place).is_ok_and(|processes| processes.is_empty())
            });
            assert!(left.count() < 8, "cgroups of builds that ended are taken away");
        }
        None => assert!(unified.starts_with('/')),
    }
}

#[test]
fn nothing_outlives_a_build_without_a_sandbox() {
    if parent().is_none() {
        // Without one only the builder's process group is killed, as with Nix.
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut layout = store::Layout::below(directory.path());
    layout.store_dir = StoreDir::new(layout.real_store.to_str().unwrap());
    let store = Store::open_with(layout, store::Options::default()).unwrap();
    let fixture = Fixture { directory, store };
    let number = fixture.directory.path().join("number");
    let script = format!("busybox setsid busybox sleep 600 & echo $! > {}; echo > $out", number.display());
    let shell = store::build::static_shell().unwrap();
    let derivation = fixture.derivation("runaway", &script, |derivation| {
        derivation.builder = shell.to_str().unwrap().as_bytes().to_vec();
        derivation.args.insert(0, b"sh".to_vec());
        derivation.env.insert(b"PATH".to_vec(), b"/usr/bin:/bin".to_vec());
    });
    let options = BuildOptions { sandbox: Sandbox::Off, ..BuildOptions::default() };
    fixture.store.build_derivation(&derivation, &options).unwrap();
    let process = std::fs::read_to_string(number).unwrap();
    let state = std::fs::read_to_string(format!("/proc/{}/stat", process.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "it runs on: {state}");
}

#[test]
fn memory_is_limited_or_the_limit_is_refused() {
    let fixture = Fixture::new();
    // Memory that only it has: a file in a tmpfs counts as its own.
    let greedy = fixture.script("greedy", "dd if=/dev/zero of=/dev/shm/x bs=1M count=200; echo > $out");
    let failure = fixture.failure(&greedy, &limited(Limits { memory: Some(64 << 20), tasks: None }));
    let text = failure.kind.to_string();
    if parent().is_some_and(|parent| has_controller(&parent, "memory")) {
        assert!(matches!(failure.kind, FailureKind::MemoryLimit(limit) if limit == 64 << 20), "{text}");
        assert!(text.contains("build-memory-max"), "{text}");
    } else {
        assert!(matches!(failure.kind, FailureKind::Sandbox(_)), "{text}");
        assert!(text.contains("build-memory-max") && text.contains("Delegate=yes"), "{text}");
    }
}

#[test]
fn tasks_are_limited_or_the_limit_is_refused() {
    let fixture = Fixture::new();
    let script = "for i in $(seq 100); do sleep 1 & done; wait; echo > $out";
    let bomb = fixture.script("bomb", script);
    let failure = fixture.failure(&bomb, &limited(Limits { memory: None, tasks: Some(20) }));
    if parent().is_some_and(|parent| has_controller(&parent, "pids")) {
        assert!(failure.tail.iter().any(|line| line.contains("fork")), "{:?}", failure.tail);
    } else {
        assert!(matches!(failure.kind, FailureKind::Sandbox(_)), "{}", failure.kind);
    }
}
