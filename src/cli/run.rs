//! `gateway --config FILE`: serves until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

/// What to run.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", default_value = "gateway.yaml")]
    pub config: PathBuf,
}

/// Serves until SIGTERM or SIGINT: 0 after an orderly end, 1 when it could not start.
#[must_use]
pub fn run(args: &RunArgs) -> ExitCode {
    tracing::error!(config = %args.config.display(), "there is nothing to run yet");
    ExitCode::FAILURE
}
