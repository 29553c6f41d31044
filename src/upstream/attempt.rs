//! One attempt at one endpoint: an idle connection from its pool, or a new one, and the exchange on it.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::addresses::Siblings;
use super::endpoint::Endpoint;
use super::endpoints::EndpointSet;
use super::exchange::{Received, ResponseBody, begin, receive};
use super::latency::Stopwatch;
use super::outcome::AttemptOutcome;
use super::pool::concurrency::{Full, Permit};
use super::pool::seats::{self, Seat};
use super::pool::{Acquired, Lease, NewConnection, Refusal, Slot, WaitBounds, Wanted};
use super::progress::Progress;
use super::relay;
use super::request::{SendOptions, UpstreamRequest};
use crate::config::RetrySettings;
use crate::http::body::{Body, KeptBody};
use crate::http::error::Error;
use crate::net::clock;
use crate::net::timer::{Timer, deadline};
use crate::upstream::transport::Transport;
use crate::upstream::transport::dial::dial;
use crate::upstream::transport::options::AddressedRequest;

/// One attempt at an endpoint.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) request: &'a UpstreamRequest<'a>,
    pub(super) options: &'a SendOptions<'a>,
    pub(super) endpoint: &'a Arc<Endpoint>,
    /// The other addresses of the endpoint's name that it may be sent to.
    pub(super) siblings: Option<&'a Siblings<'a>>,
    /// True if dials outlive the request: it may get its connection elsewhere.
    pub(super) has_rivals: bool,
    /// True if the attempt must not use a kept connection.
    pub(super) fresh: bool,
    /// True if the request can go to another endpoint when no connection to this one can be opened.
    pub(super) moves_on: bool,
    /// The time that the request has waited in pool queues, this attempt included: `pool.acquire_timeout` covers all
    /// its attempts together.
    pub(super) queued: &'a Cell<Duration>,
    pub(super) stopwatch: &'a Stopwatch,
}

/// A failed attempt, with what a retry needs to know.
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) kind: FailureKind,
    pub(super) outcome: AttemptOutcome,
    /// The request's body, if it is still whole: nothing was taken from it, or what was taken has been kept.
    pub(super) body: Option<Body>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// No connection could be opened: TCP or TLS failed, took too long, or the pool was full of such attempts. Nothing
    /// was sent.
    Connect,
    /// A kept connection turned out to be closed. Nothing was sent that must not be sent twice.
    Stale,
    /// The peer has certainly not processed the request.
    Unprocessed,
    /// A shared connection turned out to be unusable before anything was sent on it, or the server has ended it before it has looked
    /// at the request.
    Unsent,
    /// The connection broke, and the request may be received twice.
    Reset,
    /// The response did not begin in time, and the request may be received twice.
    Timeout,
    /// Any other failure, which is final.
    Final,
}

impl Failure {
    /// Returns the failure of an attempt that got no connection. Its caller has the body.
    fn unconnected(error: Error, is_connect: bool, outcome: AttemptOutcome) -> Self {
        let kind = if is_connect { FailureKind::Connect } else { FailureKind::Final };
        Self { error, kind, outcome, body: None }
    }
}

impl Attempt<'_> {
    /// Runs the attempt, and reports its outcome to `endpoints`.
    ///
    /// # Errors
    /// Returns a [`Failure`] if there is no response. Its kind decides whether another attempt is possible.
    pub(super) async fn run(
        &self,
        endpoints: &EndpointSet,
        body: Body,
        progress: &mut impl Progress,
    ) -> Result<Received, Failure> {
        let mut report = Report { endpoints, attempt: self, outcome: AttemptOutcome::Nothing };
        let (options, endpoint) = (self.options, self.endpoint);
        let target = endpoint.target(self.request.target);
        let per_try = deadline(options.timeouts.per_try);
        let head_by = head_deadline(per_try, options.done_by);
        let permit = endpoint.pool().try_permit();
        let idle = permit.is_ok().then(|| endpoint.pool().acquire_idle(self.wanted())).flatten();
        let (is_kept, response) = match idle {
            Some(mut leased) => {
                progress.reused();
                permit.into_iter().for_each(|permit| leased.1.hold(permit));
                self.begin(leased, &target, body)
            }
            // Boxed, like everything rare and large: a request should not reserve room for what it does not do.
            None => match Box::pin(self.connect(permit, head_by, progress)).await {
                Ok(leased) => self.begin(leased, &target, body),
                Err(failure) => {
                    report.outcome = failure.outcome;
                    return Err(Failure { body: Some(body), ..failure });
                }
            },
        };
        let endpoint = self.siblings.and_then(Siblings::serving).unwrap_or(endpoint);
        let received = receive(response, options, head_by, Some(self.stopwatch)).await;
        let ended = received.map_err(|failure| {
            let repeatable = failure.unsent || self.may_repeat();
            let stale = is_kept && failure.unanswered && repeatable;
            let outcome = AttemptOutcome::failing(failure.error);
            let (kind, outcome) = match outcome {
                _ if failure.unprocessed && failure.unsent => (FailureKind::Unsent, AttemptOutcome::Nothing),
                _ if failure.unprocessed => (FailureKind::Unprocessed, AttemptOutcome::Nothing),
                _ if stale && !self.fresh => (FailureKind::Stale, AttemptOutcome::Nothing),
                // The client was too slow, not the endpoint.
                AttemptOutcome::TimedOut if failure.starved && repeatable => {
                    (FailureKind::Timeout, AttemptOutcome::Nothing)
                }
                AttemptOutcome::TimedOut if failure.starved => (FailureKind::Final, AttemptOutcome::Nothing),
                AttemptOutcome::Broken if repeatable => (FailureKind::Reset, outcome),
                AttemptOutcome::TimedOut if repeatable => (FailureKind::Timeout, outcome),
                _ => (FailureKind::Final, outcome),
            };
            if outcome != AttemptOutcome::Nothing {
                endpoint.warn_broken(&failure.error, failure.broken.as_ref());
            }
            Failure { error: failure.error, kind, outcome, body: failure.body }
        });
        report.outcome = match &ended {
            Ok(received) => AttemptOutcome::Response(received.status),
            Err(failure) => failure.outcome,
        };
        ended
    }

    /// Begins the exchange on a leased connection. Returns it, and true if the connection had been kept.
    fn begin(&self, leased: (Transport, Lease), target: &str, body: Body) -> (bool, Box<ResponseBody>) {
        self.stopwatch.restart(!body.is_end_stream());
        let is_kept = leased.1.is_kept();
        let (kept, ping_interval) = match &leased.0 {
            Transport::Exclusive(_) => {
                let may_go_again = is_kept || self.options.retry.is_some_and(RetrySettings::repeats);
                (if may_go_again { self.keep(&body) } else { None }, None)
            }
            Transport::Shared(_) | Transport::Remote(_) => self.prepare_shared(is_kept, &body),
        };
        let request =
            AddressedRequest { request: self.request, target, scheme: self.endpoint.scheme().as_str() };
        (is_kept, begin(leased, request, self.options, body, kept, ping_interval))
    }

    /// Returns what an exchange on a shared connection begins with: the place to keep its body, and the silence after which the
    /// connection is pinged.
    fn prepare_shared(&self, is_kept: bool, body: &Body) -> (Option<Box<KeptBody>>, Option<Duration>) {
        // Whatever its method: the server may end the connection before it processes the request.
        let kept = self.options.keeping.and_then(|keeping| keeping.begin(body));
        // If one kept connection was found closed, the next one must prove that it is not.
        let ping_interval = match self.fresh {
            true => Some(Duration::ZERO).filter(|_| is_kept),
            false => self.endpoint.pool().settings().ping_interval,
        };
        (kept, ping_interval)
    }

    /// Returns a connection to the endpoint as soon as its pool permits, before `head_by`: one that becomes idle, unless
    /// it must be fresh, or a new one.
    async fn connect(
        &self,
        permit: Result<Permit, Full>,
        head_by: Option<(Instant, Error)>,
        progress: &mut impl Progress,
    ) -> Result<(Transport, Lease), Failure> {
        let (is_dialling, began) = (Cell::new(false), clock::now());
        let connecting = async {
            match self.siblings {
                Some(siblings) => {
                    Box::pin(siblings.connect(self, permit, progress, &is_dialling, began)).await
                }
                None => self.acquire(permit, progress, &is_dialling, began).await,
            }
        };
        let connected = self.options.timer.within(head_by.map(|(by, _)| by), pin!(connecting)).await;
        connected.unwrap_or_else(|_elapsed| {
            let late = head_by.map_or(Error::RequestTimeout, |(_, late)| late);
            // A client's own deadline says nothing about the endpoint.
            let is_failed_dial = is_dialling.get() && !late.is_client_side();
            if is_failed_dial {
                self.endpoint.warn_failure(&late); // the dropped dial could not log it
            } else if !is_dialling.get() {
                self.count_queued(began);
            }
            // If only this attempt is out of time, another endpoint may be faster. A pool full of open connections is
            // no connect failure, though.
            let is_unconnected = || self.moves_on && self.endpoint.pool().is_unconnected();
            let is_connect = late == Error::PerTryTimeout && (is_dialling.get() || is_unconnected());
            let outcome =
                if is_failed_dial { AttemptOutcome::ConnectFailed } else { AttemptOutcome::Nothing };
            let kind = match late {
                _ if is_connect => FailureKind::Connect,
                Error::PerTryTimeout => FailureKind::Timeout,
                _ => FailureKind::Final,
            };
            Err(Failure { error: late, kind, outcome, body: None })
        })
    }

    /// Returns a connection to the endpoint itself.
    pub(super) async fn acquire(
        &self,
        permit: Result<Permit, Full>,
        progress: &mut impl Progress,
        is_dialling: &Cell<bool>,
        began: Instant,
    ) -> Result<(Transport, Lease), Failure> {
        let (endpoint, timer) = (self.endpoint, self.options.timer);
        let (wanted, mut began) = (self.wanted(), began);
        let refused = |refusal: Refusal| {
            let is_connect = self.moves_on && refusal.is_unconnected;
            Failure::unconnected(refusal.error, is_connect, AttemptOutcome::Nothing)
        };
        let permit = match permit {
            Ok(permit) => permit,
            Err(Full) => {
                let permitted = endpoint.pool().permit(timer, self.bounds()).await;
                self.count_queued(began);
                began = clock::now();
                permitted.map_err(refused)?
            }
        };
        let held = |(transport, mut lease): (Transport, Lease)| {
            lease.hold(permit);
            (transport, lease)
        };
        loop {
            let acquired = endpoint.pool().acquire(timer, wanted, self.bounds()).await;
            self.count_queued(began);
            let dialled = match acquired.map_err(refused)? {
                Acquired::Reused(leased) => {
                    progress.reused();
                    return Ok(held(leased));
                }
                Acquired::Elsewhere(lease) => {
                    progress.reused();
                    return Ok(held(relay::transport(lease)));
                }
                Acquired::New(connection) => {
                    progress.dialling();
                    is_dialling.set(true);
                    let secured_from = Cell::new(None);
                    let dialled = self.open(connection, &secured_from).await;
                    endpoint.pool().count_wait(clock::since(began));
                    progress.connected(secured_from.get());
                    is_dialling.set(false);
                    dialled
                }
            };
            let failed = |error| Failure::unconnected(error, true, AttemptOutcome::ConnectFailed);
            if let Some(leased) = dialled.map_err(failed)? {
                return Ok(held(leased));
            }
            began = clock::now();
        }
    }

    /// Waits for a new connection. Returns `None` if the endpoint was reached, and the connection has no room for this request.
    async fn open(
        &self,
        connection: NewConnection,
        secured_from: &Cell<Option<Instant>>,
    ) -> Result<Option<(Transport, Lease)>, Error> {
        let (endpoint, timeouts) = (self.endpoint, self.options.timeouts);
        let exclusive = self.wanted() == Wanted::Exclusive;
        match connection {
            NewConnection::Seat(seat) => self.seated(seat).await,
            NewConnection::Dial(slot) if endpoint.pool().expects_shared(self.wanted()) => {
                match dial_shared(endpoint.clone(), slot, timeouts.connect) {
                    Some(seat) => self.seated(seat).await,
                    None => Ok(None),
                }
            }
            NewConnection::Dial(slot) if self.has_rivals => {
                let dialled = dial_detached(endpoint.clone(), slot, exclusive, timeouts.connect);
                let (dialled, secured) = dialled.await.unwrap_or((Err(Error::Internal), None));
                secured_from.set(secured);
                dialled.map(Some)
            }
            NewConnection::Dial(slot) => {
                let timer = self.options.timer;
                dial(endpoint, slot, exclusive, timeouts.connect, timer, secured_from).await.map(Some)
            }
        }
    }

    /// Waits for a dial that others wait for, too, within this request's own limit.
    async fn seated(&self, seat: Seat) -> Result<Option<(Transport, Lease)>, Error> {
        let by = deadline(self.options.timeouts.connect);
        let seated = self.options.timer.within(by, pin!(seat.wait())).await;
        seated.unwrap_or(Err(Error::ConnectTimeout))
    }

    /// Returns the bounds of the wait in a queue. Behind connection attempts, the wait lasts no longer than one of
    /// them.
    fn bounds(&self) -> WaitBounds {
        let longest = || self.options.timeouts.connect.unwrap_or(Duration::MAX);
        WaitBounds { queued: self.queued.get(), unconnected: self.moves_on.then(longest) }
    }

    fn count_queued(&self, began: Instant) {
        self.queued.set(self.queued.get().saturating_add(clock::since(began)));
    }

    fn wanted(&self) -> Wanted {
        match () {
            () if self.request.upgrade && !self.endpoint.pool().upgrades_shared() => Wanted::Exclusive,
            () if self.fresh => Wanted::Fresh,
            // If the server closes the connection at that moment, the request cannot be sent again.
            () if !self.may_repeat() => Wanted::Settled,
            () => Wanted::Any,
        }
    }

    /// Begins to keep the body, if the request may be sent again after part of it went out.
    fn keep(&self, body: &Body) -> Option<Box<KeptBody>> {
        if body.is_end_stream() {
            return None;
        }
        self.options.keeping.filter(|_| self.may_repeat())?.begin(body)
    }

    /// Returns true if an endpoint may receive the request twice (RFC 9110 §9.2.2).
    fn may_repeat(&self) -> bool {
        let method = self.request.method;
        self.options.retry.map_or_else(|| method.is_idempotent(), |retry| retry.may_repeat(method))
    }
}

/// The report of an attempt. Dropping it reports, so that an abandoned attempt is reported, too.
struct Report<'a> {
    endpoints: &'a EndpointSet,
    attempt: &'a Attempt<'a>,
    outcome: AttemptOutcome,
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        let Attempt { endpoint, siblings, stopwatch, .. } = *self.attempt;
        let endpoint = siblings.and_then(Siblings::serving).unwrap_or(endpoint);
        self.endpoints.record(endpoint, self.outcome, stopwatch.elapsed());
    }
}

/// Opens a connection that several requests wait for, in a task of its own: a request that leaves must not end it. Returns the
/// place of the request that began it.
fn dial_shared(endpoint: Arc<Endpoint>, slot: Slot, timeout: Option<Duration>) -> Option<Seat> {
    let (shared_dial, seat) = seats::begin(endpoint.pool());
    tokio::task::spawn_local(async move {
        let dialled = dial(&endpoint, slot, false, timeout, &Timer::default(), &Cell::default()).await;
        shared_dial.end(dialled);
    });
    seat
}

/// Opens a connection in a task of its own. If the request no longer waits for it by then, it becomes an idle one of its pool.
fn dial_detached(
    endpoint: Arc<Endpoint>,
    slot: Slot,
    exclusive: bool,
    timeout: Option<Duration>,
) -> oneshot::Receiver<(Result<(Transport, Lease), Error>, Option<Instant>)> {
    let (sender, receiver) = oneshot::channel();
    tokio::task::spawn_local(async move {
        let secured_from = Cell::new(None);
        let dialled = dial(&endpoint, slot, exclusive, timeout, &Timer::default(), &secured_from).await;
        if let Err((Ok((transport, lease)), _)) = sender.send((dialled, secured_from.get())) {
            lease.give_back(transport);
        }
    });
    receiver
}

/// Finds out for later requests if the endpoint of an attempt takes connections again, unless it has been tried lately.
pub(super) fn probe(attempt: &Attempt<'_>) {
    let endpoint = attempt.endpoint;
    if endpoint.takes_probe()
        && let Some(slot) = endpoint.pool().try_dial()
    {
        drop(dial_detached(endpoint.clone(), slot, false, attempt.options.timeouts.connect));
    }
}

/// Returns the deadline of the response head, with the error that reports a missed one.
fn head_deadline(per_try: Option<Instant>, done_by: Option<(Instant, Error)>) -> Option<(Instant, Error)> {
    match (per_try, done_by) {
        (Some(by), done_by) if done_by.is_none_or(|(done_by, _)| by <= done_by) => {
            Some((by, Error::PerTryTimeout))
        }
        (_, done_by) => done_by,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_earlier_of_two_deadlines_gives_its_name_to_the_error() {
        let soon = Instant::now();
        let late = soon + Duration::from_secs(9);
        assert_eq!(
            head_deadline(Some(soon), Some((late, Error::GrpcTimeout))),
            Some((soon, Error::PerTryTimeout))
        );
        assert_eq!(
            head_deadline(Some(late), Some((soon, Error::GrpcTimeout))),
            Some((soon, Error::GrpcTimeout))
        );
        assert_eq!(
            head_deadline(None, Some((soon, Error::RequestTimeout))),
            Some((soon, Error::RequestTimeout))
        );
        assert_eq!(head_deadline(None, None), None);
    }
}
