//! A request to an upstream, and the conditions under which it is sent.

use http::Method;
use tokio::time::Instant;

use crate::config::{HeaderCase, HedgeSettings, RetrySettings, RouteTimeouts};
use crate::http::body::Keeping;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::interim::Interim;
use crate::net::timer::Timer;

/// A request to an upstream, except for the parts that depend on the endpoint.
pub(crate) struct UpstreamRequest<'a> {
    pub(crate) method: &'a Method,
    /// The path and query, without the base path of an endpoint.
    pub(crate) target: &'a str,
    /// The fields to send, without those of framing.
    pub(crate) headers: &'a mut Fields,
    /// True if each endpoint gets its own `Host`; otherwise `headers` has the one to send.
    pub(crate) endpoint_host: bool,
    /// True if the connection may be kept (`pool.keep_alive`).
    pub(crate) keep_alive: bool,
    /// The letter case of field names in the request, and in its response.
    pub(crate) header_case: HeaderCase,
    /// True if the client requests a protocol upgrade. `headers` then has the `Connection` field of it.
    pub(crate) upgrade: bool,
    /// True for the first request of a client's connection.
    pub(crate) is_first: bool,
    pub(crate) affinity: Affinity,
}

/// The part of a request that ties it to an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) enum Affinity {
    /// It goes where the balancer sends it.
    #[default]
    None,
    /// The hash of its key, if the upstream is balanced by one.
    Hash(u64),
    /// The position of the endpoint that its cookie holds it at. It goes to another one only if this one gets no requests.
    Endpoint(usize),
}

/// The conditions under which all attempts of a request are made.
pub(crate) struct SendOptions<'a> {
    pub(crate) timeouts: &'a RouteTimeouts,
    /// The route's retries. Without them, each endpoint is tried once, and one stale connection is replaced.
    pub(crate) retry: Option<&'a RetrySettings>,
    /// The second attempt beside a slow one.
    pub(crate) hedge: Option<&'a HedgeSettings>,
    /// The buffer that keeps the request's body for another attempt.
    pub(crate) keeping: Option<&'a Keeping>,
    /// The deadline of the whole exchange (`timeouts.request`), with the error that reports a missed one.
    pub(crate) done_by: Option<(Instant, Error)>,
    pub(crate) interim: Option<&'a Interim>,
    /// The timer of the task that sends the request and later polls the response's body.
    pub(crate) timer: &'a Timer,
}
