//! Which failures are tried again, how often, and after how long.

use std::time::Duration;

use tokio::time::Instant;

use crate::body::Body;
use crate::config::RetrySettings;
use crate::error::Error;
use crate::timer::{Timer, earlier};
use crate::upstream::{Failure, FailureKind};

/// How many further tries a request has.
pub(super) struct Retries<'a> {
    settings: &'a RetrySettings,
    left: u32,
    /// The next try must not trust a kept connection.
    pub(super) fresh: bool,
    /// How long to wait before the next try, and before the one after it.
    wait: Option<Duration>,
    backoff: Option<Duration>,
}

impl<'a> Retries<'a> {
    pub(super) fn new(settings: &'a RetrySettings) -> Self {
        Self { settings, left: settings.attempts, fresh: false, wait: None, backoff: settings.backoff }
    }

    /// The body for another try, if there may be one.
    ///
    /// # Errors
    /// The failure is final: this is what the client is told.
    pub(super) fn allow(&mut self, failure: Failure) -> Result<Body, Error> {
        let wanted = match failure.kind {
            FailureKind::Connect => self.settings.on_connect,
            // Once: the second try has a new connection, and a new one that closes is no stale one.
            FailureKind::Stale => self.settings.on_stale && !self.fresh,
            FailureKind::Final => false,
        };
        let (true, 1.., Some(body)) = (wanted, self.left, failure.body) else { return Err(failure.error) };
        self.left -= 1;
        if failure.kind == FailureKind::Stale {
            self.fresh = true;
        } else {
            self.wait = self.backoff;
            self.backoff = self.backoff.map(|backoff| backoff.saturating_mul(2));
        }
        Ok(body)
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// That would be beyond the end of the request's time: `error`, which made the try necessary, is final then.
    pub(super) async fn back_off(
        &mut self,
        timer: &Timer,
        done_by: Option<Instant>,
        error: Error,
    ) -> Result<(), Error> {
        let Some(wait) = self.wait.take() else { return Ok(()) };
        let until = Instant::now().checked_add(wait);
        if done_by.is_some() && earlier(until, done_by) == done_by {
            return Err(error);
        }
        let _elapsed = timer.within(until, std::future::pending::<()>()).await;
        Ok(())
    }
}
