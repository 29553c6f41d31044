//! `gateway --config FILE`: serves until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{check, output};
use crate::run::{StartError, prepare};

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
    let ended = prepare(&args.config)
        .map_err(StartError::from)
        .and_then(|prepared| crate::run::run(prepared, |line| drop(output::print(&format!("{line}\n")))));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(StartError::Config(errors)) => {
            check::report(&errors);
            ExitCode::FAILURE
        }
        Err(error @ StartError::Io(_)) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
