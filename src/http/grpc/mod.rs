//! gRPC over HTTP/2, and gRPC-Web: the requests that speak them, their deadlines, and the errors that their clients understand.
//!
//! Messages that pass are never parsed or buffered. A call is a request like any other, except in three things: `grpc-timeout` limits
//! it, its errors are a `grpc-status` in a response with status 200, and [`Web`] translates gRPC-Web to gRPC and back. Only filters'
//! own calls frame messages and take them apart ([`Deframer`]).

mod framing;
mod record;
mod status;
mod timeout;
pub(crate) mod web;

#[cfg(any(test, fuzzing))]
pub(crate) use framing::read_messages;
pub(crate) use framing::{Deframer, FramingError, framed};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
pub(crate) use record::Record;
pub(crate) use status::{Status, message, message_text};
pub(crate) use timeout::{GRPC_TIMEOUT, timeout, timeout_value};
pub(crate) use web::Web;

use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::error_page::X_GATEWAY_ERROR;
use crate::http::fields::Fields;
use crate::http::message::Response;

pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(crate) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The content type of gRPC without its message format.
pub(crate) const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// The form in which a request gets the errors of the gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// A status of HTTP.
    #[default]
    Http,
    /// `grpc-status` in the fields of a response without a body ("Trailers-Only").
    Grpc,
    /// `grpc-status` in the body.
    Web(Web),
}

impl Dialect {
    /// Returns the dialect that a request asks for. Calls are POST; to CONNECT, as to an upgrade, the status 200 of an error would
    /// open a tunnel.
    pub(crate) fn of(method: &Method, headers: &Fields) -> Self {
        if *method != Method::POST {
            return Self::Http;
        }
        match Web::requested(headers) {
            Some(web) => Self::Web(web),
            None if is_grpc(headers) => Self::Grpc,
            None => Self::Http,
        }
    }

    /// Returns the response that reports a failure to the client.
    pub(crate) fn error_response(self, error: Error) -> Response<Body> {
        match self {
            Self::Http => error.into(),
            Self::Grpc => trailers_only(error),
            Self::Web(web) => web.response(trailers_only(error)),
        }
    }
}

/// Returns true if a message is one of gRPC: its content type is `application/grpc`, alone or before `+FORMAT` or parameters.
pub(crate) fn is_grpc(headers: &Fields) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| after(value, "application/grpc").is_some())
}

/// Returns the rest of a media type behind `base`: nothing, `+FORMAT`, or parameters.
fn after<'v>(value: &'v HeaderValue, base: &str) -> Option<&'v [u8]> {
    let (kind, rest) = value.as_bytes().split_at_checked(base.len())?;
    let is_end = matches!(rest.first(), None | Some(b'+' | b';' | b' '));
    (is_end && kind.eq_ignore_ascii_case(base.as_bytes())).then_some(rest)
}

/// Returns the response that gRPC calls Trailers-Only: with END_STREAM on its head, and the status among its fields.
fn trailers_only(error: Error) -> Response<Body> {
    let text = format!("{}: {error}", error.reason());
    let mut headers = Fields::with_capacity(5); // the sender adds the date
    headers.append(header::CONTENT_TYPE, CONTENT_TYPE);
    headers.append(GRPC_STATUS, Status::from(error).value());
    headers.append(GRPC_MESSAGE, message(text.as_bytes()));
    headers.append(X_GATEWAY_ERROR, HeaderValue::from_static(error.reason()));
    Response { status: StatusCode::OK, headers, body: Body::Empty }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect(content_type: &'static str) -> Dialect {
        Dialect::of(&Method::POST, &Fields::written(&[("content-type", content_type)]))
    }

    #[test]
    fn content_type_shows_a_request_of_grpc() {
        for content_type in [
            "application/grpc",
            "application/grpc+proto",
            "Application/GRPC;charset=utf-8",
            "application/grpc ;a=b",
        ] {
            assert_eq!(dialect(content_type), Dialect::Grpc, "{content_type}");
        }
        for content_type in
            ["application/grpcx", "application/grp", "application/json", "", "text/application/grpc"]
        {
            assert_eq!(dialect(content_type), Dialect::Http, "{content_type}");
        }
        for content_type in
            ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text"]
        {
            assert!(matches!(dialect(content_type), Dialect::Web(_)), "{content_type}");
        }
        assert_eq!(Dialect::of(&Method::POST, &Fields::new()), Dialect::Http);
        for method in [Method::GET, Method::CONNECT, Method::HEAD] {
            let fields = Fields::written(&[("content-type", "application/grpc")]);
            assert_eq!(Dialect::of(&method, &fields), Dialect::Http, "{method}");
        }
    }

    #[test]
    fn error_is_a_response_of_each_dialect() {
        let response = Dialect::Grpc.error_response(Error::ConnectFailed);
        let expected = Fields::written(&[
            ("content-type", "application/grpc"),
            ("grpc-status", "14"),
            ("grpc-message", "upstream.connect: connect failed"),
            ("x-gateway-error", "upstream.connect"),
        ]);
        assert_eq!((response.status, response.headers), (StatusCode::OK, expected));
        assert!(response.body.is_end_stream());

        let response = dialect("application/grpc-web+proto").error_response(Error::ConnectFailed);
        assert_eq!(response.headers.get("content-type").unwrap(), "application/grpc-web");
        assert_eq!(response.headers.get("x-gateway-error").unwrap(), "upstream.connect");
        let Body::Full(body) = response.body else { panic!("{:?}", response.body) };
        let block = b"grpc-status: 14\r\ngrpc-message: upstream.connect: connect failed\r\n";
        assert_eq!(body, [&[0x80, 0, 0, 0, block.len() as u8][..], block].concat());

        let response = dialect("text/plain").error_response(Error::ConnectFailed);
        assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
    }
}
