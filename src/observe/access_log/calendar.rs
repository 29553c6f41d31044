//! Formatting of the log's timestamps, in UTC.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: u64 = 86_400;
const DAYS_PER_ERA: u64 = 146_097;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A formatter of timestamps that caches the text of the last second, because most lines share it. Each instance must
/// be used for one format only.
#[derive(Debug, Default)]
pub(super) struct Calendar {
    second: Option<u64>,
    text: String,
}

impl Calendar {
    /// Returns `2026-11-22T20:48:43` (RFC 3339 without fraction and zone) and the microseconds within that second.
    pub(super) fn rfc3339(&mut self, time: SystemTime) -> (&str, u32) {
        self.render(time, |text, date, [hour, minute, second]| {
            let Date { year, month, day } = date;
            write!(text, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
        })
    }

    /// Returns `22/Nov/2026:20:48:43`, the time of the Common Log Format without the zone.
    pub(super) fn common(&mut self, time: SystemTime) -> &str {
        let (text, _) = self.render(time, |text, date, [hour, minute, second]| {
            let Date { year, month, day } = date;
            let month = usize::try_from(month - 1).ok().and_then(|index| MONTHS.get(index)).unwrap_or(&"???");
            write!(text, "{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02}")
        });
        text
    }

    fn render(
        &mut self,
        time: SystemTime,
        write: impl Fn(&mut String, Date, [u64; 3]) -> std::fmt::Result,
    ) -> (&str, u32) {
        // A clock before 1970 was never set. The log then shows the epoch.
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since_epoch.as_secs();
        if self.second != Some(second) {
            let (date, clock) = (Date::of_day(second / SECONDS_PER_DAY), second % SECONDS_PER_DAY);
            self.text.clear();
            let written = write(&mut self.text, date, [clock / 3600, clock / 60 % 60, clock % 60]);
            self.second = written.is_ok().then_some(second);
        }
        (&self.text, since_epoch.subsec_micros())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Date {
    year: u64,
    month: u64,
    day: u64,
}

impl Date {
    /// Returns the Gregorian date of a day counted from 1970-01-01.
    ///
    /// Years are taken to begin in March, so that the leap day is the last of its year and a month's first day is a
    /// linear function of its number: 153 days in five months.
    fn of_day(day: u64) -> Self {
        // The number of days from 0000-03-01 to 1970-01-01.
        let day = day + 719_468;
        let (era, day_of_era) = (day / DAYS_PER_ERA, day % DAYS_PER_ERA);
        let leap_days = day_of_era / 1460 + day_of_era / (DAYS_PER_ERA - 1) - day_of_era / 36_524;
        let year_of_era = (day_of_era - leap_days) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_day_of_four_centuries_follows_the_day_before() {
        let leap =
            |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let mut expected = Date { year: 1970, month: 1, day: 1 };
        for day in 0..=DAYS_PER_ERA {
            assert_eq!(Date::of_day(day), expected, "day {day}");
            let length = match expected.month {
                2 => 28 + u64::from(leap(expected.year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match expected {
                Date { year, month, day } if day < length => Date { year, month, day: day + 1 },
                Date { year, month: 12, .. } => Date { year: year + 1, month: 1, day: 1 },
                Date { year, month, .. } => Date { year, month: month + 1, day: 1 },
            };
        }
    }

    #[test]
    fn a_time_has_its_text_and_the_text_changes_with_the_second() {
        let mut calendar = Calendar::default();
        let time = UNIX_EPOCH + Duration::from_micros(1_795_380_523_000_042);
        assert_eq!(calendar.rfc3339(time), ("2026-11-22T20:48:43", 42));
        assert_eq!(calendar.rfc3339(time + Duration::from_millis(999)), ("2026-11-22T20:48:43", 999_042));
        assert_eq!(calendar.rfc3339(time + Duration::from_secs(1)).0, "2026-11-22T20:48:44");
        assert_eq!(Calendar::default().common(time), "22/Nov/2026:20:48:43");
        assert_eq!(Calendar::default().rfc3339(UNIX_EPOCH - Duration::from_secs(1)).0, "1970-01-01T00:00:00");
    }
}
