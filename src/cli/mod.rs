//! The command line, with a file for each subcommand. `gateway --config gateway.yaml`, without a subcommand, serves.

mod check;
mod completions;
mod filter;
mod hash_key;
mod health;
mod logging;
mod man;
pub mod messages;
mod new;
pub mod output;
mod run;
mod running;
mod schema;
mod stdout;
mod tables;
mod top;

use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::is_standard_input;
use crate::filter::engine::compiler::{SUBCOMMAND, compile_for_parent, compile_in_children};

/// The end of `gateway --help`.
const SIGNALS: &str = "\
Signals:
  TERM, INT, QUIT  Stop: wait for shutdown.delay, then drain. The next one ends the delay, a further one the drain
  HUP              Read the configuration again
  USR1             Reopen the access log, after its file was moved
  USR2             Reserved; does nothing";

/// An API gateway: YAML routes, upstream connection pools per route.
///
/// Without a command it serves until SIGTERM, SIGINT or SIGQUIT.
#[derive(Debug, Parser)]
#[command(version, after_long_help = SIGNALS)]
pub struct Cli {
    /// Options for the program's messages.
    #[command(flatten)]
    pub logging: logging::LoggingArgs,

    #[command(flatten)]
    run: run::RunArgs,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration file, or show what it would change, without starting
    Check(check::CheckArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Compile a module for the gateway that started this process
    #[command(name = SUBCOMMAND, hide = true)]
    Compile,
    /// Create a filter, or run one on a message without a gateway
    Filter(filter::FilterArgs),
    /// Make the entry of a caller for a file of API keys
    HashKey(hash_key::HashKeyArgs),
    /// Ask a running gateway whether it is ready for new requests; exit status 0 or 1
    Health(health::HealthArgs),
    /// Write the manual pages into a folder
    Man(man::ManArgs),
    /// Write a first configuration file, for one upstream
    New(new::NewArgs),
    /// Show the upstream connections of a running gateway
    Pools(tables::pools::PoolsArgs),
    /// Show the routes of a running gateway, and their last minute
    Routes(tables::routes::RoutesArgs),
    /// Print the JSON Schema of the configuration file, for editors
    Schema(schema::SchemaArgs),
    /// Show a running gateway at a glance, until q
    Top(top::TopArgs),
}

impl Command {
    /// Returns the options that name a running gateway, if the command takes them.
    fn admin(&self) -> Option<&running::AdminArgs> {
        match self {
            Self::Health(args) => Some(&args.at),
            Self::Pools(args) => Some(&args.table.running.at),
            Self::Routes(args) => Some(&args.table.running.at),
            Self::Top(args) => Some(&args.running.at),
            _ => None,
        }
    }
}

/// The commands that start other servers.
const COMMANDS_OF_OTHERS: [&str; 4] = ["run", "serve", "server", "start"];

/// Improves the error if a configuration file, or the start command of another server, stands in place of a command.
fn advise(error: clap::Error) -> clap::Error {
    let word = error.get(ContextKind::InvalidSubcommand).map(ToString::to_string);
    if let Some(word) = word.as_deref().filter(|word| COMMANDS_OF_OTHERS.contains(word)) {
        let message = format!(
            "`{word}` is not a command: the gateway serves without one: `gateway --config {DEFAULT_FILE}`"
        );
        return Cli::command().error(ErrorKind::InvalidSubcommand, message);
    }
    let is_file =
        |word: &String| word.ends_with(".yaml") || word.ends_with(".yml") || Path::new(word).is_file();
    match word.filter(is_file) {
        Some(file) => {
            let message =
                format!("`{file}` is not a command: to serve a configuration file, write `--config {file}`");
            Cli::command().error(ErrorKind::InvalidSubcommand, message)
        }
        None => error,
    }
}

/// The configuration file if the command line names none.
const DEFAULT_FILE: &str = "gateway.yaml";

impl Cli {
    /// Reads the command line of the process.
    ///
    /// # Errors
    /// The command line is invalid, or requests `--help` or `--version`.
    pub fn read() -> Result<Self, clap::Error> {
        Self::try_parse().map_err(advise).and_then(Self::checked)
    }

    /// Rejects a configuration file that is named twice, or for a command that reads none.
    fn checked(self) -> Result<Self, clap::Error> {
        let Some(command) = &self.command else { return Ok(self) };
        if let Command::Check(args) = command
            && args.stdin_name.is_some()
            && !is_standard_input(self.file())
        {
            let message =
                "`--stdin-name` is for the standard input: write `gateway check - --stdin-name FILE`";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        let takes_no_other = match command {
            Command::Check(args) => args.file.is_some() || args.config.is_some(),
            Command::Health(_) | Command::Pools(_) | Command::Routes(_) | Command::Top(_) => {
                command.admin().is_some_and(|at| at.config.is_some() || at.admin.is_some())
            }
            Command::Compile
            | Command::Completions(_)
            | Command::Filter(_)
            | Command::HashKey(_)
            | Command::Man(_)
            | Command::New(_)
            | Command::Schema(_) => true,
        };
        if self.run.config.is_some() && takes_no_other {
            let message = match command {
                Command::Check(_) => "the configuration file is named twice",
                _ if command.admin().is_some_and(|at| at.config.is_some()) => {
                    "the configuration file is named twice"
                }
                _ if command.admin().is_some() => {
                    "with `--admin` no configuration file is read: leave `--config` out"
                }
                _ => "this command reads no configuration file: leave `--config` out",
            };
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        Ok(self)
    }

    /// Returns the configuration file that the command line names, before or after the command.
    fn file(&self) -> &Path {
        let named = match &self.command {
            Some(Command::Check(args)) => args.file.as_deref().or(args.config.as_deref()),
            Some(command) => command.admin().and_then(|at| at.config.as_deref()),
            None => None,
        };
        named.or(self.run.config.as_deref()).unwrap_or(Path::new(DEFAULT_FILE))
    }

    /// Enables the compilation of filters in child processes, which run the file of this process with a command of this
    /// command line. Only a program that passes its arguments to [`Cli::read`] may call it. A program that embeds a
    /// gateway compiles in its own process.
    pub fn compile_in_children() {
        compile_in_children();
    }

    /// Runs the command to its end.
    #[must_use]
    pub fn execute(&self) -> ExitCode {
        match &self.command {
            None => run::run(self.file()),
            Some(Command::Check(args)) => check::run(args, self.file()),
            Some(Command::Compile) => compile_for_parent(),
            Some(Command::Completions(args)) => completions::run(args, &Self::command()),
            Some(Command::Filter(args)) => filter::run(args),
            Some(Command::HashKey(args)) => hash_key::run(args),
            Some(Command::Health(args)) => health::run(args, self.file()),
            Some(Command::Man(args)) => man::run(args, Self::command()),
            Some(Command::New(args)) => new::run(args),
            Some(Command::Pools(args)) => tables::pools::run(args, self.file()),
            Some(Command::Routes(args)) => tables::routes::run(args, self.file()),
            Some(Command::Schema(args)) => schema::run(args),
            Some(Command::Top(args)) => top::run(args, self.file()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["gateway"], args].concat()).and_then(Cli::checked)
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_configuration_file_may_be_named_before_and_after_a_command() {
        for (args, file) in [
            (&[][..], "gateway.yaml"),
            (&["--config", "a.yaml"], "a.yaml"),
            (&["-c", "-"], "-"),
            (&["check"], "gateway.yaml"),
            (&["check", "a.yaml"], "a.yaml"),
            (&["check", "-"], "-"),
            (&["check", "--config", "a.yaml"], "a.yaml"),
            (&["check", "-c", "-", "--diff"], "-"),
            (&["-c", "a.yaml", "check"], "a.yaml"),
            (&["-c", "a.yaml", "health"], "a.yaml"),
            (&["health", "--config", "a.yaml"], "a.yaml"),
            (&["health"], "gateway.yaml"),
            (&["--config", "a.yaml", "check", "--diff", "--against", "b.yaml"], "a.yaml"),
        ] {
            assert_eq!(parse(args).unwrap().file(), Path::new(file), "{args:?}");
        }
    }

    #[test]
    fn subcommands_are_parsed_with_their_options() {
        let command = |args: &[&str]| Cli::try_parse_from(args).unwrap().command;
        assert!(matches!(command(&["gateway", "check", "--config", "g.yaml"]), Some(Command::Check(_))));
        assert!(matches!(command(&["gateway", "schema", "--log", "debug"]), Some(Command::Schema(_))));
    }

    #[test]
    fn a_configuration_file_that_is_named_twice_or_in_vain_is_refused() {
        for args in [
            &["-c", "a.yaml", "check", "b.yaml"][..],
            &["-c", "a.yaml", "check", "-c", "b.yaml"],
            &["check", "a.yaml", "-c", "b.yaml"],
            &["-c", "a.yaml", "schema"],
            &["-c", "a.yaml", "completions", "bash"],
            &["-c", "a.yaml", "man", "folder"],
            &["-c", "a.yaml", "health", "-c", "b.yaml"],
            &["-c", "a.yaml", "health", "--admin", "127.0.0.1:9901"],
            &["-c", "a.yaml", "filter", "new", "a"],
            &["check", "a.yaml", "--stdin-name", "b.yaml"],
            &["check", "--stdin-name", "b.yaml"],
        ] {
            assert_eq!(parse(args).unwrap_err().kind(), ErrorKind::ArgumentConflict, "{args:?}");
        }
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
