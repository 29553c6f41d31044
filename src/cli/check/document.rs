//! The report as a JSON document. docs/check.schema.json is its schema.

use schemars::JsonSchema;
use serde::Serialize;

use super::outcome::Outcome;
use crate::config::values::printable::is_hidden;
use crate::config::{ConfigError, Severity};
use crate::control::diff::Changes;

/// The number of findings of each severity that a document lists.
pub(super) const LISTED_MAX: usize = 1000;

/// The result of `gateway check --format json`. Later versions may add keys.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "gateway check")]
pub(super) struct Document<'a> {
    /// True if the exit status is 0: there are no errors, and no warnings that are denied.
    ok: bool,
    /// The name of the file, as it was given.
    file: &'a str,
    /// The number of errors.
    errors: usize,
    /// The number of warnings.
    warnings: usize,
    /// The errors in the order of the file, then the warnings; the first thousand of each.
    findings: Vec<Finding<'a>>,
    /// The number of listeners of a valid file.
    #[serde(skip_serializing_if = "Option::is_none")]
    listeners: Option<usize>,
    /// The number of routes of a valid file.
    #[serde(skip_serializing_if = "Option::is_none")]
    routes: Option<usize>,
    /// The changes that the file would make, with `--diff`.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<&'a Changes>,
}

/// An error or a warning.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Finding<'a> {
    /// The weight: an error refuses the configuration.
    severity: FindingSeverity,
    /// The code, which stays the same when the message changes.
    code: &'static str,
    /// The mistake, in one line.
    message: &'a str,
    /// The advice.
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<&'a str>,
    /// The name of the file.
    file: &'a str,
    /// The line, from 1. A finding about the whole file has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// The column of the first character, from 1, in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    /// The line of the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_line: Option<usize>,
    /// The column behind the last character.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_column: Option<usize>,
}

/// The weight of a finding.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum FindingSeverity {
    Error,
    Warning,
}

impl<'a> Document<'a> {
    pub(super) fn new(outcome: &'a Outcome) -> Self {
        let count = |severity| outcome.findings().filter(|one| one.code().severity() == severity).count();
        let (listeners, routes) = outcome.counts.unzip();
        Self {
            ok: outcome.is_good(),
            file: &outcome.name,
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            findings: listed(outcome).map(|finding| Finding::new(finding, &outcome.name)).collect(),
            listeners,
            routes,
            changes: outcome.changes.as_ref(),
        }
    }
}

/// Returns the findings that documents list.
pub(super) fn listed(outcome: &Outcome) -> impl Iterator<Item = &ConfigError> {
    let of =
        |severity| outcome.findings().filter(move |one| one.code().severity() == severity).take(LISTED_MAX);
    of(Severity::Error).chain(of(Severity::Warning))
}

impl<'a> Finding<'a> {
    fn new(finding: &'a ConfigError, file: &'a str) -> Self {
        let position = finding.position();
        Self {
            severity: match finding.code().severity() {
                Severity::Error => FindingSeverity::Error,
                Severity::Warning => FindingSeverity::Warning,
            },
            code: finding.code().as_str(),
            message: finding.message(),
            suggestion: finding.advice(),
            file: finding.place_name().unwrap_or(file),
            line: position.map(|position| position.line),
            column: position.map(|position| position.column),
            end_line: position.map(|position| position.line),
            end_column: position.map(|position| position.end_column),
        }
    }
}

/// Returns the text of a document. Characters that a terminal would interpret are escaped.
pub(super) fn text(document: &impl Serialize) -> String {
    let json = serde_json::to_string_pretty(document).unwrap_or_default();
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        // The only control characters that JSON leaves in place are its own line feeds, and those above U+007E.
        if character != '\n' && is_hidden(character) {
            text.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_str, json};

    use super::text;

    #[test]
    fn hidden_characters_are_escaped_and_read_again_as_they_were() {
        let document = json!({ "a": "\u{9b}31m\u{7f}\u{202e}\u{1b}\n\té\u{1d11e}", "b\u{200b}": [] });
        let text = text(&document);
        assert!(!text.contains(['\u{9b}', '\u{7f}', '\u{202e}', '\u{1b}', '\u{200b}', '\t']), "{text:?}");
        assert!(text.contains("\\u009b31m\\u007f\\u202e") && text.contains("é\u{1d11e}"), "{text:?}");
        assert_eq!(from_str::<Value>(&text).unwrap(), document);
    }
}
