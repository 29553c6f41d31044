//! The log lines of plugins: escaped, so that no line can imitate another, and bounded.

use std::rc::Rc;

use crate::config::values::printable::is_hidden;
use crate::filter::proxy_wasm::offline::journal::Journal;

/// The most bytes of one line; the rest is cut off.
pub(super) const LINE_BYTES_MAX: usize = 8 * 1024;

/// The bytes that a line counts besides its text: about what the log writes around it.
pub(super) const LINE_BYTES: usize = 64;

pub(super) const CUT_OFF: &str =
    "the filter has reached the log limit of one exchange or background callback; further lines are dropped";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    /// Returns `None` for a number that is not a level.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Trace,
            1 => Self::Debug,
            2 => Self::Info,
            3 => Self::Warn,
            // "Critical" is logged as an error.
            4 | 5 => Self::Error,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// Returns true if the program's log includes lines of this level.
    pub(super) fn is_written(self) -> bool {
        match self {
            Self::Trace => tracing::enabled!(tracing::Level::TRACE),
            Self::Debug => tracing::enabled!(tracing::Level::DEBUG),
            Self::Info => tracing::enabled!(tracing::Level::INFO),
            Self::Warn => tracing::enabled!(tracing::Level::WARN),
            Self::Error => true,
        }
    }

    /// Returns the number of the lowest level that is written to a sink.
    pub(super) fn lowest(sink: &Sink) -> u32 {
        if sink.journal().is_some() {
            return 0;
        }
        let below = [Self::Trace, Self::Debug, Self::Info, Self::Warn]
            .into_iter()
            .take_while(|level| !level.is_written());
        u32::try_from(below.count()).unwrap_or(4)
    }
}

/// The destination of an instance's log lines and events.
pub(super) enum Sink {
    Log,
    /// A journal, which also records everything else that the instance does.
    Kept(Rc<Journal>),
}

impl Sink {
    /// Returns the journal, if there is one.
    pub(super) fn journal(&self) -> Option<&Rc<Journal>> {
        match self {
            Sink::Log => None,
            Sink::Kept(journal) => Some(journal),
        }
    }
}

/// Escapes control characters and invisible ones in a text: a line end becomes `\n`, the beginning of a terminal's
/// command `\u{1b}`. Trailing line ends are part of a plugin's message, so they are escaped and not removed. Text that
/// becomes too long is cut off.
pub(super) fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if line.len() >= LINE_BYTES_MAX {
            break;
        }
        if is_hidden(character) && character != '\t' {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        for (written, is) in [
            ("plain\tgrüezi", "plain\tgrüezi"),
            ("a\nINFO forged", "a\\nINFO forged"),
            ("a\r\n", "a\\r\\n"),
            ("a \n\n", "a \\n\\n"),
            ("\n", "\\n"),
            ("\u{1b}[2Ja\0\u{85}b", "\\u{1b}[2Ja\\u{0}\\u{85}b"),
            ("\u{202e}oof\u{200b}", "\\u{202e}oof\\u{200b}"),
        ] {
            assert_eq!(escaped(written), is);
        }
    }
}
