//! The values of directives: systemd.syntax(7), systemd.time(7). Each function takes the text and says what is wrong with it.

/// yes/no.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Ok(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Ok(false),
        _ => Err("not yes or no".into()),
    }
}

/// A span of time in microseconds; `infinity` is `u64::MAX`. A number without unit is seconds.
pub fn time_span(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if text == "infinity" {
        return Ok(u64::MAX);
    }
    let bad = || "not a span of time such as 90, 5min or 1h 30s".to_owned();
    let mut rest = text;
    let mut total = 0_f64;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| bad())?;
        let tail = tail.trim_start();
        let letters = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let scale = match unit {
            "us" | "usec" | "µs" | "μs" => 1.0,
            "ms" | "msec" => 1e3,
            "" | "s" | "sec" | "second" | "seconds" => 1e6,
            "m" | "min" | "minute" | "minutes" => 60e6,
            "h" | "hr" | "hour" | "hours" => 3600e6,
            "d" | "day" | "days" => 86400e6,
            "w" | "week" | "weeks" => 604_800e6,
            "M" | "month" | "months" => 2_629_800e6,
            "y" | "year" | "years" => 31_557_600e6,
            _ => return Err(format!("`{unit}` is no unit of time")),
        };
        total += number * scale;
        parts += 1;
        rest = tail.trim_start();
    }
    if parts == 0 { Err(bad()) } else { Ok(total.round() as u64) }
}

/// An octal mode.
pub fn mode(text: &str) -> Result<u64, String> {
    match u64::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err("not an octal mode such as 0755".into()),
    }
}

/// A number of bytes with K, M, G, T.
pub fn bytes(text: &str) -> Result<u64, String> {
    if text == "infinity" {
        return Ok(u64::MAX);
    }
    let bad = || "not a size such as 512M".to_owned();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        _ => return Err(bad()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(bad);
    }
    let number: f64 = number.parse().map_err(|_| bad())?;
    Ok((number * (1_u64 << shift) as f64) as u64)
}

/// Signal names without `SIG` and their numbers on Linux (signal(7), the common architectures).
const SIGNALS: [(&str, u64); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// A signal by name, with or without `SIG`, or number.
pub fn signal(text: &str) -> Result<u64, String> {
    if let Ok(number) = text.parse::<u64>()
        && (1..=64).contains(&number)
    {
        return Ok(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let real_time =
        name.strip_prefix("RTMIN").map(|offset| offset.trim_start_matches('+').parse().unwrap_or(0));
    real_time.map(|offset: u64| 34 + offset).ok_or_else(|| "no signal of that name".to_owned())
}

/// An exit status: a number, a name of sysexits.h, or a signal (as 256 + number).
pub fn exit_status(text: &str) -> Result<u64, String> {
    if let Ok(number) = text.parse::<u64>() {
        return if number <= 255 { Ok(number) } else { Err("an exit status is at most 255".into()) };
    }
    let named = match text {
        "SUCCESS" => 0,
        "FAILURE" => 1,
        "USAGE" => 64,
        "DATAERR" => 65,
        "NOINPUT" => 66,
        "NOUSER" => 67,
        "NOHOST" => 68,
        "UNAVAILABLE" => 69,
        "SOFTWARE" => 70,
        "OSERR" => 71,
        "OSFILE" => 72,
        "CANTCREAT" => 73,
        "IOERR" => 74,
        "TEMPFAIL" => 75,
        "PROTOCOL" => 76,
        "NOPERM" => 77,
        "CONFIG" => 78,
        _ => return signal(text).map(|number| 256 + number).map_err(|_| "no exit status or signal".into()),
    };
    Ok(named)
}

/// Names of capabilities in the order of their numbers (capabilities(7)).
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The mask of all capabilities that are known here.
pub const ALL_CAPABILITIES: u64 = (1 << CAPABILITIES.len()) - 1;

/// A set of capabilities, as a mask.
pub fn capabilities(text: &str) -> Result<u64, String> {
    let mut mask = 0;
    for name in text.split_whitespace() {
        let number = CAPABILITIES.iter().position(|known| known.eq_ignore_ascii_case(name));
        mask |= 1 << number.ok_or_else(|| format!("`{name}` is no capability"))?;
    }
    Ok(mask)
}

/// Splits at blanks, with quotes and backslashes as in systemd.syntax(7). Quotes may stand around a whole word or a part.
pub fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote: Option<char> = None;
    let mut characters = text.chars();
    let mut buffer = [0; 4];
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', _) => escape(&mut characters, word.get_or_insert_default())?,
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (character, Some(open)) if character == open => quote = None,
            (character, None) if character.is_ascii_whitespace() => words.extend(word.take()),
            (character, _) => {
                word.get_or_insert_default().extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
            }
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".into());
    }
    words.extend(word);
    words.into_iter().map(|word| String::from_utf8(word).map_err(|_| "not UTF-8".to_owned())).collect()
}

/// One escape after its backslash.
fn escape(characters: &mut std::str::Chars<'_>, word: &mut Vec<u8>) -> Result<(), String> {
    let bad = || "a backslash escape that is none".to_owned();
    let number = |digits: &str, base| u32::from_str_radix(digits, base).map_err(|_| bad());
    let mut take = |count: usize| -> String { characters.by_ref().take(count).collect() };
    let first = take(1);
    let byte = match first.as_str() {
        "a" => 7,
        "b" => 8,
        "f" => 12,
        "n" => b'\n',
        "r" => b'\r',
        "t" => b'\t',
        "v" => 11,
        "s" => b' ',
        "\\" => b'\\',
        "\"" => b'"',
        "'" => b'\'',
        "x" => number(&take(2), 16)? as u8,
        "u" | "U" => {
            let character =
                char::from_u32(number(&take(if first == "u" { 4 } else { 8 }), 16)?).ok_or_else(bad)?;
            word.extend(character.to_string().bytes());
            return Ok(());
        }
        digit if digit.starts_with(|c: char| c.is_digit(8)) => {
            let digits = format!("{digit}{}", take(2));
            number(&digits, 8)? as u8
        }
        // As systemd: an unknown escape stays as it is, with a word of its own to sed and regular expressions.
        other => {
            word.push(b'\\');
            word.extend(other.bytes());
            return Ok(());
        }
    };
    word.push(byte);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        for (text, expected) in [
            ("90", Some(90_000_000)),
            ("5min 20s", Some(320_000_000)),
            ("100ms", Some(100_000)),
            ("1h30min", Some(5_400_000_000)),
            ("0.5", Some(500_000)),
            ("infinity", Some(u64::MAX)),
            ("soon", None),
            ("", None),
            ("5 parsecs", None),
        ] {
            assert_eq!(time_span(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn words_with_quotes() {
        for (text, expected) in [
            ("a  b", Some(vec!["a", "b"])),
            ("'a b' \"c d\"", Some(vec!["a b", "c d"])),
            ("\"A=x y\" B=\\x41\\tz ''", Some(vec!["A=x y", "B=A\tz", ""])),
            ("daemon\\soff", Some(vec!["daemon off"])),
            ("-g 'daemon off;'", Some(vec!["-g", "daemon off;"])),
            ("'open", None),
        ] {
            assert_eq!(
                words(text).ok(),
                expected.map(|list| list.into_iter().map(String::from).collect()),
                "{text}"
            );
        }
    }

    #[test]
    fn signals_sizes_statuses_capabilities() {
        assert_eq!(signal("SIGTERM"), Ok(15));
        assert_eq!(signal("RTMIN+3"), Ok(37));
        assert!(signal("SIGNOPE").is_err());
        assert_eq!(bytes("2G"), Ok(2 << 30));
        assert!(bytes("2X").is_err());
        assert_eq!(exit_status("SIGKILL"), Ok(265));
        assert_eq!(exit_status("TEMPFAIL"), Ok(75));
        assert!(exit_status("300").is_err());
        assert_eq!(capabilities("CAP_NET_BIND_SERVICE cap_chown"), Ok(1 << 10 | 1));
        assert!(capabilities("CAP_NONE").is_err());
    }
}
