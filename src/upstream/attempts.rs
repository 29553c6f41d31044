//! The one loop of attempts: a request goes to one endpoint after the other until there is a response.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use http::header;
use tokio::time::Instant;

use super::attempt::{Attempt, Progress};
use super::candidates::Candidates;
use super::endpoint::Endpoint;
use super::endpoints::EndpointSet;
use super::exchange::Received;
use super::outcome::AttemptOutcome;
use super::request::{SendOptions, UpstreamRequest};
use super::retry::Retries;
use crate::http::body::Body;
use crate::http::error::Error;
use crate::net::clock;

/// Sends a request to one endpoint after the other until there is a response, or no further attempt is permitted.
/// Returns the response and the endpoint that sent it.
///
/// # Errors
/// Returns [`Error::BreakerOpen`] if the upstream's breaker refuses the request, else the failure of the last attempt.
pub(crate) async fn send<'e>(
    request: &mut UpstreamRequest<'_>,
    body: Body,
    endpoints: &'e EndpointSet,
    options: &SendOptions<'e>,
    progress: &mut impl Progress,
) -> Result<(Received, &'e Arc<Endpoint>), Error> {
    let passage = endpoints.pass_breaker()?;
    let sent = try_endpoints(request, body, endpoints, options, progress).await;
    if let Some(passage) = passage {
        match &sent {
            Ok((received, _)) => passage.end(!received.status.is_server_error()),
            Err(error) if error.is_of_upstream() => passage.end(false),
            Err(_) => {}
        }
    }
    sent
}

async fn try_endpoints<'e>(
    request: &mut UpstreamRequest<'_>,
    mut body: Body,
    endpoints: &'e EndpointSet,
    options: &SendOptions<'e>,
    progress: &mut impl Progress,
) -> Result<(Received, &'e Arc<Endpoint>), Error> {
    let mut candidates = Candidates::new(endpoints, request.affinity);
    let mut endpoint = candidates.next().ok_or(Error::Unresolved)?;
    let mut retries =
        Retries::new(options.retry, endpoints.budget(), options.timeouts.connect, endpoints.len());
    let queued = Cell::new(Duration::ZERO);
    loop {
        if request.endpoint_host {
            request.headers.insert(header::HOST, endpoint.host().clone());
        }
        let target = || endpoint.target(request.target);
        tracing::trace!(endpoint = endpoint.url(), target = &*target(), "trying an endpoint");
        progress.attempt(endpoint);
        let again = body.replay();
        let (fresh, moves_on) = (retries.fresh, retries.moves_on());
        let began = Cell::new(clock::now());
        let attempt = Attempt { request, options, endpoint, fresh, moves_on, queued: &queued, began: &began };
        let mut report = Report { endpoints, endpoint, began: &began, outcome: AttemptOutcome::Nothing };
        match attempt.run(body, progress).await {
            Ok(mut received) => {
                report.outcome = AttemptOutcome::Response(received.status);
                drop(report);
                let again = received
                    .again
                    .take()
                    .or(again)
                    .filter(|_| retries.wants(request.method, received.status));
                let Some(again) = again else { return Ok((received, endpoint)) };
                let (head, failed) = ((received.status, &received.headers), endpoint);
                let done_by = options.done_by.map(|(by, _)| by);
                let Some(next) = retries.next_for_status(head, failed, &mut candidates, done_by) else {
                    return Ok((received, endpoint));
                };
                (body, endpoint) = (again, next);
                failed.pool().count_retry();
                if retries.back_off(options.timer, done_by, Error::Internal).await.is_err() {
                    return Ok((received, failed));
                }
            }
            Err(mut failure) => {
                report.outcome = failure.outcome;
                drop(report);
                failure.body = failure.body.or(again);
                let (error, failed) = (failure.error, endpoint);
                (body, endpoint) = retries.next(failure, failed, &mut candidates)?;
                tracing::debug!(endpoint = failed.url(), "trying again: {error}");
                failed.pool().count_retry();
                retries.back_off(options.timer, options.done_by.map(|(by, _)| by), error).await?;
            }
        }
    }
}

/// The report of an attempt. Dropping it reports, so that an abandoned attempt is reported, too.
struct Report<'a> {
    endpoints: &'a EndpointSet,
    endpoint: &'a Endpoint,
    began: &'a Cell<Instant>,
    outcome: AttemptOutcome,
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        self.endpoints.record(self.endpoint, self.outcome, clock::since(self.began.get()));
    }
}
