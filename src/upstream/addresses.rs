//! The other addresses of a name, which are dialled when one of them takes no connection ("happy eyeballs", RFC 8305).
//!
//! An endpoint is one address, and a request is sent to one endpoint. If that one refuses a connection, or is silent for a moment, the
//! request goes to another address of the same name at once. It is the same server by another way, so this costs neither an attempt
//! nor a part of the budget.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::{Attempt, Failure, FailureKind, probe};
use super::candidates::Candidates;
use super::endpoint::Endpoint;
use super::endpoints::EndpointSet;
use super::outcome::AttemptOutcome;
use super::pool::Lease;
use super::pool::concurrency::{Full, Permit};
use super::progress::{Progress, Quiet, Shared};
use super::transport::Transport;
use crate::net::clock;
use crate::net::timer::deadline;

/// The silence after which the next address is dialled (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// The other addresses of the name of a request's endpoint, and what becomes of them. Nothing is looked for until there is no kept
/// connection.
pub(super) struct Siblings<'a> {
    pub(super) endpoints: &'a EndpointSet,
    /// The endpoints that the request has tried.
    candidates: &'a Candidates<'a>,
    pub(super) moved: Moved,
}

/// The way of an attempt from the chosen endpoint to other addresses of its name.
#[derive(Default)]
pub(super) struct Moved {
    /// The position of the endpoint that took the request in place of the chosen one.
    pub(super) serving: Cell<Option<usize>>,
    /// The positions of those that were dialled.
    pub(super) dialled: RefCell<Vec<usize>>,
}

type Connected = Result<(Transport, Lease), Failure>;

/// A connection that is being opened, or waited for.
struct Dial<'a> {
    endpoint: &'a Arc<Endpoint>,
    /// The position of a sibling; `None` for the endpoint that was chosen.
    position: Option<usize>,
    /// True while it is being opened.
    is_dialling: &'a Cell<bool>,
    /// True once it has been silent for [`HEAD_START`].
    is_silent: bool,
    future: Pin<Box<dyn Future<Output = Connected> + 'a>>,
}

impl Dial<'_> {
    /// Returns true if it waits for one of the connections that the endpoint has.
    fn is_queued(&self) -> bool {
        !self.is_dialling.get() && !self.endpoint.pool().is_unconnected()
    }
}

impl<'s> Siblings<'s> {
    /// Returns the endpoints among which an attempt finds other addresses, unless each is the only one of its name. Boxed: most
    /// attempts have none.
    pub(super) fn of(endpoints: &'s EndpointSet, candidates: &'s Candidates<'s>) -> Option<Box<Self>> {
        let new = || Box::new(Self { endpoints, candidates, moved: Moved::default() });
        endpoints.shares_origins().then(new)
    }

    /// Returns the endpoint that took the request in place of the one that was chosen.
    pub(super) fn serving(&self) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(self.moved.serving.get()?)
    }

    /// Returns the positions of the other addresses of the name of `own` that the request has not tried, in the order of dialling.
    fn positions(&self, own: &Endpoint) -> Vec<usize> {
        let is_own = |tier: &[Arc<Endpoint>]| tier.iter().any(|other| std::ptr::eq(&**other, own));
        // The endpoints that stand by for this tier are no siblings.
        let Some((tier, offset, _)) = self.endpoints.tiers().find(|(tier, ..)| is_own(tier)) else {
            return Vec::new();
        };
        let checked_at = self.endpoints.health_matters_at();
        let is_other = |(position, other): &(usize, &Arc<Endpoint>)| {
            let serves = || checked_at.is_none_or(|now| other.standing().share(now) > 0.0);
            other.is_same_origin(own) && !self.candidates.is_tried(*position) && serves()
        };
        let mut others: Vec<_> = (offset..).zip(tier).filter(is_other).collect();
        if others.len() > 1 {
            // Not always the same one gets the requests of one that is down.
            let start = fastrand::usize(..others.len());
            others.rotate_left(start);
            // The other family first: often a whole one is out of reach (RFC 8305 §4).
            let is_v4 = |endpoint: &Endpoint| endpoint.address().inet().is_some_and(|inet| inet.is_ipv4());
            let own_is_v4 = is_v4(own);
            others.sort_by_key(|(_, other)| (other.is_unreachable(), is_v4(other) == own_is_v4));
        }
        others.into_iter().map(|(position, _)| position).collect()
    }

    fn fail(&self, endpoint: &Endpoint) {
        endpoint.note_unreachable();
        self.endpoints.record(endpoint, AttemptOutcome::ConnectFailed, Duration::ZERO);
    }

    /// Returns a connection to the endpoint of `attempt`, or to the first of its siblings that takes one. A sibling is dialled when the
    /// dial before it has failed, or has been silent for [`HEAD_START`]. An endpoint that took no connection lately comes last.
    ///
    /// Dials that come too late go on: their connections become idle ones of their pools.
    pub(super) async fn connect<P: Progress>(
        &self,
        attempt: &Attempt<'_>,
        permit: Result<Permit, Full>,
        progress: &mut P,
        is_dialling: &Cell<bool>,
        began: Instant,
    ) -> Connected {
        let positions = self.positions(attempt.endpoint);
        if positions.is_empty() {
            return attempt.acquire(permit, progress, is_dialling, began).await;
        }
        let attempt = &Attempt { has_rivals: true, ..*attempt };
        let progress = RefCell::new(progress);
        let own = async {
            let mut progress = Shared(&progress);
            attempt.acquire(permit, &mut progress, is_dialling, began).await
        };
        let own = Dial {
            endpoint: attempt.endpoint,
            position: None,
            is_dialling,
            is_silent: false,
            future: Box::pin(own),
        };
        let others =
            positions.iter().filter_map(|position| Some((*position, self.endpoints.get(*position)?)));
        let flags: Vec<Cell<bool>> = positions.iter().map(|_| Cell::new(false)).collect();
        let is_reused = Cell::new(false);
        let others = others.zip(&flags).map(|((position, endpoint), is_dialling)| Dial {
            endpoint,
            position: Some(position),
            is_dialling,
            is_silent: false,
            future: Box::pin(dial_sibling(attempt, endpoint, is_dialling, &is_reused)),
        });
        let mut order: VecDeque<Dial<'_>> = others.collect();
        let has_better = order.front().is_some_and(|first| !first.endpoint.is_unreachable());
        if own.endpoint.is_unreachable() && has_better {
            probe(attempt);
            order.push_back(own);
        } else {
            order.push_front(own);
        }
        let connected = self.race(attempt, order).await;
        if let Some(serving) = self.serving() {
            progress.borrow_mut().moved(serving, is_reused.get());
        }
        connected
    }

    /// Begins one dial after the other, until there is a connection or all have failed.
    async fn race<'a>(&self, attempt: &Attempt<'_>, mut order: VecDeque<Dial<'a>>) -> Connected {
        let (timer, limit) = (attempt.options.timer, deadline(attempt.options.timeouts.connect));
        let (mut dials, mut own_failure): (Vec<Dial<'a>>, Option<Failure>) = (Vec::new(), None);
        let is_late = || limit.is_some_and(|limit| clock::now() >= limit);
        let mut begins_next = true;
        loop {
            // A second attempt of the request may have gone to one of them meanwhile.
            order.retain(|next| next.position.is_none_or(|position| !self.candidates.is_tried(position)));
            if begins_next && let Some(next) = order.pop_front() {
                self.candidates.note_tried(next.position.as_slice());
                self.moved.dialled.borrow_mut().extend(next.position);
                dials.push(next);
            }
            let next_at = deadline(Some(HEAD_START)).filter(|_| !order.is_empty());
            match timer.within(next_at, first_ended(&mut dials)).await {
                Ok((dial, Ok(leased))) => {
                    if dial.position.is_some() {
                        self.moved.serving.set(dial.position);
                        let failed = own_failure.is_some_and(|failure| is_failed_dial(&failure));
                        self.take_over(failed.then_some(attempt.endpoint), &dials);
                    }
                    return Ok(leased);
                }
                Ok((Dial { endpoint, position, .. }, Err(failure))) => {
                    let is_over = is_late() || (dials.is_empty() && order.is_empty());
                    if position.is_none() {
                        if is_over || failure.kind != FailureKind::Connect {
                            return Err(failure);
                        }
                        if is_failed_dial(&failure) {
                            endpoint.note_unreachable();
                        }
                        own_failure = Some(failure);
                    } else {
                        if is_failed_dial(&failure) {
                            self.fail(endpoint);
                        }
                        if is_over {
                            return Err(own_failure.unwrap_or(failure));
                        }
                    }
                    begins_next = true;
                }
                Err(_elapsed) => {
                    // An endpoint that has connections is within reach, and another address would be no quicker.
                    let waits = dials.last().is_some_and(Dial::is_queued);
                    begins_next = !waits && !is_late();
                    if let Some(silent) = dials.last_mut().filter(|_| !waits) {
                        silent.is_silent = true;
                        silent.endpoint.note_unreachable();
                    }
                }
            }
        }
    }

    /// Takes what the dials of a request are like that another one serves: one that has failed, and those that are silent. These may be far
    /// away, and take a connection yet.
    fn take_over(&self, failed: Option<&Arc<Endpoint>>, others: &[Dial<'_>]) {
        let silent = others.iter().filter(|dial| dial.is_silent).map(|dial| dial.endpoint);
        for endpoint in silent {
            endpoint.warn_failure(&"no connection within 250 ms; another address of its name is used");
        }
        failed.into_iter().for_each(|endpoint| self.fail(endpoint));
    }
}

/// Returns true if no connection could be opened. A pool that is full says nothing about its endpoint.
fn is_failed_dial(failure: &Failure) -> bool {
    failure.outcome == AttemptOutcome::ConnectFailed
}

/// Waits for the first of these dials to end, and takes it out.
async fn first_ended<'a>(dials: &mut Vec<Dial<'a>>) -> (Dial<'a>, Connected) {
    std::future::poll_fn(|cx| {
        for at in 0..dials.len() {
            let Some(dial) = dials.get_mut(at) else { break };
            if let Poll::Ready(connected) = dial.future.as_mut().poll(cx) {
                return Poll::Ready((dials.remove(at), connected));
            }
        }
        Poll::Pending
    })
    .await
}

/// Returns a connection to another endpoint than that of `attempt`.
async fn dial_sibling(
    attempt: &Attempt<'_>,
    endpoint: &Arc<Endpoint>,
    is_dialling: &Cell<bool>,
    is_reused: &Cell<bool>,
) -> Connected {
    let attempt = Attempt { endpoint, siblings: None, ..*attempt };
    let (permit, mut progress) = (endpoint.pool().try_permit(), Quiet { is_reused: false });
    let connected = attempt.acquire(permit, &mut progress, is_dialling, clock::now()).await;
    is_reused.set(progress.is_reused);
    connected
}
