//! The sources of fields: where the value of a field comes from, and the kind that it has.

use std::time::Duration;

use http::Version;

use super::entry::Entry;
use crate::config::OwnField;

/// A look into the entry for a value; `None` if the exchange has none.
type Of<T> = fn(&Entry<'_>) -> Option<T>;

/// A look into the entry for a text.
type TextOf = for<'e> fn(&'e Entry<'_>) -> Option<&'e [u8]>;

/// The source of a value, by its kind.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A text that a peer may have chosen, or the configuration.
    Text(TextOf),
    /// A text of the gateway's own, which needs no escapes.
    Word(TextOf),
    /// A URL, or a part of one, in which secrets are masked.
    Url(TextOf),
    /// Bytes that are written as hexadecimal digits.
    Hex(TextOf),
    Number(Of<u64>),
    Millis(Of<Duration>),
    Bool(Of<bool>),
    Client,
    Time,
    UnixTime,
    /// These have their index in the list of [`Capture`](super::Capture).
    Header(usize),
    ResponseHeader(usize),
    Identity(usize),
    Query(Box<str>),
}

impl Source {
    /// Returns the source of a field that the gateway knows by itself.
    #[inline(always)]
    pub(super) fn of(field: OwnField) -> Self {
        match field {
            OwnField::Time => Self::Time,
            OwnField::UnixTime => Self::UnixTime,
            OwnField::Client => Self::Client,
            OwnField::Listener => Self::Text(|entry| Some(entry.listener.as_bytes())),
            OwnField::Method => Self::Text(|entry| Some(entry.method.as_bytes())),
            OwnField::Target => Self::Url(|entry| Some(entry.target)),
            OwnField::Path => Self::Url(|entry| Some(before(entry.target, b'?'))),
            OwnField::Version => Self::Word(|entry| Some(version(entry.version).as_bytes())),
            OwnField::Host => Self::Text(|entry| entry.host),
            OwnField::Status => Self::Number(|entry| Some(entry.status.into())),
            OwnField::GrpcStatus => Self::Number(|entry| Some(entry.grpc_status?.into())),
            OwnField::Route => Self::Text(|entry| Some(entry.route?.as_bytes())),
            OwnField::Endpoint => Self::Text(|entry| Some(entry.endpoint?.as_bytes())),
            OwnField::Reused => Self::Bool(|entry| entry.reused),
            OwnField::Attempts => Self::Number(|entry| Some(entry.attempts.into())),
            OwnField::RequestBytes => Self::Number(|entry| Some(entry.request_bytes)),
            OwnField::ResponseBytes => Self::Number(|entry| Some(entry.response_bytes)),
            OwnField::Acquire => Self::Millis(|entry| entry.acquire),
            OwnField::Connect => Self::Millis(|entry| entry.connect),
            OwnField::FirstByte => Self::Millis(|entry| entry.first_byte),
            OwnField::Total => Self::Millis(|entry| Some(entry.total)),
            OwnField::Error => Self::Word(|entry| Some(entry.error?.as_bytes())),
            OwnField::UserAgent => Self::Text(|entry| entry.user_agent),
            OwnField::Referer => Self::Url(|entry| entry.referer),
            OwnField::Auth => Self::Text(|entry| Some(entry.auth?.as_bytes())),
            OwnField::Identity => Self::Text(|entry| Some(entry.identity?.as_bytes())),
            OwnField::RequestId => Self::Text(|entry| entry.request_id),
            OwnField::TraceId => Self::Hex(|entry| Some(entry.trace_id.as_ref()?.bytes())),
            OwnField::SpanId => Self::Hex(|entry| Some(entry.span_id.as_ref()?.bytes())),
        }
    }

    /// Returns true if JSON has the value in quotes.
    pub(super) fn is_quoted(&self) -> bool {
        !matches!(self, Self::Number(_) | Self::Millis(_) | Self::Bool(_) | Self::UnixTime)
    }
}

/// Returns the part of a text before a byte.
pub(super) fn before(text: &[u8], byte: u8) -> &[u8] {
    text.split(|found| *found == byte).next().unwrap_or(text)
}

pub(super) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}
