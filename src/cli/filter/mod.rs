//! `gateway filter`: for whoever writes filters.

mod message;
mod new;
mod report;
mod run;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Exit code where the command line asks for what cannot be done.
const USAGE: u8 = 2;

/// What to do with a filter.
#[derive(Debug, Clone, Args)]
pub struct FilterArgs {
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
    /// is made up unless it is described. Calls to upstreams fail, and a pause ends after two seconds.
    ///
    /// The response that comes out goes to the standard output; before it the request, if the filter has changed it. What
    /// the filter did goes to the standard error: each callback with its time, what the filter logs, its memory, and its
    /// failure with a backtrace.
    ///
    /// Exit code: 1 when the filter failed, 2 when it was not run.
    Run(Box<run::RunArgs>),
}

/// Does it.
#[must_use]
pub fn run(args: &FilterArgs) -> ExitCode {
    match &args.command {
        Command::New(args) => new::run(args),
        Command::Run(args) => run::run(args),
    }
}

/// Writes to the standard error: with that closed, only the exit code is left.
fn tell(text: &str) {
    std::io::stderr().lock().write_all(text.as_bytes()).ok();
}

/// Says what is wrong with the command line, or with what it names.
fn refuse(error: &str) -> ExitCode {
    tell(&format!("error: {error}\n"));
    ExitCode::from(USAGE)
}
