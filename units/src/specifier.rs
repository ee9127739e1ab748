//! Specifiers (systemd.unit(5), "Specifiers"), expanded at build time. Those whose value only the machine knows are
//! refused by name.

use std::fmt::Write as _;

/// What specifiers stand for in one unit.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The unit's full name.
    pub unit: &'a str,
}

impl<'a> Context<'a> {
    fn without_suffix(&self) -> &'a str {
        self.unit.rsplit_once('.').map_or(self.unit, |(name, _)| name)
    }

    /// The part before `@`, or the whole name without suffix.
    pub fn prefix(&self) -> &'a str {
        self.without_suffix().split_once('@').map_or(self.without_suffix(), |(prefix, _)| prefix)
    }

    /// The part between `@` and the suffix.
    pub fn instance(&self) -> &'a str {
        self.without_suffix().split_once('@').map_or("", |(_, instance)| instance)
    }

    /// Replaces every specifier; an error says which one cannot be.
    pub fn expand(&self, text: &str) -> Result<String, String> {
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            result.push_str(before);
            let Some(letter) = after.chars().next() else {
                return Err("a single `%` at the end; write `%%`".into());
            };
            rest = after.get(letter.len_utf8()..).unwrap_or_default();
            match letter {
                '%' => result.push('%'),
                'n' => result.push_str(self.unit),
                'N' => result.push_str(self.without_suffix()),
                'p' => result.push_str(self.prefix()),
                'P' => result.push_str(&unescape(self.prefix())),
                'i' => result.push_str(self.instance()),
                'I' => result.push_str(&unescape(self.instance())),
                'j' => result.push_str(last_part(self.prefix())),
                'J' => result.push_str(&unescape(last_part(self.prefix()))),
                'f' => {
                    let name = if self.instance().is_empty() { self.prefix() } else { self.instance() };
                    result.push('/');
                    result.push_str(&unescape(name));
                }
                't' => result.push_str("/run"),
                'S' => result.push_str("/var/lib"),
                'C' => result.push_str("/var/cache"),
                'L' => result.push_str("/var/log"),
                'E' => result.push_str("/etc"),
                'T' => result.push_str("/tmp"),
                'V' => result.push_str("/var/tmp"),
                'h' => result.push_str("/root"),
                'u' | 'g' => result.push_str("root"),
                'U' | 'G' => result.push('0'),
                's' => result.push_str("/bin/sh"),
                'd' => {
                    result.push_str("/run/credentials/");
                    result.push_str(self.unit);
                }
                _ => return Err(format!("the specifier `%{letter}` is not known before the machine runs")),
            }
        }
        result.push_str(rest);
        Ok(result)
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit_once('-').map_or(name, |(_, last)| last)
}

/// Undoes systemd-escape: `-` is `/`, `\xHH` a byte.
pub fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'-' {
            bytes.push(b'/');
        } else if let Some((hex, tail)) = (byte == b'\\')
            .then(|| tail.strip_prefix(b"x")?.split_at_checked(2))
            .flatten()
            .and_then(|(digits, tail)| {
                Some((u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?, tail))
            })
        {
            bytes.push(hex);
            rest = tail;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// systemd-escape --path: how a mount's unit is named after its path.
pub fn escape_path(path: &str) -> String {
    let trimmed = path.trim_matches('/');
    if trimmed.is_empty() {
        return "-".into();
    }
    let mut result = String::new();
    for (number, byte) in trimmed.bytes().enumerate() {
        match byte {
            b'/' => {
                if !result.ends_with('-') {
                    result.push('-');
                }
            }
            b'.' if number == 0 => result.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => result.push(char::from(byte)),
            _ => {
                // Writing to a string cannot fail.
                write!(result, "\\x{byte:02x}").unwrap_or_default();
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_specifier() {
        let context = Context { unit: "my-app@dev-sda\\x20x.service" };
        for (text, expected) in [
            ("%n|%N", Ok("my-app@dev-sda\\x20x.service|my-app@dev-sda\\x20x")),
            ("%p %i", Ok("my-app dev-sda\\x20x")),
            ("%P %I %j", Ok("my/app dev/sda x app")),
            ("%S/%p 100%%", Ok("/var/lib/my-app 100%")),
            ("%d/key", Ok("/run/credentials/my-app@dev-sda\\x20x.service/key")),
            ("%m", Err("the specifier `%m` is not known before the machine runs")),
            ("50%", Err("a single `%` at the end; write `%%`")),
        ] {
            assert_eq!(context.expand(text), expected.map(String::from).map_err(String::from), "{text}");
        }
    }

    #[test]
    fn paths_as_unit_names() {
        for (path, expected) in
            [("/", "-"), ("/boot", "boot"), ("/var/lib/my data/", "var-lib-my\\x20data"), ("/.x", "\\x2ex")]
        {
            assert_eq!(escape_path(path), expected);
        }
    }
}
