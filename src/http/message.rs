//! Requests and responses as they pass through the gateway, in any version of HTTP.

use http::{HeaderValue, Method, StatusCode, Uri, Version};

use crate::http::body::Body;
use crate::http::fields::Fields;

/// The limits on the head of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadLimits {
    /// The largest number of header fields.
    pub(crate) headers: usize,
    /// The largest size of the whole head in bytes, start line included.
    pub(crate) header_bytes: usize,
    /// The largest size of a request target in bytes.
    pub(crate) target_bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) target: Uri,
    pub(crate) version: Version,
    pub(crate) headers: Fields,
    /// `:protocol` of an extended CONNECT (RFC 8441). Such a request passes as it would come over HTTP/1.1: a GET whose fields
    /// `Connection` and `Upgrade` ask for that protocol. No response but the opening of a tunnel may have a status of 2xx.
    pub(crate) protocol: Option<Box<HeaderValue>>,
    pub(crate) body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response<B> {
    pub(crate) status: StatusCode,
    /// The header fields, without those of framing.
    pub(crate) headers: Fields,
    pub(crate) body: B,
}

impl<B> Response<B> {
    /// Returns the response with another body, which `body` makes of this one.
    pub(crate) fn map<C>(self, body: impl FnOnce(B) -> C) -> Response<C> {
        Response { status: self.status, headers: self.headers, body: body(self.body) }
    }
}

impl<B> From<Response<B>> for http::Response<B> {
    fn from(response: Response<B>) -> Self {
        let mut made = http::Response::new(response.body);
        *made.status_mut() = response.status;
        *made.headers_mut() = response.headers.into();
        made
    }
}

/// Returns true if the value of an `Expect` field is `100-continue` (RFC 9110 §10.1.1).
pub(crate) fn is_continue(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"100-continue")
}

/// Returns true if a response with this status may have a body: 1xx, 204 and 304 never do (RFC 9110 §6.4.1).
pub(crate) fn may_have_body(status: StatusCode) -> bool {
    !(status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED)
}
