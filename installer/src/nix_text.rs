//! Nix written by a program: strings quoted, lists on one line.

/// A Nix string of this text.
pub fn string(text: &str) -> String {
    let mut result = String::with_capacity(text.len() + 2);
    result.push('"');
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' | '\\' => result.extend(['\\', character]),
            '\n' => result.push_str("\\n"),
            '\r' => result.push_str("\\r"),
            '\t' => result.push_str("\\t"),
            '$' if characters.peek() == Some(&'{') => result.push_str("\\$"),
            _ => result.push(character),
        }
    }
    result.push('"');
    result
}

/// A Nix list of strings.
pub fn list<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let mut result = String::from("[ ");
    for item in items {
        result.push_str(&string(item.as_ref()));
        result.push(' ');
    }
    result.push(']');
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted() {
        assert_eq!(string("a\"b\\c${d} $e"), "\"a\\\"b\\\\c\\${d} $e\"");
        assert_eq!(list(["a", "b"]), "[ \"a\" \"b\" ]");
        assert_eq!(list::<&str>([]), "[ ]");
    }
}
