//! `gateway check --config FILE`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

/// What to check.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", default_value = "gateway.yaml")]
    pub config: PathBuf,
}

/// Checks the file: 0 when a start would accept it, 1 when not.
#[must_use]
pub fn run(_args: &CheckArgs) -> ExitCode {
    ExitCode::FAILURE
}
