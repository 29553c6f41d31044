//! `routes`: rules that match requests, each with its action.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::addresses::Networks;
use super::auth::{AuthUse, Require};
use super::cors::Cors;
use super::filter::FilterUse;
use super::grpc_web::GrpcWeb;
use super::headers::Headers;
use super::hedge::Hedge;
use super::matches::Match;
use super::mirror::Mirror;
use super::pool::Pool;
use super::rate_limit::{Concurrent, RateLimits};
use super::redirect::Redirect;
use super::request_id::RequestId;
use super::respond::Respond;
use super::retry::Retry;
use super::rewrite::{Rewrite, RewriteCookies, RewriteLocation};
use super::timeouts::Timeouts;
use super::upstream::Upstream;
use crate::config::values::byte_size::ByteSize;
use crate::config::values::host::HostHeader;
use crate::config::values::or_off::OrOff;
use crate::config::values::segment::Segment;
use crate::config::values::upgrade_protocol::UpgradeProtocol;
use crate::path;

/// A rule that matches requests, with their action: exactly one of `upstream`, `respond` and `redirect`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["upstream"] }, { "required": ["respond"] }, { "required": ["redirect"] }
]))]
pub(crate) struct Route {
    /// The name in logs, metrics and the admin listener, by which a reload recognises the route. Default: its match and
    /// listeners in short, and a number if several routes are the same in that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Names of the listeners that the route applies to. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) listeners: Option<Vec<String>>,
    /// Conditions on requests. Of several routes that match, the most specific one applies. Default: all requests.
    #[serde(default, rename = "match")]
    pub(crate) matches: Match,
    /// Forwards the request: to an upstream written here, to one of `upstreams` by its name, or to several of them by weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) upstream: Option<UpstreamChoice>,
    /// Sends this response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) respond: Option<Respond>,
    /// Sends a redirect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redirect: Option<Redirect>,
    /// Changes the path before it is forwarded. Default: it is forwarded as it was matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rewrite: Option<Rewrite>,
    /// Rules for paths that an upstream could read differently.
    #[serde(default)]
    pub(crate) paths: Paths,
    /// The Host sent to the upstream: `upstream` for the endpoint's own, `preserve` for the client's, or a literal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<HostHeader>,
    /// Turns a `Location` that names the upstream itself into one that the client can use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rewrite_location: Option<RewriteLocation>,
    /// Does the same with `Domain` and `Path` of the cookies that the upstream sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rewrite_cookies: Option<RewriteCookies>,
    /// Translates gRPC-Web, which browsers speak, to gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grpc_web: Option<GrpcWeb>,
    /// Connections to the upstream. A route without a `pool` of its own shares the pool of the upstream that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<Pool>,
    /// Time limits of the upstream.
    #[serde(default)]
    pub(crate) timeouts: Timeouts,
    /// The failures to retry, and how often.
    #[serde(default)]
    pub(crate) retry: Retry,
    /// A second attempt at another endpoint while the first one is slow. Default: `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hedge: Option<OrOff<Hedge>>,
    /// Copies requests to another upstream; `off` copies none, even if `defaults` do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mirror: Option<OrOff<Mirror>>,
    /// The protocols that a client may upgrade to (RFC 9110 §7.8), over HTTP/2 by extended CONNECT (RFC 8441); `[]` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) upgrade: Option<Vec<UpgradeProtocol>>,
    /// Networks whose clients the route serves; 403 for others. The client is the one that trusted proxies name. Of the networks of `allow`
    /// and `deny` that an address is in, the smallest decides. `off` against a default. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allow: Option<OrOff<Networks>>,
    /// Networks whose clients the route refuses with 403. `off` against a default. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deny: Option<OrOff<Networks>>,
    /// The pages of other origins that may use the route. `off` against a default: then CORS is left to the upstream. Default: `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cors: Option<OrOff<Cors>>,
    /// The ways by which the route knows its callers: names under `auth`, of which one is enough (`[partners, staff]`), or all of which are
    /// needed (`{ all: [partners, staff] }`). Others get 401. `off` against a default. Default: `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth: Option<OrOff<AuthUse>>,
    /// The claims that a known caller must have; 403 otherwise. `off` against a default. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) require: Option<OrOff<Require>>,
    /// Limits the rate of requests; 429 over it. `off` against a default. Default: `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate_limit: Option<OrOff<RateLimits>>,
    /// Limits the requests in progress; 429 over it. `off` against a default. Default: `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) concurrent: Option<OrOff<Concurrent>>,
    /// Gives each request an identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<RequestId>,
    /// Limits on what a client may send.
    #[serde(default)]
    pub(crate) limits: RouteLimits,
    /// Changes to the headers of requests and responses.
    #[serde(default)]
    pub(crate) headers: Headers,
    /// Filters that requests go through, in this order, and their responses in the reverse one; at most 16. Each is the
    /// name of one of `filters`, `{ use: NAME, config: … }` with a configuration of its own, or a filter written here,
    /// which takes its name from its file: `shout` for `plugins/shout.wasm`. Replaces the list of `defaults`; `[]` for
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub(crate) filters: Option<Vec<FilterUse>>,
}

impl Route {
    /// Returns the name in logs, metrics and the admin listener: the one written, or the match in short, as in
    /// `GET,POST api.example.com/users/{id} ?page x-version: on web,api`.
    pub(crate) fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.in_short(&|_, value| value))
    }

    /// Returns the match and the listeners in short. `shown` returns the text for a value and its path in the route.
    pub(crate) fn in_short(&self, shown: &dyn Fn(&[Segment], String) -> String) -> String {
        let matches = self.matches_in_short(shown);
        let Some(listeners) = &self.listeners else { return matches };
        let listeners = listeners.iter().enumerate();
        let names: Vec<String> =
            listeners.map(|(index, name)| shown(&path!["listeners", index], name.clone())).collect();
        format!("{matches} on {}", names.join(","))
    }

    /// Returns the match alone in short.
    pub(crate) fn matches_in_short(&self, shown: &dyn Fn(&[Segment], String) -> String) -> String {
        self.matches.in_short(shown)
    }
}

/// Settings that routes inherit. Each key is as in a route, and a route's own wins.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Defaults {
    /// Rules for paths that an upstream could read differently.
    #[serde(default)]
    pub(crate) paths: Paths,
    /// The Host sent to the upstream: `upstream` for the endpoint's own, `preserve` for the client's, or a literal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<HostHeader>,
    /// Turns a `Location` that names the upstream itself into one that the client can use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rewrite_location: Option<RewriteLocation>,
    /// Does the same with `Domain` and `Path` of the cookies that the upstream sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rewrite_cookies: Option<RewriteCookies>,
    /// Translates gRPC-Web, which browsers speak, to gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grpc_web: Option<GrpcWeb>,
    /// Connections to the upstream. A route without a `pool` of its own shares the pool of the upstream that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<Pool>,
    /// Time limits of the upstream.
    #[serde(default)]
    pub(crate) timeouts: Timeouts,
    /// The failures to retry, and how often.
    #[serde(default)]
    pub(crate) retry: Retry,
    /// A second attempt at another endpoint while the first one is slow. Default: `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hedge: Option<OrOff<Hedge>>,
    /// Copies requests to another upstream. A route's own key replaces this one, `off` included. Default: `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mirror: Option<OrOff<Mirror>>,
    /// The protocols that a client may upgrade to (RFC 9110 §7.8), over HTTP/2 by extended CONNECT (RFC 8441); `[]` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) upgrade: Option<Vec<UpgradeProtocol>>,
    /// Networks whose clients routes serve; 403 for others. The client is the one that trusted proxies name. Of the networks of `allow`
    /// and `deny` that an address is in, the smallest decides. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allow: Option<OrOff<Networks>>,
    /// Networks whose clients routes refuse with 403. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deny: Option<OrOff<Networks>>,
    /// The pages of other origins that may use routes. Default: `off`, which leaves CORS to the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cors: Option<OrOff<Cors>>,
    /// The ways by which routes know their callers: names under `auth`, of which one is enough (`[partners, staff]`), or all of which are
    /// needed (`{ all: [partners, staff] }`). Others get 401. Default: `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth: Option<OrOff<AuthUse>>,
    /// The claims that a known caller must have; 403 otherwise. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) require: Option<OrOff<Require>>,
    /// Limits the rate of requests of each route; 429 over it. Routes count apart. Default: `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate_limit: Option<OrOff<RateLimits>>,
    /// Limits the requests in progress of each route; 429 over it. Routes count apart. Default: `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) concurrent: Option<OrOff<Concurrent>>,
    /// Gives each request an identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<RequestId>,
    /// Limits on what a client may send.
    #[serde(default)]
    pub(crate) limits: RouteLimits,
    /// Changes to the headers of requests and responses.
    #[serde(default)]
    pub(crate) headers: Headers,
    /// Filters that requests go through, in this order, and their responses in the reverse one; at most 16. Each is the
    /// name of one of `filters`, `{ use: NAME, config: … }` with a configuration of its own, or a filter written here,
    /// which takes its name from its file: `shout` for `plugins/shout.wasm`. A route's own list replaces this one.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub(crate) filters: Option<Vec<FilterUse>>,
}

/// Paths that an upstream could read differently from the routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Paths {
    /// The treatment of a request with `%2F` in its path. `reject`: 400, because many upstreams take it for a slash,
    /// and then serve what another route is for. `keep`: it is part of its segment, for the routes and for the
    /// upstream, as RabbitMQ, npm and GitLab need it. Default: `reject`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encoded_slash: Option<EncodedSlash>,
}

/// The treatment of `%2F` in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EncodedSlash {
    /// The request is rejected with 400.
    #[default]
    Reject,
    /// It stays as it is, part of its segment.
    Keep,
}

/// The upstream of a route.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum UpstreamChoice {
    /// The name of one of `upstreams`.
    Named(String),
    /// An upstream written here.
    Inline(Box<Upstream>),
    /// Several of `upstreams`, of which each request goes to one, by weight.
    Split(#[schemars(length(min = 1))] Vec<WeightedUpstream>),
}

/// An upstream's share of a route.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WeightedUpstream {
    /// The name of one of `upstreams`.
    pub(crate) to: String,
    /// Its share of the requests, relative to the other weights. 0 sends it no requests, except for those that a `sticky` cookie
    /// holds there: it drains.
    pub(crate) weight: u32,
}

impl UpstreamChoice {
    /// Returns the names under `upstreams` that it uses, in the order of the file.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let (one, several) = match self {
            Self::Named(name) => (Some(name), &[][..]),
            Self::Inline(_) => (None, &[][..]),
            Self::Split(several) => (None, &several[..]),
        };
        one.into_iter().chain(several.iter().map(|one| &one.to)).map(String::as_str)
    }
}

/// Limits of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RouteLimits {
    /// Bytes of a request's body; 413 over it. Default: the limit of the listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<OrOff<ByteSize>>,
}
