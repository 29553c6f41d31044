//! `gateway check`: checks a configuration, and shows what it would change, without starting.

mod args;
mod document;
mod outcome;
mod sarif;

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

pub(crate) use self::args::CheckArgs;
use self::args::ReportFormat;
use self::document::Document;
use self::outcome::{Failure, Outcome};
use super::{messages, output};

/// Does everything that a start would do with the file, except for binding addresses. In text, all errors and warnings go to
/// standard error, and a valid file makes one line on standard output with its changes below; other formats are one document on
/// standard output. Returns 1 if the file is invalid, if there is nothing to compare with, and for warnings that are denied.
pub(crate) fn run(args: &CheckArgs, file: &Path) -> ExitCode {
    let outcome = Outcome::of(args, file);
    let is_good = outcome.is_good();
    let printed = match args.format {
        ReportFormat::Text => return print(&outcome),
        ReportFormat::Json => document::text(&Document::new(&outcome)),
        ReportFormat::Sarif => document::text(&sarif::log(&outcome)),
    };
    let written = output::print_to_end(&format!("{printed}\n"));
    if is_good || written != ExitCode::SUCCESS { written } else { ExitCode::FAILURE }
}

/// Returns the JSON Schema of the document of [`ReportFormat::Json`].
pub(super) fn report_schema() -> Value {
    schemars::schema_for!(Document<'_>).to_value()
}

/// Prints the report as text.
fn print(outcome: &Outcome) -> ExitCode {
    if let Some(Failure::Invalid(errors)) = &outcome.failure {
        messages::config_findings(&outcome.warnings, errors);
        return ExitCode::FAILURE;
    }
    messages::config_warnings(&outcome.warnings);
    if let Some(Failure::Incomparable(error, errors)) = &outcome.failure {
        let errors = errors.as_ref().map(|errors| format!("\n\n{errors}")).unwrap_or_default();
        messages::error(&format!("{}{errors}", error.message()));
        return ExitCode::FAILURE;
    }
    let warnings = counted(outcome.warnings.len(), "warning");
    if !outcome.is_good() {
        messages::error(&format!("{}: {warnings}, which `--deny warnings` refuses", outcome.name));
        return ExitCode::FAILURE;
    }
    let (listeners, routes) = outcome.counts.unwrap_or_default();
    let (listeners, routes) = (counted(listeners, "listener"), counted(routes, "route"));
    let mut verdict = format!("{}: ok, {listeners}, {routes}", outcome.name);
    if outcome.warnings.len() > 0 {
        verdict.push_str(&format!(", {warnings}"));
    }
    match &outcome.changes {
        None => output::result(&verdict, &Value::Null),
        Some(changes) => {
            let text = format!("{verdict}\n{}", changes.listed());
            output::result(&text, &json!({ "changes": changes }))
        }
    }
}

/// "1 route", "2 routes".
fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
