//! Problems, as a document that programs read (RFC 9457).

use http::header::HeaderName;
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::answer::Answer;

/// The media type of a problem (RFC 9457 §6.1).
const CONTENT_TYPE: &str = "application/problem+json";

/// The reason why a request was not served.
pub(super) struct Problem {
    /// The name of the kind, by which programs tell problems apart; the last part of its `type`.
    kind: &'static str,
    status: StatusCode,
    detail: String,
    more: Map<String, Value>,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// Creates a problem of a kind. `detail` is a sentence that tells a person what to do about it.
    pub(super) fn new(kind: &'static str, status: StatusCode, detail: impl Into<String>) -> Self {
        Self { kind, status, detail: detail.into(), more: Map::new(), fields: Vec::new() }
    }

    /// Adds a member (RFC 9457 §3.2).
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header field to its response.
    pub(super) fn with_field(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.push((name, value));
        self
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        let Problem { kind, status, detail, more, fields } = problem;
        let mut members = Map::new();
        // The URI leads nowhere on purpose (RFC 9457 §3.1.1): the detail has everything that a person needs to know.
        members.insert("type".to_owned(), format!("tag:gateway,2026:problem:{kind}").into());
        members.insert("title".to_owned(), status.canonical_reason().unwrap_or(kind).into());
        members.insert("status".to_owned(), status.as_u16().into());
        members.insert("detail".to_owned(), detail.into());
        members.extend(more);
        Self { status, fields, ..Self::ok(CONTENT_TYPE, format!("{:#}\n", Value::Object(members))) }
    }
}
