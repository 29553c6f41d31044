//! `gateway filter`: tools for authors of filters.

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

/// The exit code for a command line that cannot be carried out.
const USAGE: u8 = 2;

/// Tools for authors of filters.
#[derive(Debug, Clone, Args)]
pub(crate) struct FilterArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Create a folder with a small filter in Rust, its test and a configuration
    New(new::NewArgs),
    /// Run a filter on a message, and print the result
    ///
    /// The filter sees a request and its response, as on a route of a gateway. The response comes from a file; a
    /// request is made up unless it is described. `--answer` plays the upstreams that the filter calls; a call to any
    /// other upstream fails. A pause ends after two seconds.
    ///
    /// The resulting response goes to standard output; before it the request, if the filter has changed it. A report of
    /// what the filter did goes to standard error: each callback with its time, its input, its result and its changes;
    /// calls, log lines, missing properties, memory, and a failure with a backtrace. `--verbose` shows the fields and
    /// bodies that each callback received, too.
    ///
    /// Exit code: 1 if the filter failed, 2 if it was not run.
    Run(Box<run::RunArgs>),
}

/// Runs the subcommand.
pub(crate) fn run(args: &FilterArgs) -> ExitCode {
    match &args.command {
        Command::New(args) => new::run(args),
        Command::Run(args) => run::run(args),
    }
}

/// Reports an error in the command line, or in what it names.
fn refuse(error: &str) -> ExitCode {
    messages::error(error);
    ExitCode::from(USAGE)
}
