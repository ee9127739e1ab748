//! Calendar expressions of timers: systemd.time(7), "Calendar Events". Read and normalized at build time, asked for the next
//! time at run time. Pure: the time zone comes from the caller.
//!
//! ```text
//! [WEEKDAYS] [[YEARS-]MONTHS-DAYS] [HOURS:MINUTES[:SECONDS]] [ZONE]     each a list: 1,3,5..9,0/15   `~` days from the end
//! ```

use crate::time_zone::{TimeZone, civil_from_days, days_from_civil};
use std::fmt;

/// Microseconds of a second.
const SECOND: u64 = 1_000_000;

/// No expression reaches further (as in systemd).
const LAST_YEAR: i64 = 2199;

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// One element of a list: a value, a range, either with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    start: u64,
    stop: Option<u64>,
    repeat: u64,
}

/// A list; empty is `*`.
type Field = Vec<Part>;

/// A calendar expression.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Calendar {
    /// Bit 0 is Monday; 0 is every day.
    weekdays: u8,
    years: Field,
    months: Field,
    days: Field,
    days_from_end: bool,
    hours: Field,
    minutes: Field,
    /// In microseconds.
    seconds: Field,
    /// `UTC`, or the name of a zone's file; nothing for local time.
    zone: Option<String>,
}

/// Names for whole expressions.
const SHORTHANDS: [(&str, &str); 10] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("biannually", "*-01,07-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
];

impl Calendar {
    /// Reads an expression; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let mut calendar = Self::default();
        if let Some(last) = words.last().copied().filter(|word| is_zone(word)) {
            calendar.zone =
                Some(if last.eq_ignore_ascii_case("utc") { "UTC".into() } else { last.to_owned() });
            words.pop();
        }
        let Some(first) = words.first().copied() else { return Err("says no time".into()) };
        if let Some((_, whole)) = SHORTHANDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(first)) {
            return if words.len() == 1 {
                Self::parse(whole).map(|found| Self { zone: calendar.zone, ..found })
            } else {
                Err(format!("`{first}` stands alone, at most with a time zone"))
            };
        }
        if let Some(seconds) = first.strip_prefix('@') {
            let number: i64 = seconds.parse().map_err(|_| "after `@` come seconds since 1970".to_owned())?;
            return if words.len() == 1 {
                Ok(Self::at(number))
            } else {
                Err("nothing may follow `@SECONDS`".into())
            };
        }
        if first.starts_with(|c: char| c.is_ascii_alphabetic()) {
            calendar.weekdays = weekdays(first.trim_end_matches(','))?;
            words.remove(0);
        }
        let (mut has_date, mut has_time) = (false, false);
        for word in words {
            if word.contains(':') && !has_time {
                calendar.time(word)?;
                has_time = true;
            } else if !word.contains(':') && (word.contains(['-', '~'])) && !has_date && !has_time {
                calendar.date(word)?;
                has_date = true;
            } else {
                return Err(format!(
                    "`{word}` is neither a date (MONTH-DAY) nor a time (HOUR:MINUTE) nor a zone"
                ));
            }
        }
        if !has_time {
            let zero = || vec![Part { start: 0, stop: None, repeat: 0 }];
            (calendar.hours, calendar.minutes, calendar.seconds) = (zero(), zero(), zero());
        }
        calendar.normalize();
        Ok(calendar)
    }

    /// The one moment so many seconds after 1970.
    fn at(seconds: i64) -> Self {
        let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
        let rest = seconds.rem_euclid(86_400) as u64;
        let one = |value: u64| vec![Part { start: value, stop: None, repeat: 0 }];
        Self {
            years: one(year as u64),
            months: one(month as u64),
            days: one(day as u64),
            hours: one(rest / 3600),
            minutes: one(rest / 60 % 60),
            seconds: one(rest % 60 * SECOND),
            zone: Some("UTC".into()),
            ..Self::default()
        }
    }

    /// `Y-M-D`, `M-D`, with `~` before the days to count from the month's end.
    fn date(&mut self, text: &str) -> Result<(), String> {
        let (front, days, from_end) = match text.split_once('~') {
            Some((front, days)) => (front, days, true),
            None => text.rsplit_once('-').map(|(front, days)| (front, days, false)).unwrap_or_default(),
        };
        let (years, months) = match front.split_once('-') {
            Some((years, months)) => (years, months),
            None => ("*", front),
        };
        self.days_from_end = from_end;
        self.years = field(years, 1970, LAST_YEAR as u64, "year")?;
        // Two digits are of this and the last century, as in systemd.
        for part in &mut self.years {
            if part.start < 70 {
                part.start += 2000;
            } else if part.start < 100 {
                part.start += 1900;
            }
        }
        self.months = field(months, 1, 12, "month")?;
        self.days = field(days, 1, if from_end { 28 } else { 31 }, "day")?;
        self.days_from_end &= !self.days.is_empty();
        if self.days_from_end && self.days.iter().any(|part| part.stop.is_none() && part.start <= part.repeat)
        {
            return Err(
                "a step after `~` counts towards the month's end, which comes before its first".into()
            );
        }
        Ok(())
    }

    /// `H:M`, `H:M:S`.
    fn time(&mut self, text: &str) -> Result<(), String> {
        let mut parts = text.split(':');
        let mut next = || parts.next().unwrap_or_default();
        self.hours = field(next(), 0, 23, "hour")?;
        self.minutes = field(next(), 0, 59, "minute")?;
        self.seconds = match parts.next() {
            None => vec![Part { start: 0, stop: None, repeat: 0 }],
            Some(seconds) => field_scaled(seconds, 0, 60 * SECOND - 1, "second", SECOND)?,
        };
        match parts.next() {
            None => Ok(()),
            Some(_) => Err("a time has at most hours, minutes and seconds".into()),
        }
    }

    /// Sorts lists, ends ranges at the last value that their step reaches.
    fn normalize(&mut self) {
        if self.weekdays == 0x7f {
            self.weekdays = 0;
        }
        for list in [
            &mut self.years,
            &mut self.months,
            &mut self.days,
            &mut self.hours,
            &mut self.minutes,
            &mut self.seconds,
        ] {
            for part in list.iter_mut() {
                if let (Some(stop), repeat @ 1..) = (part.stop, part.repeat) {
                    part.stop = Some(stop - (stop - part.start) % repeat);
                }
                if part.stop.is_some_and(|stop| part.repeat > 0 && part.start + part.repeat > stop)
                    || part.stop == Some(part.start)
                {
                    (part.stop, part.repeat) = (None, 0);
                }
            }
            list.sort();
            list.dedup();
        }
    }

    /// The name of its time zone, nothing for the machine's own.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The first time after `after` (both microseconds since 1970) at which it elapses; nothing when there is none.
    pub fn next(&self, after: u64, zone: &TimeZone) -> Option<u64> {
        let (second, rest) = ((after / SECOND) as i64, after % SECOND);
        let mut local = (zone.to_local(second), rest);
        loop {
            local = self.next_local(local)?;
            if let Some(time) = zone.time_of_local(local.0) {
                let time = u64::try_from(time).ok()?.checked_mul(SECOND)?.checked_add(local.1)?;
                if time > after {
                    return Some(time);
                }
            }
        }
    }

    /// The first local time after one, each as seconds (as if UTC) and microseconds.
    fn next_local(&self, after: (i64, u64)) -> Option<(i64, u64)> {
        let first_day = after.0.div_euclid(86_400);
        let (mut year, mut month, day) = civil_from_days(first_day);
        let mut first = day;
        let since_midnight = after.0.rem_euclid(86_400) as u64 * SECOND + after.1;
        while year <= LAST_YEAR {
            if !holds(&self.years, year as u64) {
                (year, month, first) = (next_value(&self.years, year as u64 + 1)? as i64, 1, 1);
                continue;
            }
            while month <= 12 {
                let start = days_from_civil(year, month, 1);
                let length = if month == 12 { 31 } else { days_from_civil(year, month + 1, 1) - start };
                let days = (first..=length).filter(|day| {
                    holds(&self.months, month as u64) && self.day_holds(*day, length, start + day - 1)
                });
                let found = days.map(|day| start + day - 1).find_map(|days| {
                    let from = if days == first_day { since_midnight + 1 } else { 0 };
                    let time = self.next_in_day(from)?;
                    Some((days * 86_400 + (time / SECOND) as i64, time % SECOND))
                });
                if found.is_some() {
                    return found;
                }
                (month, first) = (month + 1, 1);
            }
            (year, month) = (year + 1, 1);
        }
        None
    }

    fn day_holds(&self, day: i64, length: i64, days_since_epoch: i64) -> bool {
        let weekday = (days_since_epoch + 3).rem_euclid(7);
        let named = self.weekdays == 0 || self.weekdays & 1 << weekday != 0;
        let listed = if self.days_from_end {
            self.days.is_empty() || self.days.iter().any(|part| part.turned(length as u64).holds(day as u64))
        } else {
            holds(&self.days, day as u64)
        };
        named && listed
    }

    /// The first time of day, in microseconds, that is not before `from`.
    fn next_in_day(&self, from: u64) -> Option<u64> {
        let (minute, hour) = (60 * SECOND, 3600 * SECOND);
        let mut at = from;
        while at < 24 * hour {
            let now = at / hour;
            let found = next_value_below(&self.hours, now, 23)?;
            if found > now {
                at = found * hour;
            }
            let now = at % hour / minute;
            let Some(found) = next_value_below(&self.minutes, now, 59) else {
                at = (at / hour + 1) * hour;
                continue;
            };
            if found > now {
                at = at / hour * hour + found * minute;
            }
            // `*` for seconds is every full second.
            let list = [Part { start: 0, stop: None, repeat: SECOND }];
            let seconds = if self.seconds.is_empty() { &list[..] } else { &self.seconds };
            match next_value_below(seconds, at % minute, minute - 1) {
                Some(found) => return Some(at / minute * minute + found),
                None => at = (at / minute + 1) * minute,
            }
        }
        None
    }
}

impl Part {
    /// The same days counted from the month's beginning.
    fn turned(self, length: u64) -> Self {
        let turn = |value: u64| (length + 1).saturating_sub(value);
        match self.stop {
            Some(stop) => Self { start: turn(stop), stop: Some(turn(self.start)), ..self },
            None => Self { start: turn(self.start), ..self },
        }
    }

    fn holds(&self, value: u64) -> bool {
        self.next(value) == Some(value)
    }

    /// Its first value that is not below `from`.
    fn next(&self, from: u64) -> Option<u64> {
        if from <= self.start {
            return Some(self.start);
        }
        let step = match (self.stop, self.repeat) {
            (None, 0) => return None,
            (_, repeat) => repeat.max(1),
        };
        let value = self.start + (from - self.start).div_ceil(step) * step;
        (self.stop.is_none_or(|stop| value <= stop)).then_some(value)
    }
}

fn holds(list: &[Part], value: u64) -> bool {
    list.is_empty() || list.iter().any(|part| part.holds(value))
}

fn next_value(list: &[Part], from: u64) -> Option<u64> {
    if list.is_empty() { Some(from) } else { list.iter().filter_map(|part| part.next(from)).min() }
}

fn next_value_below(list: &[Part], from: u64, last: u64) -> Option<u64> {
    next_value(list, from).filter(|value| *value <= last)
}

/// The last word is a time zone when it has the form of one.
fn is_zone(word: &str) -> bool {
    word.eq_ignore_ascii_case("utc")
        || (word.contains('/')
            && word.starts_with(|c: char| c.is_ascii_uppercase())
            && !word.contains([':', ',']))
        || matches!(
            word,
            "GMT"
                | "CET"
                | "MET"
                | "EET"
                | "WET"
                | "EST"
                | "MST"
                | "HST"
                | "EST5EDT"
                | "CST6CDT"
                | "MST7MDT"
                | "PST8PDT"
        )
}

/// `Mon..Fri,Sun`.
fn weekdays(text: &str) -> Result<u8, String> {
    let one = |name: &str| {
        WEEKDAYS
            .iter()
            .position(|day| {
                day.eq_ignore_ascii_case(name)
                    || day.get(..3).is_some_and(|short| short.eq_ignore_ascii_case(name))
            })
            .ok_or_else(|| format!("`{name}` is no day of the week"))
    };
    let mut mask = 0;
    for part in text.split(',') {
        let (from, to) = part.split_once("..").or_else(|| part.split_once('-')).unwrap_or((part, part));
        let (from, to) = (one(from)?, one(to)?);
        if from > to {
            return Err(format!("`{part}` runs over the end of the week; write two ranges"));
        }
        for day in from..=to {
            mask |= 1 << day;
        }
    }
    Ok(mask)
}

fn field(text: &str, low: u64, high: u64, what: &str) -> Result<Field, String> {
    field_scaled(text, low, high, what, 1)
}

/// A list, its numbers multiplied by `scale`, which also says whether they may have decimals.
fn field_scaled(text: &str, low: u64, high: u64, what: &str, scale: u64) -> Result<Field, String> {
    if text == "*" {
        return Ok(Field::new());
    }
    let number = |text: &str| -> Result<u64, String> {
        let bad = || format!("`{text}` is no {what}");
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        let mut value =
            whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(scale)).ok_or_else(bad)?;
        if text.contains('.') {
            if scale == 1 || fraction.is_empty() || fraction.len() > 6 {
                return Err(bad());
            }
            value += format!("{fraction:0<6}").parse::<u64>().map_err(|_| bad())?;
        }
        Ok(value)
    };
    let in_range = |value: u64| {
        let is_short_year = what == "year" && value < 100;
        if (low..=high).contains(&value) || is_short_year {
            Ok(value)
        } else {
            Err(format!("a {what} lies between {} and {}", low / scale, high / scale))
        }
    };
    let mut list = Field::new();
    for item in text.split(',') {
        let (range, repeat) = match item.split_once('/') {
            Some((range, repeat)) => (range, Some(number(repeat)?)),
            None => (item, None),
        };
        if repeat == Some(0) {
            return Err(format!("the step of a {what} is at least 1"));
        }
        if range == "*" {
            // A star within a list takes all of it. A step has to say where it begins, as in systemd.
            return match repeat {
                None => Ok(Field::new()),
                Some(repeat) => Err(format!(
                    "`{item}` does not say where it begins; write {}/{}",
                    low / scale,
                    repeat / scale
                )),
            };
        }
        // Where a decimal point is possible, `..` still separates.
        let (start, stop) = match range.split_once("..") {
            Some((start, stop)) => (in_range(number(start)?)?, Some(in_range(number(stop)?)?)),
            None => (in_range(number(range)?)?, None),
        };
        if stop.is_some_and(|stop| stop < start) {
            return Err(format!("`{range}` ends before it begins"));
        }
        let repeat = repeat.unwrap_or(if stop.is_some() { scale } else { 0 });
        let is_from_end = what == "day" && high == 28;
        if stop.is_none() && !is_from_end && start.saturating_add(repeat) > high {
            return Err(format!("the step of `{item}` leads past the last {what}"));
        }
        list.push(Part { start, stop, repeat });
    }
    Ok(list)
}

impl fmt::Display for Calendar {
    /// The normalized form, which systemd shows as well.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.weekdays != 0 {
            let mut first = true;
            let mut day = 0;
            while day < 7 {
                if self.weekdays & 1 << day == 0 {
                    day += 1;
                    continue;
                }
                let mut end = day;
                while end < 6 && self.weekdays & 1 << (end + 1) != 0 {
                    end += 1;
                }
                let name = |day: usize| WEEKDAYS.get(day).and_then(|name| name.get(..3)).unwrap_or_default();
                formatter.write_str(if first { "" } else { "," })?;
                match end - day {
                    0 => formatter.write_str(name(day))?,
                    1 => write!(formatter, "{},{}", name(day), name(end))?,
                    _ => write!(formatter, "{}..{}", name(day), name(end))?,
                }
                (first, day) = (false, end + 1);
            }
            formatter.write_str(" ")?;
        }
        show(formatter, &self.years, 4, 1)?;
        formatter.write_str("-")?;
        show(formatter, &self.months, 2, 1)?;
        formatter.write_str(if self.days_from_end { "~" } else { "-" })?;
        show(formatter, &self.days, 2, 1)?;
        formatter.write_str(" ")?;
        show(formatter, &self.hours, 2, 1)?;
        formatter.write_str(":")?;
        show(formatter, &self.minutes, 2, 1)?;
        formatter.write_str(":")?;
        show(formatter, &self.seconds, 2, SECOND)?;
        match &self.zone {
            Some(zone) => write!(formatter, " {zone}"),
            None => Ok(()),
        }
    }
}

fn show(formatter: &mut fmt::Formatter<'_>, list: &[Part], width: usize, scale: u64) -> fmt::Result {
    if list.is_empty() {
        return formatter.write_str("*");
    }
    let number = |formatter: &mut fmt::Formatter<'_>, value: u64, width: usize| {
        write!(formatter, "{:0width$}", value / scale)?;
        match value % scale {
            0 => Ok(()),
            fraction => write!(formatter, ".{fraction:06}"),
        }
    };
    for (index, part) in list.iter().enumerate() {
        formatter.write_str(if index == 0 { "" } else { "," })?;
        number(formatter, part.start, width)?;
        if let Some(stop) = part.stop {
            formatter.write_str("..")?;
            number(formatter, stop, width)?;
        }
        if part.repeat > 0 && !(part.stop.is_some() && part.repeat == scale) {
            formatter.write_str("/")?;
            number(formatter, part.repeat, 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
