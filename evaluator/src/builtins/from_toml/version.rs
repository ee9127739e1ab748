//! What TOML 1.1 has and TOML 1.0 has not, in a text that is TOML 1.1: Nix refuses it. toml.io, "Changelog", 1.1.0.

/// The first thing of TOML 1.1 in a text, if there is one.
pub(super) fn newer_than_1_0(text: &[u8]) -> Option<&'static str> {
    let mut open = Vec::new();
    let mut last = 0;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let rest = &text[at..];
        match byte {
            b'#' => at += rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()) - 1,
            b'\n' if open.last() == Some(&b'{') => return Some("an inline table goes over several lines"),
            b'"' | b'\'' => {
                let string = rest.get(..string_length(rest)?)?;
                if byte == b'"' && has_new_escape(string) {
                    return Some("a string has the escape \\e or \\x");
                }
                at += string.len() - 1;
            }
            b'{' | b'[' => open.push(byte),
            b'}' if last == b',' => return Some("an inline table ends with a comma"),
            b'}' | b']' => drop(open.pop()),
            _ => {}
        }
        if !byte.is_ascii_whitespace() && byte != b'#' {
            last = byte;
        }
        at += 1;
    }
    None
}

/// The length of the string that a text begins with, with its quotes.
fn string_length(text: &[u8]) -> Option<usize> {
    let quote = *text.first()?;
    let triple = [quote; 3];
    let many = text.starts_with(&triple);
    let mut at = if many { 3 } else { 1 };
    loop {
        let rest = text.get(at..)?;
        match *rest.first()? {
            b'\\' if quote == b'"' => at += 2,
            byte if byte == quote && !many => return Some(at + 1),
            // One or two quotes may stand before the three that end it.
            byte if byte == quote && rest.starts_with(&triple) && rest.get(3) != Some(&quote) => {
                return Some(at + 3);
            }
            _ => at += 1,
        }
    }
}

fn has_new_escape(string: &[u8]) -> bool {
    let mut bytes = string.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'\\' && matches!(bytes.next(), Some(b'e' | b'x')) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::newer_than_1_0;

    #[test]
    fn toml_1_0_is_not_newer() {
        for text in [
            "",
            "a = { b = 1, c = [ 1,\n 2, ] }\n[x.y]\n[[z]]\n",
            "a = \"\\\\e\" # { ,}\nb = 'x\\e'\nc = \"\"\"\n\\\\x\\\n \"\" \"\"\"\"\"\n",
            "a = '''{\n''''\n\"}\" = { }",
            "# only\n# comments",
        ] {
            assert_eq!(newer_than_1_0(text.as_bytes()), None, "{text}");
            assert!(text.parse::<toml::Table>().is_ok(), "{text}");
        }
    }

    #[test]
    fn toml_1_1_is() {
        for text in [
            "a = { b = 1, }",
            "a = { b = 1,\n c = 2 }",
            "a = { # why\n b = 1 }",
            "a = [ { b = 1,} ]",
            "a = \"\\e\"",
            "a = \"\"\"x\\x41\"\"\"",
            "\"\\x41\" = 1",
        ] {
            assert!(newer_than_1_0(text.as_bytes()).is_some(), "{text}");
            assert!(text.parse::<toml::Table>().is_ok(), "{text}");
        }
    }
}
