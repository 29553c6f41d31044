//! The request of a probe and the response to it, in either version of HTTP.

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, header};

use crate::config::{HttpProbe, Scheme};
use crate::http::fields::Fields;
use crate::upstream::Endpoint;

/// The bytes of a response's body that are read. More is not an error, and not looked at.
pub(super) const BODY_BYTES_MAX: usize = 64 << 10;

/// The bytes of a response's head that are read.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;

/// The request of a probe.
pub(super) struct Request {
    pub(super) method: Method,
    /// Path and query.
    pub(super) target: String,
    pub(super) host: HeaderValue,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// All fields but the host.
    pub(super) headers: Fields,
    pub(super) body: Bytes,
}

/// The response to a probe.
pub(super) struct Response {
    pub(super) status: StatusCode,
    /// The fields of the head.
    pub(super) headers: Fields,
    /// The first [`BODY_BYTES_MAX`] bytes.
    pub(super) body: Bytes,
    pub(super) trailers: Option<Fields>,
}

impl Request {
    /// Returns a request without fields for a target of the endpoint.
    pub(super) fn new(endpoint: &Endpoint, method: Method, target: String) -> Self {
        let mut headers = Fields::new();
        headers.insert(header::USER_AGENT, const { HeaderValue::from_static("gateway-health") });
        let scheme = match endpoint.scheme() {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        Self { method, target, host: endpoint.host().clone(), scheme, headers, body: Bytes::new() }
    }

    /// Returns the request of an HTTP probe.
    pub(super) fn of_probe(endpoint: &Endpoint, probe: &HttpProbe) -> Self {
        let mut request = Self::new(endpoint, probe.method.clone(), probe.target.clone());
        if let Some(host) = &probe.host {
            request.host = host.clone();
        }
        request
    }
}

/// Adds data to a body. Returns false if there is no room for more.
pub(super) fn extend(body: &mut BytesMut, data: &[u8]) -> bool {
    let room = BODY_BYTES_MAX.saturating_sub(body.len());
    body.extend_from_slice(data.get(..room).unwrap_or(data));
    body.len() < BODY_BYTES_MAX
}
