//! `gateway health`: asks a running gateway whether it is ready.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::running::AdminArgs;
use super::{messages, output};
use crate::config;
use crate::control::admin::Client;

/// Ask a running gateway whether it is ready for new requests
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HealthArgs {
    #[command(flatten)]
    pub(crate) at: AdminArgs,

    /// The longest wait for the response: 500ms, 3s, 1m
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    pub(crate) timeout: config::Duration,
}

/// Prints one line: `ready` on standard output, or the reason on standard error. Returns 0 if the gateway is ready,
/// else 1.
pub(crate) fn run(args: &HealthArgs, file: &Path) -> ExitCode {
    let limit: Duration = args.timeout.into();
    let asked =
        args.at.url(file).and_then(|url| Client::new(&url).ready(limit).map_err(|error| error.to_string()));
    match asked {
        Ok(word) => output::result(&word, &json!({})),
        Err(error) => {
            messages::error(&error);
            ExitCode::FAILURE
        }
    }
}
