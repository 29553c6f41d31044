//! `timeouts`: time limits of an upstream.

use std::time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::duration::Duration;
use crate::config::values::or_off::OrOff;

layer! {
    /// Time limits of the upstream. Keys that are left out come from the upstream, then from `defaults`.
    Timeouts {
        /// From the beginning of a connection attempt until the connection can be used: TCP and TLS together. Then the
        /// attempt has failed, and the next endpoint is tried (`retry.on`). The first such failure of a request starts a
        /// round of the same length. A try at another endpoint that begins in the round costs none of `retry.attempts`, and
        /// may end after it; every later try costs one. `off` leaves a silent endpoint to the kernel, which gives up after
        /// about two minutes, and lets the round last until each endpoint has been tried.
        connect: OrOff<Duration>,
        /// From the last byte of the request until the end of the response's header; then 504.
        response_header: OrOff<Duration>,
        /// Between two reads, or two writes, of a body; then the exchange is cut off. It also ends a WebSocket, or another
        /// tunnel, without traffic in either direction for this long, even if both peers are still there. Where peers send
        /// no pings of their own, raise it or switch it off, and leave vanished peers to `tcp_keepalive`.
        idle: OrOff<Duration>,
        /// From the end of the request's header until the last byte of the response, retries included; then 504, or a cut
        /// if the response has begun. It does not apply to upgrades and event streams.
        request: OrOff<Duration>,
        /// From the beginning of one attempt until the end of its response's header; then the next attempt, or 504.
        per_try: OrOff<Duration>,
    }
}

/// Complete timeouts: every key of [`Timeouts`] has a value; `None` for `off`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RouteTimeouts {
    pub(crate) connect: Option<time::Duration>,
    pub(crate) response_header: Option<time::Duration>,
    pub(crate) idle: Option<time::Duration>,
    pub(crate) request: Option<time::Duration>,
    pub(crate) per_try: Option<time::Duration>,
}

impl Timeouts {
    /// Returns the built-in value of every key.
    pub(crate) fn built_in() -> Self {
        Self {
            connect: Some(OrOff::On(Duration::from_secs(3))),
            response_header: Some(OrOff::On(Duration::from_secs(15))),
            idle: Some(OrOff::On(Duration::from_secs(60))),
            request: Some(OrOff::Off),
            per_try: Some(OrOff::Off),
        }
    }

    /// Merges the layers over the built-in values, the layer of highest precedence first.
    pub(crate) fn resolve<'a>(layers: impl IntoIterator<Item = &'a Timeouts>) -> RouteTimeouts {
        let timeouts = layers.into_iter().fold(Self::default(), Self::or).or(&Self::built_in());
        RouteTimeouts {
            connect: timeouts.connect.unwrap_or_default().duration(),
            response_header: timeouts.response_header.unwrap_or_default().duration(),
            idle: timeouts.idle.unwrap_or_default().duration(),
            request: timeouts.request.unwrap_or_default().duration(),
            per_try: timeouts.per_try.unwrap_or_default().duration(),
        }
    }
}

impl Default for RouteTimeouts {
    fn default() -> Self {
        Timeouts::resolve([])
    }
}
