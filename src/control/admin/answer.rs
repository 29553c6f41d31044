//! The answer to an admin request.

use http::StatusCode;

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";

/// A status, and a text of some type.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn ok(content_type: &'static str, body: String) -> Self {
        Self { status: StatusCode::OK, content_type, body }
    }

    pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, content_type: TEXT, body: body.into() }
    }

    /// Spread over lines: a person reads this in a terminal as often as a program does.
    pub(super) fn json(value: &serde_json::Value) -> Self {
        Self::ok(JSON, format!("{value:#}\n"))
    }
}
