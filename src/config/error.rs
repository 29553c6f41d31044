//! What is wrong with a configuration: message, place in the file, and what to write instead.

use std::{fmt, sync::Arc};

/// How many errors are shown; who made more of them has one cause, and wants to see the first.
const SHOWN_MAX: usize = 100;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigError {
    /// Where in the file. First, so that errors sort by their place.
    place: Option<Box<Place>>,
    message: String,
    help: Option<String>,
}

/// A stretch of one line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The file's name, as the user gave it.
    pub(super) file: Arc<str>,
    /// From 1.
    pub(super) line: usize,
    /// From 1, in characters.
    pub(super) column: usize,
    /// What to show of the line: text before the stretch, the stretch itself, text after it.
    pub(super) excerpt: [String; 3],
}

impl ConfigError {
    /// An error without a place, such as a file that cannot be read.
    pub fn new(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into(), help: None }
    }

    /// Adds what to do about it: a few words, beginning in lower case.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn at(mut self, place: Place) -> Self {
        self.place = Some(Box::new(place));
        self
    }

    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Line and column, both from 1, where the error has a place.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.place.as_ref().map(|place| (place.line, place.column))
    }

    fn render(&self, style: &Style) -> String {
        let Style { error, frame, plain } = style;
        let title = format!("{error}error{plain}: {}\n", self.message);
        let Some(place) = &self.place else {
            return match &self.help {
                Some(help) => format!("{title}  {frame}={plain} {help}\n"),
                None => title,
            };
        };
        let Place { file, line, column, excerpt: [before, marked, after] } = &**place;
        let margin = " ".repeat(line.to_string().len());
        // Tabs stay tabs, so that the carets stand below what they mean.
        let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let carets = "^".repeat(marked.chars().count().max(1));
        let help = self.help.as_deref().map(|help| format!(" {help}")).unwrap_or_default();
        [
            title,
            format!("{margin}{frame}-->{plain} {file}:{line}:{column}\n"),
            format!("{frame}{line} |{plain} {before}{marked}{after}\n"),
            format!("{margin} {frame}|{plain} {indent}{error}{carets}{help}{plain}\n"),
        ]
        .concat()
    }
}

/// Prints without colour.
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

/// Everything that is wrong with a configuration; at least one error, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The errors of a collection, in the order of the file, or `Ok` where there are none.
    pub fn check(mut errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() {
            return Ok(());
        }
        errors.sort();
        errors.dedup();
        Err(Self(errors))
    }

    /// The errors, in the order of the file.
    pub fn errors(&self) -> &[ConfigError] {
        &self.0
    }

    /// All errors as text, for people; with terminal colours or without.
    pub fn render(&self, colour: bool) -> String {
        let style = if colour { Style::COLOUR } else { Style::PLAIN };
        let shown: Vec<String> = self.0.iter().take(SHOWN_MAX).map(|error| error.render(&style)).collect();
        let mut text = shown.join("\n");
        if let Some(more) = self.0.len().checked_sub(SHOWN_MAX).filter(|&more| more > 0) {
            text.push_str(&format!("\nand {more} more errors\n"));
        }
        text
    }
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
