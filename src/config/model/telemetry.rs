//! `telemetry`: reports about the work of the program.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::or_off::OrOff;
use crate::config::values::text::{Malformed, text_type};

/// Reports about the work of the program.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Telemetry {
    /// A line for each request; on unless it is `off`.
    pub(crate) access_log: OrOff<AccessLog>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { access_log: OrOff::On(AccessLog::default()) }
    }
}

/// The access log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AccessLog {
    /// The format of a line.
    pub(crate) format: LogFormat,
    /// The destination of lines: `stdout`, `stderr`, or a file, relative to the folder of the configuration file.
    pub(crate) output: LogOutput,
}

/// The format of an access log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// One JSON object with everything.
    #[default]
    Json,
    /// The Common Log Format, which many tools read.
    Common,
}

/// The destination of the access log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogOutput {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, to which lines are appended.
    File(PathBuf),
}

text_type!(LogOutput, format: "log-output", pattern: "^[\\s\\S]");

impl FromStr for LogOutput {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text {
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            "" => Err(Malformed::new("the file has no name").help("write `stdout`, `stderr` or a path")),
            path => Ok(Self::File(path.into())),
        }
    }
}

impl fmt::Display for LogOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}
