//! The response to an admin request.

use http::StatusCode;

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";

/// A response with a status and a text body.
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

    /// Creates a response of indented JSON: it is read by people in a terminal as often as by programs.
    pub(super) fn json(value: &serde_json::Value) -> Self {
        Self::ok(JSON, format!("{value:#}\n"))
    }
}
