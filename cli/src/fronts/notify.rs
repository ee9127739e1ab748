//! `systemd-notify`: a service's shell script says how it is (sd_notify(3)). The message goes out in the name of the
//! calling process, as the service manager looks at who speaks; then it waits until the manager has read it.

use super::options::{Line, Option_, Value, flag, with_value};
use crate::family::Failure;
use anyhow::{Context as _, Result};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, UnixCredentials, sendmsg, socket,
};
use std::ffi::OsString;
use std::io::IoSlice;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::ExitCode;

const OPTIONS: &[Option_] = &[
    flag("ready", ' '),
    flag("reloading", ' '),
    flag("stopping", ' '),
    flag("booted", ' '),
    flag("no-block", ' '),
    Option_ { long: "pid", letter: ' ', value: Value::Number },
    with_value("status", ' '),
    with_value("uid", ' '),
];

/// Runs it.
pub(super) fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let line = Line::read("systemd-notify", OPTIONS, arguments, false)?;
    if line.has("booted") {
        let is_booted = std::path::Path::new("/run/systemd/system").is_dir();
        return Ok(if is_booted { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let parent = nix::unistd::getppid();
    let mut message = Vec::new();
    for (option, text) in [("ready", "READY=1"), ("stopping", "STOPPING=1")] {
        if line.has(option) {
            message.push(text.to_owned());
        }
    }
    if line.has("reloading") {
        let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
        let microseconds = time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1000;
        message.extend(["RELOADING=1".to_owned(), format!("MONOTONIC_USEC={microseconds}")]);
    }
    message.extend(line.value("status").map(|text| format!("STATUS={text}")));
    match line.value("pid") {
        Some("") => message.push(format!("MAINPID={parent}")),
        Some(pid) => message.push(format!("MAINPID={pid}")),
        None => {}
    }
    message.extend(line.words.iter().cloned());
    if message.is_empty() {
        let message =
            "systemd-notify: nothing to say; --ready, --status=TEXT, --stopping or NAME=VALUE".into();
        return Err(Failure { code: 1, message }.into());
    }
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else {
        let message =
            "systemd-notify: $NOTIFY_SOCKET is not set: this process is no service that may notify".into();
        return Err(Failure { code: 1, message }.into());
    };
    let address = unix_address(&address.to_string_lossy()).context("NOTIFY_SOCKET")?;
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    send(&socket, &address, message.join("\n").as_bytes(), parent, None)?;
    if !line.has("no-block") {
        let (read, write) = nix::unistd::pipe()?;
        send(&socket, &address, b"BARRIER=1", parent, Some(&write))?;
        drop(write);
        let mut polled =
            [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&read), nix::poll::PollFlags::empty())];
        nix::poll::poll(&mut polled, 5000_u16)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A path, or `@NAME` in the abstract space.
fn unix_address(text: &str) -> nix::Result<UnixAddr> {
    match text.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes()),
        None => UnixAddr::new(text),
    }
}

/// Sends in the parent's name when that is allowed, else in our own.
fn send(
    socket: &OwnedFd,
    address: &UnixAddr,
    text: &[u8],
    parent: nix::unistd::Pid,
    file: Option<&OwnedFd>,
) -> Result<()> {
    let files: Vec<i32> = file.iter().map(|file| file.as_raw_fd()).collect();
    let mut credentials = UnixCredentials::new();
    for pid in [Some(parent), None] {
        let raw;
        let mut control = Vec::new();
        if !files.is_empty() {
            control.push(ControlMessage::ScmRights(&files));
        }
        if let Some(pid) = pid {
            raw = libc_credentials(pid, &credentials);
            credentials = raw;
            control.push(ControlMessage::ScmCredentials(&credentials));
        }
        match sendmsg(
            socket.as_raw_fd(),
            &[IoSlice::new(text)],
            &control,
            MsgFlags::MSG_NOSIGNAL,
            Some(address),
        ) {
            Ok(_) => return Ok(()),
            Err(nix::Error::EPERM) if pid.is_some() => {}
            Err(error) => return Err(error).context("cannot reach the service manager at $NOTIFY_SOCKET"),
        }
    }
    Ok(())
}

fn libc_credentials(pid: nix::unistd::Pid, own: &UnixCredentials) -> UnixCredentials {
    UnixCredentials::from(nix::libc::ucred { pid: pid.as_raw(), uid: own.uid(), gid: own.gid() })
}
