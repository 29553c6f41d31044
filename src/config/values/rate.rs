//! The rate of requests that a limit permits.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::{fmt, time};

use super::pattern;
use super::text::{Malformed, text_type};

/// A number of requests in a unit of time: `100/s`, `20/m`, `1000/h` or `5/d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) count: NonZeroU32,
    unit: Unit,
}

/// A unit of time, with the seconds that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unit {
    letter: char,
    name: &'static str,
    seconds: u32,
}

const UNITS: [Unit; 4] = [
    Unit { letter: 's', name: "second", seconds: 1 },
    Unit { letter: 'm', name: "minute", seconds: 60 },
    Unit { letter: 'h', name: "hour", seconds: 3600 },
    Unit { letter: 'd', name: "day", seconds: 86_400 },
];

/// The most requests in a second.
const PER_SECOND_MAX: u32 = 1_000_000;

/// The most requests in a unit: four billion are the most that a burst can have.
const COUNT_MAX: u32 = 4_000_000_000;

const HELP: &str = "write a number of requests and a unit of time: `100/s`, `20/m`, `1000/h` or `5/d`";

text_type!(Rate, format: "rate", pattern: {
    let of = |unit: &Unit| format!("{}/{}", pattern::number(1, unit.count_max().into()), unit.letter);
    pattern::whole(&pattern::any(UNITS.iter().map(of)))
});

impl Rate {
    /// Returns the length of the unit.
    pub(crate) fn period(self) -> time::Duration {
        time::Duration::from_secs(self.unit.seconds.into())
    }

    /// Returns the name of the unit: `second`, `minute`, `hour` or `day`.
    pub(crate) fn unit(self) -> &'static str {
        self.unit.name
    }
}

impl Unit {
    fn count_max(self) -> u32 {
        PER_SECOND_MAX.saturating_mul(self.seconds).min(COUNT_MAX)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit.letter)
    }
}

impl FromStr for Rate {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed::new(format!("`{text}` is not a rate")).help(HELP);
        let (count, written) = text.split_once('/').ok_or_else(malformed)?;
        let is_number = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number {
            return Err(malformed());
        }
        let unit = UNITS.iter().find(|unit| written.chars().eq([unit.letter]));
        let unit = unit.ok_or_else(|| {
            Malformed::new(format!("`{written}` is not a unit of a rate")).help("write `s`, `m`, `h` or `d`")
        })?;
        let count = count.parse().unwrap_or(u64::MAX);
        let max = unit.count_max();
        match u32::try_from(count).ok().filter(|count| *count <= max).map(NonZeroU32::new) {
            Some(Some(count)) => Ok(Self { count, unit: *unit }),
            Some(None) => Err(Malformed::new(format!("`{text}` permits no request")).help(HELP)),
            None => Err(Malformed::new(format!("`{text}` is too large"))
                .help(format!("write {max}/{} or less", unit.letter))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn rates_have_a_count_and_a_unit() {
        for text in ["1/s", "100/s", "1000000/s", "20/m", "1000/h", "4000000000/d"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for (text, help) in [
            ("100", "write a number of requests and a unit of time"),
            ("100r/s", "write a number of requests and a unit of time"),
            ("/s", "write a number of requests and a unit of time"),
            ("+1/s", "write a number of requests and a unit of time"),
            ("1.5/s", "write a number of requests and a unit of time"),
            ("0/s", "write a number of requests and a unit of time"),
            ("100/sec", "write `s`, `m`, `h` or `d`"),
            ("100/", "write `s`, `m`, `h` or `d`"),
            ("1000001/s", "write 1000000/s or less"),
            ("99999999999999999999/h", "write 3600000000/h or less"),
        ] {
            assert!(text.parse::<Rate>().unwrap_err().help.unwrap().starts_with(help), "{text}");
        }
    }
}
