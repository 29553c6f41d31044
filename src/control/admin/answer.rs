//! The response to an admin request.

use http::header::HeaderName;
use http::{HeaderValue, StatusCode};

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";

/// A response with a status and a text body.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: String,
    /// Fields besides those that every response has.
    pub(super) fields: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    pub(super) fn ok(content_type: &'static str, body: String) -> Self {
        Self { status: StatusCode::OK, content_type, body, fields: Vec::new() }
    }

    pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, ..Self::ok(TEXT, body.into()) }
    }
}
