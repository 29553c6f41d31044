//! Retries: the failures after which a request is sent again, and the endpoint and time of the next attempt.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode, header};
use tokio::time::Instant;

use crate::config::RetrySettings;
use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::net::clock;
use crate::net::timer::{Timer, deadline, earlier};
use crate::upstream::attempt::{Failure, FailureKind};
use crate::upstream::budget::Budget;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::endpoints::EndpointSet;
use crate::upstream::outcome::AttemptOutcome;
use crate::upstream::request::SendOptions;

/// The retries of a request that no route has settings for. Its attempt is for a stale connection.
static EACH_ONCE: LazyLock<RetrySettings> =
    LazyLock::new(|| RetrySettings { backoff: None, keep_body: None, ..RetrySettings::default() });

/// The tries on further connections if each turns out to be unusable before anything is sent on it, or is ended by the server before it
/// has looked at the request. Each of them is closed by that, so more are needed only if the endpoint takes requests on none.
const UNSENT_TRIES: u32 = 8;

/// The longest wait before a retry is so many times the first one.
const BACKOFF_GROWTH_MAX: u32 = 10;

/// The further attempts of one request.
///
/// A connection that cannot be opened has sent nothing, so the request first tries each other endpoint, without a wait
/// and without spending one of `retry.attempts`. Only after that round, or once it has lasted too long, do
/// `retry.attempts` and `retry.backoff` apply. They apply at once to failures that an endpoint may have to do with, and so does the
/// budget of the upstream.
pub(super) struct Retries<'a> {
    settings: &'a RetrySettings,
    budget: &'a Budget,
    /// True if endpoints that could not be connected to are tried again after the round.
    has_rounds: bool,
    left: u32,
    /// `timeouts.connect`: once this has passed since its first failure, the round begins no further attempt.
    connect: Option<Duration>,
    round_ends: Option<Instant>,
    /// The number of endpoints that have not been tried.
    untried: usize,
    /// The endpoints that have failed, earliest failure first.
    failed: Vec<&'a Arc<Endpoint>>,
    /// True if the next attempt must not use a kept connection.
    pub(super) fresh: bool,
    /// True if the request waits at an endpoint after it has found all of them full.
    was_full: bool,
    /// True if the request went again because its peer had not processed it.
    was_unprocessed: bool,
    /// The further tries after a connection that turned out to be unusable.
    unsent_left: u32,
    /// The wait before the next attempt. `backoff` is the longest wait before the one after it.
    wait: Option<Duration>,
    backoff: Option<Duration>,
}

impl<'a> Retries<'a> {
    /// Returns the retries of a request under these options. Without settings for them, each endpoint is tried once, and one stale
    /// connection is replaced. Requests that may have a second attempt count for the budget, too.
    pub(super) fn new(options: &SendOptions<'a>, endpoints: &'a EndpointSet, is_hedged: bool) -> Self {
        let has_rounds = options.retry.is_some();
        let settings = options.retry.unwrap_or_else(|| &EACH_ONCE);
        let budget = endpoints.budget();
        if (settings.repeats() || is_hedged) && settings.budget.is_some() {
            budget.count_request(clock::uptime());
        }
        Self {
            settings,
            budget,
            has_rounds,
            left: settings.attempts,
            connect: options.timeouts.connect.filter(|_| has_rounds),
            round_ends: None,
            untried: endpoints.len().saturating_sub(1),
            failed: Vec::new(),
            fresh: false,
            was_full: false,
            was_unprocessed: false,
            unsent_left: UNSENT_TRIES,
            wait: None,
            backoff: settings.backoff,
        }
    }

    /// Returns true if another endpoint is tried should the attempt that begins now fail to connect.
    pub(super) fn moves_on(&self) -> bool {
        self.untried > 0 && self.settings.on_connect && (self.left > 0 || self.is_round_open())
    }

    /// Notes that so many endpoints have been tried within an attempt.
    pub(super) fn note_tried(&mut self, endpoints: &[usize]) {
        self.untried = self.untried.saturating_sub(endpoints.len());
    }

    fn is_round_open(&self) -> bool {
        self.round_ends.is_none_or(|ends| clock::now() < ends)
    }

    /// Returns the body of the next attempt, and its endpoint. `failed` is the endpoint of the last attempt; `others`
    /// are those that have not been tried yet.
    pub(super) fn next(
        &mut self,
        failure: Failure,
        failed: &'a Arc<Endpoint>,
        others: &mut impl Iterator<Item = &'a Arc<Endpoint>>,
    ) -> Result<(Body, &'a Arc<Endpoint>), Error> {
        let Failure { error, kind, outcome, body } = failure;
        let body = body.ok_or(error)?;
        let settings = self.settings;
        let next = match kind {
            // All endpoints are full. It costs nothing to wait at one of them.
            FailureKind::Connect
                if outcome == AttemptOutcome::Nothing && self.untried == 0 && !self.was_full =>
            {
                self.was_full = true;
                Some(failed)
            }
            FailureKind::Connect if settings.on_connect => self.after_connect_failure(failed, others),
            // Only once: the second attempt has a new connection, and a new one that closes is not stale. It costs no attempt, which
            // the request may need yet: a stale connection says nothing about the endpoint.
            FailureKind::Stale if settings.on_stale && settings.attempts > 0 && !self.fresh => {
                self.fresh = true;
                Some(failed)
            }
            // Only once, and whatever the method: nothing has happened that must not happen twice. It costs no attempt:
            // the server has invited it (RFC 9113 §8.7).
            FailureKind::Unprocessed if settings.on_refused_stream && !self.was_unprocessed => {
                self.was_unprocessed = true;
                Some(failed)
            }
            FailureKind::Unsent => {
                self.unsent_left = self.unsent_left.checked_sub(1).ok_or(error)?;
                Some(failed)
            }
            FailureKind::Reset if settings.on_reset => self.repeat(failed, others),
            FailureKind::Timeout if settings.on_timeout => self.repeat(failed, others),
            _ => None,
        };
        Ok((body, next.ok_or(error)?))
    }

    /// Returns true if a request with this method is rather retried than answered with this status.
    pub(super) fn wants(&self, method: &Method, status: StatusCode) -> bool {
        self.settings.retries_status(status) && self.settings.may_repeat(method)
    }

    /// Returns the endpoint of the next attempt in place of a response with this status, which `failed` has sent. Returns `None`
    /// if the client gets the response.
    pub(super) fn next_for_status(
        &mut self,
        (status, headers): (StatusCode, &Fields),
        failed: &'a Arc<Endpoint>,
        others: &mut impl Iterator<Item = &'a Arc<Endpoint>>,
        done_by: Option<Instant>,
    ) -> Option<&'a Arc<Endpoint>> {
        let asked = if self.untried == 0 { retry_after(headers) } else { None };
        // It is for the client to wait, unless there is a limit on the time of the request.
        if asked.is_some() && deadline(asked)? >= done_by? {
            return None;
        }
        let next = self.repeat(failed, others)?;
        self.wait = self.wait.max(asked);
        if self.is_too_late(done_by) {
            return None;
        }
        tracing::debug!(endpoint = failed.url(), "trying again: status {}", status.as_u16());
        Some(next)
    }

    /// Returns an endpoint that has not been tried, or else the one that failed longest ago.
    fn after_connect_failure(
        &mut self,
        failed: &'a Arc<Endpoint>,
        others: &mut impl Iterator<Item = &'a Arc<Endpoint>>,
    ) -> Option<&'a Arc<Endpoint>> {
        self.round_ends = self.round_ends.or_else(|| deadline(self.connect));
        if self.untried == 0 || !self.is_round_open() {
            self.take_attempt()?;
            self.take_wait();
        }
        if self.has_rounds {
            self.failed.push(failed);
        }
        self.take_endpoint(others)
    }

    /// Returns the endpoint of a retry that costs an attempt and a part of the budget.
    fn repeat(
        &mut self,
        failed: &'a Arc<Endpoint>,
        others: &mut impl Iterator<Item = &'a Arc<Endpoint>>,
    ) -> Option<&'a Arc<Endpoint>> {
        self.take_attempt()?;
        if !self.take_budget(failed) {
            return None;
        }
        self.take_wait();
        self.failed.push(failed);
        self.take_endpoint(others)
    }

    /// Returns true if the budget permits a retry of a request that this endpoint has. It is a part of the budget then.
    pub(super) fn take_budget(&self, endpoint: &Endpoint) -> bool {
        let Some(budget) = self.settings.budget else { return true };
        let is_permitted = self.budget.take(clock::uptime(), budget);
        if !is_permitted {
            endpoint.pool().count_over_budget();
        }
        is_permitted
    }

    /// Notes that two endpoints have been tried at once. `failed` is the one that failed first, if both did.
    pub(super) fn note_hedged(&mut self, failed: Option<&'a Arc<Endpoint>>) {
        self.untried = self.untried.saturating_sub(1);
        self.failed.extend(failed);
    }

    fn take_endpoint(
        &mut self,
        others: &mut impl Iterator<Item = &'a Arc<Endpoint>>,
    ) -> Option<&'a Arc<Endpoint>> {
        self.untried = self.untried.saturating_sub(1);
        others.next().or_else(|| (!self.failed.is_empty()).then(|| self.failed.remove(0)))
    }

    fn take_attempt(&mut self) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        Some(())
    }

    /// Sets the wait before the next attempt: any time up to the present maximum, so that requests that failed together do not come
    /// back together.
    fn take_wait(&mut self) {
        self.wait = self.backoff.map(|longest| longest.mul_f64(fastrand::f64()));
        let most = self.settings.backoff.map(|first| first.saturating_mul(BACKOFF_GROWTH_MAX));
        self.backoff = self.backoff.map(|longest| longest.saturating_mul(2)).min(most);
    }

    /// Returns true if the wait before the next attempt would end after the request's deadline.
    pub(super) fn is_too_late(&self, done_by: Option<Instant>) -> bool {
        done_by.is_some() && self.wait.is_some() && earlier(deadline(self.wait), done_by) == done_by
    }

    /// Waits before the next attempt.
    pub(super) async fn back_off(&mut self, timer: &Timer) {
        if let Some(wait) = self.wait.take() {
            let _elapsed = timer.within(deadline(Some(wait)), std::future::pending::<()>()).await;
        }
    }
}

/// Returns the time after which a server wants to be asked again (RFC 9110 §10.2.3).
fn retry_after(headers: &Fields) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}
