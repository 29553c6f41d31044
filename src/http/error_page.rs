//! The response that takes the place of one that failed.

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};

use super::body::Body;
use super::error::Error;
use super::fields::Fields;
use super::message::Response;

/// Tells why the gateway itself answers as it does.
const X_GATEWAY_ERROR: HeaderName = HeaderName::from_static("x-gateway-error");

impl From<Error> for Response<Body> {
    /// The answer that tells a client of a failure.
    fn from(error: Error) -> Self {
        let text = format!("{}: {error}\n", error.reason());
        let mut headers = Fields::with_capacity(4);
        headers.append(CONTENT_TYPE, const { HeaderValue::from_static("text/plain; charset=utf-8") });
        headers.append(X_GATEWAY_ERROR, HeaderValue::from_static(error.reason()));
        Response { status: error.status(), headers, body: Body::full(text) }
    }
}
