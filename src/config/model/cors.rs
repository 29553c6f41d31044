//! `cors` of a route: the pages of other origins that may use it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::duration::Duration;
use crate::config::values::header::HeaderName;
use crate::config::values::method::Method;
use crate::config::values::origin::OriginPattern;

/// Cross-origin resource sharing: which pages may read the responses. The gateway answers preflight requests, and removes the
/// `Access-Control-…` fields of the upstream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cors {
    /// The origins of the pages: `https://app.example.com`, `*.example.com` and `https://*.example.com` for all names below, `regex:PATTERN`
    /// for a whole origin, `null`, or `*` for any.
    #[schemars(length(min = 1))]
    pub(crate) origins: Vec<OriginPattern>,
    /// The methods that they may use besides those that need no preflight; `"*"` for any. Default: `[GET, HEAD, POST]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) methods: Option<Vec<Method>>,
    /// The fields that they may send besides those that need no preflight; `"*"` for any. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) headers: Vec<HeaderName>,
    /// The fields of responses that they may read besides the simple ones; `"*"` for all, without `credentials`. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) expose: Vec<HeaderName>,
    /// True if requests may bring cookies and other credentials. Default: false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) credentials: bool,
    /// The time for which a browser may remember the answer to a preflight request. Browsers have limits of their own: two hours in
    /// Chromium. Default: not sent, and browsers take 5 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_age: Option<Duration>,
    /// True if pages of public networks may use a gateway in a private one. Default: false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) private_network: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "for serde")]
fn is_false(value: &bool) -> bool {
    !value
}
