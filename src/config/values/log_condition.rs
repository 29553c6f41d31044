//! The requests that a log is about, as the file writes them.

use std::fmt;
use std::str::FromStr;

use super::duration::Duration;
use super::pattern;
use super::text::{Malformed, text_type};

/// A condition of the requests that have a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogCondition {
    /// Written as `errors`: requests that failed.
    Errors,
    /// Written as `slow>1s`: requests that took longer than this.
    Slow(Duration),
    /// Written as `status>=400`: requests whose client got this status, or a higher one.
    Status(u16),
}

const SLOW: &str = "slow>";

const STATUS: &str = "status>=";

const HELP: &str = "write `errors`, `slow>1s` or `status>=400`";

text_type!(LogCondition, format: "log-condition", pattern: {
    let duration = Duration::pattern();
    let duration = duration.trim_start_matches('^').trim_end_matches('$');
    pattern::whole(&format!("errors|{SLOW}{duration}|{STATUS}[1-5][0-9]{{2}}"))
});

impl fmt::Display for LogCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errors => f.write_str("errors"),
            Self::Slow(time) => write!(f, "{SLOW}{time}"),
            Self::Status(status) => write!(f, "{STATUS}{status}"),
        }
    }
}

impl FromStr for LogCondition {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text == "errors" {
            return Ok(Self::Errors);
        }
        if let Some(time) = text.strip_prefix(SLOW) {
            let time = time.parse().map(Self::Slow);
            return time
                .map_err(|error: Malformed| error.help("write a duration, as in `slow>1s` or `slow>250ms`"));
        }
        if let Some(status) = text.strip_prefix(STATUS) {
            return match status.as_bytes() {
                [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'] => {
                    Ok(Self::Status(status.parse().unwrap_or_default()))
                }
                _ => Err(Malformed::new(format!("`{status}` is not a status"))
                    .help("write a status from 100 to 599, as in `status>=400`")),
            };
        }
        Err(Malformed::new(format!("`{text}` is no condition of a log")).help(HELP))
    }
}

#[cfg(test)]
mod tests {
    use super::LogCondition;

    #[test]
    fn conditions_of_a_log_are_read_and_printed() {
        for text in ["errors", "slow>1s", "slow>250ms", "slow>1m30s", "status>=400", "status>=599"] {
            let condition: LogCondition = text.parse().unwrap();
            assert_eq!(condition.to_string().parse(), Ok(condition), "{text}");
        }
        for (text, help) in [
            ("", "write `errors`"),
            ("error", "write `errors`"),
            ("slow", "write `errors`"),
            ("slow>=1s", "write a duration, as in `slow>1s`"),
            ("slow>1", "write a duration, as in `slow>1s`"),
            ("slow>0s", "write a duration, as in `slow>1s`"),
            ("slow > 1s", "write `errors`"),
            ("status>=600", "write a status"),
            ("status>=40", "write a status"),
            ("status>=+40", "write a status"),
            ("status>400", "write `errors`"),
        ] {
            assert!(text.parse::<LogCondition>().unwrap_err().help.unwrap().starts_with(help), "{text}");
        }
    }
}
