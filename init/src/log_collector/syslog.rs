//! Datagrams to /dev/log: RFC 3164 as syslog(3) writes it (`<PRI>Mmm dd hh:mm:ss TAG[PID]: TEXT`) and RFC 5424
//! (`<PRI>1 TIME HOST APP PROCID MSGID SD TEXT`). The time is ours: the sender's has no year and no zone.

/// What a datagram says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed<'a> {
    pub(super) priority: u8,
    pub(super) facility: u8,
    pub(super) identifier: &'a str,
    /// The process that it says it is, 0 for none.
    pub(super) pid: u32,
    /// RFC 5424's structured data, empty for none.
    pub(super) structured: &'a str,
    pub(super) text: &'a str,
}

/// Reads a datagram. Whatever it is, something comes of it: what does not fit is text.
pub(super) fn parse(datagram: &str) -> Parsed<'_> {
    let datagram = datagram.trim_end_matches(['\n', '\0']);
    let (number, rest) = priority(datagram).unwrap_or((13, datagram));
    let (priority, facility) = (number & 7, number >> 3);
    if let Some(parsed) = rest.strip_prefix("1 ").and_then(|rest| rfc5424(rest, priority, facility)) {
        return parsed;
    }
    let rest = skip_time(rest);
    let (identifier, pid, text) = tag(rest).unwrap_or(("", 0, rest));
    Parsed { priority, facility, identifier, pid, structured: "", text }
}

/// `<N>` and what follows; N is facility and priority in one, at most 191.
pub(super) fn priority(text: &str) -> Option<(u8, &str)> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    let is_number = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u8 = Some(number).filter(|_| is_number)?.parse().ok()?;
    (number <= 191).then_some((number, rest))
}

/// Behind `Mmm dd hh:mm:ss `, or behind an RFC 3339 time.
fn skip_time(text: &str) -> &str {
    const SHAPE: &[u8; 16] = b"Aaa 99 99:99:99 ";
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'A' => byte.is_ascii_uppercase(),
        b'a' => byte.is_ascii_lowercase(),
        b'9' => byte.is_ascii_digit() || *byte == b' ',
        other => byte == other,
    };
    let has_old = text.len() >= SHAPE.len() && text.as_bytes().iter().zip(SHAPE).all(fits);
    match text.get(SHAPE.len()..).filter(|_| has_old) {
        Some(rest) => rest,
        None => match text.split_once(' ') {
            Some((time, rest)) if is_rfc3339(time) => rest,
            _ => text,
        },
    }
}

fn is_rfc3339(text: &str) -> bool {
    let shape = text.as_bytes();
    shape.len() >= 20
        && shape.get(4) == Some(&b'-')
        && shape.get(7) == Some(&b'-')
        && shape.get(10) == Some(&b'T')
        && shape.get(13) == Some(&b':')
}

/// `TAG: `, `TAG[PID]: ` and the text.
fn tag(text: &str) -> Option<(&str, u32, &str)> {
    let (head, rest) = text.split_once(':')?;
    if head.is_empty() || head.len() > 128 || head.contains(char::is_whitespace) {
        return None;
    }
    let (name, pid) = match head.split_once('[') {
        Some((name, pid)) => (name, pid.strip_suffix(']')?.parse().ok()?),
        None => (head, 0),
    };
    Some((name, pid, rest.strip_prefix(' ').unwrap_or(rest)))
}

fn rfc5424(text: &str, priority: u8, facility: u8) -> Option<Parsed<'_>> {
    let mut words = text.splitn(6, ' ');
    let (_time, _host, identifier, pid, _id) =
        (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
    let rest = words.next()?;
    let (structured, text) = match rest.strip_prefix('-') {
        Some(text) => ("", text),
        None => rest.split_at_checked(structured_data(rest)?)?,
    };
    let text = text.strip_prefix(' ').unwrap_or(text);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let identifier = if identifier == "-" { "" } else { identifier };
    Some(Parsed { priority, facility, identifier, pid: pid.parse().unwrap_or(0), structured, text })
}

/// How long `[…][…]` is; quotes hide brackets, a backslash hides what follows.
fn structured_data(text: &str) -> Option<usize> {
    let (mut quoted, mut hidden, mut depth) = (false, false, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if hidden => hidden = false,
            b'\\' if quoted => hidden = true,
            b'"' => quoted = !quoted,
            b'[' if !quoted && depth == 0 => depth = 1,
            b']' if !quoted => {
                depth = 0;
                if text.as_bytes().get(at + 1) != Some(&b'[') {
                    return Some(at + 1);
                }
            }
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_understood() {
        let table = [
            (
                "<38>Nov 23 03:46:00 sshd[812]: Accepted publickey",
                (6, 4, "sshd", 812, "", "Accepted publickey"),
            ),
            ("<13>Nov  3 03:46:00 root: hello: world\n", (5, 1, "root", 0, "", "hello: world")),
            ("<30>cron: no time", (6, 3, "cron", 0, "", "no time")),
            ("<30>two words: here", (6, 3, "", 0, "", "two words: here")),
            ("nothing at all", (5, 1, "", 0, "", "nothing at all")),
            ("<999>x", (5, 1, "", 0, "", "<999>x")),
            ("<165>1 2026-11-23T03:46:00.1Z host app 77 ID - text", (5, 20, "app", 77, "", "text")),
            (
                "<165>1 - - app - - [a@1 k=\"v]\\\"\"][b] \u{feff}text",
                (5, 20, "app", 0, "[a@1 k=\"v]\\\"\"][b]", "text"),
            ),
            ("<14>2026-11-23T03:46:00.123456+00:00 tag: text", (6, 1, "tag", 0, "", "text")),
            ("<14>1 broken", (6, 1, "", 0, "", "1 broken")),
            ("<14>1 - - - - - [never closed", (6, 1, "", 0, "", "1 - - - - - [never closed")),
            ("", (5, 1, "", 0, "", "")),
        ];
        for (datagram, (priority, facility, identifier, pid, structured, text)) in table {
            let expected = Parsed { priority, facility, identifier, pid, structured, text };
            assert_eq!(parse(datagram), expected, "{datagram}");
        }
    }
}
