//! Runs a builder: starts it, reads its terminal, keeps the limits, and sees to it that nothing of it is left.

use super::cgroup::BuildCgroup;
use super::environment::{prepare, rewrite, string};
use super::log_file::BuildLog;
use super::one::Job;
use super::recursive::Door;
use super::sandbox::{BUILD_DIRECTORY, Sandbox, Streams, explain, plan};
use super::{FailureKind, reference_graph};
use crate::error::Error;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;
use sys::namespaced_child::{Child, Ending, spawn};

/// How often the limits are looked at.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Runs the builder to its end.
pub(super) fn run(job: &Job<'_>, log: &mut BuildLog<'_>) -> Result<(), FailureKind> {
    let inside = match job.options.sandbox {
        Sandbox::Required(_) => PathBuf::from(BUILD_DIRECTORY),
        Sandbox::Off => job.scratch.build(),
    };
    let environment = prepare(job, &inside)?;
    reference_graph::write_files(job)?;
    let builder = rewrite(job, &job.goal.derivation.builder);
    let name = String::from_utf8_lossy(&builder).into_owned();
    let base = builder.rsplit(|byte| *byte == b'/').next().unwrap_or(&builder).to_vec();
    let mut arguments = vec![string(base, "the builder's name")?];
    for argument in &job.goal.derivation.args {
        arguments.push(string(rewrite(job, argument), "an argument")?);
    }
    let terminal = sys::pseudo_terminal::open().map_err(Error::file("opening a terminal", "/dev/ptmx"))?;
    if job.identity.separate {
        std::os::unix::fs::chown(&terminal.path, Some(job.identity.user), Some(job.identity.group))
            .map_err(Error::file("changing the owner of", &terminal.path))?;
    }
    let null = File::open("/dev/null").map_err(Error::file("opening", "/dev/null"))?;
    let streams = Streams { null: null.as_raw_fd(), output: terminal.follower.as_raw_fd() };
    let program = string(builder, "the builder")?;
    let cgroup = BuildCgroup::create(job.options)?;
    let place = cgroup.as_ref().map(BuildCgroup::descriptor);
    let (plan, what) = plan(job, &streams, program, arguments, environment, place)?;
    let door = Door::open(job)?;
    let child = spawn(&plan).map_err(|error| explain(&error, &what, &name))?;
    drop(terminal.follower);
    let watched = watch(job, &child, terminal.leader, log);
    // Whatever happened: nothing of it stays.
    let ended = end(job, &child);
    drop(door);
    let exceeded = cgroup.as_ref().and_then(BuildCgroup::exceeded_memory);
    drop(cgroup);
    if let Some(limit) = exceeded {
        return Err(FailureKind::MemoryLimit(limit));
    }
    watched?;
    match ended {
        Ok(Ending::Exited(0)) => Ok(()),
        Ok(Ending::Exited(code)) => Err(FailureKind::Exit(code)),
        Ok(Ending::Signaled(signal)) => Err(FailureKind::Signal(signal)),
        Err(error) => Err(Error::file("waiting for builder", Path::new(&name))(error).into()),
    }
}

/// Reads until the builder has ended and all it wrote is read.
fn watch(job: &Job<'_>, child: &Child, mut leader: File, log: &mut BuildLog<'_>) -> Result<(), FailureKind> {
    let terminal_error = || Error::call("reading the builder's terminal", "/dev/ptmx");
    let flags = fcntl_getfl(&leader).map_err(terminal_error())?;
    fcntl_setfl(&leader, flags | OFlags::NONBLOCK).map_err(terminal_error())?;
    let started = Instant::now();
    let mut last_words = started;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let mut descriptors = [PollFd::new(&leader, PollFlags::IN), PollFd::new(child, PollFlags::IN)];
        match poll(&mut descriptors, Some(&TICK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(terminal_error()(error).into()),
        }
        // Its end is looked at before its words: what it wrote before its end is there then.
        let ended = !descriptors[1].revents().is_empty();
        let mut open = true;
        loop {
            match leader.read(&mut buffer) {
                Ok(0) => open = false,
                Ok(count) => {
                    last_words = Instant::now();
                    log.write(buffer.get(..count).unwrap_or_default())?;
                    if let Some(limit) = job.options.max_log_size.filter(|limit| log.size > *limit) {
                        return Err(FailureKind::LogLimit(limit));
                    }
                    continue;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                // EIO: nobody has the other end open.
                Err(_) => open = false,
            }
            break;
        }
        if ended {
            return Ok(());
        }
        if !open {
            // Nobody can hear it any more: it is about to end, or hides, and is ended as Nix does it.
            return Ok(());
        }
        check_limits(job, started, last_words)?;
    }
}

fn check_limits(job: &Job<'_>, started: Instant, last_words: Instant) -> Result<(), FailureKind> {
    if job.options.cancel.load(Ordering::SeqCst) {
        return Err(FailureKind::Cancelled);
    }
    if let Some(limit) = job.options.timeout.filter(|limit| started.elapsed() > *limit) {
        return Err(FailureKind::Timeout(limit));
    }
    if let Some(limit) = job.options.max_silent.filter(|limit| last_words.elapsed() > *limit) {
        return Err(FailureKind::Silent(limit));
    }
    Ok(())
}

/// Kills what is left and reaps. In a PID namespace everything dies with the builder; outside, its process group does.
fn end(job: &Job<'_>, child: &Child) -> std::io::Result<Ending> {
    // Errors: it is gone already, as it should be.
    if job.options.sandbox == Sandbox::Off && child.kill_group().is_err() {
        log::debug!("no process of the builder's group is left");
    }
    if child.kill().is_err() {
        log::debug!("the builder has ended");
    }
    child.wait()
}
