//! `pool`: the number and the lifetime of upstream connections.

use std::num::NonZeroU32;
use std::time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::keepalive::{KeepaliveSettings, TcpKeepalive};
use crate::config::values::duration::Duration;
use crate::config::values::max_concurrent::MaxConcurrent;
use crate::config::values::or_off::OrOff;

layer! {
    /// The upstream connections of a route, or of a named upstream. Keys that are left out come from the upstream, then
    /// from `defaults`. Limits hold for the whole process. Each address of a host name is an endpoint.
    Pool {
        /// Keeps connections for later requests; `false` closes each after its request.
        keep_alive: bool,
        /// Connections to one endpoint, idle and in use together. Each address of a host name is an endpoint.
        max_connections: NonZeroU32,
        /// Idle connections to one endpoint; surplus ones are closed when they come back.
        max_idle: u32,
        /// An idle connection is closed after this, or a second before the server's own `Keep-Alive: timeout=N`.
        idle_timeout: OrOff<Duration>,
        /// A connection of this age, give or take 10 %, is closed when it is next idle.
        max_lifetime: OrOff<Duration>,
        /// Requests on one connection, which is then closed.
        max_requests: OrOff<NonZeroU32>,
        /// Requests waiting for a connection to one endpoint; 503 over it.
        max_pending: u32,
        /// The time for which a request waits for a connection, in all of its tries together; then 503. At an endpoint
        /// without an open connection it waits for half of the remaining time, and no longer than `timeouts.connect`,
        /// before it goes to an endpoint that it has not tried.
        acquire_timeout: OrOff<Duration>,
        /// Connections to one endpoint that are being opened at once.
        max_connecting: NonZeroU32,
        /// Connections to one endpoint that are kept open even without requests.
        min_idle: u32,
        /// Probes on connections without traffic, which find an upstream that has vanished. A change applies to new
        /// connections.
        tcp_keepalive: OrOff<TcpKeepalive>,
        /// Requests at once on one HTTP/2 connection, fewer if the server says so. Another connection is opened when all are taken.
        max_streams: NonZeroU32,
        /// An HTTP/2 connection on which nothing has arrived for this time is pinged first, and a request is sent on it only after
        /// the answer. Without an answer within `timeouts.connect` the connection is closed, and the request goes on another one.
        ping_interval: OrOff<Duration>,
        /// The requests that may go on a kept connection, which the server may be closing at that moment. With `safe`, the first
        /// request of a client's connection only does so if it can be sent again.
        reuse: Reuse,
    }
}

/// The requests that may go on a kept connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reuse {
    /// All. If one that cannot be sent again meets the server's close, it fails.
    #[default]
    Always,
    /// All but the first of a client's connection if it cannot be sent again: the client could not tell that failure from one of
    /// the server, while it knows that a later request on its own connection may fail.
    Safe,
}

impl Reuse {
    fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Safe => "safe",
        }
    }
}

/// A complete pool: every key of [`Pool`] has a value. Counts are per endpoint and for the whole process; `None` is no
/// limit, or no probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PoolSettings {
    pub(crate) keep_alive: bool,
    pub(crate) max_connections: usize,
    /// At most `max_connections`.
    pub(crate) max_idle: usize,
    pub(crate) idle_timeout: Option<time::Duration>,
    pub(crate) max_lifetime: Option<time::Duration>,
    pub(crate) max_requests: Option<u64>,
    pub(crate) max_pending: usize,
    pub(crate) acquire_timeout: Option<time::Duration>,
    pub(crate) max_connecting: usize,
    /// At most `max_idle`.
    pub(crate) min_idle: usize,
    pub(crate) tcp_keepalive: Option<KeepaliveSettings>,
    pub(crate) max_streams: usize,
    pub(crate) ping_interval: Option<time::Duration>,
    pub(crate) reuse: Reuse,
    /// `max_concurrent` of the upstream.
    pub(crate) max_concurrent: MaxConcurrent,
}

impl Pool {
    /// Returns the built-in value of every key.
    pub(crate) fn built_in() -> Self {
        Self {
            keep_alive: Some(true),
            max_connections: Some(crate::config::model::count(256)),
            max_idle: Some(64),
            idle_timeout: Some(OrOff::On(Duration::from_secs(30))),
            max_lifetime: Some(OrOff::On(Duration::from_secs(10 * 60))),
            max_requests: Some(OrOff::Off),
            max_pending: Some(1024),
            acquire_timeout: Some(OrOff::On(Duration::from_secs(2))),
            max_connecting: Some(crate::config::model::count(16)),
            min_idle: Some(0),
            tcp_keepalive: Some(TcpKeepalive::on()),
            max_streams: Some(crate::config::model::count(100)),
            ping_interval: Some(OrOff::Off),
            reuse: Some(Reuse::Always),
        }
    }

    /// Merges the layers as [`Pool::resolve`] does, for an upstream with this `max_concurrent`.
    pub(crate) fn resolve_with<'a>(
        max_concurrent: MaxConcurrent,
        layers: impl IntoIterator<Item = &'a Pool>,
    ) -> PoolSettings {
        PoolSettings { max_concurrent, ..Self::resolve(layers) }
    }

    /// Merges the layers over the built-in values, the layer of highest precedence first. If the layers together make
    /// `max_idle` more than `max_connections`, or `min_idle` more than `max_idle`, the greater one is lowered.
    pub(crate) fn resolve<'a>(layers: impl IntoIterator<Item = &'a Pool>) -> PoolSettings {
        let pool = layers.into_iter().fold(Self::default(), Self::or).or(&Self::built_in());
        let max_connections = size(pool.max_connections.map_or(1, NonZeroU32::get));
        let max_idle = size(pool.max_idle.unwrap_or_default()).min(max_connections);
        PoolSettings {
            keep_alive: pool.keep_alive.unwrap_or_default(),
            max_connections,
            max_idle,
            idle_timeout: pool.idle_timeout.unwrap_or_default().duration(),
            max_lifetime: pool.max_lifetime.unwrap_or_default().duration(),
            max_requests: pool.max_requests.unwrap_or_default().on().map(|count| count.get().into()),
            max_pending: size(pool.max_pending.unwrap_or_default()),
            acquire_timeout: pool.acquire_timeout.unwrap_or_default().duration(),
            max_connecting: size(pool.max_connecting.map_or(1, NonZeroU32::get)),
            min_idle: size(pool.min_idle.unwrap_or_default()).min(max_idle),
            tcp_keepalive: pool.tcp_keepalive.and_then(OrOff::on).map(TcpKeepalive::settings),
            max_streams: size(pool.max_streams.map_or(1, NonZeroU32::get)),
            ping_interval: pool.ping_interval.unwrap_or_default().duration(),
            reuse: pool.reuse.unwrap_or_default(),
            max_concurrent: MaxConcurrent::Off,
        }
    }
}

impl PoolSettings {
    /// Returns the keys in which `now` differs, with both values: `max_idle 64 → 10`.
    pub(crate) fn differences(&self, now: &Self) -> Vec<String> {
        let limit =
            |limit: Option<time::Duration>| limit.map_or("off".to_owned(), |limit| format!("{limit:?}"));
        let count = |count: Option<u64>| count.map_or("off".to_owned(), |count| count.to_string());
        let values = |of: &Self| {
            [
                ("keep_alive", of.keep_alive.to_string()),
                ("max_connections", of.max_connections.to_string()),
                ("max_idle", of.max_idle.to_string()),
                ("idle_timeout", limit(of.idle_timeout)),
                ("max_lifetime", limit(of.max_lifetime)),
                ("max_requests", count(of.max_requests)),
                ("max_pending", of.max_pending.to_string()),
                ("acquire_timeout", limit(of.acquire_timeout)),
                ("max_connecting", of.max_connecting.to_string()),
                ("min_idle", of.min_idle.to_string()),
                ("tcp_keepalive", of.tcp_keepalive.map_or("off".to_owned(), |probes| probes.to_string())),
                ("max_streams", of.max_streams.to_string()),
                ("ping_interval", limit(of.ping_interval)),
                ("reuse", of.reuse.as_str().to_owned()),
                ("max_concurrent", of.max_concurrent.to_string()),
            ]
        };
        if self == now {
            return Vec::new();
        }
        let pairs = values(self).into_iter().zip(values(now));
        let differing = pairs.filter(|((_, was), (_, is))| was != is);
        differing.map(|((key, was), (_, is))| format!("{key} {was} → {is}")).collect()
    }
}

impl Default for PoolSettings {
    fn default() -> Self {
        Pool::resolve([])
    }
}

/// Converts a count to a length in memory.
fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
