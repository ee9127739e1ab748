//! Whether a name is on the system bus: the least of a D-Bus client (D-Bus Specification, "Authentication Protocol",
//! "Message Protocol", `org.freedesktop.DBus.NameHasOwner`). Runs in a child of its own, so it may wait.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Where the system bus listens.
const SOCKET: &str = "/run/dbus/system_bus_socket";

/// No answer of the bus to us is longer.
const LONGEST: usize = 64 << 10;

/// Returns when the name has an owner. There is no end to the waiting but the caller's: the unit's start time-out.
pub(super) fn wait(name: &str) -> i32 {
    loop {
        if let Ok(mut bus) = Bus::connect() {
            while let Ok(has_owner) = bus.has_owner(name) {
                if has_owner {
                    return 0;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A connection that has said hello.
struct Bus {
    stream: UnixStream,
    serial: u32,
}

impl Bus {
    fn connect() -> io::Result<Self> {
        let stream = UnixStream::connect(SOCKET)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut bus = Self { stream, serial: 0 };
        // The kernel tells the bus who we are; the text is the hexadecimal form of `0`.
        bus.stream.write_all(b"\0AUTH EXTERNAL 30\r\n")?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < 1024 {
            let mut byte = [0];
            bus.stream.read_exact(&mut byte)?;
            line.extend(byte);
        }
        if !line.starts_with(b"OK ") {
            return Err(io::Error::other("the bus does not let us in"));
        }
        bus.stream.write_all(b"BEGIN\r\n")?;
        bus.call("Hello", None)?;
        Ok(bus)
    }

    fn has_owner(&mut self, name: &str) -> io::Result<bool> {
        let body = self.call("NameHasOwner", Some(name))?;
        Ok(body.starts_with(&[1, 0, 0, 0]))
    }

    /// Calls a method of the bus itself with at most one string and returns the answer's body.
    fn call(&mut self, member: &str, argument: Option<&str>) -> io::Result<Vec<u8>> {
        self.serial += 1;
        let message = method_call(self.serial, member, argument);
        self.stream.write_all(&message)?;
        loop {
            let (kind, reply_to, body) = self.read_message()?;
            match (kind, reply_to == Some(self.serial)) {
                (2, true) => return Ok(body),
                (3, true) => return Err(io::Error::other("the bus answers with an error")),
                _ => {}
            }
        }
    }

    /// One message: its type, the serial that it answers, its body.
    fn read_message(&mut self) -> io::Result<(u8, Option<u32>, Vec<u8>)> {
        let mut fixed = [0; 16];
        self.stream.read_exact(&mut fixed)?;
        let number = |at: usize| word(&fixed, at).unwrap_or(0) as usize;
        let (body_length, fields_length) = (number(4), number(12));
        if body_length > LONGEST || fields_length > LONGEST || fixed.first() != Some(&b'l') {
            return Err(io::Error::other("a message that is none"));
        }
        let mut fields = vec![0; fields_length.next_multiple_of(8)];
        self.stream.read_exact(&mut fields)?;
        let mut body = vec![0; body_length];
        self.stream.read_exact(&mut body)?;
        Ok((fixed.get(1).copied().unwrap_or(0), reply_serial(&fields), body))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// The field REPLY_SERIAL (code 5, type `u`) among the header's fields.
fn reply_serial(fields: &[u8]) -> Option<u32> {
    let mut at = 0;
    loop {
        let (code, signature_length) = (*fields.get(at)?, usize::from(*fields.get(at + 1)?));
        let kind = *fields.get(at + 2)?;
        let value = (at + 3 + signature_length).next_multiple_of(if kind == b'g' { 1 } else { 4 });
        match (code, kind) {
            (5, b'u') => return word(fields, value),
            (_, b'u') => at = value + 4,
            (_, b's' | b'o') => at = value + 4 + word(fields, value)? as usize + 1,
            (_, b'g') => at = value + 1 + usize::from(*fields.get(value)?) + 1,
            _ => return None,
        }
        at = at.next_multiple_of(8);
    }
}

/// A call of `org.freedesktop.DBus.MEMBER` in little-endian form.
fn method_call(serial: u32, member: &str, argument: Option<&str>) -> Vec<u8> {
    let mut body = Vec::new();
    if let Some(text) = argument {
        push_text(&mut body, text);
    }
    let mut fields = Vec::new();
    let named = [
        (1, b'o', "/org/freedesktop/DBus"),
        (2, b's', "org.freedesktop.DBus"),
        (3, b's', member),
        (6, b's', "org.freedesktop.DBus"),
    ];
    for (code, kind, text) in named {
        pad(&mut fields, 8);
        fields.extend([code, 1, kind, 0]);
        push_text(&mut fields, text);
    }
    if argument.is_some() {
        pad(&mut fields, 8);
        fields.extend([8, 1, b'g', 0, 1, b's', 0]);
    }
    let mut message = vec![b'l', 1, 0, 1];
    message.extend((body.len() as u32).to_le_bytes());
    message.extend(serial.to_le_bytes());
    message.extend((fields.len() as u32).to_le_bytes());
    message.extend(fields);
    pad(&mut message, 8);
    message.extend(body);
    message
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    pad(bytes, 4);
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.bytes());
    bytes.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let message = method_call(7, "NameHasOwner", Some("a.b"));
        assert_eq!(message.get(..4), Some(&[b'l', 1, 0, 1][..]));
        let fields_length = word(&message, 12).unwrap() as usize;
        let body_at = (16 + fields_length).next_multiple_of(8);
        assert_eq!(message.len(), body_at + word(&message, 4).unwrap() as usize);
        assert_eq!(&message[body_at..], b"\x03\0\0\0a.b\0");
    }

    #[test]
    fn the_serial_is_found_among_other_fields() {
        // DESTINATION ":1.0", REPLY_SERIAL 9, SIGNATURE "b".
        let mut fields = vec![6, 1, b's', 0];
        push_text(&mut fields, ":1.0");
        pad(&mut fields, 8);
        fields.extend([8, 1, b'g', 0, 1, b'b', 0]);
        pad(&mut fields, 8);
        fields.extend([5, 1, b'u', 0, 9, 0, 0, 0]);
        assert_eq!(reply_serial(&fields), Some(9));
        assert_eq!(reply_serial(&fields[..20]), None);
    }
}
