//! Fixed responses.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::headers::{HeaderEditError, parse_field};
use crate::http::fields::Fields;
use crate::http::message::Response;

/// The response of a route without an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Respond {
    status: StatusCode,
    headers: Fields,
    body: Bytes,
    delay: Option<Duration>,
}

/// The reason why a response is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RespondError {
    /// The status is not that of a final response.
    #[error("{0} is not a status to respond with: write one from 200 to 599")]
    Status(u16),
    /// There is a body, but the status has none (RFC 9110 §15.3.5, §15.3.6, §15.4.5).
    #[error("a response with status {0} has no body: leave `body` out, or write another status")]
    Body(u16),
    /// A header field is not valid.
    #[error(transparent)]
    Header(#[from] HeaderEditError),
}

impl Respond {
    /// Returns a response. A name that appears several times in `headers` becomes several lines.
    ///
    /// # Errors
    /// Returns everything that is wrong with it.
    pub(crate) fn new(
        status: u16,
        headers: &[(String, String)],
        body: impl Into<Bytes>,
    ) -> Result<Self, Vec<RespondError>> {
        let body = body.into();
        let mut errors = Vec::new();
        let code = StatusCode::from_u16(status).ok().filter(|_| (200..=599).contains(&status));
        if code.is_none() {
            errors.push(RespondError::Status(status));
        }
        if matches!(status, 204 | 205 | 304) && !body.is_empty() {
            errors.push(RespondError::Body(status));
        }
        let mut fields = Fields::new();
        for (name, value) in headers {
            match parse_field(name, value) {
                Ok((name, value)) => fields.append(name, value),
                Err(error) => errors.push(error.into()),
            }
        }
        match code {
            Some(status) if errors.is_empty() => Ok(Self { status, headers: fields, body, delay: None }),
            _ => Err(errors),
        }
    }

    /// Returns the same response, delayed by a time.
    pub(crate) fn delayed(self, delay: Option<Duration>) -> Self {
        Self { delay, ..self }
    }

    /// Returns the delay between a request and its response; `None` for none.
    pub(crate) fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// Returns the response. Its body is shared, not copied. The sender must frame it, and leave the body out for HEAD.
    pub(crate) fn response(&self) -> Response<Bytes> {
        Response { status: self.status, headers: self.headers.clone(), body: self.body.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_as_written() {
        let headers = [("Content-Type", "text/plain"), ("set-cookie", "a"), ("set-cookie", "b")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let response = Respond::new(418, &headers, "hello").unwrap().response();
        assert_eq!(response.status, StatusCode::IM_A_TEAPOT);
        assert_eq!(response.headers.get("content-type").unwrap(), "text/plain");
        assert_eq!(response.headers.get_all("set-cookie").count(), 2);
        assert_eq!(response.body, "hello");
    }

    #[test]
    fn every_error_is_reported() {
        let headers = [("content-length".to_owned(), "5".to_owned())];
        let reserved = RespondError::Header(HeaderEditError::Reserved("content-length".into()));
        assert_eq!(Respond::new(204, &headers, "x"), Err(vec![RespondError::Body(204), reserved]));
        for status in [0, 99, 100, 101, 199, 600, 999] {
            assert_eq!(Respond::new(status, &[], ""), Err(vec![RespondError::Status(status)]));
        }
        assert!(Respond::new(204, &[], "").is_ok());
    }
}
