//! The program's messages on standard error; requests have the access log instead.

use clap::{Args, ValueEnum};
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

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
            Format::Text => subscriber.with_target(false).finish().with(filter).try_init(),
            Format::Json => subscriber.json().flatten_event(true).finish().with(filter).try_init(),
        };
        debug_assert!(started.is_ok(), "logging was started twice");
        Ok(())
    }

    /// Returns the filter of `--log`, else of `RUST_LOG`, else of `info`. Libraries log nothing unless `RUST_LOG` names
    /// them: their messages concern their own internals, and a compiler at `debug` writes a thousand lines a second.
    fn filter(&self, variable: Option<&str>) -> Result<Targets, ParseError> {
        match (self.log, variable.filter(|text| !text.trim().is_empty())) {
            (None, Some(text)) => of_gateway(text).parse(),
            (level, _) => format!("gateway={}", level.unwrap_or(Level::Info).name()).parse(),
        }
    }
}

/// Turns each level without a target into one of the gateway's own: `debug,hyper=trace` into `gateway=debug,hyper=trace`.
fn of_gateway(directives: &str) -> String {
    let directives = directives.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    let directives = directives.map(|directive| match directive.parse::<LevelFilter>() {
        Ok(level) => format!("gateway={level}"),
        Err(_) => directive.to_owned(),
    });
    directives.collect::<Vec<_>>().join(",")
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
    fn levels_without_a_target_are_those_of_the_gateway() {
        for (written, expected) in [
            ("debug", "gateway=debug"),
            ("WARN", "gateway=warn"),
            ("info, hyper=trace,", "gateway=info,hyper=trace"),
            ("hyper=debug,off", "hyper=debug,gateway=off"),
        ] {
            assert_eq!(of_gateway(written), expected, "{written}");
        }
    }

    #[test]
    fn every_level_is_known_to_the_filter() {
        for level in Level::value_variants() {
            assert!(filter(Some(*level), None).unwrap().contains(level.name()), "{level:?}");
        }
    }
}
