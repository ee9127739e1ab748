//! Moments as people write and read them: `2026-01-31 12:00:00`, `-2h`, `10min ago`, `yesterday`, `@1795400553`; in UTC.

/// Microseconds of a day.
const DAY: u64 = 86_400_000_000;

/// Microseconds since 1970 as `2026-01-31 12:00:00` in UTC (days by Howard Hinnant's civil_from_days).
pub(crate) fn format_time(microseconds: u64) -> String {
    let (year, month, day) = date_of(microseconds / DAY);
    let rest = microseconds % DAY / 1_000_000;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Year, month and day of a day since 1970.
pub(super) fn date_of(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The inverse: days since 1970.
fn days_of(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let month_index = if month > 2 { month - 3 } else { month + 9 };
    let day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * month_index + 2) / 5 + day - 1;
    era * 146_097 + day_of_era - 719_468
}

/// Reads a moment; `now` in microseconds since 1970. An error says what would be understood.
pub(crate) fn parse(text: &str, now: u64) -> Result<u64, String> {
    let wrong = || {
        format!(
            "`{text}` is no moment: write `2026-01-31 12:00:00`, `12:00`, `-2h`, `10min ago`, `today` or `@SECONDS`"
        )
    };
    let text = text.trim();
    let span = |span: &str| units::value::time_span(span.trim()).map_err(|_| wrong());
    if let Some(seconds) = text.strip_prefix('@') {
        let seconds: f64 = seconds.parse().map_err(|_| wrong())?;
        return Ok((seconds * 1e6) as u64);
    }
    if let Some(ago) = text.strip_prefix('-').or_else(|| text.strip_suffix(" ago")) {
        return Ok(now.saturating_sub(span(ago)?));
    }
    if let Some(ahead) = text.strip_prefix('+') {
        return Ok(now.saturating_add(span(ahead)?));
    }
    let midnight = now - now % DAY;
    match text {
        "now" => return Ok(now),
        "today" => return Ok(midnight),
        "yesterday" => return Ok(midnight.saturating_sub(DAY)),
        "tomorrow" => return Ok(midnight + DAY),
        _ => {}
    }
    let text = text.trim_end_matches(" UTC").trim_end_matches('Z');
    let (date, time) = match text.split_once([' ', 'T']) {
        Some((date, time)) => (Some(date), Some(time)),
        None if text.contains(':') => (None, Some(text)),
        None if text.matches('-').count() == 2 => (Some(text), None),
        // A bare span is meant as one that has passed.
        None => return Ok(now.saturating_sub(span(text)?)),
    };
    let mut moment = midnight;
    if let Some(date) = date {
        let parts: Vec<u64> =
            date.split('-').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        let [year @ 1970..=9999, month @ 1..=12, day @ 1..=31] = parts[..] else { return Err(wrong()) };
        moment = days_of(year, month, day) * DAY;
    }
    if let Some(time) = time {
        let mut parts = time.split(':');
        let mut number = |below: f64| -> Result<f64, String> {
            let Some(part) = parts.next() else { return Ok(0.0) };
            part.parse().ok().filter(|number| (0.0..below).contains(number)).ok_or_else(wrong)
        };
        let (hours, minutes, seconds) = (number(24.0)?, number(60.0)?, number(61.0)?);
        moment += ((hours * 3600.0 + minutes * 60.0 + seconds) * 1e6) as u64;
    }
    Ok(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        assert_eq!(format_time(0), "1970-01-01 00:00:00");
        assert_eq!(format_time(1_709_210_096_000_000), "2024-02-29 12:34:56");
        assert_eq!(format_time(1_795_400_553_859_164), "2026-11-23 02:22:33");
        for day in (0..60_000).step_by(13) {
            let (year, month, date) = date_of(day);
            assert_eq!(days_of(year, month, date), day);
        }
    }

    #[test]
    fn moments_are_understood() {
        let now = 1_795_400_553_859_164;
        let midnight = now - now % DAY;
        for (text, expected) in [
            ("2026-11-23 02:22:33", now - 859_164),
            ("2026-11-23T02:22", now - 33_859_164),
            ("2026-11-23", midnight),
            ("00:01", midnight + 60_000_000),
            ("today", midnight),
            ("yesterday", midnight - DAY),
            ("-1h", now - 3_600_000_000),
            ("10min ago", now - 600_000_000),
            ("30s", now - 30_000_000),
            ("@1.5", 1_500_000),
            ("now", now),
        ] {
            assert_eq!(parse(text, now), Ok(expected), "{text}");
        }
        for text in ["", "soon", "2026-13-01", "25:00", "-x", "@"] {
            assert!(parse(text, now).is_err(), "{text}");
        }
    }
}
