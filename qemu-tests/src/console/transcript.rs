//! A console's text without escape sequences and carriage returns, as a log reader wants it (ECMA-48 §5.4).
//!
//! Cursor movements are dropped, so this is for boot messages and shells; menus are looked at on the screen.

/// Text that grows.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    text: String,
    /// Bytes of a UTF-8 character whose rest has not come yet.
    partial: Vec<u8>,
    state: Escape,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Started,
    /// After ESC [: up to a byte in 0x40..=0x7E.
    Control,
    /// After ESC ], ESC P, ESC ^, ESC _: up to BEL or ESC \.
    Text,
    /// After ESC ( and the like: one byte more.
    OneMore,
}

impl Transcript {
    /// Everything so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Adds what the console said.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.byte(*byte);
        }
    }

    fn byte(&mut self, byte: u8) {
        use Escape::{Control, None, OneMore, Started, Text};
        self.state = match (self.state, byte) {
            (None | Text, 0x1B) => Started,
            (None, _) => {
                self.plain(byte);
                None
            }
            (Started, b'[') => Control,
            (Started, b']' | b'P' | b'^' | b'_') => Text,
            (Started, b'(' | b')' | b'*' | b'+' | b'#') => OneMore,
            (Control, 0x40..=0x7E) | (Text, 0x07) | (Started | OneMore, _) => None,
            (state @ (Control | Text), _) => state,
        };
    }

    fn plain(&mut self, byte: u8) {
        match byte {
            b'\n' | b'\t' | 0x20..=0x7E => {
                self.partial.clear();
                self.text.push(char::from(byte));
            }
            0x80.. => {
                self.partial.push(byte);
                if let Ok(text) = std::str::from_utf8(&self.partial) {
                    self.text.push_str(text);
                    self.partial.clear();
                } else if self.partial.len() >= 4 {
                    self.partial.clear();
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_go_and_text_stays() {
        let cases: &[(&[u8], &str)] = &[
            (b"login: ", "login: "),
            (b"a\r\nb\r\n", "a\nb\n"),
            (b"\x1b[2J\x1b[01;01H\x1b[0;37;40mBoot in 5 s.\x1b[K", "Boot in 5 s."),
            (b"\x1b]0;title\x07shell", "shell"),
            (b"\x1b]0;title\x1b\\shell", "shell"),
            (b"\x1b(Bx\x1b=y", "xy"),
            ("größer ✓".as_bytes(), "größer ✓"),
            (b"\xFF\xFF\xFF\xFFok", "ok"),
        ];
        for (bytes, expected) in cases {
            let mut whole = Transcript::default();
            whole.push(bytes);
            assert_eq!(whole.text(), *expected);
        }
    }
}
