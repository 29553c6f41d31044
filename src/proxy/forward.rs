//! Forwarding a request to an upstream: one attempt after the other, until there is a response.

use std::cell::Cell;
use std::time::Duration;

use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::forward;
use crate::http::message::Response;
use crate::net::timer::deadline;
use crate::proxy::exchange::Exchange;
use crate::proxy::outgoing::Outgoing;
use crate::proxy::reply::{Answer, Outcome};
use crate::proxy::retry::Retries;
use crate::proxy::tunnel;
use crate::snapshot::UpstreamRoute;
use crate::snapshot::route_deadline::Removal;
use crate::upstream::{Attempt, Endpoint, Received};

/// The time that a request waits for the first resolution of its upstream's name if `timeouts.connect` is off.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);

/// Sends a request to one endpoint after the other until there is a response, or no further attempt is permitted.
pub(super) async fn forward_request(route: &UpstreamRoute, exchange: &mut Exchange<'_>) -> Outcome {
    let mut outgoing = Outgoing::new(route, exchange);
    let mut body = std::mem::replace(&mut exchange.body, Body::Empty);
    let call = exchange.call;
    // The deadline of the whole exchange.
    let done_by = deadline(route.timeouts.request);
    let lookup = route.timeouts.connect.unwrap_or(LOOKUP_LIMIT);
    let lookup = route.timeouts.request.map_or(lookup, |request| request.min(lookup));
    let endpoints = route.upstream.endpoints(Some(lookup), &call.timer).await?;
    let mut candidates = endpoints.candidates();
    let mut endpoint = candidates.next().ok_or(Error::Unresolved)?;
    let mut retries = Retries::new(&route.retry, route.timeouts.connect, endpoints.len());
    let queued = Cell::new(Duration::ZERO);
    let received = loop {
        outgoing.set_host(route, exchange.authority(), endpoint)?;
        let target = endpoint.target(&outgoing.target);
        tracing::trace!(endpoint = endpoint.url(), target = &*target, "trying an endpoint");
        exchange.log.attempt(endpoint);
        let again = body.replay();
        let attempt = Attempt {
            head: outgoing.head(&exchange.method, &target, route),
            upgrade: outgoing.upgrade.is_some(),
            interim: call.interim.as_ref(),
            fresh: retries.fresh,
            moves_on: retries.moves_on(),
            keeping: route.keeping.as_ref(),
            timeouts: &route.timeouts,
            done_by,
            queued: &queued,
            timer: &call.timer,
        };
        match attempt.run(endpoint, body, exchange.log).await {
            Ok(received) => break received,
            Err(mut failure) => {
                failure.body = failure.body.or(again);
                let (error, failed) = (failure.error, endpoint);
                (body, endpoint) = retries.next(failure, failed, &mut candidates)?;
                tracing::debug!(endpoint = failed.url(), "trying again: {error}");
                failed.pool().count_retry();
                retries.back_off(&call.timer, done_by, error).await?;
            }
        }
    };
    exchange.log.first_byte();
    tracing::trace!(status = received.status.as_u16(), "response begins");
    respond(received, &outgoing, endpoint, route, exchange)
}

/// Returns the response as the client gets it.
fn respond(
    mut received: Received,
    outgoing: &Outgoing,
    endpoint: &Endpoint,
    route: &UpstreamRoute,
    exchange: &Exchange<'_>,
) -> Outcome {
    let status = received.status;
    let upgrade = outgoing.upgrade.as_ref();
    forward::clean_response(status, &mut received.headers, upgrade).map_err(|_| Error::UnexpectedUpgrade)?;
    forward::via(&mut received.headers, received.version);
    if crate::proxy::addresses::may_be_in(status, route, &received.headers) {
        crate::proxy::addresses::rewrite(&mut received, outgoing, endpoint, route, exchange);
    }
    let tunnel = received.upgraded.map(|upgraded| {
        let removed = route.removal.as_ref().map(Removal::ended);
        tunnel::open(upgraded, route.timeouts.idle, exchange.call.timer.clone(), removed)
    });
    let body = match &route.removal {
        None => received.body,
        Some(removal) => removal.bound(received.body),
    };
    let response = Response { status, headers: received.headers, body };
    Ok(Answer { response, tunnel, close: false })
}
