//! `gateway filter`: for whoever writes filters.

mod input;
mod message;
mod new;
mod report;
mod run;
mod saved;
mod upstreams;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::messages;

/// Exit code where the command line asks for what cannot be done.
const USAGE: u8 = 2;

/// What to do with a filter.
#[derive(Debug, Clone, Args)]
pub(crate) struct FilterArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Make a folder with a small filter in Rust, its test and a configuration
    New(new::NewArgs),
    /// Run a filter on a message, and print what comes out of it
    ///
    /// The filter sees a request and its response, as on a route of a gateway. The response comes from a file; a request
    /// is made up unless it is described. `--answer` plays the upstreams that the filter calls; a call to any other upstream
    /// fails. A pause ends after two seconds.
    ///
    /// The response that comes out goes to the standard output; before it the request, if the filter has changed it. What
    /// the filter did goes to the standard error: each callback with its time, what it was given, its answer and what it
    /// changed; calls, log lines, properties that were not there, memory, and a failure with a backtrace. `--verbose` shows
    /// the fields and bodies that each callback was given, too.
    ///
    /// Exit code: 1 when the filter failed, 2 when it was not run.
    Run(Box<run::RunArgs>),
}

/// Does it.
#[must_use]
pub(crate) fn run(args: &FilterArgs) -> ExitCode {
    match &args.command {
        Command::New(args) => new::run(args),
        Command::Run(args) => run::run(args),
    }
}

/// Says what is wrong with the command line, or with what it names.
fn refuse(error: &str) -> ExitCode {
    messages::error(error);
    ExitCode::from(USAGE)
}
