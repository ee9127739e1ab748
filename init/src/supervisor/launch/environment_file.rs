//! Files of EnvironmentFile= (systemd.exec(5)): `NAME=value` a line, comments behind `#` and `;`, values in single or double quotes as
//! a shell has them, backslashes that take the next character as it is or join lines.

/// Where in a value the reader is.
#[derive(Clone, Copy, PartialEq)]
enum Within {
    Plain,
    Single,
    Double,
}

/// All assignments, in order. A line without `=` says nothing.
pub(super) fn read(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let line_end = rest.find('\n').unwrap_or(rest.len());
        let (line, after) = rest.split_at(line_end);
        rest = after.trim_start();
        if line.starts_with(['#', ';']) {
            // A comment, too, goes on behind a backslash.
            let mut last = line;
            while last.ends_with('\\') {
                let (next, after) = rest.split_once('\n').unwrap_or((rest, ""));
                (last, rest) = (next, after.trim_start());
            }
            continue;
        }
        let Some((name, _)) = line.split_once('=') else { continue };
        let begin = text.len() - after.len() - line.len() + name.len() + 1;
        let (value, length) = read_value(text.get(begin..).unwrap_or_default());
        found.push((name.trim().to_owned(), value));
        rest = text.get(begin + length..).unwrap_or_default().trim_start();
    }
    found
}

/// A value and how long it is written.
fn read_value(text: &str) -> (String, usize) {
    let mut value = String::new();
    let mut within = Within::Plain;
    // What of the value is not blanks at its end.
    let mut solid = 0;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (within, character) {
            (Within::Plain, '\n') => {
                value.truncate(solid);
                return (value, at);
            }
            (Within::Plain, ' ' | '\t' | '\r') => {
                if !value.is_empty() {
                    value.push(character);
                }
                continue;
            }
            (Within::Plain, '\'') => within = Within::Single,
            (Within::Plain, '"') => within = Within::Double,
            (Within::Single, '\'') | (Within::Double, '"') => within = Within::Plain,
            (Within::Plain | Within::Double, '\\') => match characters.next() {
                None | Some((_, '\n')) => {}
                // In double quotes only what means something there is taken as it is.
                Some((_, next)) if within == Within::Double && !"\"\\`$".contains(next) => {
                    value.extend(['\\', next]);
                }
                Some((_, next)) => value.push(next),
            },
            (_, character) => value.push(character),
        }
        solid = value.len();
    }
    value.truncate(solid);
    (value, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments() {
        let cases: [(&str, &[(&str, &str)]); 12] = [
            (
                "A=1\n B = \"x y\" \nC='z'\nnonsense\nD=a\\\nb\n",
                &[("A", "1"), ("B", "x y"), ("C", "z"), ("D", "ab")],
            ),
            ("# c\n; d\nA=x   \n", &[("A", "x")]),
            ("A=\nB=2", &[("A", ""), ("B", "2")]),
            ("A=\"a \\\"b\\\" c\"", &[("A", "a \"b\" c")]),
            ("A=\"a\\nb $c\"", &[("A", "a\\nb $c")]),
            ("A='a\\nb'", &[("A", "a\\nb")]),
            ("A=a\\ b\\\"", &[("A", "a b\"")]),
            ("A=\"over\ntwo lines\"\nB=1", &[("A", "over\ntwo lines"), ("B", "1")]),
            ("A=one 'two'  three # no comment", &[("A", "one two  three # no comment")]),
            ("# comment \\\nA=1\nB=2", &[("B", "2")]),
            ("A=\"unclosed\nB=2\n", &[("A", "unclosed\nB=2\n")]),
            ("\n\n  A=ä=b\n", &[("A", "ä=b")]),
        ];
        for (text, expected) in cases {
            let found = read(text);
            let found: Vec<(&str, &str)> =
                found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
