//! Retries: the failures after which a request is sent again, and the endpoint and time of the next attempt.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::RetrySettings;
use crate::http::body::Body;
use crate::http::error::Error;
use crate::net::clock;
use crate::net::timer::{Timer, deadline, earlier};
use crate::upstream::attempt::{Failure, FailureKind};
use crate::upstream::endpoint::Endpoint;

/// The retries of a request that no route has settings for. Its attempt is for a stale connection.
static EACH_ONCE: RetrySettings =
    RetrySettings { attempts: 1, on_connect: true, on_stale: true, backoff: None, keep_body: None };

/// The tries on further connections if each turns out to be unusable before anything is sent on it, or is ended by the server before it
/// has looked at the request. Each of them is closed by that, so more are needed only if the endpoint takes requests on none.
const UNSENT_TRIES: u32 = 8;

/// The further attempts of one request.
///
/// A connection that cannot be opened has sent nothing, so the request first tries each other endpoint, without a wait
/// and without spending one of `retry.attempts`. Only after that round, or once it has lasted too long, do
/// `retry.attempts` and `retry.backoff` apply.
pub(super) struct Retries<'a> {
    settings: &'a RetrySettings,
    /// True if endpoints that could not be connected to are tried again after the round.
    has_rounds: bool,
    left: u32,
    /// `timeouts.connect`: once this has passed since its first failure, the round begins no further attempt.
    connect: Option<Duration>,
    round_ends: Option<Instant>,
    /// The number of endpoints that have not been tried.
    untried: usize,
    /// The endpoints that could not be connected to, earliest failure first.
    failed: VecDeque<&'a Arc<Endpoint>>,
    /// True if the next attempt must not use a kept connection.
    pub(super) fresh: bool,
    /// True if the request went again because its peer had not processed it.
    was_unprocessed: bool,
    /// The further tries after a connection that turned out to be unusable.
    unsent_left: u32,
    /// The wait before the next attempt. `backoff` is the wait before the one after it.
    wait: Option<Duration>,
    backoff: Option<Duration>,
}

impl<'a> Retries<'a> {
    /// Returns the retries that `settings` permit at an upstream with this number of `endpoints`. Without settings,
    /// each endpoint is tried once, and one stale connection is replaced.
    pub(super) fn new(
        settings: Option<&'a RetrySettings>,
        connect: Option<Duration>,
        endpoints: usize,
    ) -> Self {
        let has_rounds = settings.is_some();
        let settings = settings.unwrap_or(&EACH_ONCE);
        Self {
            settings,
            has_rounds,
            left: settings.attempts,
            connect: connect.filter(|_| has_rounds),
            round_ends: None,
            untried: endpoints.saturating_sub(1),
            failed: VecDeque::new(),
            fresh: false,
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
        let Failure { error, kind, body, .. } = failure;
        let body = body.ok_or(error)?;
        match kind {
            FailureKind::Connect if self.settings.on_connect => {
                let next = self.after_connect_failure(failed, others).ok_or(error)?;
                Ok((body, next))
            }
            // Only once: the second attempt has a new connection, and a new one that closes is not stale.
            FailureKind::Stale if self.settings.on_stale && !self.fresh => {
                self.take_attempt().ok_or(error)?;
                self.fresh = true;
                Ok((body, failed))
            }
            // Only once, and whatever the method: nothing has happened that must not happen twice. It costs no attempt:
            // the server has invited it (RFC 9113 §8.7).
            FailureKind::Unprocessed if !std::mem::replace(&mut self.was_unprocessed, true) => {
                Ok((body, failed))
            }
            FailureKind::Unsent => {
                self.unsent_left = self.unsent_left.checked_sub(1).ok_or(error)?;
                Ok((body, failed))
            }
            FailureKind::Connect | FailureKind::Stale | FailureKind::Unprocessed | FailureKind::Final => {
                Err(error)
            }
        }
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
            self.wait = self.backoff;
            self.backoff = self.backoff.map(|backoff| backoff.saturating_mul(2));
        }
        if self.has_rounds {
            self.failed.push_back(failed);
        }
        self.untried = self.untried.saturating_sub(1);
        others.next().or_else(|| self.failed.pop_front())
    }

    fn take_attempt(&mut self) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        Some(())
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// Returns `error`, which made the attempt necessary, if the wait would end after the request's deadline.
    pub(super) async fn back_off(
        &mut self,
        timer: &Timer,
        done_by: Option<Instant>,
        error: Error,
    ) -> Result<(), Error> {
        let Some(wait) = self.wait.take() else { return Ok(()) };
        let until = deadline(Some(wait));
        if done_by.is_some() && earlier(until, done_by) == done_by {
            return Err(error);
        }
        let _elapsed = timer.within(until, std::future::pending::<()>()).await;
        Ok(())
    }
}
