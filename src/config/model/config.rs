//! A whole file, and what routes inherit of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, Serializer};

use crate::config::{
    Admin, Defaults, EncodedSlash, Filter, Headers, HostHeader, Listener, Network, OrOff, Pool, PoolSettings,
    Retry, RetrySettings, RetryTotals, RewriteCookies, RewriteLocation, Route, RouteTimeouts, Shutdown,
    Telemetry, Timeouts, UpgradeProtocol, Upstream, UpstreamChoice, Wasm,
};

/// A whole configuration file. Keys that begin with `x-` are ignored here: a place for anchors.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("patternProperties" = { "^x-": {} }))]
pub(crate) struct Config {
    /// Where requests come in.
    #[schemars(length(min = 1))]
    pub(crate) listeners: Vec<Listener>,
    /// Networks and addresses whose `X-Forwarded-*` fields and PROXY headers are believed. Of several
    /// members of `X-Forwarded-Proto`, which a chain of proxies makes, the first is the client's scheme. Default: nobody's.
    #[serde(default)]
    pub(crate) trusted_proxies: Vec<Network>,
    /// Threads that serve requests: a number, or `auto` for one per core.
    #[serde(default)]
    pub(crate) workers: Workers,
    /// What routes inherit.
    #[serde(default)]
    pub(crate) defaults: Defaults,
    /// Upstreams by name, to share between routes.
    #[serde(default)]
    pub(crate) upstreams: BTreeMap<String, Upstream>,
    /// Plugins by name, for `filters` of routes. Names show in logs, metrics and `x-gateway-error`, and have letters,
    /// digits, `-`, `_` and `.`, 64 at most.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z0-9._-]{1,64}$" }))]
    pub(crate) filters: BTreeMap<String, Filter>,
    /// What holds for all plugins.
    #[serde(default)]
    pub(crate) wasm: Wasm,
    /// What holds for the retries of all routes together.
    #[serde(default)]
    pub(crate) retry: RetryTotals,
    /// Which requests there are, and what answers them. Their order matters only between equally specific
    /// ones.
    #[schemars(length(min = 1))]
    pub(crate) routes: Vec<Route>,
    /// The listener for operators. `off` for none.
    #[serde(default)]
    pub(crate) admin: OrOff<Admin>,
    /// What the program tells about its work.
    #[serde(default)]
    pub(crate) telemetry: Telemetry,
    /// How the program stops.
    #[serde(default)]
    pub(crate) shutdown: Shutdown,
}

/// How many threads serve requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "WorkersForm")]
pub(crate) enum Workers {
    /// One per core that the process may use.
    #[default]
    Auto,
    /// This many.
    Count(NonZeroU16),
}

impl Workers {
    /// The number of threads; `auto` asks the operating system, and takes 1 where it does not say.
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

/// The settings of a route, with everything that it inherits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteSettings {
    /// The Host that the upstream is sent.
    pub(crate) host: HostHeader,
    /// The connections.
    pub(crate) pool: PoolSettings,
    /// How long the upstream may take.
    pub(crate) timeouts: RouteTimeouts,
    /// What is tried again.
    pub(crate) retry: RetrySettings,
    /// The protocols that a client may upgrade to, in lower case.
    pub(crate) upgrade: Vec<UpgradeProtocol>,
    /// Bytes of a request's body; `None` where the listener's limit holds, `Some(None)` for no limit.
    pub(crate) body_bytes_max: Option<Option<u64>>,
    /// Changes of headers.
    pub(crate) headers: Headers,
    /// What becomes of `%2F` in a path.
    pub(crate) encoded_slash: EncodedSlash,
    /// True if the upstream's own `Location` becomes the client's.
    pub(crate) rewrite_location: bool,
    /// True if the cookies of the upstream become the client's.
    pub(crate) rewrite_cookies: bool,
}

impl Config {
    /// The upstream of a route, if it has one; a validated configuration has every upstream that a route
    /// names.
    pub(crate) fn upstream_of<'a>(&'a self, route: &'a Route) -> Option<&'a Upstream> {
        match route.upstream.as_ref()? {
            UpstreamChoice::Named(name) => self.upstreams.get(name),
            UpstreamChoice::Inline(upstream) => Some(upstream),
        }
    }

    /// Everything that holds for a route: its own keys over its upstream's over `defaults` over the built-in
    /// values.
    pub(crate) fn settings_of(&self, route: &Route) -> RouteSettings {
        let defaults = &self.defaults;
        let upstream = self.upstream_of(route);
        let pools = [
            route.pool.as_ref(),
            upstream.and_then(|upstream| upstream.pool.as_ref()),
            defaults.pool.as_ref(),
        ];
        let timeouts =
            [Some(&route.timeouts), upstream.map(|upstream| &upstream.timeouts), Some(&defaults.timeouts)];
        let upgrade = route.upgrade.as_ref().or(defaults.upgrade.as_ref());
        let host = route.host.clone().or_else(|| defaults.host.clone()).unwrap_or_default();
        let location = route.rewrite_location.or(defaults.rewrite_location).unwrap_or_default();
        let cookies = route.rewrite_cookies.or(defaults.rewrite_cookies).unwrap_or_default();
        RouteSettings {
            rewrite_location: location == RewriteLocation::Auto,
            rewrite_cookies: cookies == RewriteCookies::Auto,
            host,
            pool: Pool::resolve(pools.into_iter().flatten()),
            timeouts: Timeouts::resolve(timeouts.into_iter().flatten()),
            retry: Retry::resolve([&route.retry, &defaults.retry]),
            upgrade: upgrade.cloned().unwrap_or_else(|| vec![UpgradeProtocol::websocket()]),
            body_bytes_max: route.limits.body.or(defaults.limits.body).map(OrOff::bytes),
            headers: Headers {
                request: route.headers.request.over(&defaults.headers.request),
                response: route.headers.response.over(&defaults.headers.response),
            },
            encoded_slash: self.encoded_slash_of(route),
        }
    }

    /// Returns what becomes of `%2F` in the path of a route's requests.
    pub(crate) fn encoded_slash_of(&self, route: &Route) -> EncodedSlash {
        route.paths.encoded_slash.or(self.defaults.paths.encoded_slash).unwrap_or_default()
    }

    /// What holds for a named upstream where no route has a say: its own keys over `defaults` over the built-in values.
    pub(crate) fn settings_of_upstream(&self, upstream: &Upstream) -> (PoolSettings, RouteTimeouts) {
        let defaults = &self.defaults;
        let pools = [upstream.pool.as_ref(), defaults.pool.as_ref()];
        let timeouts = [&upstream.timeouts, &defaults.timeouts];
        (Pool::resolve(pools.into_iter().flatten()), Timeouts::resolve(timeouts))
    }

    /// Returns the time for which the program continues to accept after it was told to stop; `None` for none.
    pub(crate) fn shutdown_delay(&self) -> Option<time::Duration> {
        self.shutdown.delay.duration()
    }

    /// How long requests in flight may take when the program stops; `None` for no limit.
    pub(crate) fn drain(&self) -> Option<time::Duration> {
        self.shutdown.drain.duration()
    }
}
