//! The mirror of a route: the settings of the copies of its requests, and their counts.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::StatusCode;

use crate::config::{HashKey, HeaderCase, MirrorSettings, RouteTimeouts};
use crate::http::body::{Keeping, KeptBodies};
use crate::http::error::Error;
use crate::net::timer::deadline;
use crate::observe::metrics::{RouteStats, this_worker};
use crate::observe::rate_limited_warning::RateLimitedWarnings;
use crate::upstream::{CallLimits, Turns, Upstream};

/// The memory for the bodies of all copies. They must not take the room of bodies that are kept for retries.
static COPIES: LazyLock<KeptBodies> = LazyLock::new(|| KeptBodies::new(64 << 20));

/// The time that a copy has if the upstream's `timeouts.request` is off.
const COPY_LIMIT: Duration = Duration::from_mins(1);

/// The bytes of a response that are read, so that its connection can be kept. Opening a new one is cheaper than reading more.
const DISCARDED_BYTES_MAX: usize = 1 << 20;

/// The minimum interval between two warnings of a kind.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// The mirror of a route.
pub(crate) struct Mirror {
    pub(crate) upstream: Arc<Upstream>,
    /// The part of a request that chooses its endpoint, if the upstream is balanced by one.
    pub(crate) hash_on: Option<HashKey>,
    /// The buffers of bodies that are being copied.
    pub(crate) copies: Keeping,
    /// The name of the upstream.
    to: String,
    /// The turns of copied requests and of others; `None` if all are copied.
    turns: Option<Turns>,
    timeouts: RouteTimeouts,
    keep_alive: bool,
    header_case: HeaderCase,
    stats: Arc<RouteStats>,
    warned: RateLimitedWarnings,
}

impl Mirror {
    /// Returns the mirror of the route that `stats` count.
    pub(crate) fn new(
        settings: MirrorSettings,
        upstream: Arc<Upstream>,
        (hash_on, header_case): (Option<HashKey>, HeaderCase),
        stats: Arc<RouteStats>,
    ) -> Self {
        let MirrorSettings { to, percent, body_bytes_max, pool, timeouts } = settings;
        let others = 100_u8.saturating_sub(percent);
        Self {
            upstream,
            hash_on,
            copies: Keeping { bodies: COPIES.clone(), body_bytes_max },
            to,
            turns: (others > 0).then(|| Turns::new(&[percent.into(), others.into()])),
            timeouts,
            keep_alive: pool.keep_alive,
            header_case,
            stats,
            warned: RateLimitedWarnings::every(WARN_EVERY),
        }
    }

    /// Returns true if the next request is copied.
    pub(crate) fn takes_next(&self) -> bool {
        self.turns.as_ref().is_none_or(|turns| turns.next() == Some(0))
    }

    /// Returns the limits of a copy that is sent now.
    pub(crate) fn limits(&self) -> CallLimits<'_> {
        CallLimits {
            timeouts: &self.timeouts,
            done_by: if self.timeouts.request.is_none() { deadline(Some(COPY_LIMIT)) } else { None },
            body_bytes_max: DISCARDED_BYTES_MAX,
            keep_alive: self.keep_alive,
            header_case: self.header_case,
        }
    }

    /// Counts a request that is not mirrored although it was its turn.
    pub(crate) fn drops(&self, reason: &'static str) {
        self.stats.unmirrored(this_worker(), reason);
    }

    /// Counts a copy that has ended. One that a limit kept from being sent counts as dropped.
    pub(crate) fn ended(&self, outcome: Result<StatusCode, Error>) {
        let error = match outcome {
            Ok(status) => return self.stats.mirrored(this_worker(), Ok(status.as_u16())),
            Err(error) => error,
        };
        let reason = error.reason();
        let is_unsent = matches!(
            error,
            Error::PoolFull
                | Error::AcquireTimeout
                | Error::MaxConcurrent
                | Error::BreakerOpen
                | Error::Unresolved
        );
        match is_unsent {
            true => self.drops(reason),
            false => self.stats.mirrored(this_worker(), Err(reason)),
        }
        if let Some(suppressed) = self.warned.passes(reason) {
            let (route, upstream) = (self.stats.route(), &*self.to);
            tracing::warn!(route, upstream, reason, suppressed, "mirrored request failed: {error}");
        }
    }
}
