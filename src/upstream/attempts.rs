//! The one loop of attempts: a request goes to one endpoint after the other until there is a response.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use http::header;

use super::addresses::{Moved, Siblings};
use super::attempt::Attempt;
use super::breaker::Passage;
use super::candidates::Candidates;
use super::endpoint::Endpoint;
use super::endpoints::EndpointSet;
use super::exchange::Received;
use super::hedge::{self, Hedge};
use super::latency::Stopwatch;
use super::progress::Progress;
use super::request::{SendOptions, UpstreamRequest};
use super::retry::Retries;
use crate::config::Reuse;
use crate::http::body::Body;
use crate::http::error::Error;

/// Sends a request to one endpoint after the other until there is a response, or no further attempt is permitted.
/// Returns the response and the endpoint that sent it.
///
/// # Errors
/// Returns [`Error::BreakerOpen`] if the upstream's breaker refuses the request, else the failure of the last attempt.
pub(crate) async fn send<'e>(
    request: &mut UpstreamRequest<'_>,
    mut body: Body,
    endpoints: &'e EndpointSet,
    options: &SendOptions<'e>,
    progress: &mut impl Progress,
) -> Result<(Received, &'e Arc<Endpoint>), Error> {
    let mut hedge = hedge::settings(request, options, endpoints);
    if hedge.is_some() && body.replay().is_none() {
        body = Box::pin(hedge::whole(body, options)).await?;
    }
    let mut passage = endpoints.pass_breaker()?;
    let candidates = &Candidates::new(endpoints, request.affinity);
    let mut endpoint = candidates.next().ok_or(Error::Unresolved)?;
    let mut retries = Retries::new(options, endpoints, hedge.is_some());
    let queued = Cell::new(Duration::ZERO);
    loop {
        if request.endpoint_host {
            request.headers.insert(header::HOST, endpoint.host().clone());
        }
        let target = || endpoint.target(request.target);
        tracing::trace!(endpoint = endpoint.url(), target = &*target(), "trying an endpoint");
        progress.attempt(endpoint, request);
        note(&mut passage, None);
        let again = body.replay();
        let fresh = retries.fresh || (request.is_first && must_be_fresh(request, &body, endpoint, options));
        // Rather than to an unhealthy endpoint, a request waits at one that is full.
        let moves_on = retries.moves_on() && candidates.has_healthy();
        let stopwatch = Stopwatch::start();
        let siblings = Siblings::of(endpoints, candidates);
        let attempt = Attempt {
            request,
            options,
            endpoint,
            siblings: siblings.as_deref(),
            has_rivals: hedge.is_some(),
            fresh,
            moves_on,
            queued: &queued,
            stopwatch: &stopwatch,
        };
        let mut rivalry = None;
        let ended = match hedge.take().zip(again.as_ref()) {
            None => attempt.run(endpoints, body, progress).await,
            Some((settings, again)) => {
                let hedge = Hedge { settings, endpoints, candidates, retries: &retries, body: again };
                let hedged = Box::pin(hedge.run(&attempt, body, progress)).await;
                rivalry = hedged.rivalry;
                hedged.ended
            }
        };
        if let Some(moved) = siblings.map(|siblings| siblings.moved) {
            endpoint = settle(&moved, endpoints, endpoint, &mut retries);
        }
        if let Some(rivalry) = rivalry {
            endpoint = rivalry.settle(endpoint, &mut retries);
        }
        progress.attempted(match &ended {
            Ok(received) => Ok(received.status),
            Err(failure) => Err(failure.error),
        });
        let (failed, done_by) = (endpoint, options.done_by.map(|(by, _)| by));
        (body, endpoint) = match ended {
            Ok(mut received) => {
                note(&mut passage, Some(!received.status.is_server_error()));
                let again = received.again.take().map_or(again, |again| Some(*again));
                match again.filter(|_| retries.wants(request.method, received.status)) {
                    None => return Ok((received, endpoint)),
                    Some(again) => {
                        let head = (received.status, &received.headers);
                        match retries.next_for_status(head, failed, &mut &*candidates, done_by) {
                            None => return Ok((received, endpoint)),
                            Some(next) => (again, next),
                        }
                    }
                }
            }
            Err(mut failure) => {
                let error = failure.error;
                note(&mut passage, error.is_of_upstream().then_some(false));
                failure.body = failure.body.or(again);
                let next = retries.next(failure, failed, &mut &*candidates)?;
                if retries.is_too_late(done_by) {
                    return Err(error);
                }
                tracing::debug!(endpoint = failed.url(), "trying again: {error}");
                next
            }
        };
        failed.pool().count_retry();
        retries.back_off(options.timer).await;
    }
}

/// Notes how the request would end if it ended now, for the upstream's breaker.
fn note(passage: &mut Option<Passage<'_>>, is_success: Option<bool>) {
    if let Some(passage) = passage {
        passage.outcome = is_success;
    }
}

/// Returns true if the first request of a client's connection must not go on a kept connection (`pool.reuse`).
fn must_be_fresh(
    request: &UpstreamRequest<'_>,
    body: &Body,
    endpoint: &Endpoint,
    options: &SendOptions<'_>,
) -> bool {
    let may_repeat = options.retry.is_none_or(|retry| retry.on_stale && retry.may_repeat(request.method));
    let is_kept = || body.is_end_stream() || options.keeping.is_some_and(|keeping| keeping.fits(body));
    endpoint.pool().settings().reuse == Reuse::Safe && !(may_repeat && is_kept())
}

/// Counts the other addresses of the name of `chosen` that an attempt has dialled. Returns the endpoint that took it.
fn settle<'e>(
    moved: &Moved,
    endpoints: &'e EndpointSet,
    chosen: &'e Arc<Endpoint>,
    retries: &mut Retries<'e>,
) -> &'e Arc<Endpoint> {
    let dialled = moved.dialled.take();
    retries.note_tried(&dialled);
    moved.serving.get().and_then(|serving| endpoints.get(serving)).unwrap_or(chosen)
}
