//! `firn-init power-button [poweroff|reboot|halt]`: a service that waits for somebody to press the power key of any input
//! device (Linux Documentation/input/event-codes.rst, KEY_POWER) and then asks the supervisor to end the machine.

use crate::console::{self, Level};
use crate::sorted_map::SortedMap;
use formats::control::{Message as _, Reply, Request, SOCKET, Shutdown};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

const DEVICES: &str = "/dev/input";

/// Key codes that mean it.
const KEY_POWER: u16 = 116;

/// `struct input_event` with 64-bit times: 16 bytes of time, type, code, value.
const EVENT: usize = 24;
const EV_KEY: u16 = 1;

/// Runs until it fails.
pub fn run(action: &str) -> i32 {
    let how = match action {
        "reboot" => Shutdown::Reboot,
        "halt" => Shutdown::Halt,
        "" | "poweroff" => Shutdown::PowerOff,
        _ => {
            console::log(Level::Error, &format!("power-button: `{action}` is no way to end a machine"));
            return 2;
        }
    };
    match watch(how) {
        Ok(()) => 0,
        Err(error) => {
            console::log(Level::Error, &format!("power-button: {error}"));
            1
        }
    }
}

fn watch(how: Shutdown) -> std::io::Result<()> {
    std::fs::create_dir_all(DEVICES)?;
    let news = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    news.add_watch(DEVICES, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ATTRIB)?;
    let mut devices: SortedMap<String, File> = SortedMap::new();
    loop {
        open_new(&mut devices);
        let mut polled = vec![PollFd::new(news.as_fd(), PollFlags::POLLIN)];
        polled.extend(devices.values().map(|device| PollFd::new(device.as_fd(), PollFlags::POLLIN)));
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        crate::best_effort::tolerate(news.read_events());
        let mut pressed = false;
        devices.retain(|_, device| match is_pressed(device) {
            Ok(is) => {
                pressed |= is;
                true
            }
            Err(_) => false,
        });
        if pressed {
            console::log(Level::Info, "the power key was pressed");
            let mut stream = UnixStream::connect(SOCKET)?;
            Request::Shutdown { how }.send(&mut stream)?;
            Reply::receive(&mut stream)?;
        }
    }
}

/// Opens devices that have a power key and are not open yet.
fn open_new(devices: &mut SortedMap<String, File>) {
    for entry in std::fs::read_dir(DEVICES).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("event") || devices.contains_key(&name) {
            continue;
        }
        let keys = Path::new("/sys/class/input").join(&name).join("device/capabilities/key");
        if has_key(&std::fs::read_to_string(keys).unwrap_or_default(), KEY_POWER)
            && let Ok(file) = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(entry.path())
        {
            devices.insert(name, file);
        }
    }
}

/// Whether a bitmap of sysfs, words of 64 bits in hexadecimal with the highest first, has the bit.
fn has_key(bitmap: &str, key: u16) -> bool {
    let word = bitmap.split_whitespace().rev().nth(usize::from(key / 64));
    word.and_then(|word| u64::from_str_radix(word, 16).ok()).is_some_and(|word| word >> (key % 64) & 1 == 1)
}

/// Reads a device's events; whether the key went down. An error is a device that is gone.
fn is_pressed(device: &mut File) -> std::io::Result<bool> {
    let mut buffer = [0; EVENT * 32];
    let mut pressed = false;
    loop {
        match device.read(&mut buffer) {
            Ok(0) => return Ok(pressed),
            Ok(length) => {
                pressed |= buffer.get(..length).unwrap_or_default().chunks_exact(EVENT).any(is_power_key);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(pressed),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_power_key(event: &[u8]) -> bool {
    let [.., a, b, c, d, e, f, g, h] = event else { return false };
    let (kind, code) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
    kind == EV_KEY && code == KEY_POWER && i32::from_le_bytes([*e, *f, *g, *h]) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps_are_read_from_the_right() {
        // QEMU's power button, and a keyboard without the key.
        assert!(has_key("10000000000000 0\n", KEY_POWER));
        assert!(!has_key("402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe", 700));
        assert!(!has_key("1", KEY_POWER) && !has_key("", KEY_POWER));
    }

    #[test]
    fn only_the_power_key_going_down_counts() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut bytes = vec![0; 16];
            bytes.extend(kind.to_le_bytes());
            bytes.extend(code.to_le_bytes());
            bytes.extend(value.to_le_bytes());
            bytes
        };
        assert!(is_power_key(&event(1, 116, 1)));
        for (kind, code, value) in [(1, 116, 0), (1, 30, 1), (0, 116, 1)] {
            assert!(!is_power_key(&event(kind, code, value)));
        }
    }
}
