//! The limits and options of an exchange, in every protocol.

use std::time::Duration;

use http::header;

use crate::net::timer::Timer;
use crate::upstream::request::{SendOptions, UpstreamRequest};

/// The limits and options of an exchange.
pub(crate) struct ExchangeOptions {
    /// The timer of the task that polls the exchange.
    pub(crate) timer: Timer,
    /// The limit from the last byte of the request to the head of the response.
    pub(crate) response_header: Option<Duration>,
    /// The limit between two reads or writes of a body.
    pub(crate) idle: Option<Duration>,
    /// True if the client waits for `100 Continue` before it sends its body.
    pub(crate) expect_continue: bool,
    /// True if the client requests a protocol upgrade, so that a 101 is valid, or on HTTP/2 what stands for it.
    pub(crate) upgrade: bool,
}

/// A request with the parts that depend on the endpoint.
#[derive(Clone, Copy)]
pub(crate) struct AddressedRequest<'a> {
    pub(crate) request: &'a UpstreamRequest<'a>,
    /// The path and query, with the base path of the endpoint.
    pub(crate) target: &'a str,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
}

impl ExchangeOptions {
    pub(super) fn new(request: &UpstreamRequest<'_>, options: &SendOptions<'_>) -> Self {
        Self {
            timer: options.timer.clone(),
            response_header: options.timeouts.response_header,
            idle: options.timeouts.idle,
            expect_continue: request.headers.contains_key(header::EXPECT),
            upgrade: request.upgrade,
        }
    }
}
