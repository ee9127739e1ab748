//! Asks for a password on the terminal, unseen and twice.

use crate::machine::say;
use anyhow::{Context as _, Result};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use std::io::{Read as _, Stdin, Write as _};

const ATTEMPTS: usize = 3;
/// Ctrl-C and Ctrl-D, which arrive as they are while nothing is shown.
const GIVE_UP: [u8; 2] = [3, 4];

/// A terminal that shows nothing, until this is dropped.
struct Unseen<'a> {
    terminal: &'a Stdin,
    before: Termios,
}

impl<'a> Unseen<'a> {
    fn new(terminal: &'a Stdin) -> Result<Self> {
        let before = tcgetattr(terminal).context("the terminal's settings")?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG | LocalFlags::ICANON);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &hidden).context("the terminal's settings")?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before) {
            log::warn!("cannot restore the terminal: {error}");
        }
    }
}

/// The password for an account; nothing when none is wanted.
pub(super) fn ask(account: &str) -> Result<Option<String>> {
    for _ in 0..ATTEMPTS {
        let Some(first) = line(&format!("New password for {account}: "))? else { return Ok(None) };
        if first.is_empty() {
            say("An empty password is none.");
            continue;
        }
        let Some(second) = line("The same again: ")? else { return Ok(None) };
        if first == second {
            return Ok(Some(first));
        }
        say("These are two different ones.");
    }
    Ok(None)
}

fn line(prompt: &str) -> Result<Option<String>> {
    let terminal = std::io::stdin();
    let mut talk = std::io::stderr();
    write!(talk, "{prompt}")?;
    let hidden = Unseen::new(&terminal)?;
    let mut bytes = Vec::new();
    let mut given_up = true;
    for byte in terminal.lock().bytes() {
        match byte.context("cannot read the password")? {
            b'\n' | b'\r' => {
                given_up = false;
                break;
            }
            byte if GIVE_UP.contains(&byte) => break,
            // Backspace takes a character with all its bytes.
            8 | 127 => while bytes.pop().is_some_and(|byte: u8| byte & 0xc0 == 0x80) {},
            // Ctrl-U takes everything.
            21 => bytes.clear(),
            byte => bytes.push(byte),
        }
    }
    drop(hidden);
    writeln!(talk)?;
    Ok((!given_up).then(|| String::from_utf8_lossy(&bytes).into_owned()))
}
