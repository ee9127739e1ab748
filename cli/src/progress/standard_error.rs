//! The way to standard error while builds run: what is said stands above the tree, and is JSON where programs listen.

use super::screen::{self, write};
use serde_json::json;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether programs listen.
static JSON: AtomicBool = AtomicBool::new(false);

/// From now on all that is said is JSON.
pub(super) fn speak_json() {
    JSON.store(true, Ordering::Relaxed);
}

/// Says a line that lasts.
pub(crate) fn say(line: &str) {
    message(3, line);
}

/// Says why the command failed.
pub(crate) fn error(text: &str) -> bool {
    screen::clear();
    message(0, text)
}

/// Says it, with the number that Nix has for its weight: 0 an error, 1 a warning, 3 information. False if nobody can hear it.
fn message(level: u8, text: &str) -> bool {
    let text = if JSON.load(Ordering::Relaxed) {
        format!("@nix {}\n", json!({"action": "msg", "level": level, "msg": text}))
    } else {
        format!("{text}\n")
    };
    screen::above(|| write(&text))
}

/// Standard error for the log: each record is written whole.
#[derive(Debug, Default)]
pub(crate) struct StandardError(Vec<u8>);

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.0);
        if bytes.is_empty() {
            return Ok(());
        }
        if JSON.load(Ordering::Relaxed) {
            message(1, String::from_utf8_lossy(&bytes).trim_end());
            return Ok(());
        }
        screen::above(|| io::stderr().lock().write_all(&bytes))
    }
}
