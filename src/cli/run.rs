//! `gateway --config FILE`: serves until a signal stops it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::messages;
use crate::control::compile::generation::Purpose;
use crate::control::process::{StartError, prepare};

/// Options for serving.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// The configuration file; `-` for the standard input [default: gateway.yaml]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Serves until SIGTERM, SIGINT or SIGQUIT. Returns 0 after an orderly end and 1 if the start failed.
pub(crate) fn run(file: &Path) -> ExitCode {
    let file = file.to_owned();
    match crate::control::process::run(move || prepare(Purpose::Serve, &file, None), messages::announce) {
        Ok(()) => ExitCode::SUCCESS,
        Err(StartError::Config(errors)) => {
            messages::config_errors(&errors);
            ExitCode::FAILURE
        }
        Err(error @ StartError::Io(_)) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
