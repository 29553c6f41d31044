//! The program's messages on standard error; requests have the access log instead.

use clap::{Args, ValueEnum};
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::observe::log_filter;

/// The environment variable for what `--log` cannot express: levels per module, as in `warn,gateway::upstream=debug`.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// Options for the program's messages.
#[derive(Debug, Clone, Args)]
pub struct LoggingArgs {
    /// The level of messages on standard error [default: that of RUST_LOG, or else info]
    #[arg(long, value_name = "LEVEL", global = true)]
    log: Option<Level>,

    /// The format of messages
    #[arg(long, value_name = "FORMAT", global = true, default_value = "text")]
    log_format: Format,
}

/// The level of messages. Each level has one meaning, and includes those above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Level {
    /// Nothing
    Off,
    /// A part of the program cannot work until an operator acts
    Error,
    /// Requests fail or a limit rejects them; repeated warnings are held back and counted
    Warn,
    /// The program's life: start, addresses, reloads, drain, end
    Info,
    /// A connection's life: opened, closed and why, retried
    Debug,
    /// Each step of each request
    Trace,
}

/// The format of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A line of text
    Text,
    /// A line with a JSON object
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
    /// Starts logging for the whole process. It must be called once, before anything else.
    ///
    /// # Errors
    /// `RUST_LOG` is not a valid filter, and `--log` does not replace it.
    pub fn start(&self) -> Result<(), ParseError> {
        let filter = self.filter(std::env::var(FILTER_VARIABLE).ok().as_deref())?;
        // Internal errors are not reported: their report goes to standard error too, and panics if the message failed
        // because the reader of standard error is gone.
        let subscriber = fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .log_internal_errors(false);
        let started = match self.log_format {
            Format::Text => {
                subscriber.with_target(false).finish().with(log_filter::settable(filter)).try_init()
            }
            Format::Json => {
                subscriber.json().flatten_event(true).finish().with(log_filter::settable(filter)).try_init()
            }
        };
        debug_assert!(started.is_ok(), "logging was started twice");
        Ok(())
    }

    /// Returns the filter of `--log`, else of `RUST_LOG`, else of `info`.
    fn filter(&self, variable: Option<&str>) -> Result<Targets, ParseError> {
        match (self.log, variable.filter(|text| !text.trim().is_empty())) {
            (None, Some(text)) => log_filter::parse(text),
            (level, _) => log_filter::parse(level.unwrap_or(Level::Info).name()),
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
        assert_eq!(filter(None, None).unwrap(), "gateway=info");
        assert_eq!(filter(None, Some(" ")).unwrap(), "gateway=info");
        assert_eq!(filter(None, Some("trace")).unwrap(), "gateway=trace");
        assert_eq!(filter(None, Some("gateway::upstream=debug")).unwrap(), "gateway::upstream=debug");
        assert_eq!(filter(Some(Level::Debug), Some("trace")).unwrap(), "gateway=debug");
        assert_eq!(filter(Some(Level::Error), None).unwrap(), "gateway=error");
        assert!(filter(None, Some("gateway=loud")).is_err());
    }

    #[test]
    fn every_level_is_known_to_the_filter() {
        for level in Level::value_variants() {
            assert!(filter(Some(*level), None).unwrap().contains(level.name()), "{level:?}");
        }
    }
}
