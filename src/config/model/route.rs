//! `routes`: rules that match requests, each with its action.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::filter::FilterUse;
use super::pool::Pool;
use super::timeouts::{Retry, Timeouts};
use super::upstream::Upstream;
use crate::config::values::byte_size::ByteSize;
use crate::config::values::duration::Duration;
use crate::config::values::header::{HeaderMatch, HeaderName, HeaderValues, QueryMatch};
use crate::config::values::host::{HostHeader, HostPattern};
use crate::config::values::method::Method;
use crate::config::values::network::{Scheme, ServerName};
use crate::config::values::or_off::OrOff;
use crate::config::values::path::{PathTemplate, RoutePath};
use crate::config::values::redirect_target::RedirectTarget;
use crate::config::values::segment::Segment;
use crate::config::values::status;
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
    /// Forwards the request: to an upstream written here, or to one of `upstreams` by its name.
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
    /// Connections to the upstream. A route without a `pool` of its own shares the pool of the upstream that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<Pool>,
    /// Time limits of the upstream.
    #[serde(default)]
    pub(crate) timeouts: Timeouts,
    /// The failures to retry, and how often.
    #[serde(default)]
    pub(crate) retry: Retry,
    /// The protocols that a client may upgrade to (RFC 9110 §7.8); `[]` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) upgrade: Option<Vec<UpgradeProtocol>>,
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
        let matches = self.matches.in_short(shown);
        let Some(listeners) = &self.listeners else { return matches };
        let listeners = listeners.iter().enumerate();
        let names: Vec<String> =
            listeners.map(|(index, name)| shown(&path!["listeners", index], name.clone())).collect();
        format!("{matches} on {}", names.join(","))
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
    /// Connections to the upstream. A route without a `pool` of its own shares the pool of the upstream that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<Pool>,
    /// Time limits of the upstream.
    #[serde(default)]
    pub(crate) timeouts: Timeouts,
    /// The failures to retry, and how often.
    #[serde(default)]
    pub(crate) retry: Retry,
    /// The protocols that a client may upgrade to (RFC 9110 §7.8); `[]` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) upgrade: Option<Vec<UpgradeProtocol>>,
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

/// The treatment of `Location` in responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RewriteLocation {
    /// A location that names the upstream's own scheme, host and port, or a path below its base path and `add_prefix`,
    /// becomes the client's URL for the same resource. With `host: preserve`, one that names the client's host keeps
    /// scheme and host, and only its path changes. Locations of other sites and relative ones stay.
    #[default]
    Auto,
    /// It stays as it is.
    Off,
}

/// The treatment of `Set-Cookie` in responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RewriteCookies {
    /// A `Domain` that is the upstream's and not the client's is removed, which limits the cookie to the host that the
    /// client requested. A `Path` below the base path and `add_prefix` becomes the client's path.
    Auto,
    /// They stay as they are.
    #[default]
    Off,
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

/// A rule for requests, all of whose conditions must hold. At most one of `path`, `prefix` and `template`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("allOf" = [
    { "not": { "required": ["path", "prefix"] } },
    { "not": { "required": ["path", "template"] } },
    { "not": { "required": ["prefix", "template"] } }
]))]
pub(crate) struct Match {
    /// Exactly this path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<RoutePath>,
    /// This path and all below it, at segment borders: `/api` matches `/api` and `/api/x`, not `/apix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prefix: Option<RoutePath>,
    /// Paths of this form; `{id}` is any one segment: `/users/{id}/orders/{order}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) template: Option<PathTemplate>,
    /// This host, or with `*.example.com` every name below it. Case and port do not matter. Default: any
    /// host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<HostPattern>,
    /// One of these methods. Default: any method.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) methods: Option<Vec<Method>>,
    /// These headers: each name with its required value, or `present` for any value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    pub(crate) headers: BTreeMap<HeaderName, HeaderMatch>,
    /// These query parameters: each name with its required value, or `present` for any value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "minLength": 1 }))]
    pub(crate) query: BTreeMap<String, QueryMatch>,
}

/// The path of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathMatch<'a> {
    /// Any path.
    Any,
    /// Exactly this path.
    Exact(&'a RoutePath),
    /// This path and all below it.
    Prefix(&'a RoutePath),
    /// Paths of this form.
    Template(&'a PathTemplate),
}

impl Match {
    /// Returns the condition on the path.
    pub(crate) fn path_match(&self) -> PathMatch<'_> {
        match (&self.path, &self.prefix, &self.template) {
            (Some(path), ..) => PathMatch::Exact(path),
            (_, Some(prefix), _) => PathMatch::Prefix(prefix),
            (.., Some(template)) => PathMatch::Template(template),
            (None, None, None) => PathMatch::Any,
        }
    }

    /// Returns methods, host and path, where a prefix ends in `/*`, and the names of query parameters and headers. It
    /// leaves out their values, which may be secret.
    fn in_short(&self, shown: &dyn Fn(&[Segment], String) -> String) -> String {
        let methods = self.methods.iter().flatten().enumerate();
        let methods: Vec<String> = methods
            .map(|(index, method)| shown(&path!["match", "methods", index], method.to_string()))
            .collect();
        let shown = |key: &str, value: String| shown(&path!["match", key], value);
        let mut short = methods.join(",");
        if !methods.is_empty() {
            short.push(' ');
        }
        short.extend(self.host.as_ref().map(|host| shown("host", host.to_string())));
        match self.path_match() {
            PathMatch::Any => short.push_str("/*"),
            PathMatch::Exact(path) => short.push_str(&shown("path", path.to_string())),
            PathMatch::Prefix(prefix) => {
                short.extend([shown("prefix", prefix.to_string()).trim_end_matches('/'), "/*"]);
            }
            PathMatch::Template(template) => short.push_str(&shown("template", template.to_string())),
        }
        self.query.keys().for_each(|name| short.extend([" ?", name]));
        self.headers.keys().for_each(|name| short.extend([" ", &name.to_string(), ":"]));
        short
    }
}

/// The upstream of a route.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum UpstreamChoice {
    /// The name of one of `upstreams`.
    Named(String),
    /// An upstream written here.
    Inline(Box<Upstream>),
}

/// A fixed response.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Respond {
    /// Status code, 200 to 599.
    #[serde(with = "status")]
    #[schemars(with = "u16", range(min = 200, max = 599))]
    pub(crate) status: StatusCode,
    /// Header fields, each with a value or a list of values, which makes one line per value. The length is set from the
    /// body.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    pub(crate) headers: BTreeMap<HeaderName, HeaderValues>,
    /// The body.
    pub(crate) body: String,
    /// The time from the end of the request's header until the response, at most 60s. It simulates a slow upstream.
    /// A request body that arrives meanwhile is read and discarded. A client that disconnects ends the wait. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = Duration::pattern_to_a_minute()))]
    pub(crate) delay: Option<Duration>,
}

impl Respond {
    /// The longest delay: every delayed request holds a connection or a stream.
    pub(crate) const DELAY_MAX: Duration = Duration::from_secs(60);
}

impl Default for Respond {
    fn default() -> Self {
        Self { status: StatusCode::OK, headers: BTreeMap::new(), body: String::new(), delay: None }
    }
}

/// A redirect: to the target in `to`, or to the same path and query with another scheme, host or port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "anyOf" = [{ "required": ["to"] }, { "required": ["scheme"] }, { "required": ["host"] }, { "required": ["port"] }],
    "allOf" = [
        { "not": { "required": ["to", "scheme"] }, "$comment": INSTEAD_OF_TO },
        { "not": { "required": ["to", "host"] }, "$comment": INSTEAD_OF_TO },
        { "not": { "required": ["to", "port"] }, "$comment": INSTEAD_OF_TO }
    ]
))]
pub(crate) struct Redirect {
    /// The target: an absolute URL, or a path on the same host. It is sent as the `location` field (RFC 9110 §10.2.2).
    /// The request's query is not carried over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<RedirectTarget>,
    /// The scheme to go to; host, path and query stay, and the port is the scheme's unless `port` is written. Default: the
    /// scheme that the client used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scheme: Option<Scheme>,
    /// The host to go to; path and query stay. Default: the host that the client requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<ServerName>,
    /// The port to go to. Default: with `scheme`, the port of the scheme; without, the port that the client used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<NonZeroU16>,
    /// Status code. 307 and 308 keep method and body, 303 turns every request into a GET, and 301 and 302 turn a POST
    /// into one. Clients remember 301 and 308.
    #[serde(default = "Redirect::status_built_in", with = "status")]
    #[schemars(with = "u16", extend("enum" = [301, 302, 303, 307, 308]))]
    pub(crate) status: StatusCode,
}

const INSTEAD_OF_TO: &str = "write it into the URL of `to`, or take `to` out: path and query stay then";

/// The form of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RedirectForm<'a> {
    /// A redirect to a target in the configuration.
    To(&'a RedirectTarget),
    /// A redirect to the same path and query, with these in place of the client's.
    Elsewhere {
        /// The scheme.
        scheme: Option<Scheme>,
        /// The host.
        host: Option<&'a ServerName>,
        /// The port.
        port: Option<NonZeroU16>,
    },
}

impl Redirect {
    /// Returns the form that is written.
    pub(crate) fn form(&self) -> RedirectForm<'_> {
        match &self.to {
            Some(to) => RedirectForm::To(to),
            None => {
                RedirectForm::Elsewhere { scheme: self.scheme, host: self.host.as_ref(), port: self.port }
            }
        }
    }

    /// Returns the target, or what replaces the client's: `scheme https, port 8443`. `shown` returns the text for a
    /// value and its path in the redirect.
    pub(crate) fn in_short(&self, shown: &dyn Fn(&[Segment], String) -> String) -> String {
        let shown = |key: &str, value: String| shown(&path![key], value);
        match self.form() {
            RedirectForm::To(to) => shown("to", to.to_string()),
            RedirectForm::Elsewhere { scheme, host, port } => {
                let scheme = scheme.map(|scheme| ("scheme", scheme.as_str().to_owned()));
                let host = host.map(|host| ("host", host.to_string()));
                let port = port.map(|port| ("port", port.to_string()));
                let parts = [scheme, host, port].into_iter().flatten();
                let parts: Vec<String> =
                    parts.map(|(key, value)| format!("{key} {}", shown(key, value))).collect();
                parts.join(", ")
            }
        }
    }

    fn status_built_in() -> StatusCode {
        StatusCode::PERMANENT_REDIRECT
    }
}

/// The path of the forwarded request: `path`, `template`, or `strip_prefix` and `add_prefix`, alone or together. The
/// query stays. The path in the URL of an endpoint precedes the result.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "anyOf" = [
        { "required": ["path"] }, { "required": ["strip_prefix"] }, { "required": ["add_prefix"] },
        { "required": ["template"] }
    ],
    "allOf" = [
        { "not": { "required": ["path", "strip_prefix"] } },
        { "not": { "required": ["path", "template"] } },
        { "not": { "required": ["strip_prefix", "template"] } },
        { "not": { "required": ["path", "add_prefix"] }, "$comment": "write the whole path under `path`, prefix included" },
        { "not": { "required": ["template", "add_prefix"] }, "$comment": "begin `template` with the prefix" }
    ]
))]
pub(crate) struct Rewrite {
    /// A fixed path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<RoutePath>,
    /// The beginning to remove from the path; `/` if nothing is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strip_prefix: Option<RoutePath>,
    /// The beginning to put before the path. With `strip_prefix` it replaces the removed one: `/api` and `/api/x`
    /// become `/v2` and `/v2/x`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) add_prefix: Option<RoutePath>,
    /// A path with parameters of the route's `match.template`: `/v2/users/{id}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) template: Option<PathTemplate>,
}

/// The form of a rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RewriteForm<'a> {
    /// A fixed path.
    Path(&'a RoutePath),
    /// The path with one beginning removed and another one added.
    Prefix {
        /// The beginning to remove.
        strip: Option<&'a RoutePath>,
        /// The beginning to put before the rest.
        add: Option<&'a RoutePath>,
    },
    /// A path with parameters of the match.
    Template(&'a PathTemplate),
}

impl Rewrite {
    /// Returns the form that is written. A validated configuration has one.
    pub(crate) fn form(&self) -> Option<RewriteForm<'_>> {
        let path = self.path.as_ref().map(RewriteForm::Path);
        let template = self.template.as_ref().map(RewriteForm::Template);
        let (strip, add) = (self.strip_prefix.as_ref(), self.add_prefix.as_ref());
        let has_prefix = strip.is_some() || add.is_some();
        path.or(template).or(has_prefix.then_some(RewriteForm::Prefix { strip, add }))
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

/// Changes to headers. A route's changes are applied on top of those of `defaults`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Headers {
    /// Changes to the request, before it is forwarded.
    pub(crate) request: HeaderEdits,
    /// Changes to the response, before it is sent back.
    pub(crate) response: HeaderEdits,
}

/// Changes to one message's header. First `remove`, then `set`, then `add`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HeaderEdits {
    /// Fields to set to this value and no other, or to a list of values: `set-cookie: [a=1, b=2]` makes two lines.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    pub(crate) set: BTreeMap<HeaderName, HeaderValues>,
    /// Fields to add to existing ones, each with a value or a list of values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    pub(crate) add: BTreeMap<HeaderName, HeaderValues>,
    /// Fields to remove.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) remove: Vec<HeaderName>,
}

impl HeaderEdits {
    /// Returns these edits on top of `lower`: for the same name, these win.
    pub(crate) fn over(&self, lower: &Self) -> Self {
        let mut edits = lower.clone();
        edits.remove.retain(|name| !self.set.contains_key(name) && !self.add.contains_key(name));
        edits.set.retain(|name, _| !self.remove.contains(name));
        edits.add.retain(|name, _| !self.remove.contains(name) && !self.set.contains_key(name));
        edits.remove.extend(self.remove.iter().filter(|name| !lower.remove.contains(name)).cloned());
        edits.set.extend(self.set.clone());
        edits.add.extend(self.add.clone());
        edits
    }
}
