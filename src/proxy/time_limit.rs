//! The time limit of an exchange with an upstream.

use std::time::Duration;

use tokio::time::Instant;

use crate::http::error::Error;
use crate::http::grpc;
use crate::net::clock;
use crate::net::timer::{deadline, earlier};
use crate::proxy::exchange::Exchange;
use crate::snapshot::UpstreamRoute;

/// The deadline by `timeouts.request`, or by the `grpc-timeout` of a gRPC call if that is earlier. Both hold until the last byte of
/// the response.
pub(super) struct TimeLimit {
    pub(super) done_by: Option<Instant>,
    is_clients: bool,
}

impl TimeLimit {
    /// Returns the limit of an exchange whose request goes to the upstream now. The time of a call began when it arrived.
    ///
    /// # Errors
    /// Fails if the time of a call is over: no upstream needs to begin with it.
    pub(super) fn begin(route: &UpstreamRoute, exchange: &Exchange<'_>) -> Result<Self, Error> {
        let done_by = deadline(route.timeouts.request);
        let Some(call) = exchange.log.call() else { return Ok(Self { done_by, is_clients: false }) };
        let timeout = grpc::timeout(&exchange.request.headers);
        let clients = timeout.and_then(|timeout| exchange.log.began().checked_add(timeout));
        let is_clients = clients.is_some() && earlier(done_by, clients) == clients;
        let limit = Self { done_by: earlier(done_by, clients), is_clients };
        if is_clients {
            call.set_deadline();
            if limit.is_over() {
                return Err(Error::GrpcTimeout);
            }
        }
        Ok(limit)
    }

    /// Returns the error that names the limit that was met.
    pub(super) fn explain(&self, error: Error) -> Error {
        let is_late = error == Error::RequestTimeout || (error == Error::Unresolved && self.is_over());
        if self.is_clients && is_late { Error::GrpcTimeout } else { error }
    }

    /// Returns the time that is left; `None` if there is no limit.
    pub(super) fn left(&self) -> Option<Duration> {
        self.done_by.map(|by| by.saturating_duration_since(clock::now()))
    }

    fn is_over(&self) -> bool {
        self.done_by.is_some_and(|by| by <= clock::now())
    }
}
