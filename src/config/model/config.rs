//! A whole file, and the settings that routes inherit from it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, Serializer};

use crate::config::values::max_concurrent::MaxConcurrent;
use crate::config::{
    Admin, AuthUse, AuthWay, ConcurrentBy, Cors, Defaults, Dns, EncodedSlash, Filter, GrpcWeb, Headers,
    HedgeSettings, HostHeader, Listener, Mirror, MirrorSettings, Networks, OrOff, PeerNetwork, Pool,
    PoolSettings, RateLimit, RateLimits, RequestId, Require, Retry, RetrySettings, RetryTotals,
    RewriteCookies, RewriteLocation, Route, RouteTimeouts, Shutdown, Store, Telemetry, Timeouts,
    UpgradeProtocol, Upstream, UpstreamChoice, Wasm,
};

/// A whole configuration file. Top-level keys that begin with `x-` are ignored: a place for anchors.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("patternProperties" = { "^x-": {} }))]
pub(crate) struct Config {
    /// The addresses that accept connections.
    #[schemars(length(min = 1))]
    pub(crate) listeners: Vec<Listener>,
    /// Networks and addresses whose `X-Forwarded-*` fields and PROXY headers are trusted, and `unix` for the clients of listeners on
    /// Unix sockets. If a chain of proxies has written several members of `X-Forwarded-Proto`, the first is the client's scheme.
    /// Default: none.
    #[serde(default)]
    pub(crate) trusted_proxies: Vec<PeerNetwork>,
    /// Threads that serve requests: a number, or `auto` for one per core.
    #[serde(default)]
    pub(crate) workers: Workers,
    /// Settings that routes inherit.
    #[serde(default)]
    pub(crate) defaults: Defaults,
    /// Upstreams by name, which routes can share.
    #[serde(default)]
    pub(crate) upstreams: BTreeMap<String, Upstream>,
    /// The resolution of upstreams' names.
    #[serde(default)]
    pub(crate) dns: Dns,
    /// Ways to know who calls, by name, for the `auth` of routes. Names appear in logs, metrics and challenges. They consist of letters, digits,
    /// `-`, `_` and `.`, 64 at most.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z0-9._-]{1,64}$" }))]
    pub(crate) auth: BTreeMap<String, AuthWay>,
    /// Stores by name, which gateways share for the `rate_limit` of routes. Names appear in logs and metrics. They consist of letters, digits,
    /// `-`, `_` and `.`, 64 at most.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z0-9._-]{1,64}$" }))]
    pub(crate) stores: BTreeMap<String, Store>,
    /// Plugins by name, for the `filters` of routes. Names appear in logs, metrics and `x-gateway-error`. They consist
    /// of letters, digits, `-`, `_` and `.`, 64 at most.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z0-9._-]{1,64}$" }))]
    pub(crate) filters: BTreeMap<String, Filter>,
    /// Settings for all plugins.
    #[serde(default)]
    pub(crate) wasm: Wasm,
    /// Limits for the retries of all routes together.
    #[serde(default)]
    pub(crate) retry: RetryTotals,
    /// Rules that match requests, each with its action. Their order matters only between equally specific ones.
    #[schemars(length(min = 1))]
    pub(crate) routes: Vec<Route>,
    /// The listener for operators. `off` for none.
    #[serde(default)]
    pub(crate) admin: OrOff<Admin>,
    /// Reports about the work of the program.
    #[serde(default)]
    pub(crate) telemetry: Telemetry,
    /// Graceful shutdown.
    #[serde(default)]
    pub(crate) shutdown: Shutdown,
}

/// The number of threads that serve requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "WorkersForm")]
pub(crate) enum Workers {
    /// One per core that the process may use.
    #[default]
    Auto,
    /// A fixed number.
    Count(NonZeroU16),
}

impl Workers {
    /// Returns the number of threads. `auto` takes the number of cores from the operating system, or 1 if it is
    /// unknown.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Auto => std::thread::available_parallelism().map_or(1, Into::into),
            Self::Count(count) => count.get().into(),
        }
    }
}

impl Serialize for Workers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Count(count) => count.serialize(serializer),
        }
    }
}

impl JsonSchema for Workers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Workers".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        WorkersForm::json_schema(generator)
    }
}

/// The two ways to write the number of workers.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum WorkersForm {
    /// A number.
    Count(NonZeroU16),
    /// The word.
    Auto(Auto),
}

/// The word `auto`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Auto {
    /// One per core.
    Auto,
}

impl From<WorkersForm> for Workers {
    fn from(form: WorkersForm) -> Self {
        match form {
            WorkersForm::Count(count) => Self::Count(count),
            WorkersForm::Auto(Auto::Auto) => Self::Auto,
        }
    }
}

/// The settings of a route, including those that it inherits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteSettings {
    /// The Host sent to the upstream.
    pub(crate) host: HostHeader,
    /// The limits of upstream connections.
    pub(crate) pool: PoolSettings,
    /// The time limits of the upstream.
    pub(crate) timeouts: RouteTimeouts,
    /// The failures that are retried, and how often.
    pub(crate) retry: RetrySettings,
    /// The second attempt at another endpoint.
    pub(crate) hedge: Option<HedgeSettings>,
    /// The copies of its requests.
    pub(crate) mirror: Option<MirrorSettings>,
    /// The protocols that a client may upgrade to, in lower case.
    pub(crate) upgrade: Vec<UpgradeProtocol>,
    /// Most bytes of a request's body; `None` for the listener's limit, `Some(None)` for no limit.
    pub(crate) body_bytes_max: Option<Option<u64>>,
    /// The networks whose clients are served; `None` for all.
    pub(crate) allow: Option<Vec<PeerNetwork>>,
    /// The networks whose clients are refused.
    pub(crate) deny: Option<Vec<PeerNetwork>>,
    /// The pages of other origins that may use the route.
    pub(crate) cors: Option<Cors>,
    /// The ways by which callers are known; `None` if the route serves all.
    pub(crate) auth: Option<AuthUse>,
    /// The claims that a known caller must have.
    pub(crate) require: Option<Require>,
    /// The limits on the rate of requests.
    pub(crate) rate_limits: Vec<RateLimit>,
    /// The limit on requests in progress.
    pub(crate) concurrent: Option<ConcurrentBy>,
    /// True if each request has an identifier.
    pub(crate) request_id: bool,
    /// Changes to headers.
    pub(crate) headers: Headers,
    /// The treatment of `%2F` in a path.
    pub(crate) encoded_slash: EncodedSlash,
    /// True if a `Location` that names the upstream is rewritten for the client.
    pub(crate) rewrite_location: bool,
    /// True if the upstream's cookies are rewritten for the client.
    pub(crate) rewrite_cookies: bool,
    /// True if gRPC-Web is translated to gRPC.
    pub(crate) grpc_web: bool,
}

impl Config {
    /// Returns the upstreams of a route, several if it is split. A validated configuration has every upstream that a route
    /// names.
    pub(crate) fn upstreams_of<'a>(&'a self, route: &'a Route) -> impl Iterator<Item = &'a Upstream> {
        let inline = match &route.upstream {
            Some(UpstreamChoice::Inline(upstream)) => Some(&**upstream),
            _ => None,
        };
        let names = route.upstream.iter().flat_map(UpstreamChoice::names);
        inline.into_iter().chain(names.filter_map(|name| self.upstreams.get(name)))
    }

    /// Returns all settings of a route, with those of its first upstream.
    pub(crate) fn settings_of(&self, route: &Route) -> RouteSettings {
        self.settings_towards(self.upstreams_of(route).next(), route)
    }

    /// Returns all settings of a route towards one of its upstreams. The route's own keys override the upstream's, then come
    /// `defaults`, then the built-in values.
    pub(crate) fn settings_towards(&self, upstream: Option<&Upstream>, route: &Route) -> RouteSettings {
        let defaults = &self.defaults;
        let pools = [
            route.pool.as_ref(),
            upstream.and_then(|upstream| upstream.pool.as_ref()),
            defaults.pool.as_ref(),
        ];
        let timeouts =
            [Some(&route.timeouts), upstream.map(|upstream| &upstream.timeouts), Some(&defaults.timeouts)];
        let max_concurrent = upstream.map_or(MaxConcurrent::Off, |upstream| upstream.max_concurrent);
        let upgrade = route.upgrade.as_ref().or(defaults.upgrade.as_ref());
        let rate_limits = route.rate_limit.as_ref().or(defaults.rate_limit.as_ref()).and_then(OrOff::as_on);
        let concurrent = route.concurrent.as_ref().or(defaults.concurrent.as_ref());
        let host = route.host.clone().or_else(|| defaults.host.clone()).unwrap_or_default();
        let location = route.rewrite_location.or(defaults.rewrite_location).unwrap_or_default();
        let cookies = route.rewrite_cookies.or(defaults.rewrite_cookies).unwrap_or_default();
        let grpc_web = route.grpc_web.or(defaults.grpc_web).unwrap_or_default();
        RouteSettings {
            grpc_web: grpc_web == GrpcWeb::On,
            rewrite_location: location == RewriteLocation::Auto,
            rewrite_cookies: cookies == RewriteCookies::Auto,
            host,
            pool: Pool::resolve_with(max_concurrent, pools.into_iter().flatten()),
            timeouts: Timeouts::resolve(timeouts.into_iter().flatten()),
            retry: Retry::resolve([&route.retry, &defaults.retry]),
            hedge: route.hedge.or(defaults.hedge).and_then(OrOff::on).map(HedgeSettings::from),
            mirror: self.mirror_settings_of(route),
            upgrade: upgrade.cloned().unwrap_or_else(|| vec![UpgradeProtocol::websocket()]),
            body_bytes_max: route.limits.body.or(defaults.limits.body).map(OrOff::bytes),
            allow: networks(route.allow.as_ref().or(defaults.allow.as_ref())),
            deny: networks(route.deny.as_ref().or(defaults.deny.as_ref())),
            cors: route.cors.as_ref().or(defaults.cors.as_ref()).and_then(OrOff::as_on).cloned(),
            auth: route.auth.as_ref().or(defaults.auth.as_ref()).and_then(OrOff::as_on).cloned(),
            require: route.require.as_ref().or(defaults.require.as_ref()).and_then(OrOff::as_on).cloned(),
            rate_limits: rate_limits.map(RateLimits::as_slice).unwrap_or_default().to_vec(),
            concurrent: concurrent.and_then(OrOff::as_on).map(ConcurrentBy::from),
            request_id: route.request_id.or(defaults.request_id).unwrap_or_default() == RequestId::On,
            headers: Headers {
                request: route.headers.request.over(&defaults.headers.request),
                response: route.headers.response.over(&defaults.headers.response),
            },
            encoded_slash: self.encoded_slash_of(route),
        }
    }

    /// Returns the mirror of a route, unless it is off. Only routes with an upstream have one.
    pub(crate) fn mirror_of<'a>(&'a self, route: &'a Route) -> Option<&'a Mirror> {
        route.upstream.as_ref()?;
        route.mirror.as_ref().or(self.defaults.mirror.as_ref())?.as_on()
    }

    /// Returns the upstream that a route's requests are mirrored to.
    pub(crate) fn mirror_upstream_of<'a>(&'a self, route: &'a Route) -> Option<&'a Upstream> {
        self.upstreams.get(&self.mirror_of(route)?.to)
    }

    fn mirror_settings_of(&self, route: &Route) -> Option<MirrorSettings> {
        let mirror = self.mirror_of(route)?;
        let (pool, timeouts) = self.settings_of_upstream(self.upstreams.get(&mirror.to)?);
        let (to, percent, body_bytes_max) = (mirror.to.clone(), mirror.percent, mirror.max_body.length());
        Some(MirrorSettings { to, percent, body_bytes_max, pool, timeouts })
    }

    /// Returns the treatment of `%2F` in the path of a route's requests.
    pub(crate) fn encoded_slash_of(&self, route: &Route) -> EncodedSlash {
        route.paths.encoded_slash.or(self.defaults.paths.encoded_slash).unwrap_or_default()
    }

    /// Returns the settings of a named upstream outside of any route. Its own keys override `defaults`, then come the
    /// built-in values.
    pub(crate) fn settings_of_upstream(&self, upstream: &Upstream) -> (PoolSettings, RouteTimeouts) {
        let defaults = &self.defaults;
        let pools = [upstream.pool.as_ref(), defaults.pool.as_ref()];
        let timeouts = [&upstream.timeouts, &defaults.timeouts];
        (
            Pool::resolve_with(upstream.max_concurrent, pools.into_iter().flatten()),
            Timeouts::resolve(timeouts),
        )
    }

    /// Returns the time for which the program continues to accept after a stop signal; `None` for none.
    pub(crate) fn shutdown_delay(&self) -> Option<time::Duration> {
        self.shutdown.delay.duration()
    }

    /// Returns the time that requests in flight have to end when the program stops; `None` for no limit.
    pub(crate) fn drain(&self) -> Option<time::Duration> {
        self.shutdown.drain.duration()
    }
}

fn networks(written: Option<&OrOff<Networks>>) -> Option<Vec<PeerNetwork>> {
    written.and_then(OrOff::as_on).map(|networks| networks.0.clone())
}
