//! The time limit of an exchange with an upstream.

use std::time::Duration;

use tokio::time::Instant;

use crate::http::error::Error;
use crate::http::grpc;
use crate::net::clock;
use crate::net::timer::deadline;
use crate::proxy::exchange::Exchange;
use crate::snapshot::forwarding::UpstreamRoute;

/// The deadline by `timeouts.request`, or by the `grpc-timeout` of a gRPC call if that is earlier. Both hold until the last byte of
/// the response.
pub(super) struct TimeLimit {
    pub(super) done_by: Option<(Instant, Error)>,
}

impl TimeLimit {
    /// Returns the limit of an exchange whose request goes to the upstream now. The time of a call began when it arrived.
    ///
    /// # Errors
    /// Fails if the time of a call is over: no upstream needs to begin with it.
    pub(super) fn begin(route: &UpstreamRoute, exchange: &Exchange<'_>) -> Result<Self, Error> {
        let routes = deadline(route.timeouts.request).map(|by| (by, Error::RequestTimeout));
        let timeout = if exchange.log.has_call() { grpc::timeout(&exchange.request.headers) } else { None };
        let clients = timeout.and_then(|timeout| exchange.log.began().checked_add(timeout));
        let limit = match (clients, routes) {
            (Some(by), routes) if routes.is_none_or(|(routes, _)| by <= routes) => {
                Self { done_by: Some((by, Error::GrpcTimeout)) }
            }
            _ => return Ok(Self { done_by: routes }),
        };
        if limit.left() == Some(Duration::ZERO) { Err(Error::GrpcTimeout) } else { Ok(limit) }
    }

    /// Returns the error of a lookup that ended with `error`. A client's own deadline says nothing about the name.
    pub(super) fn of_lookup(&self, error: Error) -> Error {
        match self.done_by {
            Some((_, Error::GrpcTimeout)) if self.left() == Some(Duration::ZERO) => Error::GrpcTimeout,
            _ => error,
        }
    }

    /// Returns the time that is left; `None` if there is no limit.
    pub(super) fn left(&self) -> Option<Duration> {
        self.done_by.map(|(by, _)| by.saturating_duration_since(clock::now()))
    }
}
