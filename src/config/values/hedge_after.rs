//! The time after which a request is tried at a second endpoint.

use std::fmt;
use std::str::FromStr;

use super::duration::Duration;
use super::text::{Malformed, text_type};

/// The time without a response after which a second endpoint is tried: a duration, or a percentile of the response times of
/// the upstream, from `p50` to `p99`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HedgeAfter {
    /// Written as a duration.
    Time(Duration),
    /// So many percent of the responses begin earlier.
    Percentile(u8),
}

text_type!(HedgeAfter, format: "hedge-after", pattern: format!("^p[5-9][0-9]$|{}", Duration::pattern()));

impl fmt::Display for HedgeAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => time.fmt(f),
            Self::Percentile(percent) => write!(f, "p{percent}"),
        }
    }
}

impl FromStr for HedgeAfter {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        const HELP: &str =
            "write a duration such as `50ms`, or a percentile of the response times from `p50` to `p99`";
        if let Some(percent) = text.strip_prefix('p') {
            let has_two_digits = percent.len() == 2;
            let percent =
                percent.parse().ok().filter(|percent| has_two_digits && (50..=99).contains(percent));
            let unknown =
                || Malformed::new(format!("`{text}` is no percentile from `p50` to `p99`")).help(HELP);
            return percent.map(Self::Percentile).ok_or_else(unknown);
        }
        text.parse().map(Self::Time).map_err(|error: Malformed| error.help(HELP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_from_50_to_99() {
        for text in ["p50", "p95", "p99", "50ms", "1500ms"] {
            assert_eq!(text.parse::<HedgeAfter>().unwrap().to_string(), text);
        }
        for text in ["p49", "p100", "p5", "p", "p9x", "p+5", "p999", "P95", "0ms", "50", "off", ""] {
            assert!(text.parse::<HedgeAfter>().is_err(), "{text}");
        }
    }
}
