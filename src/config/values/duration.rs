//! Durations, as the file writes them.

use std::str::FromStr;
use std::{fmt, time};

use super::amount::{parse_amount, print_amount};
use super::pattern;
use super::text::{Malformed, text_type};

/// A length of time above zero, written with its unit: `500ms`, `30s`, `10m`, `1h`, `1d`, or with several units from
/// the largest to the smallest: `1m30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Duration(time::Duration);

text_type!(Duration, format: "duration", pattern: Duration::pattern());

/// The longest duration. A day is more than any setting needs, so a longer one is a mistake in the unit.
const DURATION_MAX: time::Duration = time::Duration::from_secs(24 * 60 * 60);

/// The units of a duration and their milliseconds, largest first.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

const DURATION_HELP: &str = "write a whole number and its unit: 500ms, 30s, 10m, 1h or 1m30s";

impl Duration {
    /// Returns a pattern for the durations up to [`DURATION_MAX`].
    pub(crate) fn pattern() -> String {
        let part = |maximum: u64, unit: &str| format!("{}{unit}", pattern::number(1, maximum));
        let (minutes, seconds, milliseconds) = (part(59, "m"), part(59, "s"), part(999, "ms"));
        pattern::whole(&pattern::any([
            "0*1d".to_owned(),
            "0*24h".to_owned(),
            format!("{}(?:{minutes})?(?:{seconds})?(?:{milliseconds})?", part(23, "h")),
            "0*1440m".to_owned(),
            format!("{}(?:{seconds})?(?:{milliseconds})?", part(1439, "m")),
            "0*86400s".to_owned(),
            format!("{}(?:{milliseconds})?", part(86_399, "s")),
            part(86_400_000, "ms"),
        ]))
    }

    /// Returns a pattern for the durations of up to a minute.
    pub(crate) fn pattern_to_a_minute() -> String {
        let part = |maximum: u64, unit: &str| format!("{}{unit}", pattern::number(1, maximum));
        pattern::whole(&pattern::any([
            "0*1m".to_owned(),
            "0*60s".to_owned(),
            format!("{}(?:{})?", part(59, "s"), part(999, "ms")),
            part(60_000, "ms"),
        ]))
    }

    /// Creates a duration of whole seconds; 0 becomes the minimum, a millisecond.
    pub(crate) const fn from_secs(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(1000))
    }

    /// Creates a duration of milliseconds; 0 becomes the minimum, a millisecond.
    pub(crate) const fn from_millis(milliseconds: u64) -> Self {
        Self(time::Duration::from_millis(if milliseconds == 0 { 1 } else { milliseconds }))
    }
}

impl From<Duration> for time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl FromStr for Duration {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let mut rest = text;
        let mut total = 0_u64;
        let mut larger: Option<(&str, u64)> = None;
        while !rest.is_empty() || larger.is_none() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let end = rest
                .get(end..)
                .and_then(|unit| unit.find(|c: char| c.is_ascii_digit()))
                .map(|unit| end + unit);
            let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
            let (amount, unit, factor) = parse_amount(part, &DURATION_UNITS, "duration", DURATION_HELP)?;
            if let Some((larger, larger_factor)) = larger {
                if factor >= larger_factor {
                    let message = format!("`{text}` has `{unit}` after `{larger}`");
                    return Err(
                        Malformed::new(message).help("write the largest unit first, and each once: 1m30s")
                    );
                }
                if amount >= larger_factor {
                    let message = format!("`{part}` in `{text}` is more than `1{larger}`");
                    return Err(Malformed::new(message).help(format!("add it to the `{larger}`")));
                }
            }
            total = total.saturating_add(amount);
            (rest, larger) = (after, Some((unit, factor)));
        }
        if total > DURATION_MAX.as_millis().try_into().unwrap_or(u64::MAX) {
            let message = format!("`{text}` is longer than 24h, the longest duration");
            return Err(Malformed::new(message).help("write 24h or less"));
        }
        Ok(Self::from_millis(total))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis().try_into().unwrap_or(u64::MAX);
        print_amount(f, milliseconds, DURATION_UNITS.get(1..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::Duration;

    #[test]
    fn durations_have_a_unit_and_are_above_zero() {
        for (text, milliseconds) in [
            ("1ms", 1),
            ("500ms", 500),
            ("30s", 30_000),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("24h", 86_400_000),
            ("1d", 86_400_000),
            ("1m30s", 90_000),
            ("1h30m", 5_400_000),
            ("23h59m59s999ms", 86_399_999),
            ("1s1ms", 1001),
            ("90m", 5_400_000),
            ("1h1ms", 3_600_001),
        ] {
            assert_eq!(text.parse(), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "",
            "30",
            "0",
            "0s",
            "s",
            "-1s",
            "+1s",
            "1.5s",
            "1 s",
            " 1s",
            "1s ",
            "1S",
            "2d",
            "1d1ms",
            "24h1s",
            "1us",
            "25h",
            "1h60m",
            "1m90s",
            "30s1m",
            "1s1s",
            "1h0m",
            "1h30",
            "h1",
            "1m 30s",
            "86401s",
            "86400001ms",
            "99999999999999999999s",
            "18446744073709551615h",
            "\u{661}s",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_with_several_units_says_what_to_change() {
        for (text, help) in [
            ("30s1m", "write the largest unit first"),
            ("1m90s", "add it to the `m`"),
            ("2d", "write 24h or less"),
            ("1h30", super::DURATION_HELP),
        ] {
            assert!(text.parse::<Duration>().unwrap_err().help.unwrap().contains(help), "{text}");
        }
    }

    #[test]
    fn printed_durations_parse_to_themselves() {
        for text in ["1ms", "1500ms", "90s", "1m", "1h"] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), text);
        }
    }
}
