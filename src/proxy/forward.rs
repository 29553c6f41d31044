//! Forwarding a request to an upstream, and its response to the client.

use std::time::Duration;

use http::StatusCode;

use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::forward;
use crate::http::message::Response;
use crate::proxy::affinity::Wish;
use crate::proxy::exchange::Exchange;
use crate::proxy::mirror::Turn;
use crate::proxy::outgoing::Outgoing;
use crate::proxy::reply::Answer;
use crate::proxy::time_limit::TimeLimit;
use crate::proxy::tunnel;
use crate::snapshot::forwarding::UpstreamRoute;
use crate::snapshot::route_deadline::Removal;
use crate::upstream::{Endpoint, Received, SendOptions, UpstreamRequest, send};

/// The time that a request waits for the first resolution of its upstream's name if `timeouts.connect` is off.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);

/// Sends the request to an upstream and returns the response as the client gets it.
pub(super) async fn forward_request(
    route: &UpstreamRoute,
    exchange: &mut Exchange<'_>,
) -> Result<Answer, Error> {
    let limit = TimeLimit::begin(route, exchange)?;
    let wish = Wish::of(route, exchange);
    let (mut outgoing, body) = prepare(route, exchange)?;
    let call = exchange.call;
    let lookup = route.timeouts.connect.unwrap_or(LOOKUP_LIMIT);
    let lookup = limit.left().map_or(lookup, |left| left.min(lookup));
    exchange.log.begin_wait("resolve");
    let endpoints = route.upstream.endpoints(Some(lookup), &call.timer).await;
    exchange.log.end_wait();
    let endpoints = endpoints.map_err(|error| limit.of_lookup(error))?;
    let mut request = UpstreamRequest {
        method: &exchange.request.method,
        target: &outgoing.target,
        headers: &mut outgoing.headers,
        endpoint_host: outgoing.endpoint_host,
        keep_alive: route.keep_alive,
        header_case: route.header_case,
        upgrade: outgoing.upgrade.is_some(),
        is_first: call.is_first,
        affinity: wish.affinity(route, &endpoints),
    };
    let options = SendOptions {
        timeouts: &route.timeouts,
        retry: Some(&route.retry),
        hedge: route.hedge.as_ref(),
        keeping: route.keeping.as_ref(),
        done_by: limit.done_by,
        interim: call.interim.as_ref(),
        timer: &call.timer,
    };
    let (received, endpoint) = send(&mut request, body, &endpoints, &options, exchange.log).await?;
    exchange.log.first_byte();
    let mut answer = respond(received, &outgoing, endpoint, route, exchange)?;
    if let Some(sticky) = &route.sticky {
        wish.hold(sticky, endpoint, outgoing.client_scheme, &mut answer.response.headers);
    }
    Ok(answer)
}

/// Takes the request out of the exchange as it is sent. If it is the route's mirror's turn, a copy of it begins.
fn prepare(route: &UpstreamRoute, exchange: &mut Exchange<'_>) -> Result<(Outgoing, Body), Error> {
    let mirrored = Turn::take(exchange);
    let mut outgoing = Outgoing::new(route, exchange)?;
    outgoing.set_host(route, exchange.authority())?;
    let body = std::mem::replace(&mut exchange.request.body, Body::Empty);
    let body = match mirrored {
        None => body,
        Some(turn) => turn.copy(&exchange.request.method, &outgoing, body),
    };
    Ok((outgoing, body))
}

/// Returns the response as the client gets it.
fn respond(
    mut received: Received,
    outgoing: &Outgoing,
    endpoint: &Endpoint,
    route: &UpstreamRoute,
    exchange: &Exchange<'_>,
) -> Result<Answer, Error> {
    let status = received.status;
    if status.is_success() && exchange.request.protocol.is_some() {
        return Err(Error::MissingUpgrade);
    }
    let upgrade = outgoing.upgrade.as_ref();
    forward::clean_response(status, &mut received.headers, upgrade).map_err(|_| Error::UnexpectedUpgrade)?;
    if status == StatusCode::SWITCHING_PROTOCOLS
        && let Some(key) = &outgoing.websocket_key
        && !key.take_accepted(&mut received.headers)
    {
        return Err(Error::UnexpectedUpgrade);
    }
    forward::via(&mut received.headers, received.version);
    if crate::proxy::addresses::may_be_in(status, route, &received.headers) {
        crate::proxy::addresses::rewrite(&mut received, outgoing, endpoint, route, exchange);
    }
    let tunnel = received.upgraded.map(|upgraded| {
        let removed = route.removal.as_ref().map(Removal::ended);
        tunnel::open(*upgraded, route.timeouts.idle, exchange.call.timer.clone(), removed)
    });
    let body = match &route.removal {
        None => received.body,
        Some(removal) => removal.bound(received.body),
    };
    let response = Response { status, headers: received.headers, body };
    Ok(Answer { response, tunnel, close: false })
}
