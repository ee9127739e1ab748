//! The kernel's messages from /dev/kmsg (Documentation/ABI/testing/dev-kmsg): `PRI,SEQUENCE,MICROSECONDS,FLAGS;TEXT`, then
//! lines ` NAME=value`. A collector goes on behind the last message that it finds in the store.

use formats::log_record::{Record, Source};
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// The stream's name.
pub(super) const STREAM: &str = "kernel";

/// The field with the message's number.
const SEQUENCE: &str = "KERNEL_SEQUENCE";

/// The open ring buffer.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) file: File,
    /// The first number that is not in the store.
    next: u64,
}

impl Kernel {
    /// Opens the ring buffer, from its beginning.
    pub(super) fn open() -> std::io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC);
        Ok(Self { file: options.open("/dev/kmsg")?, next: 0 })
    }

    /// Skips what the store has already.
    pub(super) fn go_on_behind(&mut self, last: &Record) {
        let number =
            last.field(SEQUENCE).and_then(|value| std::str::from_utf8(value).ok()?.parse::<u64>().ok());
        self.next = number.map_or(0, |number| number + 1);
    }

    /// The next message that the store does not have. `stamp` makes the record of its moment (microseconds since boot).
    pub(super) fn next(&mut self, stamp: impl Fn(u64) -> Record) -> Option<Record> {
        let mut buffer = [0; 8192];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => {
                    let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
                    let Some((number, record)) = parse(&text, &stamp) else { continue };
                    if number >= self.next {
                        self.next = number + 1;
                        return Some(record);
                    }
                }
                Err(error) => match error.raw_os_error() {
                    // Overwritten before it was read: the next one that is there.
                    Some(libc::EPIPE | libc::EINTR) => {}
                    _ => return None,
                },
            }
        }
    }
}

fn parse(text: &str, stamp: impl Fn(u64) -> Record) -> Option<(u64, Record)> {
    let (head, body) = text.split_once(';')?;
    let mut words = head.split(',');
    let priority: u32 = words.next()?.parse().ok()?;
    let number: u64 = words.next()?.parse().ok()?;
    let since_boot: u64 = words.next()?.parse().ok()?;
    let mut lines = body.lines();
    let message = lines.next().unwrap_or_default();
    let mut record = stamp(since_boot);
    record.source = Source::Kernel;
    record.priority = (priority & 7) as u8;
    record.facility = (priority >> 3) as u8;
    // What a program wrote there says who it is; the kernel's own messages are the kernel's.
    let (identifier, message) = match message.split_once(": ") {
        Some((name, rest)) if record.facility != 0 && !name.contains(' ') => (name, rest),
        _ => ("kernel", message),
    };
    identifier.clone_into(&mut record.identifier);
    record.message = unescape(message);
    record.fields.push((SEQUENCE.to_owned(), number.to_string().into_bytes()));
    for (name, value) in lines.filter_map(|line| line.strip_prefix(' ')?.split_once('=')) {
        record.fields.push((format!("_KERNEL_{name}"), unescape(value)));
    }
    Some((number, record))
}

/// `\xNN` as its byte.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend(before.as_bytes());
        if let Some(byte) = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.extend(b"\\x");
            rest = after;
        }
    }
    bytes.extend(rest.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_understood() {
        let stamp = |since_boot| Record {
            time: 0,
            since_boot,
            boot: [0; 16],
            source: Source::Stdout,
            priority: 0,
            facility: 0,
            pid: 0,
            uid: 0,
            identifier: String::new(),
            message: Vec::new(),
            fields: Vec::new(),
        };
        let text = "6,339,5140900,-;virtio_blk virtio1: [vda] \\xc3\\xa4 \\xzz\n SUBSYSTEM=virtio\n DEVICE=+virtio:virtio1\n";
        let (number, record) = parse(text, stamp).unwrap();
        assert_eq!((number, record.since_boot, record.priority, record.facility), (339, 5_140_900, 6, 0));
        assert_eq!(String::from_utf8(record.message.clone()).unwrap(), "virtio_blk virtio1: [vda] ä \\xzz");
        assert_eq!(record.identifier, "kernel");
        assert_eq!(record.field("_KERNEL_SUBSYSTEM"), Some(b"virtio".as_slice()));
        let (_, record) = parse("27,340,1,-;firn: the supervisor has died\n", stamp).unwrap();
        assert_eq!((record.identifier.as_str(), record.priority, record.facility), ("firn", 3, 3));
        assert_eq!(record.message, b"the supervisor has died");
        assert!(parse("nonsense", stamp).is_none());
    }
}
