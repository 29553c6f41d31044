//! `gateway top`: a running gateway at a glance, again and again.

#[cfg(feature = "top")]
mod draw;
#[cfg(feature = "top")]
mod look;
#[cfg(feature = "top")]
mod screen;
#[cfg(feature = "top")]
mod view;

use std::path::Path;
use std::process::ExitCode;

use super::messages;
use super::running::RunningArgs;

/// Show a running gateway: its requests, routes and pools, refreshed every two seconds.
///
/// Keys: tab changes between routes and pools, s the order, / filters by name, arrows scroll, q ends.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(crate) running: RunningArgs,
}

/// Shows the gateway until a key or a signal ends it. Returns 1 if it cannot be asked, or there is no terminal.
pub(crate) fn run(args: &TopArgs, file: &Path) -> ExitCode {
    let shown = args.running.client(file).and_then(show);
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            messages::error(&error);
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "top")]
fn show(client: crate::control::admin::Client) -> Result<(), String> {
    screen::show(client)
}

#[cfg(not(feature = "top"))]
#[allow(clippy::needless_pass_by_value, reason = "as with the feature")]
fn show(_: crate::control::admin::Client) -> Result<(), String> {
    Err("this program was built without the feature `top`, which packages and images have: `cargo build --release --features top`; \
         `gateway pools` and `gateway routes` show the same as tables"
        .to_owned())
}
