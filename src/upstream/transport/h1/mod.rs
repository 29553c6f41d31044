//! HTTP/1 towards endpoints.

pub(super) mod client;
pub(in crate::upstream) mod connection;
mod state;

use http::header;

use self::client::{ExchangeOptions, H1Exchange};
use self::connection::H1Connection;
use crate::http::body::{Body, KeptBody};
use crate::http::h1::output::OutgoingHead;
use crate::upstream::request::{SendOptions, UpstreamRequest};

/// Prepares to send `request` and `body` on `connection`.
pub(super) fn start(
    connection: Box<H1Connection>,
    request: &UpstreamRequest<'_>,
    target: &str,
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
    let options = ExchangeOptions {
        timer: options.timer.clone(),
        response_header: options.timeouts.response_header,
        idle: options.timeouts.idle,
        expect_continue: request.headers.contains_key(header::EXPECT),
        upgrade: request.upgrade,
    };
    H1Exchange::new(connection, &head, body, kept, options)
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
