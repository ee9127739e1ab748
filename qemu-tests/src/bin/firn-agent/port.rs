//! The virtio-serial port in the guest: found by its name in sysfs (no udev needed), opened, written to frame by frame.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use qemu_tests::protocol::{Frame, PADDING, Reply};

const PORTS: &str = "/sys/class/virtio-ports";

/// The device node of the port with this name, as soon as it exists.
pub(crate) fn wait_for(name: &str, limit: Duration) -> Result<PathBuf, String> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(10);
    loop {
        if let Some(path) = find(name) {
            return Ok(path);
        }
        if Instant::now() > end {
            return Err(format!("no virtio-serial port named {name} in {PORTS} (is virtio_console loaded?)"));
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

fn find(name: &str) -> Option<PathBuf> {
    for entry in std::fs::read_dir(PORTS).ok()?.flatten() {
        let found =
            std::fs::read_to_string(entry.path().join("name")).is_ok_and(|text| text.trim_end() == name);
        let node = Path::new("/dev").join(entry.file_name());
        if found && node.exists() {
            return Some(node);
        }
    }
    None
}

/// Opens the port for reading and writing. Only one process may have it open.
pub(crate) fn open(path: &Path) -> Result<Port, String> {
    let failed =
        |e: std::io::Error| format!("cannot open {}: {e} (is another firn-agent running?)", path.display());
    let reader = File::options().read(true).write(true).open(path).map_err(failed)?;
    let writer = reader.try_clone().map_err(failed)?;
    Ok(Port { reader, writer: Mutex::new(writer) })
}

/// The open port. Replies may come from many threads.
#[derive(Debug)]
pub(crate) struct Port {
    /// For the one thread that reads requests.
    pub(crate) reader: File,
    writer: Mutex<File>,
}

impl Port {
    /// Sends one reply.
    pub(crate) fn send(&self, request: u32, reply: &Reply) {
        self.write(&reply.to_frame(request));
    }

    /// Sends one reply behind padding, which ends whatever an earlier guest left half said.
    pub(crate) fn send_padded(&self, reply: &Reply) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = reply.to_frame(0).encode().unwrap_or_default();
        // A driver that went away notices by itself; there is nobody to tell.
        drop(writer.write_all(&vec![0; PADDING]).and_then(|()| writer.write_all(&frame)));
    }

    fn write(&self, frame: &Frame) {
        let too_long = Reply::Failed { errno: 0, message: "the answer does not fit into a frame".to_owned() };
        let bytes = frame.encode().or_else(|| too_long.to_frame(frame.request).encode()).unwrap_or_default();
        drop(self.writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes));
    }
}
