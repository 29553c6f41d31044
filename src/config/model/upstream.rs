//! `upstreams`: the servers that requests are forwarded to.

use std::num::NonZeroU32;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::balance::Balance;
use super::breaker::Breaker;
use super::health::Health;
use super::listener::CertificateFiles;
use super::pool::Pool;
use super::sticky::Sticky;
use super::timeouts::Timeouts;
use crate::config::values::dns::{Resolve, SrvName};
use crate::config::values::endpoint_url::EndpointUrl;
use crate::config::values::hash_key::HashKey;
use crate::config::values::max_concurrent::MaxConcurrent;
use crate::config::values::network::ServerName;
use crate::config::values::or_off::OrOff;

/// One or more endpoints that serve the same thing. Exactly one of `url`, `endpoints` and `srv`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["url"] }, { "required": ["endpoints"] }, { "required": ["srv"] },
]))]
pub(crate) struct Upstream {
    /// The only endpoint: scheme, host and port, as in `https://example.com` or `http://127.0.0.1:3000`. A path in it
    /// precedes the path of each request: with `http://app:3000/v2`, a request for `/users` goes to `/v2/users`. Or a Unix
    /// socket, which is plain and has no path: `unix:/run/app.sock`, `unix:@app` for an abstract one of Linux.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<EndpointUrl>,
    /// Several endpoints, each a URL or `{ url, weight }`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub(crate) endpoints: Vec<Endpoint>,
    /// The name of SRV records that state the endpoints: `_http._tcp.api.internal`. The scheme is `http`, and `https` if the service
    /// is `_https` or the name is written behind it: `https://_api._tcp.example.com`. A path has the meaning that it has in a `url`.
    /// `Host` and the server name of TLS are the name without the labels of service and protocol. Weights are those of the records;
    /// targets of a higher priority get requests only while none of a lower one is healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) srv: Option<SrvName>,
    /// The choice of an endpoint for a request.
    #[serde(default)]
    pub(crate) balance: Balance,
    /// The part of a request that chooses the endpoint, with `balance: hash`: `header:NAME`, `cookie:NAME`, `query:NAME`,
    /// `client_ip` or `path`. Requests without it go to any endpoint, by weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hash_on: Option<HashKey>,
    /// Holds clients at their endpoint by a cookie, with any `balance` but `hash`. Default: no cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sticky: Option<Sticky>,
    /// Endpoints that fail get no requests for a while.
    #[serde(default)]
    pub(crate) health: Health,
    /// An upstream that fails most requests gets none for a while: they are answered with 503 at once. Default: off.
    #[serde(default)]
    pub(crate) breaker: OrOff<Breaker>,
    /// The time at which host names are resolved again: `auto` when their records expire (TTL), but after a second at the earliest and
    /// five minutes at the latest; an interval; `off` for never. Each address of a name is an endpoint, except for those that this
    /// machine has no route to. Addresses that disappear are drained.
    #[serde(default)]
    pub(crate) resolve: Resolve,
    /// TLS to `https` endpoints.
    #[serde(default)]
    pub(crate) tls: UpstreamTls,
    /// The HTTP version spoken to the endpoints.
    #[serde(default)]
    pub(crate) protocol: UpstreamProtocol,
    /// Requests at once to one endpoint, on all its connections together. A request over it goes to another endpoint, or waits as
    /// it would for a connection; 503 at the end of `pool.acquire_timeout`. With `auto` the limit follows the endpoint's response times: as
    /// many as it answers without becoming slow.
    #[serde(default)]
    pub(crate) max_concurrent: MaxConcurrent,
    /// The letter case of field names in HTTP/1: of requests to the upstream, and of its responses to clients. Recipients must
    /// not care (RFC 9110 §5.1); `preserve` is for those that do.
    #[serde(default)]
    pub(crate) header_case: HeaderCase,
    /// Connections, shared by the routes that name this upstream and set no `pool` of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<Pool>,
    /// Timeouts of the routes to this upstream that set none of their own.
    #[serde(default)]
    pub(crate) timeouts: Timeouts,
}

impl Upstream {
    /// Returns all endpoints in the order of the file, whichever way they are written; at least one. The name of SRV records is one.
    pub(crate) fn all_endpoints(&self) -> impl Iterator<Item = (&EndpointUrl, NonZeroU32)> {
        let url = self.url.iter().chain(self.srv.iter().map(SrvName::url));
        let url = url.map(|url| (url, NonZeroU32::MIN));
        url.chain(self.endpoints.iter().map(|endpoint| (&endpoint.url, endpoint.weight)))
    }
}

/// One server: its URL alone, or with its weight.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "EndpointForm")]
pub(crate) struct Endpoint {
    /// The server's URL.
    pub(crate) url: EndpointUrl,
    /// Its share of the requests, relative to the other endpoints' weights. Each address of a host name has this
    /// weight.
    pub(crate) weight: NonZeroU32,
}

impl JsonSchema for Endpoint {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        EndpointForm::json_schema(generator)
    }
}

/// The two ways to write an endpoint.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum EndpointForm {
    /// Only the URL; the weight is 1.
    Url(EndpointUrl),
    /// The URL and its weight.
    Weighted(WeightedEndpoint),
}

/// One server and its weight.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WeightedEndpoint {
    /// Scheme, host and port, or a Unix socket.
    url: EndpointUrl,
    /// Its share of the requests, relative to the other endpoints' weights. Each address of a host name has this
    /// weight.
    #[serde(default = "WeightedEndpoint::weight_built_in")]
    weight: NonZeroU32,
}

impl WeightedEndpoint {
    fn weight_built_in() -> NonZeroU32 {
        NonZeroU32::MIN
    }
}

impl From<EndpointForm> for Endpoint {
    fn from(form: EndpointForm) -> Self {
        match form {
            EndpointForm::Url(url) => Self { url, weight: NonZeroU32::MIN },
            EndpointForm::Weighted(WeightedEndpoint { url, weight }) => Self { url, weight },
        }
    }
}

/// TLS to an upstream; only for `https` endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UpstreamTls {
    /// The server name for the handshake (SNI) and for the check of the certificate. Default: the host of the
    /// endpoint's URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sni: Option<ServerName>,
    /// File with the certificates to trust, PEM, instead of the system's authorities: those of authorities, and those
    /// that upstreams present themselves, such as self-signed ones. Relative to the folder of the configuration file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// The certificate to present if the upstream requests one. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<CertificateFiles>,
    /// Checks the upstream's certificate. `false` accepts any, even a broken one, and lets any server pose as the
    /// upstream: for experiments only. To trust a self-signed certificate, name it under `ca`.
    pub(crate) verify: bool,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self { sni: None, ca: None, client: None, verify: true }
    }
}

/// The HTTP versions that are spoken to an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UpstreamProtocol {
    /// HTTP/1.1 (RFC 9112): a connection for each request at a time.
    #[default]
    H1,
    /// HTTP/2 where an `https` endpoint chooses it (ALPN), else HTTP/1.1. An `http` endpoint and a Unix socket get HTTP/1.1.
    Auto,
    /// HTTP/2 (RFC 9113), also to `http` endpoints and Unix sockets (prior knowledge): many requests share a connection. An endpoint that does not
    /// speak it counts as unreachable.
    H2,
}

/// The letter cases of field names in HTTP/1. HTTP/2 has only lower case (RFC 9113 §8.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HeaderCase {
    /// As in HTTP/2: `content-type`.
    #[default]
    Lower,
    /// As the sender wrote it. Names that the message did not have, and those of HTTP/2 and of trailers, begin each
    /// word with a capital: `X-Forwarded-For`, `ETag`.
    Preserve,
}
