//! The response that the gateway sends in place of one that failed.

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};

use super::body::Body;
use super::error::Error;
use super::fields::Fields;
use super::message::Response;

/// The field that gives the reason for a response of the gateway's own.
pub(crate) const X_GATEWAY_ERROR: HeaderName = HeaderName::from_static("x-gateway-error");

impl From<Error> for Response<Body> {
    /// Creates the response that reports a failure to the client.
    fn from(error: Error) -> Self {
        let text = format!("{}: {error}\n", error.reason());
        let mut headers = Fields::with_capacity(4);
        headers.append(CONTENT_TYPE, const { HeaderValue::from_static("text/plain; charset=utf-8") });
        headers.append(X_GATEWAY_ERROR, HeaderValue::from_static(error.reason()));
        Response { status: error.status(), headers, body: Body::full(text) }
    }
}
