//! The forwarding of a route: to one upstream, or to several by weight.

use std::sync::Arc;

use crate::config::{
    HashKey, HeaderCase, HedgeSettings, HostHeader, RetrySettings, RouteTimeouts, UpgradeProtocol,
};
use crate::http::body::Keeping;
use crate::http::error::Error;
use crate::policy::{RequestValues, Rewrite};
use crate::snapshot::route_deadline::Removal;
use crate::snapshot::sticky::Sticky;
use crate::upstream::{Turns, Upstream};

/// The settings with which a route forwards to an upstream.
pub(crate) struct UpstreamRoute {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) rewrite: Option<Rewrite>,
    pub(crate) host: HostHeader,
    /// True if a `Location` that names the upstream is rewritten for the client.
    pub(crate) rewrite_location: bool,
    /// True if domains and paths of cookies are rewritten for the client.
    pub(crate) rewrite_cookies: bool,
    pub(crate) timeouts: RouteTimeouts,
    pub(crate) retry: RetrySettings,
    /// The second attempt beside a slow one.
    pub(crate) hedge: Option<HedgeSettings>,
    /// The buffering of request bodies, if requests can be sent again on another connection.
    pub(crate) keeping: Option<Keeping>,
    /// Protocols that a client may upgrade to.
    pub(crate) upgrade: Vec<UpgradeProtocol>,
    pub(crate) keep_alive: bool,
    /// The part of a request that chooses its endpoint, if the upstream is balanced by one.
    pub(crate) hash_on: Option<HashKey>,
    /// The cookie that holds clients at an endpoint, if the upstream has one.
    pub(crate) sticky: Option<Box<Sticky>>,
    /// The letter case of field names in requests and their responses.
    pub(crate) header_case: HeaderCase,
    /// The deadline for this route's streams once a reload has removed the route, if removed routes have one.
    pub(crate) removal: Option<Removal>,
}

impl UpstreamRoute {
    /// Returns the path and query that are sent upstream.
    ///
    /// # Errors
    /// Fails if the request lacks a value that its path gets.
    pub(crate) fn target(
        &self,
        path: &str,
        query: Option<&str>,
        values: &dyn RequestValues,
    ) -> Result<String, Error> {
        let rewritten = self.rewrite.as_ref().map(|rewrite| rewrite.apply(path, values)).transpose()?;
        let path = rewritten.as_deref().unwrap_or(path);
        let Some(query) = query else { return Ok(path.to_owned()) };
        let mut target = String::with_capacity(path.len() + 1 + query.len());
        target.push_str(path);
        target.push('?');
        target.push_str(query);
        Ok(target)
    }
}

/// The upstreams of a route that is split between them by weight.
pub(crate) struct Split {
    /// The settings towards each. Those that are the route's own are equal.
    upstreams: Vec<UpstreamRoute>,
    turns: Turns,
}

impl Split {
    /// Returns a split between upstreams with these weights; `None` if no weight is above 0.
    pub(crate) fn new(upstreams: Vec<(UpstreamRoute, u32)>) -> Option<Self> {
        let (upstreams, weights): (Vec<_>, Vec<_>) = upstreams.into_iter().unzip();
        let split = Self { upstreams, turns: Turns::new(&weights) };
        split.turn().is_some().then_some(split)
    }

    /// Returns the upstream whose turn it is.
    pub(crate) fn turn(&self) -> Option<&UpstreamRoute> {
        self.upstreams.get(self.turns.next()?)
    }

    /// Returns all upstreams, in the order of the file.
    pub(crate) fn upstreams(&self) -> &[UpstreamRoute] {
        &self.upstreams
    }
}
