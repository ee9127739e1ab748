//! `firn-agent`: the test driver's hand in the guest, one static program without needs of its own.
//!
//! It finds its virtio-serial port without udev, says `Hello`, and serves requests until the machine stops; see
//! `qemu_tests::protocol`. It may run in an initrd or as a service, as root. It takes no arguments but `--port NAME`
//! (default `firn.agent.0`). As `firn-agent probe` it is the conformance test's eye (`probe`).

mod command;
mod files;
mod port;
mod probe;
mod session;
mod sockets;
mod waits;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, pid, tries @ ..] = arguments.as_slice()
        && word == "probe"
    {
        probe::run(pid, tries);
        return ExitCode::SUCCESS;
    }
    let name = match port_name(arguments.into_iter()) {
        Ok(name) => name,
        Err(message) => return complain(&message),
    };
    // The port appears when the virtio_console module has been loaded, which may be later than now.
    let port = port::wait_for(&name, Duration::from_secs(600)).and_then(|path| port::open(&path));
    let served =
        port.and_then(|port| session::serve(&port).map_err(|e| format!("cannot read the port {name}: {e}")));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => complain(&message),
    }
}

fn port_name(mut arguments: impl Iterator<Item = String>) -> Result<String, String> {
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, ..) => Ok(qemu_tests::protocol::PORT_NAME.to_owned()),
        (Some("--port"), Some(name), None) => Ok(name),
        _ => Err("usage: firn-agent [--port NAME]".to_owned()),
    }
}

fn complain(message: &str) -> ExitCode {
    // With a closed stderr there is nobody left to tell.
    drop(writeln!(std::io::stderr(), "firn-agent: {message}"));
    ExitCode::FAILURE
}
