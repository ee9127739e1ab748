//! Boot menus, driven over the serial line by what is written on the screen: systemd-boot and GRUB both show the
//! selected entry highlighted and move it with the arrow keys. (Under OVMF, GRUB must read `terminal_input console`:
//! with `serial` two drivers read the line and keys get lost.)

use std::time::Duration;

use super::Machine;
use crate::error::{Error, Result};
use crate::screen::Screen;

/// A key of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow right.
    Right,
    /// Arrow left.
    Left,
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Tabulator.
    Tab,
    /// A character.
    Character(char),
}

impl Key {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Up => b"\x1b[A".to_vec(),
            Self::Down => b"\x1b[B".to_vec(),
            Self::Right => b"\x1b[C".to_vec(),
            Self::Left => b"\x1b[D".to_vec(),
            Self::Enter => b"\r".to_vec(),
            Self::Escape => b"\x1b".to_vec(),
            Self::Tab => b"\t".to_vec(),
            Self::Character(character) => character.to_string().into_bytes(),
        }
    }
}

impl Machine {
    /// Presses a key on the terminal at the serial line.
    pub fn send_key(&self, key: Key) -> Result<()> {
        let path = self.logs.join("console.log");
        self.console()?.send(&key.bytes()).map_err(Error::file("cannot type on", path))
    }

    /// Waits for a menu that shows an entry with this text, moves the highlight there with the arrow keys, and returns
    /// the screen. The first key also stops the countdown.
    pub fn highlight_menu_entry(&self, entry: &str) -> Result<Screen> {
        let console = self.console()?;
        // The menu is there when the entry is, and some entry is highlighted.
        let shown =
            |screen: &Screen| screen.row_with(entry).and(screen.highlighted_row()).map(|_| screen.clone());
        if console.wait_for_screen(self.limit(), shown).is_none() {
            return Err(self.in_vain(format!("a boot menu with the entry {entry:?}"), &console));
        }
        let mut screen = console.settled_screen();
        // Every key moves the highlight by one row at most: more keys than rows mean that it cannot be reached.
        for _ in 0..60 {
            let (Some(row), Some(selected)) = (screen.row_with(entry), screen.highlighted_row()) else {
                break;
            };
            if screen.is_highlighted(row, entry) {
                return Ok(screen);
            }
            self.send_key(if row > selected { Key::Down } else { Key::Up })?;
            // A key may come before the menu listens: then it is pressed again.
            let moved = |now: &Screen| now.highlighted_row().is_some_and(|at| at != selected).then_some(());
            console.wait_for_screen(Duration::from_secs(10), moved);
            screen = console.settled_screen();
        }
        Err(Error::Menu {
            machine: self.name().to_owned(),
            entry: entry.to_owned(),
            screen: console.screen().text(),
        })
    }

    /// Chooses the entry with this text in the boot menu and starts it.
    pub fn select_menu_entry(&self, entry: &str) -> Result<Screen> {
        let screen = self.highlight_menu_entry(entry)?;
        self.skip_console()?;
        self.send_key(Key::Enter)?;
        Ok(screen)
    }
}
