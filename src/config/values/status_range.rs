//! Ranges of statuses, as the file writes them.

use std::fmt;
use std::str::FromStr;

use http::StatusCode;

use super::text::{Malformed, text_type};

/// Statuses of final responses from one to another, both included: `200-299`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StatusRange {
    first: u16,
    last: u16,
}

text_type!(StatusRange, format: "status-range", pattern: "^[2-5][0-9]{2}-[2-5][0-9]{2}$");

impl StatusRange {
    /// All statuses of success.
    pub(crate) const SUCCESS: Self = Self { first: 200, last: 299 };

    /// Returns true if the status is in the range.
    pub(crate) fn contains(&self, status: StatusCode) -> bool {
        (self.first..=self.last).contains(&status.as_u16())
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for StatusRange {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let status = |text: &str| match text.as_bytes() {
            [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'] => text.parse().ok(),
            _ => None,
        };
        let found = text.split_once('-').and_then(|(first, last)| Some((status(first)?, status(last)?)));
        let Some((first, last)) = found else {
            return Err(Malformed::new(format!("`{text}` is not a range of statuses"))
                .help("write the first and the last one, from 200 to 599: `200-299`"));
        };
        if first > last {
            return Err(Malformed::new(format!("`{text}` has no effect: no status is in it"))
                .help(format!("write `{last}-{first}`")));
        }
        Ok(Self { first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_both_ends() {
        let range: StatusRange = "200-399".parse().unwrap();
        let contains =
            [200, 302, 399, 400, 500].map(|code| range.contains(StatusCode::from_u16(code).unwrap()));
        assert_eq!((range.to_string().as_str(), contains), ("200-399", [true, true, true, false, false]));
        for text in ["", "200", "200-", "-299", "299-200", "100-199", "200-600", "200 - 299", "2xx"] {
            assert!(text.parse::<StatusRange>().is_err(), "{text}");
        }
    }
}
