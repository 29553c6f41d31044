//! Errors of a configuration: message, place in the file, and advice.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::shortened::shortened;
use super::text_file::{Place, TextFile};
use crate::config::values::printable::printable;

/// The number of errors that are printed. More of them nearly always have one cause, which the first ones show.
const SHOWN_MAX: usize = 100;

/// An error of a configuration.
///
/// An error carries its place as a range of bytes. Line, column and excerpt are computed only for the errors that are
/// printed, so that an error costs the same in a file of any length.
#[derive(Clone, Debug)]
pub(crate) struct ConfigError {
    place: Option<(Arc<TextFile>, Range<usize>)>,
    message: String,
    help: Option<String>,
    is_transient: bool,
}

impl ConfigError {
    /// Creates an error without a place, such as a file that cannot be read.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into(), help: None, is_transient: false }
    }

    /// Adds the advice: a few words, beginning in lower case. Long quotes in it are cut.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(shortened(help.into()));
        self
    }

    /// Marks an error that the files do not cause: the same files may be valid the next time.
    #[must_use]
    pub(crate) fn transient(mut self) -> Self {
        self.is_transient = true;
        self
    }

    /// Adds the place: a range of bytes of a file. Long quotes in the message are cut.
    pub(crate) fn at(mut self, file: &Arc<TextFile>, span: Range<usize>) -> Self {
        self.message = shortened(self.message);
        self.place = Some((Arc::clone(file), span));
        self
    }

    /// Returns the mistake in one line.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Returns the name of the file that the error is in.
    pub(crate) fn file(&self) -> Option<&str> {
        self.place.as_ref().map(|(file, _)| file.name())
    }

    /// Returns the advice.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Returns line and column, both from 1, if the error has a place.
    pub(crate) fn position(&self) -> Option<(usize, usize)> {
        let (file, span) = self.place.as_ref()?;
        let place = file.locate(span);
        Some((place.line, place.column))
    }

    /// Returns the number of places in the error's file that were located so far.
    #[cfg(test)]
    pub(crate) fn located(&self) -> usize {
        let file = self.place.as_ref().map(|(file, _)| file);
        file.map_or(0, |file| file.located.load(std::sync::atomic::Ordering::Relaxed))
    }

    /// Returns the sort key: errors without a place come first, then those with one in the order of the file.
    fn key(&self) -> (Option<(&str, usize, usize)>, &str, Option<&str>) {
        let place = self.place.as_ref().map(|(file, span)| (file.name(), span.start, span.end));
        (place, &self.message, self.help.as_deref())
    }

    fn render(&self, style: &Style) -> String {
        let Style { error, frame, plain } = style;
        // Any of it may come from the file, its name or a variable.
        let title = format!("{error}error{plain}: {}\n", printable(&self.message));
        let Some((text, span)) = &self.place else {
            return match &self.help {
                Some(help) => format!("{title}  {frame}={plain} {}\n", printable(help)),
                None => title,
            };
        };
        let Place { line, column, excerpt } = text.locate(span);
        // Tabs stay tabs, so that the carets line up with the marked text.
        let [before, marked, after] =
            excerpt.map(|part| part.split('\t').map(printable).collect::<Vec<_>>().join("\t"));
        let file = printable(text.name());
        let margin = " ".repeat(line.to_string().len());
        let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let carets = "^".repeat(marked.chars().count().max(1));
        let help = self.help.as_deref().map(|help| format!(" {}", printable(help))).unwrap_or_default();
        [
            title,
            format!("{margin}{frame}-->{plain} {file}:{line}:{column}\n"),
            format!("{frame}{line} |{plain} {before}{marked}{after}\n"),
            format!("{margin} {frame}|{plain} {indent}{error}{carets}{help}{plain}\n"),
        ]
        .concat()
    }
}

impl PartialEq for ConfigError {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for ConfigError {}

impl PartialOrd for ConfigError {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ConfigError {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// Prints the error without colour.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Style::PLAIN))
    }
}

/// Terminal escapes around the parts of an error.
struct Style {
    error: &'static str,
    frame: &'static str,
    plain: &'static str,
}

impl Style {
    const PLAIN: Self = Self { error: "", frame: "", plain: "" };
    const COLOUR: Self = Self { error: "\x1b[1;31m", frame: "\x1b[1;34m", plain: "\x1b[0m" };
}

/// All errors of a configuration in the order of the file; at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Returns `Err` with the errors sorted in the order of the file, or `Ok` if there are none.
    pub(crate) fn check(mut errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() {
            return Ok(());
        }
        errors.sort();
        errors.dedup();
        Err(Self(errors))
    }

    /// Marks errors that the files do not cause: the same files may be valid the next time.
    pub(crate) fn transient(self) -> Self {
        Self(self.0.into_iter().map(ConfigError::transient).collect())
    }

    /// Returns true if the files cause none of the errors.
    pub(crate) fn is_transient(&self) -> bool {
        self.0.iter().all(|error| error.is_transient)
    }

    /// Returns the errors in the order of the file.
    pub(crate) fn errors(&self) -> &[ConfigError] {
        &self.0
    }

    /// Returns the errors to print, and the number of those that are left out.
    pub(crate) fn shown(&self) -> (&[ConfigError], usize) {
        let (shown, more) = self.0.split_at(self.0.len().min(SHOWN_MAX));
        (shown, more.len())
    }

    /// Returns all errors as text for people, with or without terminal colours.
    pub(crate) fn render(&self, colour: bool) -> String {
        let style = if colour { Style::COLOUR } else { Style::PLAIN };
        let (shown, more) = self.shown();
        let shown: Vec<String> = shown.iter().map(|error| error.render(&style)).collect();
        let mut text = shown.join("\n");
        if more > 0 {
            text.push_str(&format!("\nand {} more errors\n", grouped(more)));
        }
        text
    }
}

/// Returns a number with its thousands separated: `19,900`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let head = digits.len() % 3;
    let groups = digits.as_bytes().split_at(head).1.chunks(3);
    let groups = groups.map(|group| String::from_utf8_lossy(group).into_owned());
    let head = digits.get(..head).filter(|head| !head.is_empty()).map(str::to_owned);
    head.into_iter().chain(groups).collect::<Vec<_>>().join(",")
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

/// Prints all errors without colour.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}
