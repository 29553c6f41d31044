//! HTTP/1 towards endpoints.

pub(super) mod client;
pub(in crate::upstream) mod connection;

use http::header;

use self::client::H1Exchange;
use self::connection::H1Connection;
use crate::http::body::{Body, KeptBody};
use crate::http::h1::output::OutgoingHead;
use crate::upstream::request::{SendOptions, UpstreamRequest};
use crate::upstream::transport::options::{AddressedRequest, ExchangeOptions};

/// Prepares to send `request` and `body` on `connection`.
pub(super) fn start(
    connection: Box<H1Connection>,
    AddressedRequest { request, target, .. }: AddressedRequest<'_>,
    options: &SendOptions<'_>,
    body: Body,
    kept: Option<Box<KeptBody>>,
) -> H1Exchange {
    let head = OutgoingHead {
        method: request.method,
        target,
        headers: request.headers,
        connection: connection_option(request),
        case: request.header_case,
    };
    H1Exchange::new(connection, &head, body, kept, ExchangeOptions::new(request, options))
}

/// Returns the `Connection` field, which concerns this hop alone.
fn connection_option(request: &UpstreamRequest<'_>) -> Option<&'static str> {
    // A sender of TE must list it in Connection (RFC 9110 §10.1.4). Only `trailers` is left of TE here.
    match (request.keep_alive, request.headers.contains_key(header::TE)) {
        _ if request.upgrade => None,
        (true, false) => None,
        (true, true) => Some("te"),
        (false, false) => Some("close"),
        (false, true) => Some("close, te"),
    }
}
