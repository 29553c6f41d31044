//! The command line: a file a subcommand. `gateway --config gateway.yaml`, without a subcommand, runs.

pub mod check;
pub mod filter;
pub mod logging;
pub mod output;
pub mod run;
pub mod schema;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An API gateway: YAML routes, upstream connection pools per route.
///
/// Without a command it runs until SIGTERM or SIGINT.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// How the program's messages look.
    #[command(flatten)]
    pub logging: logging::LoggingArgs,

    #[command(flatten)]
    run: run::RunArgs,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say all that is wrong with a configuration file, or what it would change, without starting
    Check(check::CheckArgs),
    /// Make a filter of one's own, or run one on a message without a gateway
    Filter(filter::FilterArgs),
    /// Print the JSON Schema of the configuration file, for editors
    Schema(schema::SchemaArgs),
}

impl Cli {
    /// Does what the command line asks for, to its end.
    #[must_use]
    pub fn execute(&self) -> ExitCode {
        match &self.command {
            None => run::run(&self.run),
            Some(Command::Check(args)) => check::run(args),
            Some(Command::Filter(args)) => filter::run(args),
            Some(Command::Schema(args)) => schema::run(args),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_runs_the_named_file() {
        let cli = Cli::try_parse_from(["gateway", "--config", "other.yaml"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.run.config.as_os_str(), "other.yaml");
        let cli = Cli::try_parse_from(["gateway"]).unwrap();
        assert_eq!(cli.run.config.as_os_str(), "gateway.yaml");
    }

    #[test]
    fn commands_are_told_apart() {
        let command = |args: &[&str]| Cli::try_parse_from(args).unwrap().command;
        assert!(matches!(command(&["gateway", "check", "--config", "g.yaml"]), Some(Command::Check(_))));
        assert!(matches!(command(&["gateway", "schema", "--log", "debug"]), Some(Command::Schema(_))));
    }

    #[test]
    fn options_of_a_run_before_a_command_are_refused_rather_than_ignored() {
        let error = Cli::try_parse_from(["gateway", "--config", "g.yaml", "check"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn help_and_version_serve_and_what_is_not_known_is_refused() {
        let kind = |args: &[&str]| Cli::try_parse_from(args).unwrap_err().kind();
        assert_eq!(kind(&["gateway", "--help"]), ErrorKind::DisplayHelp);
        assert_eq!(kind(&["gateway", "--version"]), ErrorKind::DisplayVersion);
        assert_eq!(kind(&["gateway", "chek"]), ErrorKind::InvalidSubcommand);
        assert_eq!(kind(&["gateway", "--log", "loud"]), ErrorKind::InvalidValue);
        assert_eq!(kind(&["gateway", "--config"]), ErrorKind::InvalidValue);
    }
}
