//! A made-up policy, for tests of the stages: it asks for a field in requests, and puts one into responses.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::http::fields::Fields;
use crate::http::message::Response;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    /// The field that requests must have.
    pub(crate) requires: HeaderName,
}

impl Probe {
    /// Returns the response to a request without the field.
    pub(crate) fn request(&self, headers: &Fields) -> Option<Response<Bytes>> {
        let refused = Response { status: StatusCode::FORBIDDEN, headers: Fields::new(), body: Bytes::new() };
        (!headers.contains_key(&self.requires)).then_some(refused)
    }

    pub(crate) fn response(&self, headers: &mut Fields) {
        headers.insert(HeaderName::from_static("x-probe"), HeaderValue::from_static("seen"));
    }
}
