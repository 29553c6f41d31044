//! `gateway check`: says what is wrong with a configuration, without starting.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use super::output;
use crate::config::ConfigErrors;
use crate::run::prepare;

/// Checks a configuration file without starting.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = "gateway.yaml")]
    pub config: PathBuf,
}

/// Does all that a start would do with the file, short of binding an address. All errors go to standard error; a
/// good file makes one line on standard output. Exit code 1 for a bad file.
pub fn run(args: &CheckArgs) -> ExitCode {
    match prepare(&args.config) {
        Ok(prepared) => {
            let listeners = counted(prepared.config().listeners.len(), "listener");
            let routes = counted(prepared.config().routes.len(), "route");
            output::print_to_end(&format!("{}: ok, {listeners}, {routes}\n", args.config.display()))
        }
        Err(errors) => {
            report(&errors);
            ExitCode::FAILURE
        }
    }
}

/// Prints errors of a configuration for people: on standard error, coloured where that is a terminal and
/// `NO_COLOR` is not set.
pub fn report(errors: &ConfigErrors) {
    let mut stderr = io::stderr().lock();
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let text = errors.render(stderr.is_terminal() && !no_color);
    #[expect(
        clippy::let_underscore_must_use,
        reason = "with standard error closed, only the exit code is left"
    )]
    let _: io::Result<()> = stderr.write_all(text.as_bytes());
}

/// "1 route", "2 routes".
fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
