//! The last failure and the last log lines of a filter, for the admin API. The program's log has all of them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Serialize;

use super::unix_seconds;

/// The most lines that are kept.
const LINES_MAX: usize = 20;

/// The most bytes of a line that is kept.
const LINE_BYTES_MAX: usize = 512;

/// The most bytes of a failure's text. Its message and the guest's innermost functions come first.
const FAILURE_BYTES_MAX: usize = 4 * 1024;

/// The end of a text that was cut off.
const CUT: char = '…';

/// The last failure and the last log lines, which all workers share. A filter that neither fails nor logs never takes the
/// lock.
#[derive(Debug, Default)]
pub(crate) struct FilterLog(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    failure: Option<FilterFailure>,
    lines: VecDeque<FilterLine>,
}

/// A failure of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct FilterFailure {
    /// The time in Unix seconds.
    at: u64,
    /// The reason, as in `failures`.
    reason: &'static str,
    /// The message, then the guest's stack, the innermost function first. At most 4 KiB; `…` ends a text that was cut off.
    text: String,
}

/// A line that a filter has logged, or written to its standard output or error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct FilterLine {
    /// The time in Unix seconds.
    at: u64,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    level: &'static str,
    /// The line, with escapes such as `\n` for control characters. At most 512 bytes; `…` ends a line that was cut off.
    text: String,
}

impl FilterLog {
    /// Keeps a failure in place of the one before. Control characters in its text must be escaped, except for line feeds.
    pub(crate) fn keep_failure(&self, reason: &'static str, text: &str) {
        let failure = FilterFailure { at: now(), reason, text: cut(text, FAILURE_BYTES_MAX) };
        let _before = self.kept().failure.replace(failure);
    }

    /// Keeps a line, and drops the oldest one if there are too many. Control characters in it must be escaped.
    pub(crate) fn keep_line(&self, level: &'static str, text: &str) {
        let line = FilterLine { at: now(), level, text: cut(text, LINE_BYTES_MAX) };
        let mut kept = self.kept();
        if kept.lines.len() >= LINES_MAX {
            kept.lines.pop_front();
        }
        kept.lines.push_back(line);
    }

    /// Returns the last failure, and the last lines, the oldest first.
    pub(crate) fn report(&self) -> (Option<FilterFailure>, Vec<FilterLine>) {
        let kept = self.kept();
        (kept.failure.clone(), kept.lines.iter().cloned().collect())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> u64 {
    unix_seconds(SystemTime::now())
}

/// Returns the beginning of a text that has no more than so many bytes.
fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let (beginning, _) = text.split_at(text.floor_char_boundary(bytes_max - CUT.len_utf8()));
    format!("{beginning}{CUT}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters_and_within_their_bound() {
        for (text, expected) in [
            ("", ""),
            ("12345678", "12345678"),
            ("123456789", "12345…"),
            ("1234é6789", "1234…"),
            ("123é56789", "123é…"),
            ("ééééé", "éé…"),
        ] {
            assert_eq!(cut(text, 8), expected, "{text}");
        }
    }

    #[test]
    fn log_keeps_the_last_failure_and_the_last_lines() {
        let log = FilterLog::default();
        assert_eq!(log.report(), (None, vec![]));
        for number in 0..1000 {
            log.keep_failure("trap", &format!("{number}{}", "é".repeat(5000)));
            log.keep_line("info", &format!("{number}{}", "é".repeat(5000)));
        }
        let (failure, lines) = log.report();
        let failure = failure.unwrap();
        assert!(failure.text.starts_with("999é") && failure.text.len() <= FAILURE_BYTES_MAX, "{failure:?}");
        assert_eq!(lines.len(), LINES_MAX);
        for (line, number) in lines.iter().zip(980..) {
            assert!(line.text.starts_with(&format!("{number}é")), "{line:?}");
            assert!(line.text.len() <= LINE_BYTES_MAX, "{line:?}");
        }
    }
}
