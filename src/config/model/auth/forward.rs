//! `forward`: another server decides.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::duration::Duration;
use crate::config::values::hash_key::HashKey;
use crate::config::values::header::HeaderName;
use crate::config::values::method::Method;
use crate::config::values::or_off::OrOff;
use crate::config::values::request_target::RequestTarget;

/// Asks a server about each request. A 2xx admits the request; any 3xx or 4xx is what the client gets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForwardAuth {
    /// The server, an upstream by its name under `upstreams`.
    pub(crate) to: String,
    /// The path that is requested there, with a query if there is one.
    pub(crate) path: RequestTarget,
    /// The method of the question, whatever that of the request is.
    #[serde(default = "method_built_in")]
    pub(crate) method: Method,
    /// The time limit of a question, from its beginning to the last byte of the answer.
    #[serde(default = "timeout_built_in")]
    pub(crate) timeout: Duration,
    /// The fields of the request that go along. The request's method, URL and client are always told, its body never.
    #[serde(default = "request_headers_built_in")]
    pub(crate) request_headers: Vec<HeaderName>,
    /// The fields of a 2xx that the request gets. What clients send in them is removed, also if the answer has none. Each is a claim of the
    /// caller, by its name in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) response_headers: Vec<HeaderName>,
    /// The fields of an answer that the client's response gets, such as `set-cookie`: of a 2xx none otherwise, of a 3xx or 4xx the usual ones
    /// and these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) client_headers: Vec<HeaderName>,
    /// The field of a 2xx that names the caller. Default: callers are admitted without a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<HeaderName>,
    /// The fate of a request if the server cannot be asked: it is not reached, is too slow, or responds with a 5xx.
    #[serde(default)]
    pub(crate) on_error: OnAuthError,
    /// The time for which answers are remembered. Default: each request is a question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache: Option<ForwardCache>,
}

/// The memory of answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForwardCache {
    /// The time for which a 2xx counts.
    pub(crate) ttl: Duration,
    /// The time for which a 401 or 403 counts.
    #[serde(default = "refusals_built_in")]
    pub(crate) refusals: OrOff<Duration>,
    /// The parts of a request for which an answer counts, besides its method and its host: `header:NAME`, `cookie:NAME`, `query:NAME`,
    /// `path`, `client_ip`. Each of the `request_headers` must be among them. Default: all that the server is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) key: Option<Vec<HashKey>>,
}

/// The fate of a request whose caller cannot be found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnAuthError {
    /// The client gets 503.
    #[default]
    Closed,
    /// The request passes without an identity, unless another way knows the caller.
    Open,
}

fn method_built_in() -> Method {
    Method::from(http::Method::GET)
}

const fn timeout_built_in() -> Duration {
    Duration::from_millis(500)
}

fn request_headers_built_in() -> Vec<HeaderName> {
    [http::header::COOKIE, http::header::AUTHORIZATION].map(HeaderName::from).into()
}

const fn refusals_built_in() -> OrOff<Duration> {
    OrOff::Off
}
