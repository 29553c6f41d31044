//! Errors and warnings of a configuration: code, message, place in the file, and advice.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::code::{Code, Severity};
use super::shortened::shortened;
use super::text_file::{Excerpt, Position, TextFile};
use crate::config::values::printable::printable;

/// The number of errors that are printed. More of them nearly always have one cause, which the first ones show.
const SHOWN_MAX: usize = 100;

/// The number of warnings with the same code that are printed.
const LIKE_MAX: usize = 20;

/// The place of an error.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// A range of bytes of a file. Line, column and excerpt are computed only for the errors that are printed, so that
    /// an error costs the same in a file of any length.
    File(Arc<TextFile>, Range<usize>),
    /// A field of an object that is no file: `configmap/gateway` and `routes[3].match`.
    #[cfg_attr(not(test), expect(dead_code, reason = "the only provider yet has files"))]
    Object { name: String, field: String },
}

impl Place {
    /// Returns the sort key: places in a file have the order of the file.
    fn key(&self) -> (&str, usize, usize, &str) {
        match self {
            Self::File(file, span) => (file.name(), span.start, span.end, ""),
            Self::Object { name, field } => (name, 0, 0, field),
        }
    }
}

/// An error of a configuration.
#[derive(Clone, Debug)]
pub(crate) struct ConfigError {
    code: Code,
    place: Option<Place>,
    message: String,
    help: Option<String>,
    is_transient: bool,
    /// True if the line of the error may have a secret, so that no excerpt is shown.
    is_hidden: bool,
}

impl ConfigError {
    /// Creates an error without a place, such as a file that cannot be read.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, place: None, message, help: None, is_transient: false, is_hidden: false }
    }

    /// Adds the advice: a few words, beginning in lower case. Long quotes in it are cut.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(shortened(help.into()));
        self
    }

    /// Marks an error that the files do not cause: the same files may be valid the next time.
    pub(crate) fn transient(mut self) -> Self {
        self.is_transient = true;
        self
    }

    /// Leaves the line of the error out of texts, because it may have a secret.
    pub(crate) fn without_excerpt(mut self) -> Self {
        self.is_hidden = true;
        self
    }

    /// Adds the place. Long quotes in the message are cut.
    pub(crate) fn at(mut self, place: Place) -> Self {
        self.message = shortened(self.message);
        self.place = Some(place);
        self
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// Returns the mistake in one line.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Returns the name of the file or object that the error is in.
    pub(crate) fn place_name(&self) -> Option<&str> {
        self.place.as_ref().map(|place| place.key().0)
    }

    pub(crate) fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Returns the position, if the error has a place in a file.
    pub(crate) fn position(&self) -> Option<Position> {
        let Some(Place::File(file, span)) = &self.place else { return None };
        Some(file.position(span))
    }

    /// Returns the number of places in the error's file that were located so far.
    #[cfg(test)]
    pub(crate) fn located(&self) -> usize {
        let Some(Place::File(file, _)) = &self.place else { return 0 };
        file.located.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Returns the sort key: errors without a place come first, then those with one in the order of the file.
    fn key(&self) -> (Option<(&str, usize, usize, &str)>, &str, Option<&str>) {
        (self.place.as_ref().map(Place::key), &self.message, self.help.as_deref())
    }

    fn render(&self, style: &Style) -> String {
        let Style { frame, plain, .. } = style;
        let (word, error) = match self.code.severity() {
            Severity::Error => ("error", style.error),
            Severity::Warning => ("warning", style.warning),
        };
        // Any of it may come from the file, its name or a variable.
        let title = format!("{error}{word}{plain}: {}\n", printable(&self.message));
        let help = self.help.as_deref().map(printable);
        let advice = help.as_ref().map(|help| format!("  {frame}={plain} {help}\n")).unwrap_or_default();
        let (text, span) = match &self.place {
            None => return title + &advice,
            Some(Place::Object { name, field }) => {
                let (name, field) = (printable(name), printable(field));
                return format!("{title}  {frame}-->{plain} {name}, {field}\n{advice}");
            }
            Some(Place::File(text, span)) if self.is_hidden => {
                let (file, Position { line, column, .. }) = (printable(text.name()), text.position(span));
                return format!("{title}  {frame}-->{plain} {file}:{line}:{column}\n{advice}");
            }
            Some(Place::File(text, span)) => (text, span),
        };
        let Excerpt { line, column, parts } = text.locate(span);
        // Tabs stay tabs, so that the carets line up with the marked text.
        let [before, marked, after] =
            parts.map(|part| part.split('\t').map(printable).collect::<Vec<_>>().join("\t"));
        let file = printable(text.name());
        let margin = " ".repeat(line.to_string().len());
        let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let carets = "^".repeat(marked.chars().count().max(1));
        let help = help.map(|help| format!(" {help}")).unwrap_or_default();
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
    warning: &'static str,
    frame: &'static str,
    plain: &'static str,
}

impl Style {
    const PLAIN: Self = Self { error: "", warning: "", frame: "", plain: "" };
    const COLOUR: Self =
        Self { error: "\x1b[1;31m", warning: "\x1b[1;33m", frame: "\x1b[1;34m", plain: "\x1b[0m" };

    const fn new(colour: bool) -> Self {
        if colour { Self::COLOUR } else { Self::PLAIN }
    }
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
        let style = Style::new(colour);
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

/// A part of a valid configuration that is probably a mistake, or will be one soon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConfigWarning(ConfigError);

impl ConfigWarning {
    /// Takes the parts of an error, whose code must be that of a warning.
    pub(super) fn new(finding: ConfigError) -> Self {
        debug_assert_eq!(finding.code.severity(), Severity::Warning);
        Self(finding)
    }

    /// Returns code, message, place and advice.
    pub(crate) fn finding(&self) -> &ConfigError {
        &self.0
    }
}

/// The warnings of a configuration in the order of the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigWarnings(Vec<ConfigWarning>);

impl ConfigWarnings {
    /// Returns the warnings in the order of the file.
    pub(crate) fn new(mut warnings: Vec<ConfigWarning>) -> Self {
        warnings.sort();
        warnings.dedup();
        Self(warnings)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &ConfigWarning> {
        self.0.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Removes the warnings with one of these codes.
    pub(crate) fn allow(&mut self, codes: &[String]) {
        self.0.retain(|warning| !codes.iter().any(|code| code == warning.0.code.as_str()));
    }

    /// Returns the warnings that `before` does not have, at any place: one moves with each line that is added above it.
    pub(crate) fn fresh(&self, before: &Self) -> Self {
        let known: HashSet<(Code, &str)> =
            before.iter().map(|warning| (warning.0.code, warning.0.message())).collect();
        let is_fresh = |warning: &&ConfigWarning| !known.contains(&(warning.0.code, warning.0.message()));
        Self(self.iter().filter(is_fresh).cloned().collect())
    }

    /// Returns the warnings to print, at most 20 with the same code, and a sentence about those that are left out.
    pub(crate) fn shown(&self) -> (Vec<&ConfigError>, Option<String>) {
        let mut counts: HashMap<Code, usize> = HashMap::new();
        let is_shown = |warning: &&ConfigWarning| {
            let count = counts.entry(warning.0.code).or_default();
            *count += 1;
            *count <= LIKE_MAX
        };
        let shown: Vec<&ConfigError> = self.iter().filter(is_shown).map(ConfigWarning::finding).collect();
        let more = self.len() - shown.len();
        (shown, (more > 0).then(|| format!("{} more warnings like these", grouped(more))))
    }

    /// Returns the warnings as text for people, with or without terminal colours.
    pub(crate) fn render(&self, colour: bool) -> String {
        let style = Style::new(colour);
        let (shown, more) = self.shown();
        let mut text: Vec<String> = shown.iter().map(|warning| warning.render(&style)).collect();
        text.extend(more.map(|more| format!("and {more}\n")));
        text.join("\n")
    }
}

/// Prints all errors without colour.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_no_file_is_an_object_and_a_field() {
        let at =
            |field: &str| Place::Object { name: "configmap/gateway".to_owned(), field: field.to_owned() };
        let [first, second] = ["routes[3].match", "routes[4]"]
            .map(|field| ConfigError::new(Code::MissingKey, "no path").at(at(field)));
        let first = first.help("add `prefix`");
        assert_eq!(
            first.to_string(),
            "error: no path\n  --> configmap/gateway, routes[3].match\n  = add `prefix`\n"
        );
        assert_eq!((first.place_name(), first.position()), (Some("configmap/gateway"), None));
        let errors = ConfigErrors::check(vec![second.clone(), first.clone(), second.clone()]).unwrap_err();
        assert_eq!(errors.errors(), [first, second]);
    }
}
