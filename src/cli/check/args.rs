//! The options of `gateway check`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;

use crate::config::{Code, Severity};

/// Checks a configuration file without starting.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The configuration file; `-` for the standard input [default: gateway.yaml]
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub(crate) file: Option<PathBuf>,

    /// The configuration file, as an option
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The file that the standard input stands for: reports name it, and relative paths begin in its folder
    #[arg(long, value_name = "FILE")]
    pub(crate) stdin_name: Option<PathBuf>,

    /// The format of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: ReportFormat,

    /// Fail if there are warnings
    #[arg(long, value_enum, value_name = "SEVERITY")]
    pub(crate) deny: Option<Denied>,

    /// Leave out the warnings with this code; may be repeated
    #[arg(long, value_name = "CODE", value_parser = warning_codes(), hide_possible_values = true)]
    pub(crate) allow: Vec<String>,

    /// Show what the file would change: the listeners, routes and pools that are added, changed, drained or kept
    #[arg(long)]
    pub(crate) diff: bool,

    /// The configuration to compare with: another file, or the admin listener of a running gateway
    /// (http://127.0.0.1:9901) [default: the admin address in the file]
    #[arg(long, value_name = "FILE|URL", requires = "diff")]
    pub(crate) against: Option<String>,
}

/// The formats of `gateway check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReportFormat {
    /// Text: errors and warnings on standard error, the verdict on standard output
    Text,
    /// One JSON document on standard output
    Json,
    /// One SARIF 2.1.0 document on standard output, for code scanning
    Sarif,
}

/// The findings that fail a check besides errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Denied {
    /// All warnings that `--allow` does not name
    Warnings,
}

fn warning_codes() -> PossibleValuesParser {
    let warnings = Code::ALL.into_iter().filter(|code| code.severity() == Severity::Warning);
    PossibleValuesParser::new(warnings.map(Code::as_str))
}
