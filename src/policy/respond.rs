//! Fixed responses.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::headers::fields;
use crate::config;
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

impl Respond {
    /// Creates the response. A header with several values becomes several lines.
    pub(crate) fn new(written: &config::Respond) -> Self {
        Self {
            status: written.status,
            headers: fields(&written.headers).map(|(name, value)| (name, value.as_http().clone())).collect(),
            body: written.body.clone().into(),
            delay: written.delay.map(Duration::from),
        }
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
    use crate::config::section;

    #[test]
    fn the_answer_is_as_written() {
        let written =
            "{ status: 418, headers: { Content-Type: text/plain, set-cookie: [a, b] }, body: hello }";
        let response = Respond::new(&section(written)).response();
        assert_eq!(response.status, StatusCode::IM_A_TEAPOT);
        assert_eq!(response.headers.get("content-type").unwrap(), "text/plain");
        assert_eq!(response.headers.get_all("set-cookie").count(), 2);
        assert_eq!(response.body, "hello");
    }
}
