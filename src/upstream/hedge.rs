//! A second attempt beside a slow one: the first response wins, and the other attempt is cancelled (`hedge`).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header;
use tokio::time::Instant;

use super::addresses::Siblings;
use super::attempt::{Attempt, Failure};
use super::candidates::Candidates;
use super::endpoint::Endpoint;
use super::endpoints::EndpointSet;
use super::exchange::Received;
use super::latency::Stopwatch;
use super::progress::{Progress, Quiet, Shared};
use super::request::{Affinity, SendOptions, UpstreamRequest};
use super::retry::Retries;
use crate::config::HedgeSettings;
use crate::http::body::Body;
use crate::http::error::Error;
use crate::net::clock;
use crate::net::timer::deadline;

type Ended = Result<Received, Failure>;

/// The second attempt of a request that may have one.
pub(super) struct Hedge<'a, 'e> {
    pub(super) settings: &'e HedgeSettings,
    pub(super) endpoints: &'e EndpointSet,
    pub(super) candidates: &'a Candidates<'e>,
    pub(super) retries: &'a Retries<'e>,
    /// The body of the second attempt.
    pub(super) body: &'a Body,
}

/// The end of an attempt that may have had another one beside it.
pub(super) struct Hedged<'e> {
    pub(super) ended: Ended,
    /// The second attempt, if there was one.
    pub(super) rivalry: Option<Rivalry<'e>>,
}

/// A second attempt that has ended, or was cancelled.
pub(super) struct Rivalry<'e> {
    rival: &'e Arc<Endpoint>,
    /// True if the request's end is that of the second attempt.
    has_won: bool,
    /// True if the other attempt had failed before.
    both_failed: bool,
}

impl<'e> Rivalry<'e> {
    /// Returns the endpoint of the attempt with which the request ended. `first` is that of the first attempt.
    pub(super) fn settle(&self, first: &'e Arc<Endpoint>, retries: &mut Retries<'e>) -> &'e Arc<Endpoint> {
        let (ended_at, other) = if self.has_won { (self.rival, first) } else { (first, self.rival) };
        retries.note_hedged(self.both_failed.then_some(other));
        ended_at
    }
}

/// Returns the settings of a request's second attempt, if it may have one: its endpoints may receive it twice, there are several, and
/// no cookie holds it at one of them.
pub(super) fn settings<'o>(
    request: &UpstreamRequest<'_>,
    options: &SendOptions<'o>,
    endpoints: &EndpointSet,
) -> Option<&'o HedgeSettings> {
    let settings = options.hedge?;
    let may_repeat = options.retry.is_some_and(|retry| retry.may_repeat(request.method));
    let is_held = matches!(request.affinity, Affinity::Endpoint(_));
    (may_repeat && endpoints.len() > 1 && !is_held && !request.upgrade).then_some(settings)
}

/// Returns a body that can be sent twice at once, if it may be kept: all of it is read first.
///
/// # Errors
/// Returns the error of a body that cannot be read, or not in time.
pub(super) async fn whole(body: Body, options: &SendOptions<'_>) -> Result<Body, Error> {
    let Some(keeping) = options.keeping else { return Ok(body) };
    let (by, late) = options.done_by.map_or((None, Error::RequestTimeout), |(by, late)| (Some(by), late));
    options.timer.within(by, pin!(keeping.whole(body))).await.unwrap_or(Err(late))
}

impl<'e> Hedge<'_, 'e> {
    /// Runs an attempt, and a second one elsewhere if there is no response in time.
    pub(super) async fn run(
        self,
        first: &Attempt<'_>,
        body: Body,
        progress: &mut impl Progress,
    ) -> Hedged<'e> {
        let progress = RefCell::new(progress);
        let (timer, began) = (first.options.timer, clock::now());
        let mut shared = Shared(&progress);
        let mut running = pin!(first.run(self.endpoints, body, &mut shared));
        let after = match *self.settings {
            HedgeSettings::After(time) => Some(time),
            HedgeSettings::Percentile(percent) => {
                self.endpoints.response_times().percentile(clock::uptime(), percent)
            }
        };
        let rival = match timer.within(deadline(after), running.as_mut()).await {
            Ok(ended) => return self.alone(ended, began),
            Err(_elapsed) => self.rival(first),
        };
        let Some(rival) = rival else { return self.alone(running.await, began) };
        rival.pool().count_hedge();
        let ended = self.race(first, rival, running.as_mut(), &progress).await;
        // An attempt that was cancelled took at least that long.
        self.observe(clock::since(began));
        ended
    }

    /// Returns the end of an attempt without another one beside it.
    fn alone(&self, ended: Ended, began: Instant) -> Hedged<'e> {
        if ended.is_ok() {
            self.observe(clock::since(began));
        }
        Hedged { ended, rivalry: None }
    }

    /// Returns the endpoint of the second attempt, if the budget permits one.
    fn rival(&self, first: &Attempt<'_>) -> Option<&'e Arc<Endpoint>> {
        let position = self.candidates.beside(first.endpoint)?;
        if !self.retries.take_budget(first.endpoint) {
            return None;
        }
        self.candidates.note_tried(&[position]);
        self.endpoints.get(position)
    }

    /// Runs the second attempt beside the first one. The first response that is not to be retried ends both; a failure, or another
    /// response, is the end only if the other attempt has failed, too.
    async fn race<P: Progress>(
        &self,
        first: &Attempt<'_>,
        rival: &'e Arc<Endpoint>,
        mut running: Pin<&mut impl Future<Output = Ended>>,
        progress: &RefCell<&mut P>,
    ) -> Hedged<'e> {
        let mut headers = first.request.headers.clone();
        if first.request.endpoint_host {
            headers.insert(header::HOST, rival.host().clone());
        }
        let mut request = UpstreamRequest { headers: &mut headers, ..*first.request };
        progress.borrow_mut().hedged(rival, &mut request);
        // Two endpoints would send the client twice as many hints.
        let options = SendOptions { interim: None, ..*first.options };
        let queued = Cell::new(Duration::ZERO);
        let stopwatch = Stopwatch::start();
        let second = Attempt {
            request: &request,
            options: &options,
            endpoint: rival,
            siblings: None,
            queued: &queued,
            stopwatch: &stopwatch,
            ..*first
        };
        let mut quiet = Quiet::default();
        let body = self.body.replay().unwrap_or_default();
        let retry = options.retry;
        let is_good = |ended: &Ended| {
            ended
                .as_ref()
                .is_ok_and(|received| !retry.is_some_and(|retry| retry.retries_status(received.status)))
        };
        let race = {
            let mut rivalling = pin!(second.run(self.endpoints, body, &mut quiet));
            first_good(running.as_mut(), rivalling.as_mut(), is_good).await
        };
        let (ended, has_won, both_failed) = race;
        if has_won {
            // If both have failed, neither has overtaken the other.
            if !both_failed {
                rival.pool().count_hedge_won();
                let overtaken = first.siblings.and_then(Siblings::serving).unwrap_or(first.endpoint);
                self.endpoints.note_overtaken(overtaken, first.stopwatch.elapsed());
            }
            progress.borrow_mut().overtaken(rival, quiet.is_reused);
        }
        Hedged { ended, rivalry: Some(Rivalry { rival, has_won, both_failed }) }
    }

    /// Counts a response time, if the time of the next second attempts depends on it.
    fn observe(&self, took: Duration) {
        if let HedgeSettings::Percentile(_) = self.settings {
            self.endpoints.response_times().observe(clock::uptime(), took);
        }
    }
}

/// Waits for the first of two attempts that ends well, or until both have ended. A response is better than none then, and the later end
/// better than the earlier one. Returns it, true if it is that of `other`, and true if both have failed.
async fn first_good(
    mut own: Pin<&mut impl Future<Output = Ended>>,
    mut other: Pin<&mut impl Future<Output = Ended>>,
    is_good: impl Fn(&Ended) -> bool,
) -> (Ended, bool, bool) {
    let mut earlier: Option<(Ended, bool)> = None;
    let mut end = |ended: Ended, is_other: bool| match earlier.take() {
        _ if is_good(&ended) => Some((ended, is_other, false)),
        None => {
            earlier = Some((ended, is_other));
            None
        }
        Some((response @ Ok(_), was_other)) if ended.is_err() => Some((response, was_other, true)),
        Some(_) => Some((ended, is_other, true)),
    };
    let (mut has_own_ended, mut has_other_ended) = (false, false);
    poll_fn(|cx| {
        if !has_own_ended && let Poll::Ready(ended) = own.as_mut().poll(cx) {
            has_own_ended = true;
            if let Some(end) = end(ended, false) {
                return Poll::Ready(end);
            }
        }
        if !has_other_ended && let Poll::Ready(ended) = other.as_mut().poll(cx) {
            has_other_ended = true;
            if let Some(end) = end(ended, true) {
                return Poll::Ready(end);
            }
        }
        Poll::Pending
    })
    .await
}
