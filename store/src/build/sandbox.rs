//! The sandbox as a list of steps: namespaces, a root of its own with only the inputs, no privileges. Closed by default:
//! when it cannot be had, the build fails and says which step did.

use super::FailureKind;
use super::environment::string;
use super::one::Job;
use super::seccomp;
use crate::error::Error;
use std::ffi::CString;
use std::fs;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use sys::namespaced_child::{Namespaces, Plan, SpawnError, Step};

/// The build user inside.
const USER: u32 = 1000;
/// The build group inside.
const GROUP: u32 = 100;
/// The build directory inside.
pub(super) const BUILD_DIRECTORY: &str = "/build";

/// Whether builders are isolated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sandbox {
    /// Yes; a build fails where it cannot be. With further paths that builders see.
    Required(Vec<SandboxPath>),
    /// No: builders see the whole machine. Only for a store at its own logical place.
    Off,
}

impl Default for Sandbox {
    /// Isolated, with a static busybox as `/bin/sh` if there is one.
    fn default() -> Self {
        let shell =
            static_shell().map(|source| SandboxPath { target: "/bin/sh".into(), source, optional: false });
        Self::Required(shell.into_iter().collect())
    }
}

/// A path of the machine that builders see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxPath {
    /// Where they see it.
    pub target: PathBuf,
    /// What it is.
    pub source: PathBuf,
    /// Whether it may be missing.
    pub optional: bool,
}

/// A static busybox on this machine, if there is one: it can be `/bin/sh` where nothing else is.
#[must_use]
pub fn static_shell() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox", "/run/current-system/sw/bin/busybox"]
        .into_iter()
        .map(PathBuf::from)
        .filter_map(|path| fs::canonicalize(path).ok())
        .find(|path| fs::read(path).is_ok_and(|file| is_static(&file)))
}

/// Whether an ELF file asks for no interpreter (elf(5), PT_INTERP).
fn is_static(file: &[u8]) -> bool {
    let number = |offset: usize, size: usize| -> Option<u64> {
        let bytes = file.get(offset..offset + size)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    if file.get(..6) != Some(b"\x7fELF\x02\x01") {
        return false;
    }
    let (Some(table), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2)) else {
        return false;
    };
    (0..count).all(|index| number((table + index * size) as usize, 4).is_some_and(|kind| kind != 3))
}

/// What the builder's standard descriptors are.
pub(super) struct Streams {
    pub(super) null: RawFd,
    pub(super) output: RawFd,
}

/// The steps so far, and what each is for: the words of an error.
struct Steps {
    steps: Vec<Step>,
    what: Vec<String>,
    trees: usize,
}

impl Steps {
    fn push(&mut self, what: impl Into<String>, step: Step) {
        self.what.push(what.into());
        self.steps.push(step);
    }

    /// Takes the tree at a path of the machine; gives its slot.
    fn take(&mut self, source: &Path, read_only: bool) -> Result<usize, FailureKind> {
        let slot = self.trees;
        self.trees += 1;
        let what = format!("taking `{}` into the sandbox", source.display());
        let source = c_path(source)?;
        self.push(what, Step::TakeTree { source, slot, read_only });
        Ok(slot)
    }

    fn put(&mut self, slot: usize, target: &str) -> Result<(), FailureKind> {
        let step = Step::PutTree { slot, target: c_text(target)? };
        self.push(format!("mounting /{target}"), step);
        Ok(())
    }

    fn directory(&mut self, path: &str, mode: u32) -> Result<(), FailureKind> {
        let step = Step::MakeDirectory { path: c_text(path)?, mode };
        self.push(format!("creating directory /{path}"), step);
        Ok(())
    }

    fn file(&mut self, path: &str, contents: &str) -> Result<(), FailureKind> {
        let step = Step::MakeFile { path: c_text(path)?, mode: 0o644, contents: contents.into() };
        self.push(format!("writing /{path}"), step);
        Ok(())
    }

    fn link(&mut self, path: &str, target: &str) -> Result<(), FailureKind> {
        let step = Step::Symlink { target: c_text(target)?, path: c_text(path)? };
        self.push(format!("linking /{path}"), step);
        Ok(())
    }

    fn mount(&mut self, kind: &str, target: &str, flags: u64, options: &str) -> Result<(), FailureKind> {
        let step = Step::Mount {
            source: c_text(kind)?,
            target: c_text(target)?,
            kind: c_text(kind)?,
            flags,
            options: c_text(options)?,
        };
        self.push(format!("mounting {kind} on /{target}"), step);
        Ok(())
    }
}

fn c_text(text: &str) -> Result<CString, FailureKind> {
    string(text.as_bytes().to_vec(), "a path")
}

fn c_path(path: &Path) -> Result<CString, FailureKind> {
    string(path.as_os_str().as_bytes().to_vec(), "a path")
}

const NO_SET_ID: u64 = 2;
const NO_DEVICES: u64 = 4;
const NO_EXECUTION: u64 = 8;

/// The child's plan, and what each step is for.
pub(super) fn plan(
    job: &Job<'_>,
    streams: &Streams,
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    cgroup: Option<RawFd>,
) -> Result<(Plan, Vec<String>), FailureKind> {
    let mut steps = Steps { steps: Vec::new(), what: Vec::new(), trees: 0 };
    let network = job.may_use_network();
    let isolated = match &job.options.sandbox {
        Sandbox::Required(paths) => {
            if cgroup.is_some() {
                steps.push("hiding where its cgroup is", Step::OwnCgroupView);
            }
            enclose(job, paths, network, &mut steps)?;
            true
        }
        Sandbox::Off => {
            stay_outside(job, &mut steps)?;
            false
        }
    };
    finish(streams, isolated && !network, network, &mut steps);
    let namespaces = if isolated {
        Namespaces { user: true, pid: true, mount: true, ipc: true, uts: true, net: !network }
    } else {
        Namespaces::default()
    };
    let plan = Plan {
        namespaces,
        user: isolated.then_some((USER, job.identity.user)),
        group: isolated.then_some((GROUP, job.identity.group)),
        allow_groups: isolated && job.identity.separate,
        steps: steps.steps,
        program,
        arguments,
        environment,
        cgroup,
    };
    Ok((plan, steps.what))
}

/// Builds the root: first everything is taken from the machine with our own rights, then put together as the build user.
fn enclose(
    job: &Job<'_>,
    paths: &[SandboxPath],
    network: bool,
    steps: &mut Steps,
) -> Result<(), FailureKind> {
    steps.push("making mounts private", Step::PrivateMounts);
    // Descriptors of trees taken: one for each input.
    let many = Step::SoftLimit { resource: libc_nofile(), value: 1 << 20 };
    steps.push("raising the limit of open files", many);
    let store = steps.take(&job.scratch.store(), false)?;
    let build = steps.take(&job.scratch.build(), false)?;
    let temporary = steps.take(&job.scratch.temporary(), false)?;
    let root = job.scratch.root();
    let step = Step::Mount {
        source: c"firn-sandbox".into(),
        target: c_path(root)?,
        kind: c"tmpfs".into(),
        flags: NO_SET_ID | NO_DEVICES,
        options: c_text(&format!("mode=0755,uid={USER},gid={GROUP},size=16m"))?,
    };
    steps.push("mounting the sandbox's root", step);
    let mut devices = vec!["full", "null", "random", "tty", "urandom", "zero"];
    if job.attributes.required_features().contains("kvm") && Path::new("/dev/kvm").exists() {
        devices.push("kvm");
    }
    let mut taken_devices = Vec::new();
    for device in &devices {
        taken_devices.push(steps.take(&Path::new("/dev").join(device), false)?);
    }
    let inputs = take_inputs(job, steps)?;
    let others = take_others(paths, network, steps)?;
    steps.push("entering the sandbox's root", Step::ChangeDirectory(c_path(root)?));
    if job.identity.separate {
        steps.push("leaving all groups", Step::NoSupplementaryGroups);
    }
    steps.push("becoming the build group", Step::SetGroup(GROUP));
    steps.push("becoming the build user", Step::SetUser(USER));

    for (directory, mode) in [("nix", 0o755), ("nix/store", 0o755), ("build", 0o700), ("tmp", 0o1777)] {
        steps.directory(directory, mode)?;
    }
    let store_dir = job.store.dir().as_str().trim_start_matches('/').to_owned();
    if store_dir != "nix/store" {
        make_parents(steps, &store_dir)?;
        steps.directory(&store_dir, 0o755)?;
    }
    steps.put(store, &store_dir)?;
    steps.put(build, "build")?;
    steps.put(temporary, "tmp")?;
    put_inputs(&store_dir, inputs, steps)?;
    devices_and_proc(&devices, taken_devices, steps)?;
    etc(network, steps)?;
    put_others(others, steps)?;
    steps.push("closing /etc", Step::ChangeMode { path: c"etc".into(), mode: 0o555 });
    steps.push("closing the root", Step::ChangeMode { path: c".".into(), mode: 0o755 });
    steps.push("changing the root", Step::PivotToWorkingDirectory);
    steps.push("entering the build directory", Step::ChangeDirectory(c_text(BUILD_DIRECTORY)?));
    steps.push("setting the host name", Step::HostName(c"localhost".into()));
    Ok(())
}

/// RLIMIT_NOFILE.
const fn libc_nofile() -> i32 {
    7
}

/// An input as it is put into the sandbox.
enum Input {
    Directory(usize),
    File(usize),
    Link(String),
}

fn take_inputs(job: &Job<'_>, steps: &mut Steps) -> Result<Vec<(String, Input)>, FailureKind> {
    let mut inputs = Vec::new();
    for path in &job.inputs {
        let real = job.store.real_path(path);
        let found = fs::symlink_metadata(&real).map_err(Error::file("examining input", &real))?;
        let input = if found.is_symlink() {
            let target = fs::read_link(&real).map_err(Error::file("reading link", &real))?;
            Input::Link(target.to_string_lossy().into_owned())
        } else if found.is_dir() {
            Input::Directory(steps.take(&real, true)?)
        } else {
            Input::File(steps.take(&real, true)?)
        };
        inputs.push((path.base_name().to_owned(), input));
    }
    Ok(inputs)
}

fn put_inputs(store_dir: &str, inputs: Vec<(String, Input)>, steps: &mut Steps) -> Result<(), FailureKind> {
    for (name, input) in inputs {
        let target = format!("{store_dir}/{name}");
        match input {
            Input::Link(to) => steps.link(&target, &to)?,
            Input::Directory(slot) => {
                steps.directory(&target, 0o555)?;
                steps.put(slot, &target)?;
            }
            Input::File(slot) => {
                steps.file(&target, "")?;
                steps.put(slot, &target)?;
            }
        }
    }
    Ok(())
}

/// Other paths of the machine: (inside, its tree, whether it is a directory).
type Others = Vec<(String, usize, bool)>;

fn take_others(paths: &[SandboxPath], network: bool, steps: &mut Steps) -> Result<Others, FailureKind> {
    let mut others = Vec::new();
    for path in paths {
        match fs::metadata(&path.source) {
            Ok(found) => {
                let source =
                    fs::canonicalize(&path.source).map_err(Error::file("resolving", &path.source))?;
                let inside = path.target.to_string_lossy().trim_start_matches('/').to_owned();
                others.push((inside, steps.take(&source, true)?, found.is_dir()));
            }
            Err(_) if path.optional => {}
            Err(error) => return Err(Error::file("examining the sandbox path", &path.source)(error).into()),
        }
    }
    if network {
        for file in ["/etc/resolv.conf", "/etc/services", "/etc/hosts"] {
            if let Ok(source) = fs::canonicalize(file) {
                others.push((file.trim_start_matches('/').to_owned(), steps.take(&source, true)?, false));
            }
        }
        let certificates = super::fetch::certificate_file();
        if let Some(source) = certificates.and_then(|file| fs::canonicalize(file).ok()) {
            let target = "etc/ssl/certs/ca-certificates.crt".to_owned();
            others.push((target, steps.take(&source, true)?, false));
        }
    }
    Ok(others)
}

fn put_others(others: Others, steps: &mut Steps) -> Result<(), FailureKind> {
    let mut made = std::collections::BTreeSet::new();
    for (target, slot, is_directory) in others {
        for parent in parents(&target) {
            if !["etc", "dev", "nix", "nix/store", "tmp", "build", "proc"].contains(&parent.as_str())
                && made.insert(parent.clone())
            {
                steps.directory(&parent, 0o755)?;
            }
        }
        if is_directory {
            steps.directory(&target, 0o755)?;
        } else {
            steps.file(&target, "")?;
        }
        steps.put(slot, &target)?;
    }
    Ok(())
}

fn parents(path: &str) -> Vec<String> {
    let mut parents: Vec<String> = Path::new(path)
        .ancestors()
        .skip(1)
        .filter(|parent| !parent.as_os_str().is_empty())
        .map(|parent| parent.to_string_lossy().into_owned())
        .collect();
    parents.reverse();
    parents
}

fn make_parents(steps: &mut Steps, path: &str) -> Result<(), FailureKind> {
    for parent in parents(path) {
        if parent != "nix" && parent != "nix/store" {
            steps.directory(&parent, 0o755)?;
        }
    }
    Ok(())
}

fn devices_and_proc(names: &[&str], taken: Vec<usize>, steps: &mut Steps) -> Result<(), FailureKind> {
    steps.directory("dev", 0o755)?;
    for (name, slot) in names.iter().zip(taken) {
        let target = format!("dev/{name}");
        steps.file(&target, "")?;
        steps.put(slot, &target)?;
    }
    for (path, target) in [
        ("dev/fd", "/proc/self/fd"),
        ("dev/stdin", "/proc/self/fd/0"),
        ("dev/stdout", "/proc/self/fd/1"),
        ("dev/stderr", "/proc/self/fd/2"),
        ("dev/ptmx", "/dev/pts/ptmx"),
    ] {
        steps.link(path, target)?;
    }
    steps.directory("dev/shm", 0o1777)?;
    steps.mount("tmpfs", "dev/shm", NO_SET_ID | NO_DEVICES, "mode=1777,size=50%")?;
    steps.directory("dev/pts", 0o755)?;
    steps.mount("devpts", "dev/pts", NO_SET_ID | NO_EXECUTION, "newinstance,mode=0620,ptmxmode=0666")?;
    steps.directory("proc", 0o555)?;
    steps.mount("proc", "proc", NO_SET_ID | NO_DEVICES | NO_EXECUTION, "")
}

fn etc(network: bool, steps: &mut Steps) -> Result<(), FailureKind> {
    steps.directory("etc", 0o755)?;
    steps.file(
        "etc/passwd",
        "root:x:0:0:Nix build user:/build:/noshell\n\
         nixbld:x:1000:100:Nix build user:/build:/noshell\n\
         nobody:x:65534:65534:Nobody:/:/noshell\n",
    )?;
    steps.file("etc/group", "root:x:0:\nnixbld:!:100:\nnogroup:x:65534:\n")?;
    if network {
        steps.file("etc/nsswitch.conf", "hosts: files dns\nservices: files\n")
    } else {
        steps.file("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
    }
}

/// Without a sandbox: only the working directory.
fn stay_outside(job: &Job<'_>, steps: &mut Steps) -> Result<(), FailureKind> {
    if job.store.layout.real_store != Path::new(job.store.dir().as_str()) {
        return Err(FailureKind::Sandbox(format!(
            "a store below another root ({}) can only build in the sandbox",
            job.store.layout.real_store.display()
        )));
    }
    let step = Step::ChangeDirectory(c_path(&job.scratch.build())?);
    steps.push("entering the build directory", step);
    Ok(())
}

/// What every builder goes through last.
fn finish(streams: &Streams, own_network: bool, outside_network: bool, steps: &mut Steps) {
    const ADDR_NO_RANDOMIZE: u64 = 0x0004_0000;
    const RLIMIT_CORE: i32 = 4;
    if own_network {
        steps.push("setting the loopback interface up", Step::LoopbackUp);
    }
    steps.push("starting a session", Step::NewSession);
    steps.push("opening standard input", Step::Duplicate { from: streams.null, to: 0 });
    steps.push("opening standard output", Step::Duplicate { from: streams.output, to: 1 });
    steps.push("opening standard error", Step::Duplicate { from: streams.output, to: 2 });
    steps.push("fixing the address layout", Step::Personality(ADDR_NO_RANDOMIZE));
    steps.push("setting the umask", Step::Umask(0o022));
    steps.push("forbidding core dumps", Step::SoftLimit { resource: RLIMIT_CORE, value: 0 });
    steps.push("lowering the limit of open files", Step::SoftLimit { resource: libc_nofile(), value: 1024 });
    steps.push("giving up capabilities", Step::NoCapabilities);
    steps.push("dying with the store's process", Step::DieWithParent);
    steps.push("closing other descriptors", Step::CloseFrom(3));
    steps.push("forbidding new privileges", Step::NoNewPrivileges);
    if outside_network {
        // In the machine's network namespace its abstract sockets could be reached, too (CVE-2024-27297).
        steps.push("closing abstract sockets", Step::ScopeAbstractSockets);
    }
    steps.push("filtering system calls", Step::Seccomp(seccomp::filter()));
}

/// The words for a child that did not come to be.
pub(super) fn explain(error: &SpawnError, what: &[String], program: &str) -> FailureKind {
    FailureKind::Sandbox(match error {
        SpawnError::Clone(error) => format!(
            "cannot create the sandbox's namespaces: {error} (are user namespaces allowed here? \
             see /proc/sys/user/max_user_namespaces and kernel.apparmor_restrict_unprivileged_userns)"
        ),
        SpawnError::Maps(error) => format!("cannot map the build user into the sandbox: {error}"),
        SpawnError::Step(index, error) => {
            format!("sandbox: {} failed: {error}", what.get(*index).map_or("a step", String::as_str))
        }
        SpawnError::Execute(error) => format!("cannot execute the builder `{program}`: {error}"),
    })
}
