//! Time zones from their files: RFC 8536 (TZif, versions 1 to 4) with the POSIX rule at the end for times after the last
//! transition. Pure: the caller reads the file. Times are seconds since 1970 in UTC.

/// A time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone {
    /// When the offset changes, ascending, and the offset from then on.
    transitions: Vec<(i64, i32)>,
    /// The offset before the first transition.
    first: i32,
    /// What holds after the last transition.
    rule: Option<Rule>,
}

/// The POSIX rule: an offset, and another one for a part of the year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    standard: i32,
    summer: Option<(i32, Change, Change)>,
}

/// When a part of the year begins: the day, and seconds after its midnight in the time that holds before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    day: Day,
    time: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Day {
    /// `Jn`: 1 to 365, 29 February never counted.
    Julian(i32),
    /// `n`: 0 to 365.
    Zero(i32),
    /// `Mm.w.d`: month, week (5 is the last), weekday from Sunday.
    Week(i32, i32, i32),
}

/// Days from 1970-01-01 to a day of the Gregorian calendar.
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The day of the Gregorian calendar that lies so many days after 1970-01-01: year, month, day.
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_year - (153 * month_from_march + 2) / 5 + 1)
}

impl TimeZone {
    /// UTC.
    pub const fn utc() -> Self {
        Self { transitions: Vec::new(), first: 0, rule: None }
    }

    /// A zone that a POSIX `TZ` rule describes, such as `CET-1CEST,M3.5.0,M10.5.0/3`.
    pub fn from_rule(rule: &str) -> Option<Self> {
        Some(Self { transitions: Vec::new(), first: 0, rule: Some(parse_rule(rule)?) })
    }

    /// Reads a file; nothing when it is not one.
    pub fn parse(file: &[u8]) -> Option<Self> {
        let version = *file.get(4)?;
        let old = Block::parse(file, 4)?;
        if version == 0 {
            return old.zone(None);
        }
        let second = file.get(old.end..)?;
        let block = Block::parse(second, 8)?;
        let footer = second.get(block.end..)?.strip_prefix(b"\n")?;
        let length = footer.iter().position(|byte| *byte == b'\n')?;
        block.zone(parse_rule(std::str::from_utf8(footer.get(..length)?).ok()?))
    }

    /// The offset from UTC that holds at a time, in seconds east.
    pub fn offset_at(&self, time: i64) -> i32 {
        let after = self.transitions.partition_point(|(at, _)| *at <= time);
        match (&self.rule, after.checked_sub(1).and_then(|last| self.transitions.get(last))) {
            (Some(rule), _) if after == self.transitions.len() => rule.offset_at(time),
            (_, Some((_, offset))) => *offset,
            (_, None) => self.first,
        }
    }

    /// The time at which clocks show this local time (given as if it were UTC): the first of two, nothing when clocks jump
    /// over it.
    pub fn time_of_local(&self, local: i64) -> Option<i64> {
        let around = [local - 86_400, local + 86_400].map(|time| i64::from(self.offset_at(time)));
        let mut found = around
            .map(|offset| local - offset)
            .into_iter()
            .filter(|time| self.to_local(*time) == local)
            .min();
        // Two changes within two days: look closer.
        if found.is_none() {
            found = (-26..=26)
                .map(|hours| i64::from(self.offset_at(local + hours * 3600)))
                .map(|offset| local - offset)
                .filter(|time| self.to_local(*time) == local)
                .min();
        }
        found
    }

    /// What clocks show at a time, as if it were UTC.
    pub fn to_local(&self, time: i64) -> i64 {
        time + i64::from(self.offset_at(time))
    }
}

/// One header with its data.
struct Block<'a> {
    width: usize,
    times: &'a [u8],
    kinds: &'a [u8],
    types: &'a [u8],
    end: usize,
}

impl<'a> Block<'a> {
    fn parse(file: &'a [u8], width: usize) -> Option<Self> {
        if !file.starts_with(b"TZif") {
            return None;
        }
        let number = |at: usize| -> Option<usize> {
            Some(u32::from_be_bytes(file.get(at..at + 4)?.try_into().ok()?) as usize)
        };
        let [is_ut, is_standard, leaps, times, types, letters] =
            [number(20)?, number(24)?, number(28)?, number(32)?, number(36)?, number(40)?];
        let times_end = 44 + times.checked_mul(width)?;
        let kinds_end = times_end.checked_add(times)?;
        let types_end = kinds_end.checked_add(types.checked_mul(6)?)?;
        let end = types_end.checked_add(letters)?.checked_add(leaps.checked_mul(width + 4)?)?;
        Some(Self {
            width,
            times: file.get(44..times_end)?,
            kinds: file.get(times_end..kinds_end)?,
            types: file.get(kinds_end..types_end)?,
            end: end.checked_add(is_ut)?.checked_add(is_standard)?,
        })
    }

    fn zone(&self, rule: Option<Rule>) -> Option<TimeZone> {
        let offset = |kind: usize| -> Option<i32> {
            Some(i32::from_be_bytes(self.types.get(kind * 6..kind * 6 + 4)?.try_into().ok()?))
        };
        let mut transitions = Vec::with_capacity(self.kinds.len());
        for (time, kind) in self.times.chunks_exact(self.width).zip(self.kinds) {
            let time = match self.width {
                8 => i64::from_be_bytes(time.try_into().ok()?),
                _ => i64::from(i32::from_be_bytes(time.try_into().ok()?)),
            };
            transitions.push((time, offset(usize::from(*kind))?));
        }
        Some(TimeZone { transitions, first: offset(0)?, rule })
    }
}

/// `CET-1CEST,M3.5.0,M10.5.0/3`: the `TZ` variable of POSIX as RFC 8536 extends it.
fn parse_rule(text: &str) -> Option<Rule> {
    let rest = after_name(text)?;
    let (standard, rest) = parse_time(rest)?;
    if rest.is_empty() {
        return Some(Rule { standard: -standard, summer: None });
    }
    let rest = after_name(rest)?;
    let (summer, rest) = if rest.starts_with(',') { (standard - 3600, rest) } else { parse_time(rest)? };
    let mut changes = rest.strip_prefix(',')?.split(',');
    let (start, end) = (parse_change(changes.next()?)?, parse_change(changes.next()?)?);
    Some(Rule { standard: -standard, summer: Some((-summer, start, end)) })
}

fn after_name(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('<') {
        return quoted.split_once('>').map(|(_, rest)| rest);
    }
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    text.get(end..).filter(|_| end >= 3)
}

/// `[+-]h[:m[:s]]` as seconds, and the rest.
fn parse_time(text: &str) -> Option<(i32, &str)> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("-", rest) => (-1, rest),
        ("+", rest) => (1, rest),
        _ => (1, text),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(digits.len());
    let (time, rest) = digits.split_at_checked(end)?;
    let mut total = 0;
    for (part, scale) in time.split(':').zip([3600, 60, 1]) {
        total += part.parse::<i32>().ok().filter(|part| *part < 1000)? * scale;
    }
    Some((sign * total, rest))
}

fn parse_change(text: &str) -> Option<Change> {
    let (day, time) = text.split_once('/').map_or((text, None), |(day, time)| (day, Some(time)));
    let time = time.map_or(Some((7200, "")), parse_time)?.0;
    let day = if let Some(number) = day.strip_prefix('J') {
        Day::Julian(number.parse().ok()?)
    } else if let Some(week) = day.strip_prefix('M') {
        let mut parts = week.split('.').map(|part| part.parse::<i32>().ok());
        Day::Week(parts.next()??, parts.next()??, parts.next()??)
    } else {
        Day::Zero(day.parse().ok()?)
    };
    Some(Change { day, time })
}

impl Change {
    /// Local seconds, as if UTC, at which it happens in a year.
    fn in_year(self, year: i64) -> i64 {
        let day = match self.day {
            Day::Zero(day) => days_from_civil(year, 1, 1) + i64::from(day),
            Day::Julian(day) => {
                let is_leap = days_from_civil(year, 3, 1) - days_from_civil(year, 1, 1) == 60;
                days_from_civil(year, 1, 1) + i64::from(day) - i64::from(!(is_leap && day >= 60))
            }
            Day::Week(month, week, weekday) => {
                let first = days_from_civil(year, i64::from(month), 1);
                let next = if month == 12 {
                    days_from_civil(year + 1, 1, 1)
                } else {
                    days_from_civil(year, i64::from(month) + 1, 1)
                };
                let first_match = first + (i64::from(weekday) - (first + 4)).rem_euclid(7);
                let day = first_match + 7 * (i64::from(week) - 1);
                if day >= next { day - 7 } else { day }
            }
        };
        day * 86_400 + i64::from(self.time)
    }
}

impl Rule {
    fn offset_at(&self, time: i64) -> i32 {
        let Some((summer, start, end)) = self.summer else { return self.standard };
        let (year, ..) = civil_from_days((time + i64::from(self.standard)).div_euclid(86_400));
        let begins = start.in_year(year) - i64::from(self.standard);
        let ends = end.in_year(year) - i64::from(summer);
        let is_summer =
            if begins < ends { (begins..ends).contains(&time) } else { !(ends..begins).contains(&time) };
        if is_summer { summer } else { self.standard }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file without transitions that has only its rule.
    fn with_rule(rule: &str) -> TimeZone {
        let mut file = Vec::new();
        for _ in 0..2 {
            file.extend(b"TZif2");
            file.extend([0; 15]);
            for count in [0_u32, 0, 0, 0, 1, 4] {
                file.extend(count.to_be_bytes());
            }
            file.extend([0, 0, 0, 0, 0, 0]);
            file.extend(b"UTC\0");
        }
        file.extend(format!("\n{rule}\n").bytes());
        TimeZone::parse(&file).unwrap()
    }

    fn utc(year: i64, month: i64, day: i64, hour: i64, minute: i64) -> i64 {
        days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60
    }

    #[test]
    fn the_calendar_goes_both_ways() {
        for days in (-800_000..800_000).step_by(37) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
        assert_eq!(civil_from_days(0), (1970, 1, 1));
        assert_eq!(civil_from_days(19_782), (2024, 2, 29));
    }

    #[test]
    fn summer_time_begins_and_ends() {
        let berlin = with_rule("CET-1CEST,M3.5.0,M10.5.0/3");
        for (time, offset) in [
            (utc(2024, 3, 31, 0, 59), 3600),
            (utc(2024, 3, 31, 1, 0), 7200),
            (utc(2024, 10, 27, 0, 59), 7200),
            (utc(2024, 10, 27, 1, 0), 3600),
        ] {
            assert_eq!(berlin.offset_at(time), offset, "{time}");
        }
        assert_eq!(berlin.time_of_local(utc(2024, 3, 31, 2, 30)), None, "clocks jump over it");
        assert_eq!(
            berlin.time_of_local(utc(2024, 10, 27, 2, 30)),
            Some(utc(2024, 10, 27, 0, 30)),
            "the first of two"
        );
        let sydney = with_rule("AEST-10AEDT,M10.1.0,M4.1.0/3");
        assert_eq!(sydney.offset_at(utc(2024, 1, 1, 0, 0)), 39_600);
        assert_eq!(sydney.offset_at(utc(2024, 7, 1, 0, 0)), 36_000);
        let kolkata = with_rule("IST-5:30");
        assert_eq!(kolkata.to_local(0), 19_800);
        assert_eq!(with_rule("<-03>3").offset_at(0), -10_800);
    }

    #[test]
    fn nonsense_is_no_zone() {
        assert_eq!(TimeZone::parse(b""), None);
        assert_eq!(TimeZone::parse(b"TZif2"), None);
        let mut file = b"TZif2".to_vec();
        file.extend([0xff; 60]);
        assert_eq!(TimeZone::parse(&file), None);
    }
}
