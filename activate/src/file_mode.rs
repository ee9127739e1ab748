//! File modes as chmod(1) takes them: octal, or symbolic clauses like `u+rx,g+x,o=`.

/// The mode that this text makes of `before`. `None`: it is no mode.
pub fn parse(text: &str, before: u32) -> Option<u32> {
    if let Ok(octal) = u32::from_str_radix(text, 8) {
        return (octal <= 0o7777).then_some(octal);
    }
    text.split(',').try_fold(before, clause)
}

fn clause(mode: u32, clause: &str) -> Option<u32> {
    let operator_at = clause.find(['+', '-', '='])?;
    let (who, rest) = clause.split_at(operator_at);
    let who = match who {
        "" | "a" => "ugo",
        who => who,
    };
    let (operator, permissions) = rest.split_at(1);
    let mut result = mode;
    for class in who.chars() {
        let (shift, special) = match class {
            'u' => (6, 0o4000),
            'g' => (3, 0o2000),
            'o' => (0, 0),
            'a' => return parse_all(mode, operator, permissions),
            _ => return None,
        };
        let mut bits = 0;
        for permission in permissions.chars() {
            bits |= match permission {
                'r' => 0o4 << shift,
                'w' => 0o2 << shift,
                'x' => 0o1 << shift,
                'X' if mode & 0o111 != 0 => 0o1 << shift,
                'X' => 0,
                's' => special,
                't' => 0o1000,
                _ => return None,
            };
        }
        match operator {
            "+" => result |= bits,
            "-" => result &= !bits,
            _ => result = result & !(0o7 << shift) & !special | bits,
        }
    }
    Some(result)
}

fn parse_all(mode: u32, operator: &str, permissions: &str) -> Option<u32> {
    clause(mode, &format!("ugo{operator}{permissions}"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn modes_as_chmod_takes_them() {
        for (text, before, expected) in [
            ("u+rx,g+x,o+x", 0, Some(0o511)),
            ("4755", 0, Some(0o4755)),
            ("u+rwxs,g=rx,o=", 0o077, Some(0o4750)),
            ("a+r", 0o200, Some(0o644)),
            ("+x", 0o644, Some(0o755)),
            ("go-rwx", 0o755, Some(0o700)),
            ("u+rx,g+x,o+q", 0, None),
            ("17777", 0, None),
            ("z+x", 0, None),
            ("", 0, None),
        ] {
            assert_eq!(parse(text, before), expected, "{text}");
        }
    }
}
