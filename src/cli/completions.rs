//! `gateway completions`: prints a script by which a shell completes this command line.

use std::process::ExitCode;

use clap::Command;
use clap_complete::{Shell, generate};

use super::{output, stdout};

/// Print a completion script for a shell
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell that reads the script.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Prints the script on standard output.
pub(crate) fn run(args: &CompletionsArgs, command: &Command) -> ExitCode {
    let mut script = Vec::new();
    generate(args.shell, &mut visible(command), command.get_name(), &mut script);
    stdout::print_parts(&[&script]).map_or_else(|error| output::exit_code(&error), |()| ExitCode::SUCCESS)
}

/// Returns the command line without its hidden commands, which the scripts would offer.
fn visible(command: &Command) -> Command {
    let listed = command.get_subcommands().filter(|command| !command.is_hide_set());
    Command::new(env!("CARGO_PKG_NAME"))
        .version(env!("CARGO_PKG_VERSION"))
        .args(command.get_arguments().cloned())
        .subcommands(listed.cloned())
}
