//! `telemetry.traces`: the spans of requests, for a receiver of OTLP.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::CertificateFiles;
use crate::config::values::duration::Duration;
use crate::config::values::header::HeaderName;
use crate::config::values::otlp_url::OtlpUrl;
use crate::config::values::ratio::Ratio;
use crate::config::values::secret::Secret;

/// The spans of requests, for a receiver of OTLP such as the OpenTelemetry Collector. While traces are on, requests to upstreams carry
/// `traceparent` (W3C Trace Context); docs/traces.md has the spans.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Traces {
    /// The receiver: `http://HOST:PORT` or `https://HOST:PORT`. By `protocol: http`, spans go to `/v1/traces` if the URL has no path.
    pub(crate) otlp: OtlpUrl,
    /// The form of OTLP.
    #[serde(default)]
    pub(crate) protocol: OtlpProtocol,
    /// The share of traces that begin here and are recorded, from 0 to 1. For a request with the context of a trace, its caller has decided.
    #[serde(default = "sample_built_in")]
    pub(crate) sample: Ratio,
    /// The requests that fail: `sampled` records those that are recorded anyway, `always` all of them. Only the gateway's own spans are
    /// then there, since upstreams have been told that the trace is not recorded.
    #[serde(default)]
    pub(crate) errors: TraceErrors,
    /// The callers whose traces are continued, and who so decide what is recorded: `any`, `trusted` for those of `trusted_proxies`, or
    /// `none`. The requests of others begin traces.
    #[serde(default)]
    pub(crate) parents: TraceParents,
    /// The name of this gateway in the traces (`service.name`).
    #[serde(default = "service_built_in")]
    #[schemars(length(min = 1))]
    pub(crate) service: String,
    /// Further attributes of this gateway by name, such as `deployment.environment.name`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "minLength": 1 }))]
    pub(crate) resource: BTreeMap<String, String>,
    /// Fields for the receiver, such as `authorization`: each name with `file:PATH`, or a variable, `Bearer ${TOKEN}`. A file is read
    /// again when it changes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "header-name" }))]
    pub(crate) headers: BTreeMap<HeaderName, Secret>,
    /// TLS to the receiver; only for `https`.
    #[serde(default, skip_serializing_if = "OtlpTls::is_default")]
    pub(crate) tls: OtlpTls,
    /// The time that the receiver has for a request with spans.
    #[serde(default = "timeout_built_in")]
    #[schemars(extend("pattern" = Duration::pattern_to_a_minute()))]
    pub(crate) timeout: Duration,
}

/// The form of OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OtlpProtocol {
    /// gRPC, over HTTP/2.
    #[default]
    Grpc,
    /// Protocol Buffers over HTTP/1.1.
    Http,
}

/// The failed requests that are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TraceErrors {
    /// Those that are recorded anyway.
    #[default]
    Sampled,
    /// All.
    Always,
}

/// The callers whose traces are continued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TraceParents {
    /// Every caller.
    #[default]
    Any,
    /// Those of `trusted_proxies`.
    Trusted,
    /// No caller.
    None,
}

/// TLS to a receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OtlpTls {
    /// File with the certificates of authorities to trust, PEM, instead of the system's. Relative to the folder of the configuration file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// The certificate to present if the receiver requests one. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<CertificateFiles>,
}

impl Traces {
    /// The longest `timeout`.
    pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(60);
}

impl OtlpTls {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

const fn sample_built_in() -> Ratio {
    Ratio::ONE
}

fn service_built_in() -> String {
    "gateway".to_owned()
}

const fn timeout_built_in() -> Duration {
    Duration::from_secs(10)
}
