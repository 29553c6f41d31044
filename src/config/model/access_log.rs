//! `telemetry.access_log`: a line for each request.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::byte_size::ByteSize;
use crate::config::values::header::HeaderName;
use crate::config::values::log_condition::LogCondition;
use crate::config::values::log_field::LogField;
use crate::config::values::log_output::LogOutput;
use crate::config::values::log_tag::LogTag;
use crate::config::values::parameter_name::ParameterName;
use crate::config::values::ratio::Ratio;

/// The access log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AccessLog {
    /// The format of a line.
    pub(crate) format: LogFormat,
    /// The destination of lines: `stdout`, `stderr`, a file, relative to the folder of the configuration file, or a receiver of syslog:
    /// `syslog+udp://HOST:PORT`, `syslog+tcp://HOST:PORT` or `syslog+unix://PATH`.
    pub(crate) output: LogOutput,
    /// The fields of a line, by name and in this order, for the formats `json` and `text`: those of docs/logs.md, `header.NAME` and
    /// `response.header.NAME` for fields of the request and the response, `query.NAME` for parameters of the query, and `identity.CLAIM` for
    /// claims of the caller. Default: all that docs/logs.md lists as such.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub(crate) fields: Option<Vec<LogField>>,
    /// The requests that have a line: `errors`, those that failed; `slow>1s`, those that took longer; `status>=400`, those with this status
    /// or a higher one; or a list, of which one is enough. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) only: Option<LogConditions>,
    /// The share of these requests that have a line, from 0 to 1. Requests that failed always have one.
    pub(crate) sample: Ratio,
    /// Values that lines do not show.
    pub(crate) mask: LogMask,
    /// The rotation of the file by the gateway. Default: none; the file is reopened on SIGUSR1 if it was moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rotate: Option<Rotate>,
    /// The head of messages, if the output is a receiver of syslog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) syslog: Option<Syslog>,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            output: LogOutput::default(),
            fields: None,
            only: None,
            sample: Ratio::ONE,
            mask: LogMask::default(),
            rotate: None,
            syslog: None,
        }
    }
}

/// The format of an access log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// One JSON object.
    #[default]
    Json,
    /// `name=value` for each field (logfmt), for people.
    Text,
    /// The Common Log Format of NCSA, which many tools read.
    Common,
    /// The same with referer and user agent, as Apache and nginx call `combined`.
    Combined,
}

impl LogFormat {
    /// Returns true if the file may choose the fields.
    pub(crate) const fn has_fields(self) -> bool {
        matches!(self, Self::Json | Self::Text)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Common => "common",
            Self::Combined => "combined",
        }
    }
}

/// The conditions of the requests that have a line: one, or a list of which one is enough.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum LogConditions {
    One(LogCondition),
    Several(#[schemars(length(min = 1, max = 8))] Vec<LogCondition>),
}

impl LogConditions {
    pub(crate) fn as_slice(&self) -> &[LogCondition] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

/// The values that lines do not show: they have `***` in their place.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogMask {
    /// The parameters of queries, in any case, whose values are masked in targets, referers and chosen fields. The list replaces the default
    /// one. Keys and tokens of `auth` are always masked.
    pub(crate) query: Vec<ParameterName>,
    /// Fields of requests and responses whose values are masked, beside `authorization`, `proxy-authorization`, `cookie`, `set-cookie` and
    /// those of `auth`, which always are.
    pub(crate) headers: Vec<HeaderName>,
}

/// Parameters that carry secrets by custom: of OAuth, of APIs, of signed URLs.
const SECRET_PARAMETERS: [&str; 16] = [
    "access_token",
    "api_key",
    "apikey",
    "auth_token",
    "client_secret",
    "code",
    "id_token",
    "passwd",
    "password",
    "refresh_token",
    "secret",
    "sig",
    "signature",
    "token",
    "x-amz-security-token",
    "x-amz-signature",
];

impl Default for LogMask {
    fn default() -> Self {
        let query = SECRET_PARAMETERS.iter().filter_map(|name| name.parse().ok());
        Self { query: query.collect(), headers: Vec::new() }
    }
}

/// The rotation of a file: `access.log` becomes `access.log.1`, that `access.log.2`, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotate {
    /// The size that the file does not exceed, unless a single line does.
    pub(crate) size: ByteSize,
    /// The number of earlier files that are kept.
    #[serde(default = "keep_built_in")]
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) keep: u16,
}

const fn keep_built_in() -> u16 {
    5
}

/// The head of syslog messages (RFC 5424 §6.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Syslog {
    /// The facility.
    pub(crate) facility: Facility,
    /// The severity.
    pub(crate) severity: Severity,
    /// The name of the program.
    pub(crate) app_name: LogTag,
}

/// Defines a choice of words with the number that syslog has for each.
macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $($(#[$default:meta])* $word:ident = $number:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
        #[serde(rename_all = "lowercase")]
        pub(crate) enum $name { $($(#[$default])* $word,)* }

        impl $name {
            /// Returns the number in a message.
            pub(crate) const fn number(self) -> u8 {
                match self { $(Self::$word => $number,)* }
            }
        }
    };
}

numbered! {
    /// The part of a system that a message comes from (RFC 5424 §6.2.1).
    Facility {
        Kern = 0,
        User = 1,
        Mail = 2,
        Daemon = 3,
        Auth = 4,
        Syslog = 5,
        Lpr = 6,
        News = 7,
        Uucp = 8,
        Cron = 9,
        Authpriv = 10,
        Ftp = 11,
        #[default]
        Local0 = 16,
        Local1 = 17,
        Local2 = 18,
        Local3 = 19,
        Local4 = 20,
        Local5 = 21,
        Local6 = 22,
        Local7 = 23,
    }
}

numbered! {
    /// The severity of a message (RFC 5424 §6.2.1).
    Severity {
        Emerg = 0,
        Alert = 1,
        Crit = 2,
        Err = 3,
        Warning = 4,
        Notice = 5,
        #[default]
        Info = 6,
        Debug = 7,
    }
}
