//! The reasons for closing a connection to an endpoint.

/// The reason for which an upstream connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// It was idle for `pool.idle_timeout`, or for as long as the server promised to keep it.
    IdleTimeout,
    /// It was older than `pool.max_lifetime`.
    Lifetime,
    /// It had served `pool.max_requests`.
    MaxRequests,
    /// More than `pool.max_idle` were idle.
    MaxIdle,
    /// More than `pool.max_connections` were open, since the limit was lowered.
    MaxConnections,
    /// `pool.keep_alive` is `false`.
    KeepAliveOff,
    /// The peer closed it, or announced that it would.
    Peer,
    UnexpectedBytes,
    /// There was an I/O or protocol error.
    Error,
    Timeout,
    /// It did not answer the ping of `pool.ping_interval`.
    Ping,
    /// The exchange was abandoned before its end: the client left, or had enough.
    Cancelled,
    /// It was handed to an upgraded protocol, which has ended.
    Upgraded,
    /// It made room for a new connection, because another kept one was found closed or because this one was in doubt.
    Replaced,
    /// Its endpoint is gone from DNS or from the configuration, or the process stops.
    Drained,
}

impl CloseReason {
    /// Returns its label in `/pools` and in the metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            CloseReason::IdleTimeout => "idle_timeout",
            CloseReason::Lifetime => "max_lifetime",
            CloseReason::MaxRequests => "max_requests",
            CloseReason::MaxIdle => "max_idle",
            CloseReason::MaxConnections => "max_connections",
            CloseReason::KeepAliveOff => "keep_alive_off",
            CloseReason::Peer => "peer",
            CloseReason::UnexpectedBytes => "unexpected_bytes",
            CloseReason::Error => "error",
            CloseReason::Timeout => "timeout",
            CloseReason::Ping => "ping",
            CloseReason::Cancelled => "cancelled",
            CloseReason::Upgraded => "upgraded",
            CloseReason::Replaced => "replaced",
            CloseReason::Drained => "drained",
        }
    }
}
