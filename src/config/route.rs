//! `routes`: which requests there are, and what answers them.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    filter::FilterUse,
    http_text::{
        HeaderName, HeaderValue, HostHeader, HostPattern, Method, RedirectTarget, UpgradeProtocol, ValueMatch,
    },
    path::{PathTemplate, RoutePath},
    pool::Pool,
    timeouts::{Retry, Timeouts},
    units::{ByteSize, OrOff},
    upstream::Upstream,
};

/// Which requests, and what answers them: exactly one of `upstream`, `respond` and `redirect`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["upstream"] }, { "required": ["respond"] }, { "required": ["redirect"] }
]))]
pub struct Route {
    /// Shows in logs, metrics and the admin listener. By it a reload knows the route again. Default: its match and
    /// listeners in short, and a number where several are the same in that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Names of the listeners that the route is for. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub listeners: Option<Vec<String>>,
    /// Which requests. Of several routes that match, the most specific answers. Default: all requests.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// Forwards the request: to an upstream written here, or to one of `upstreams` by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamChoice>,
    /// Answers with this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,
    /// Answers with a redirect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Changes the path before it is forwarded. Default: it is forwarded as it was matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// The Host that the upstream is sent: `upstream` for the endpoint's own, `preserve` for the client's, or
    /// a literal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostHeader>,
    /// Connections to the upstream. A route without any `pool` of its own shares the pool of the upstream
    /// that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
    /// How long the upstream may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// What is tried again.
    #[serde(default)]
    pub retry: Retry,
    /// The protocols that a client may upgrade to (RFC 9110 §7.8); `[]` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Vec<UpgradeProtocol>>,
    /// How much a client may send.
    #[serde(default)]
    pub limits: RouteLimits,
    /// Changes of headers, on the way up and on the way back.
    #[serde(default)]
    pub headers: Headers,
    /// What requests go through, in this order, and their responses in the reverse one; at most 16. Each is the name
    /// of one of `filters`, `{ use: NAME, config: … }` with a configuration of its own, or a filter written here,
    /// which is called as its file is: `shout` for `plugins/shout.wasm`.
    /// Replaces the list of `defaults`; `[]` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub filters: Option<Vec<FilterUse>>,
}

impl Route {
    /// The name in logs, metrics and the admin listener: the one written, or the match in short, as in
    /// `GET,POST api.example.com/users/{id} ?page x-version: on web,api`.
    pub fn name(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        match &self.listeners {
            None => self.matches.to_string(),
            Some(listeners) => format!("{} on {}", self.matches, listeners.join(",")),
        }
    }
}

/// What routes inherit: each key is as in a route, and a route's own wins.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    /// The Host that the upstream is sent: `upstream` for the endpoint's own, `preserve` for the client's, or
    /// a literal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostHeader>,
    /// Connections to the upstream. A route without any `pool` of its own shares the pool of the upstream
    /// that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
    /// How long the upstream may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// What is tried again.
    #[serde(default)]
    pub retry: Retry,
    /// The protocols that a client may upgrade to (RFC 9110 §7.8); `[]` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Vec<UpgradeProtocol>>,
    /// How much a client may send.
    #[serde(default)]
    pub limits: RouteLimits,
    /// Changes of headers, on the way up and on the way back.
    #[serde(default)]
    pub headers: Headers,
    /// What requests go through, in this order, and their responses in the reverse one; at most 16. Each is the name
    /// of one of `filters`, `{ use: NAME, config: … }` with a configuration of its own, or a filter written here,
    /// which is called as its file is: `shout` for `plugins/shout.wasm`.
    /// A route's own list replaces this one. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub filters: Option<Vec<FilterUse>>,
}

/// Which requests: all that is written here must hold. At most one of `path`, `prefix` and `template`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("allOf" = [
    { "not": { "required": ["path", "prefix"] } },
    { "not": { "required": ["path", "template"] } },
    { "not": { "required": ["prefix", "template"] } }
]))]
pub struct Match {
    /// Exactly this path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<RoutePath>,
    /// This path and all below it, at segment borders: `/api` is `/api` and `/api/x`, not `/apix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<RoutePath>,
    /// Paths of this form; `{id}` is any one segment: `/users/{id}/orders/{order}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<PathTemplate>,
    /// This host, or with `*.example.com` every name below it. Case and port do not matter. Default: any
    /// host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostPattern>,
    /// One of these methods. Default: any method.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub methods: Option<Vec<Method>>,
    /// These headers: each name with the value it must have, or `present` for any value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    pub headers: BTreeMap<HeaderName, ValueMatch>,
    /// These query parameters: each name with the value it must have, or `present` for any value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, ValueMatch>,
}

/// The path of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathMatch<'a> {
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
    /// What the path must be.
    pub fn path_match(&self) -> PathMatch<'_> {
        match (&self.path, &self.prefix, &self.template) {
            (Some(path), ..) => PathMatch::Exact(path),
            (_, Some(prefix), _) => PathMatch::Prefix(prefix),
            (.., Some(template)) => PathMatch::Template(template),
            (None, None, None) => PathMatch::Any,
        }
    }
}

/// The match in short: methods, host and path, where a prefix ends in `/*`, and the names of query parameters and
/// headers. Their values may be secret.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(methods) = &self.methods {
            let methods: Vec<String> = methods.iter().map(Method::to_string).collect();
            write!(f, "{} ", methods.join(","))?;
        }
        if let Some(host) = &self.host {
            host.fmt(f)?;
        }
        match self.path_match() {
            PathMatch::Any => f.write_str("/*")?,
            PathMatch::Exact(path) => path.fmt(f)?,
            PathMatch::Prefix(prefix) => write!(f, "{}/*", prefix.as_str().trim_end_matches('/'))?,
            PathMatch::Template(template) => template.fmt(f)?,
        }
        self.query.keys().try_for_each(|name| write!(f, " ?{name}"))?;
        self.headers.keys().try_for_each(|name| write!(f, " {name}:"))
    }
}

/// Where a route forwards to.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum UpstreamChoice {
    /// The name of one of `upstreams`.
    Named(String),
    /// One of its own.
    Inline(Box<Upstream>),
}

/// A fixed response.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Respond {
    /// Status code, 200 to 599.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// Header fields; the length is set from the body.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    pub headers: BTreeMap<HeaderName, HeaderValue>,
    /// The body.
    pub body: String,
}

impl Default for Respond {
    fn default() -> Self {
        Self { status: 200, headers: BTreeMap::new(), body: String::new() }
    }
}

/// A redirect.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Where to: an absolute URL, or a path on the same host. Sent as the `location` field (RFC 9110
    /// §10.2.2).
    pub to: RedirectTarget,
    /// Status code. 307 and 308 keep the method, 301 and 308 are remembered by clients.
    #[serde(default = "Redirect::status_built_in")]
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    pub status: u16,
}

impl Redirect {
    fn status_built_in() -> u16 {
        308
    }
}

/// The path that an upstream is asked for. Exactly one of `path`, `strip_prefix` and `template`. The query
/// stays.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["path"] }, { "required": ["strip_prefix"] }, { "required": ["template"] }
]))]
pub struct Rewrite {
    /// Always this path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<RoutePath>,
    /// The path without this beginning; `/` where nothing is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<RoutePath>,
    /// A path with parameters of the route's `match.template`: `/v2/users/{id}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<PathTemplate>,
}

/// The one form of a rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewriteForm<'a> {
    /// Always this path.
    Path(&'a RoutePath),
    /// The path without this beginning.
    StripPrefix(&'a RoutePath),
    /// A path with parameters of the match.
    Template(&'a PathTemplate),
}

impl Rewrite {
    /// The form that is written; in a validated configuration there is one.
    pub fn form(&self) -> Option<RewriteForm<'_>> {
        let path = self.path.as_ref().map(RewriteForm::Path);
        let strip_prefix = self.strip_prefix.as_ref().map(RewriteForm::StripPrefix);
        path.or(strip_prefix).or(self.template.as_ref().map(RewriteForm::Template))
    }
}

/// Limits of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteLimits {
    /// Bytes of a request's body; 413 over it. Default: the limit of the listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<OrOff<ByteSize>>,
}

/// Changes of headers. A route's changes come on top of those of `defaults`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Headers {
    /// Of the request, before it is forwarded.
    pub request: HeaderEdits,
    /// Of the response, before it is sent back.
    pub response: HeaderEdits,
}

/// Changes of one message's header. First `remove`, then `set`, then `add`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderEdits {
    /// Fields to have exactly once, with this value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    pub set: BTreeMap<HeaderName, HeaderValue>,
    /// Fields to add to those that are there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    pub add: BTreeMap<HeaderName, HeaderValue>,
    /// Fields to take out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<HeaderName>,
}

impl HeaderEdits {
    /// These edits on top of `lower`: for the same name, these win.
    pub(super) fn over(&self, lower: &Self) -> Self {
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
