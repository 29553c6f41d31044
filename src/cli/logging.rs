//! The program's messages on the standard error; requests have the access log instead.

use clap::{Args, ValueEnum};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt;

/// The environment variable that says more than `--log` can: levels per module, as `warn,gateway::upstream=debug`.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// How the program's messages look.
#[derive(Debug, Clone, Args)]
pub struct LoggingArgs {
    /// How much to tell on the standard error [default: what RUST_LOG says, or else info]
    #[arg(long, value_name = "LEVEL", global = true)]
    log: Option<Level>,

    /// How a message looks
    #[arg(long, value_name = "FORMAT", global = true, default_value = "text")]
    log_format: Format,
}

/// How much is told. Each level has one meaning, and includes those above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Nothing
    Off,
    /// A part of the program can't do its work until somebody acts
    Error,
    /// Requests fail or a limit refuses them; repeated warnings are held back and counted
    Warn,
    /// The program's life: start, addresses, reloads, drain, end
    Info,
    /// A connection's life: opened, closed and why, retried
    Debug,
    /// Each step of each request
    Trace,
}

/// How a message looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for people
    Text,
    /// A JSON object a line
    Json,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl LoggingArgs {
    /// Starts logging for the whole process; to be called once, first thing.
    ///
    /// # Errors
    /// When `RUST_LOG` can't be read as a filter and `--log` does not say otherwise.
    pub fn start(&self) -> Result<(), ParseError> {
        let filter = self.filter(std::env::var(FILTER_VARIABLE).ok().as_deref())?;
        // Internal errors are not to be reported: the report goes to the standard error as well, and panics when the
        // message failed because nobody reads that.
        let subscriber = fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .log_internal_errors(false);
        let started = match self.log_format {
            Format::Text => subscriber.with_target(false).finish().try_init(),
            Format::Json => subscriber.json().flatten_event(true).finish().try_init(),
        };
        debug_assert!(started.is_ok(), "logging was started twice");
        Ok(())
    }

    /// `--log` sets our own level, and leaves to the libraries their warnings; `RUST_LOG` is taken as it is.
    fn filter(&self, variable: Option<&str>) -> Result<EnvFilter, ParseError> {
        match (self.log, variable.filter(|text| !text.trim().is_empty())) {
            (None, Some(text)) => EnvFilter::try_new(text),
            (Some(Level::Off), _) => EnvFilter::try_new("off"),
            (Some(Level::Error), _) => EnvFilter::try_new("error"),
            (level, _) => EnvFilter::try_new(format!("warn,gateway={}", level.unwrap_or(Level::Info).name())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(log: Option<Level>, variable: Option<&str>) -> Result<String, ParseError> {
        let args = LoggingArgs { log, log_format: Format::Text };
        args.filter(variable).map(|filter| filter.to_string())
    }

    #[test]
    fn the_option_wins_over_the_variable_and_info_is_the_default() {
        let parts = |text: &str| {
            let mut parts: Vec<_> = text.split(',').map(str::to_owned).collect();
            parts.sort();
            parts
        };
        assert_eq!(parts(&filter(None, None).unwrap()), ["gateway=info", "warn"]);
        assert_eq!(parts(&filter(None, Some(" ")).unwrap()), ["gateway=info", "warn"]);
        assert_eq!(filter(None, Some("trace")).unwrap(), "trace");
        assert_eq!(parts(&filter(Some(Level::Debug), Some("trace")).unwrap()), ["gateway=debug", "warn"]);
        assert_eq!(filter(Some(Level::Error), None).unwrap(), "error");
        assert!(filter(None, Some("gateway=loud")).is_err());
    }

    #[test]
    fn every_level_is_known_to_the_filter() {
        for level in Level::value_variants() {
            assert!(filter(Some(*level), None).unwrap().contains(level.name()), "{level:?}");
        }
    }
}
