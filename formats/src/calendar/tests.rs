//! Expressions against what systemd makes of them (`cases.txt`).

use super::*;

const ZONES: [(&str, &str); 5] = [
    ("Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3"),
    ("America/New_York", "EST5EDT,M3.2.0,M11.1.0"),
    ("Australia/Sydney", "AEST-10AEDT,M10.1.0,M4.1.0/3"),
    ("Asia/Kolkata", "IST-5:30"),
    ("America/Sao_Paulo", "<-03>3"),
];

/// Where systemd 252 is not right by its own manual: it refuses a range of one second, and passes over the first midnight of
/// a list of hours whose step begins at 0.
const NOT_AS_SYSTEMD: [&str; 2] = ["*:13:17..29,15..15 UTC", "*-1,3..9,4/1-* 10,0/5:0:*"];

/// The zone of an expression; local time is UTC here.
fn zone_of(calendar: &Calendar) -> TimeZone {
    let name = calendar.zone().unwrap_or("UTC");
    let rule = ZONES.iter().find(|(known, _)| *known == name).map_or("UTC0", |(_, rule)| rule);
    TimeZone::from_rule(rule).unwrap()
}

/// `2026-03-28 11:22:33` as microseconds.
fn read(text: &str) -> u64 {
    let numbers: Vec<i64> = text.split(['-', ' ', ':']).map(|part| part.parse().unwrap()).collect();
    let [year, month, day, hour, minute, second] = numbers[..] else { panic!("{text}") };
    ((days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second) as u64) * SECOND
}

fn show_time(time: u64) -> String {
    let seconds = (time / SECOND) as i64;
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let rest = seconds.rem_euclid(86_400);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[test]
fn expressions_elapse_when_systemd_says() {
    let mut faults = Vec::new();
    let mut count = 0;
    for line in include_str!("cases.txt").lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(" | ").collect();
        let (text, base, normalized) = (fields[0], fields[1], fields[2]);
        count += 1;
        let found = match Calendar::parse(text) {
            Err(_) => "error".to_owned(),
            Ok(calendar) => {
                assert_eq!(Calendar::parse(&calendar.to_string()).as_ref(), Ok(&calendar), "{text}");
                let zone = zone_of(&calendar);
                let mut times = Vec::new();
                let mut at = read(base);
                while let Some(next) = calendar.next(at, &zone).filter(|_| times.len() < 5) {
                    times.push(show_time(next));
                    at = next;
                }
                if times.is_empty() {
                    times.push("never".into());
                }
                format!("{calendar} | {}", times.join(", "))
            }
        };
        let expected = fields[2..].join(" | ");
        if (found != expected) != NOT_AS_SYSTEMD.contains(&text) {
            faults.push(format!("{text} | {base}\n  systemd {expected}\n  here    {found}"));
        }
        assert!(!normalized.is_empty());
    }
    assert!(count > 450, "only {count} cases");
    assert!(faults.is_empty(), "{} of {count} differ:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn errors_say_what_to_write() {
    for (text, expected) in [
        ("*:*/5", "write 0/5"),
        ("Sat..Mon", "write two ranges"),
        ("25:00", "a hour lies between 0 and 23"),
        ("Mon..Foo", "`Foo` is no day of the week"),
        ("", "says no time"),
        ("daily at noon", "stands alone"),
    ] {
        let message = Calendar::parse(text).unwrap_err();
        assert!(message.contains(expected), "{text}: {message}");
    }
}
