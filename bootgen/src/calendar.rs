//! Seconds since 1970 as a date of the Gregorian calendar, in UTC: what file systems and menus write.

/// A date and the time of its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// With all its digits.
    pub(crate) year: i64,
    /// From 1.
    pub(crate) month: u8,
    /// From 1.
    pub(crate) day: u8,
    /// From 0.
    pub(crate) hour: u8,
    /// From 0.
    pub(crate) minute: u8,
    /// From 0.
    pub(crate) second: u8,
}

impl Moment {
    /// The moment so many seconds after the beginning of 1970.
    pub(crate) fn of(seconds: i64) -> Self {
        let rest = seconds.rem_euclid(86_400);
        // A year begins in March here so that the leap day is its last.
        let days = seconds.div_euclid(86_400) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8,
            hour: (rest / 3600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_gregorian() {
        for (seconds, expected) in [
            (0, (1970, 1, 1, 0, 0, 0)),
            (951_782_400, (2000, 2, 29, 0, 0, 0)),
            (1_795_392_000 + 3_661, (2026, 11, 23, 1, 1, 1)),
            (-1, (1969, 12, 31, 23, 59, 59)),
            (4_107_542_400, (2100, 3, 1, 0, 0, 0)),
        ] {
            let moment = Moment::of(seconds);
            let found = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second);
            assert_eq!(found, expected);
        }
    }
}
