//! gRPC-Web (gRPC's "PROTOCOL-WEB"): gRPC for browsers, which see no trailers and, in the text form, no binary bodies.
//!
//! A request differs from one of gRPC by its content type, and in the text form by base64. A response has its trailers at the end of
//! its body, as a last message with a flag of its own.

mod decoded;
mod encoded;
#[cfg(any(test, fuzzing))]
pub(crate) mod pieces;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use decoded::DecodedBody;
use encoded::{EncodedBody, Form};
use http::{HeaderName, HeaderValue, header};

use super::{CONTENT_TYPE, GRPC_MESSAGE, GRPC_STATUS, after};
use crate::http::body::Body;
use crate::http::fields::Fields;
use crate::http::message::Response;

const BINARY: &str = "application/grpc-web";
const TEXT: &str = "application/grpc-web-text";

const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// The fields that report the end of a call.
const STATUS_FIELDS: [HeaderName; 3] = [GRPC_STATUS, GRPC_MESSAGE, GRPC_STATUS_DETAILS];

/// The forms of a call by gRPC-Web.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Web {
    /// True if the request's body is base64.
    is_text: bool,
    /// True if the body of the response must be base64.
    wants_text: bool,
}

impl Web {
    /// Returns the forms of a request by gRPC-Web; `None` for other requests. The response has the form that `Accept` names first, or
    /// else that of the request.
    pub(crate) fn requested(headers: &Fields) -> Option<Self> {
        let sends_text = is_text(headers.get(header::CONTENT_TYPE)?)?;
        let accepted = headers.get_all(header::ACCEPT).find_map(|value| {
            let mut members = value.as_bytes().split(|byte| *byte == b',');
            members.find_map(|member| is_text(&HeaderValue::from_bytes(member.trim_ascii()).ok()?))
        });
        Some(Self { is_text: sends_text, wants_text: accepted.unwrap_or(sends_text) })
    }

    /// Turns a request into one of gRPC.
    pub(crate) fn request(self, headers: &mut Fields, body: &mut Body) {
        let rest = headers.get(header::CONTENT_TYPE).and_then(|value| {
            let base = if self.is_text { TEXT } else { BINARY };
            after(value, base).map(<[u8]>::to_vec)
        });
        headers
            .insert(header::CONTENT_TYPE, content_type(CONTENT_TYPE.as_bytes(), &rest.unwrap_or_default()));
        headers.insert(header::TE, const { HeaderValue::from_static("trailers") });
        if self.is_text {
            // The length of the data is not known before its end.
            headers.remove(header::CONTENT_LENGTH);
            if !body.is_end_stream() {
                *body = Body::boxed(DecodedBody::new(std::mem::take(body)));
            }
        }
    }

    /// Turns a response of gRPC into one of gRPC-Web. Other responses stay as they are: a client maps their status.
    pub(crate) fn response(self, response: Response<Body>) -> Response<Body> {
        let Response { status, mut headers, body } = response;
        let rest = headers.get(header::CONTENT_TYPE).and_then(|value| after(value, "application/grpc"));
        let Some(rest) = rest else { return Response { status, headers, body } };
        let base = if self.wants_text { TEXT } else { BINARY };
        let content_type = content_type(base.as_bytes(), rest);
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.retain(|name, _| name != header::CONTENT_LENGTH && name != header::TRAILER);
        let trailers = take_status(&mut headers);
        let form = if self.wants_text { Form::text() } else { Form::Binary };
        let body = EncodedBody::new(body, form, trailers);
        Response { status, headers, body: body.shortened() }
    }
}

/// Returns true if a media type is the text form of gRPC-Web, false if it is the binary form, `None` for any other.
fn is_text(value: &HeaderValue) -> Option<bool> {
    if after(value, TEXT).is_some() { Some(true) } else { after(value, BINARY).map(|_| false) }
}

fn content_type(base: &[u8], rest: &[u8]) -> HeaderValue {
    let value = [base, rest].concat();
    HeaderValue::from_maybe_shared(Bytes::from(value)).unwrap_or(CONTENT_TYPE) // both are parts of values
}

/// Takes the status out of the head of a response without trailers. In the body, scripts of other origins can read it: fields of the
/// head would have to be exposed to them one by one.
fn take_status(headers: &mut Fields) -> Option<Fields> {
    if !headers.contains_key(GRPC_STATUS) {
        return None;
    }
    let status = headers.iter().filter(|(name, _)| STATUS_FIELDS.contains(name));
    let status = status.map(|(name, value)| (name.clone(), value.clone())).collect();
    headers.retain(|name, _| !STATUS_FIELDS.contains(name));
    Some(status)
}
