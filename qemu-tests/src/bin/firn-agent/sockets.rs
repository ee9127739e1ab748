//! A Unix socket of the guest, reached from the host: bytes go both ways as they come.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use qemu_tests::protocol::Reply;
use qemu_tests::protocol::message::CHUNK;

use crate::port::Port;
use crate::session::{Task, failed_io};

/// Until the socket closes or the driver gives up.
pub(crate) fn connect(port: &Port, task: &Task, path: &[u8]) -> Result<Reply, Reply> {
    let path = Path::new(OsStr::from_bytes(path));
    let complain = |e: std::io::Error| failed_io("cannot connect to", path, &e);
    let mut stream = UnixStream::connect(path).map_err(complain)?;
    let writer = stream.try_clone().map_err(complain)?;
    let closed = AtomicBool::new(false);
    let request = task.request;
    thread::scope(|scope| {
        let closed = &closed;
        scope.spawn(move || {
            let mut buffer = vec![0; CHUNK];
            // Also ends when the other thread shuts the socket down.
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                port.send(request, &Reply::Data(buffer.get(..length).unwrap_or_default().to_vec()));
            }
            closed.store(true, Ordering::SeqCst);
        });
        feed(&writer, task, closed);
    });
    Ok(Reply::Done)
}

/// The driver's bytes to the socket.
fn feed(mut writer: &UnixStream, task: &Task, closed: &AtomicBool) {
    while !closed.load(Ordering::SeqCst) {
        if task.cancelled.load(Ordering::SeqCst) {
            writer.shutdown(Shutdown::Both).unwrap_or_default();
            return;
        }
        let sent = match task.input.recv_timeout(Duration::from_millis(50)) {
            Ok(Some(bytes)) => writer.write_all(&bytes),
            Ok(None) => writer.shutdown(Shutdown::Write),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            // The driver has forgotten this request.
            Err(RecvTimeoutError::Disconnected) => writer.shutdown(Shutdown::Both),
        };
        if sent.is_err() {
            // Closed from the other side, which the reader notices too.
            writer.shutdown(Shutdown::Both).unwrap_or_default();
            return;
        }
    }
}
