//! The status of a call, and the message beside it.

use std::fmt::Write as _;

use http::{HeaderValue, StatusCode};

use crate::http::error::Error;

/// The names of gRPC's statuses, by number.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The status of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(u8);

impl Status {
    pub(crate) const OK: Self = Self(0);
    const CANCELLED: Self = Self(1);
    pub(crate) const UNKNOWN: Self = Self(2);
    const DEADLINE_EXCEEDED: Self = Self(4);
    const PERMISSION_DENIED: Self = Self(7);
    pub(crate) const RESOURCE_EXHAUSTED: Self = Self(8);
    const UNIMPLEMENTED: Self = Self(12);
    pub(crate) const INTERNAL: Self = Self(13);
    pub(crate) const UNAVAILABLE: Self = Self(14);
    const UNAUTHENTICATED: Self = Self(16);

    /// Returns the status for one of HTTP, as Envoy and gRPC's "HTTP to gRPC Status Code Mapping" have it.
    pub(crate) fn of_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::INTERNAL,
            401 => Self::UNAUTHENTICATED,
            403 => Self::PERMISSION_DENIED,
            404 => Self::UNIMPLEMENTED,
            429 | 502..=504 => Self::UNAVAILABLE,
            499 => Self::CANCELLED,
            _ => Self::UNKNOWN,
        }
    }

    /// Returns the status that a value of `grpc-status` states, if it is a number.
    pub(crate) fn parse(value: &HeaderValue) -> Option<Self> {
        value.to_str().ok()?.parse().ok().map(Self)
    }

    /// Returns the status with this number.
    pub(crate) fn of_number(number: u8) -> Self {
        Self(number)
    }

    pub(crate) fn number(self) -> u8 {
        self.0
    }

    /// Returns true if the server is to blame, as OpenTelemetry's conventions have it.
    pub(crate) fn is_server_error(self) -> bool {
        const DATA_LOSS: Status = Status(15);
        let errors =
            [Self::UNKNOWN, Self::DEADLINE_EXCEEDED, Self::UNIMPLEMENTED, Self::INTERNAL, Self::UNAVAILABLE];
        errors.contains(&self.known()) || self == DATA_LOSS
    }

    /// Returns the name of the status. gRPC takes a number that it does not define for UNKNOWN.
    pub(crate) fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or("UNKNOWN")
    }

    /// Returns the status, or UNKNOWN for a number that gRPC does not define.
    pub(crate) fn known(self) -> Self {
        if usize::from(self.0) < NAMES.len() { self } else { Self::UNKNOWN }
    }

    /// Returns the value of `grpc-status`.
    pub(crate) fn value(self) -> HeaderValue {
        HeaderValue::from(u16::from(self.0))
    }
}

/// The status that reports a failure. Where gRPC distinguishes what a status of HTTP does not, the failure decides: a client
/// retries UNAVAILABLE, but not a call whose time is over, and a call beyond a limit fails the next time, too.
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::GrpcTimeout
            | Error::RequestTimeout
            | Error::ResponseHeaderTimeout
            | Error::PerTryTimeout
            | Error::IdleTimeout
            | Error::RequestHeaderTimeout
            | Error::RequestBodyTimeout => Self::DEADLINE_EXCEEDED,
            Error::TooManyHeaders
            | Error::HeadTooLarge
            | Error::TargetTooLong
            | Error::BodyTooLarge
            | Error::RateLimit
            | Error::Concurrent => Self::RESOURCE_EXHAUSTED,
            Error::RequestMethod => Self::UNIMPLEMENTED,
            error => match error.status().as_u16() {
                413 => Self::RESOURCE_EXHAUSTED, // a filter's limit
                500 => Self::INTERNAL,
                _ => Self::of_http(error.status()),
            },
        }
    }
}

/// The most bytes of a text that become a `grpc-message`. Encoded, they fit into the 8 KiB that clients permit for a head.
const MESSAGE_BYTES: usize = 1024;

/// Returns the value of `grpc-message`. Bytes other than visible ASCII and spaces, and the percent sign, are percent-encoded. A long
/// text is cut.
pub(crate) fn message(text: &[u8]) -> HeaderValue {
    let text = text.get(..MESSAGE_BYTES).unwrap_or(text);
    let mut encoded = String::with_capacity(text.len());
    for &byte in text {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    // It is visible ASCII and spaces, so it is a value.
    HeaderValue::try_from(encoded).unwrap_or(const { HeaderValue::from_static("") })
}

/// Returns the text of a `grpc-message`. As gRPC asks, what is not percent-encoded correctly stays as it is, and bytes that are not
/// UTF-8 become replacement characters.
pub(crate) fn message_text(value: &HeaderValue) -> String {
    let (mut text, mut rest) = (Vec::with_capacity(value.len()), value.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let encoded = after.split_first_chunk::<2>().filter(|_| byte == b'%');
        let decoded = encoded.and_then(|(digits, after)| Some((hexadecimal(*digits)?, after)));
        let (byte, after) = decoded.unwrap_or((byte, after));
        text.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn hexadecimal(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? * 16 + low?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::error::FilterError;

    #[test]
    fn failure_has_the_status_that_docs_show() {
        let filter = |status, reason| Error::Filter(FilterError { status, reason });
        let page = include_str!("../../../docs/grpc.md");
        for (error, number, name) in [
            (Error::RequestHost("host.malformed"), 13, "INTERNAL"),
            (Error::NoRoute, 12, "UNIMPLEMENTED"),
            (Error::RequestMethod, 12, "UNIMPLEMENTED"),
            (Error::PoolFull, 14, "UNAVAILABLE"),
            (Error::AcquireTimeout, 14, "UNAVAILABLE"),
            (Error::ConnectFailed, 14, "UNAVAILABLE"),
            (Error::ConnectTimeout, 14, "UNAVAILABLE"),
            (Error::UpstreamClosed, 14, "UNAVAILABLE"),
            (Error::ShuttingDown, 14, "UNAVAILABLE"),
            (Error::RequestTimeout, 4, "DEADLINE_EXCEEDED"),
            (Error::GrpcTimeout, 4, "DEADLINE_EXCEEDED"),
            (Error::ResponseHeaderTimeout, 4, "DEADLINE_EXCEEDED"),
            (Error::PerTryTimeout, 4, "DEADLINE_EXCEEDED"),
            (Error::IdleTimeout, 4, "DEADLINE_EXCEEDED"),
            (Error::RequestBodyTimeout, 4, "DEADLINE_EXCEEDED"),
            (Error::BodyTooLarge, 8, "RESOURCE_EXHAUSTED"),
            (Error::HeadTooLarge, 8, "RESOURCE_EXHAUSTED"),
            (Error::Internal, 13, "INTERNAL"),
            (filter(413, "filter.a.body"), 8, "RESOURCE_EXHAUSTED"),
            (filter(500, "filter.a.trap"), 13, "INTERNAL"),
            (filter(503, "filter.a.instances"), 14, "UNAVAILABLE"),
            (Error::RequestExpectation, 2, "UNKNOWN"),
            (Error::ClientClosed, 1, "CANCELLED"),
        ] {
            let status = Status::from(error);
            assert_eq!((status.number(), status.name()), (number, name), "{error:?}");
            let is_shown = error.is_unsent()
                || page.lines().any(|line| {
                    line.starts_with(&format!("| {name} ({number}) |"))
                        && line.contains(&error.reason().replace(".a.", ".NAME."))
                });
            let is_host = matches!(error, Error::RequestHost(_));
            assert!(is_shown || is_host, "docs/grpc.md lacks {} under {name}", error.reason());
        }
    }

    #[test]
    fn status_of_http_has_one_of_grpc() {
        for (http, grpc) in [
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (418, 2),
            (429, 14),
            (500, 2),
            (502, 14),
            (503, 14),
            (504, 14),
        ] {
            assert_eq!(Status::of_http(StatusCode::from_u16(http).unwrap()).number(), grpc, "{http}");
        }
    }

    #[test]
    fn message_is_percent_encoded() {
        for (text, encoded) in [
            ("no route", "no route"),
            ("100%", "100%25"),
            ("a\r\nb\t~", "a%0D%0Ab%09~"),
            ("\u{e9}\u{2713}", "%C3%A9%E2%9C%93"),
            ("", ""),
        ] {
            assert_eq!(message(text.as_bytes()), encoded, "{text:?}");
        }
        assert_eq!(message(&[b'%'; 2000]), "%25".repeat(1024));
    }

    #[test]
    fn text_of_a_message_is_decoded() {
        for text in ["no route", "100%", "a\r\nb\t~", "\u{e9}\u{2713}", ""] {
            assert_eq!(message_text(&message(text.as_bytes())), text);
        }
        for (value, text) in [("50%", "50%"), ("%zz%4", "%zz%4"), ("%+1", "%+1"), ("%41%c3", "A\u{fffd}")] {
            assert_eq!(message_text(&HeaderValue::from_static(value)), text, "{value}");
        }
    }
}
