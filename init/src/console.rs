//! What the machine's first programs say to people: a line to the kernel's log, which puts it on the console with a time,
//! and in need a block of text straight to the console.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Weight of a line, as in syslog(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error = 3,
    /// Something is not as it should be.
    Warning = 4,
    /// What is going on.
    Info = 6,
}

/// Writes a line to /dev/kmsg. When that cannot be opened there is nobody to tell.
pub fn log(level: Level, text: &str) {
    let line = format!("<{}>firn: {text}\n", level as u8 | 3 << 3);
    let written =
        OpenOptions::new().write(true).open("/dev/kmsg").and_then(|mut file| file.write_all(line.as_bytes()));
    if written.is_err() {
        show(&format!("firn: {text}\n"));
    }
}

/// Writes text straight to the console.
pub fn show(text: &str) {
    let text = text.replace('\n', "\r\n");
    if let Ok(mut console) = OpenOptions::new().write(true).open("/dev/console") {
        drop(console.write_all(text.as_bytes()));
    }
}
