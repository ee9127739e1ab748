//! `kill -9` at each step: a process works on a store under ptrace(2), which counts the system calls that change anything, and
//! is killed before the first, the second, … of them. Whatever the step, what was reported is there, everything valid is
//! right, the next one who does the same work is not hindered by what was left, and a collection leaves nothing behind.
//!
//! All steps with `FIRN_KILL_STEPS=all`; otherwise some, spread over the work.

use crate::fixture::Fixture;
use formats::content_address::Method;
use formats::hash::Algorithm;
use formats::store_path::StorePath;
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use store::build::BuildOptions;
use store::{CollectOptions, Store};
use tempfile::TempDir;

/// The name of the test that, run as a process of its own, does one piece of work.
const VICTIM: &str = "kill_steps::works_step_by_step";
/// How many steps of each piece of work are tried in the normal run.
const SAMPLE: usize = 24;

/// What a victim does.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// Writes a derivation and builds it, with an input that is built first.
    Build,
    /// Collects two dead paths beside a live one.
    Collect,
    /// Adds a tree.
    Add,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Collect => "collect",
            Self::Add => "add",
        }
    }

    /// What is in the store before the work begins.
    fn prepare(self, root: &Path) {
        let fixture = opened(root);
        let live = fixture.store.add_text("live", b"live", &BTreeSet::new()).unwrap();
        fixture.store.add_permanent_root(&live, &root.join("live-root")).unwrap();
        if let Self::Collect = self {
            let dead = fixture.store.add_text("dead", b"dead", &BTreeSet::new()).unwrap();
            fixture.store.add_text("referrer", b"of dead", &BTreeSet::from([dead])).unwrap();
        }
        if let Self::Add = self {
            fs::create_dir_all(root.join("tree/inner")).unwrap();
            fs::write(root.join("tree/inner/file"), "contents").unwrap();
            std::os::unix::fs::symlink("inner/file", root.join("tree/link")).unwrap();
        }
    }

    /// The work itself; what it made.
    fn run(self, fixture: &Fixture, root: &Path) -> Vec<StorePath> {
        match self {
            Self::Build => {
                let input = fixture.script("input", "mkdir $out; echo input > $out/file");
                let derivation =
                    fixture.derivation("result", "mkdir $out; echo result > $out/file", |derivation| {
                        derivation.input_drvs.insert(input.clone(), BTreeSet::from(["out".to_owned()]));
                    });
                let outputs = fixture.store.build_derivation(&derivation, &BuildOptions::default()).unwrap();
                outputs.into_values().chain([derivation, input]).collect()
            }
            Self::Collect => {
                fixture.store.collect_garbage(&CollectOptions::default()).unwrap();
                Vec::new()
            }
            Self::Add => {
                vec![
                    fixture
                        .store
                        .add_path(&root.join("tree"), "tree", Method::Recursive, Algorithm::Sha256)
                        .unwrap(),
                ]
            }
        }
    }
}

/// The store at a root that somebody else made and removes.
fn opened(root: &Path) -> Fixture {
    Fixture { directory: tempfile::tempdir().unwrap(), store: Store::open(root).unwrap() }
}

#[test]
fn works_step_by_step() {
    // Run by the tests below only: without the variable there is nothing to work on.
    let Some(root) = std::env::var_os("FIRN_TEST_STEPS_ROOT") else { return };
    let name = std::env::var("FIRN_TEST_STEPS_WORK").unwrap();
    let work = [Work::Build, Work::Collect, Work::Add].into_iter().find(|work| work.name() == name).unwrap();
    let fixture = opened(root.as_ref());
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    for path in work.run(&fixture, root.as_ref()) {
        println!("done {path}");
    }
}

/// How a victim ended.
struct Ended {
    /// The steps that it took, the one that it was killed before included.
    steps: usize,
    /// What it reported.
    reported: Vec<StorePath>,
    /// It came to its end.
    finished: bool,
}

/// The system calls (by their numbers on x86-64) that change something that others can see.
const CHANGES: [i64; 34] = [
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_writev,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_rmdir,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_utimensat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_lchown,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_mount,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_flock,
    libc::SYS_kill,
];

/// Whether a call is such a one; opening is if it creates or empties.
fn changes(call: i64, flags: u64) -> bool {
    CHANGES.contains(&call)
        || call == libc::SYS_openat && flags & u64::from((libc::O_CREAT | libc::O_TRUNC).cast_unsigned()) != 0
}

/// Starts a victim and lets it work until it is about to take the step of this number, counted from 1; then kills it.
fn run_until(work: Work, root: &Path, last: usize) -> Ended {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", VICTIM, "--nocapture", "--test-threads=1"])
        .env("FIRN_TEST_STEPS_ROOT", root)
        .env("FIRN_TEST_STEPS_WORK", work.name())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.by_ref().any(|line| line.ends_with("ready")), "the victim did not start");
    seize(&victim);
    writeln!(victim.stdin.as_ref().unwrap(), "go").unwrap();
    let leader = Pid::from_raw(victim.id().cast_signed());
    let (mut steps, mut killed) = (0, false);
    while let Some(status) = next_stop(leader) {
        let pid = status.pid().unwrap();
        let mut signal = None;
        match status {
            // A thread that was killed meanwhile has no registers. The kernel marks an entry by ENOSYS as the result so far.
            WaitStatus::PtraceSyscall(_) => {
                if let Ok(registers) = ptrace::getregs(pid)
                    && registers.rax.cast_signed() == -i64::from(libc::ENOSYS)
                    && changes(registers.orig_rax.cast_signed(), registers.rdx)
                {
                    steps += 1;
                    if steps == last {
                        killed = true;
                        kill(leader, Signal::SIGKILL).unwrap();
                    }
                }
            }
            WaitStatus::Stopped(_, other) if other != Signal::SIGTRAP && other != Signal::SIGSTOP => {
                signal = Some(other);
            }
            _ => {}
        }
        let _gone_is_fine = ptrace::syscall(pid, signal);
    }
    let reported =
        said.filter_map(|line| StorePath::from_base_name(line.strip_prefix("done ")?).ok()).collect();
    // The tracer reaped it: that is no error here.
    let _reaped = victim.wait();
    Ended { steps, reported, finished: !killed }
}

/// Takes hold of all threads of a process, each stopped and then told to stop at its system calls.
fn seize(victim: &Child) {
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    for entry in fs::read_dir(format!("/proc/{}/task", victim.id())).unwrap() {
        let pid = Pid::from_raw(entry.unwrap().file_name().to_str().unwrap().parse().unwrap());
        ptrace::seize(pid, options).unwrap();
        ptrace::interrupt(pid).unwrap();
        waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap();
        ptrace::syscall(pid, None).unwrap();
    }
}

/// The next stop of any thread of the group; nothing when the last has ended. Other tests have children too: only the
/// victim's own process group is waited for.
fn next_stop(group: Pid) -> Option<WaitStatus> {
    loop {
        match waitpid(Pid::from_raw(-group.as_raw()), Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::EINTR) => {}
            Ok(status) => return Some(status),
            Err(Errno::ECHILD) => return None,
            Err(error) => panic!("waiting for the victim: {error}"),
        }
    }
}

/// A root in memory if there is one: that a killed process loses nothing does not depend on the disk.
fn place() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

fn kill_at_each_step(work: Work) {
    let whole = place();
    work.prepare(whole.path());
    let complete = run_until(work, whole.path(), usize::MAX);
    assert!(complete.finished && complete.steps > 5, "{work:?} took {} steps", complete.steps);
    let stride = match std::env::var("FIRN_KILL_STEPS") {
        Ok(text) if text == "all" => 1,
        _ => complete.steps.div_ceil(SAMPLE),
    };
    let mut tried = 0;
    for last in (1..=complete.steps).step_by(stride) {
        let root = place();
        work.prepare(root.path());
        let ended = run_until(work, root.path(), last);
        tried += usize::from(!ended.finished);
        let fixture = opened(root.path());
        for path in &ended.reported {
            assert!(fixture.store.is_valid(path).unwrap(), "{path} was reported, then killed at step {last}");
        }
        assert_eq!(fixture.store.verify(true, &|_| {}).unwrap(), vec![], "{work:?} killed at step {last}");
        // The same again comes to its end and is right.
        for path in work.run(&fixture, root.path()) {
            assert_eq!(fixture.store.verify_path(&path).unwrap(), None, "{work:?} again after step {last}");
        }
        drop(fixture);
        let fixture = opened(root.path());
        fixture.store.collect_garbage(&CollectOptions::default()).unwrap();
        fixture.assert_clean();
        let valid = fixture.store.all_valid().unwrap();
        assert_eq!(valid.len(), 1, "{work:?} killed at step {last}: {valid:?}");
        let left: Vec<_> = fs::read_dir(fixture.store.layout().state.join("temproots"))
            .map_or_else(|_| Vec::new(), |entries| entries.map(|entry| entry.unwrap().file_name()).collect());
        assert!(left.len() <= 1, "{work:?} killed at step {last} leaves {left:?}");
    }
    println!("{}: killed at {tried} of {} steps", work.name(), complete.steps);
    assert!(tried > 0);
}

#[test]
fn a_build_killed_at_each_step() {
    kill_at_each_step(Work::Build);
}

#[test]
fn a_collection_killed_at_each_step() {
    kill_at_each_step(Work::Collect);
}

#[test]
fn an_addition_killed_at_each_step() {
    kill_at_each_step(Work::Add);
}
