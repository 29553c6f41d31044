//! `health.active`: requests of the gateway's own, by which it knows of an endpoint that is down before a client does.

use std::num::{NonZeroU16, NonZeroU32};
use std::time;

use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::duration::Duration;
use crate::config::values::host::HostHeader;
use crate::config::values::method::Method;
use crate::config::values::request_target::RequestTarget;
use crate::config::values::status_range::StatusRange;

/// Probes of each endpoint at an interval. Exactly one of `path`, `tcp` and `grpc`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["path"] }, { "required": ["tcp"] }, { "required": ["grpc"] }]))]
pub(crate) struct ActiveHealth {
    /// Requests this path, with a query if there is one, in the protocol of the upstream. The path of an endpoint's URL does not
    /// precede it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<RequestTarget>,
    /// `true` opens a connection, of TCP or to a Unix socket, and closes it, after the TLS handshake with `https` endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tcp: Option<bool>,
    /// Asks for the health of this gRPC service (`grpc.health.v1.Health/Check`); `''` for the server as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grpc: Option<String>,
    /// The time from the end of a probe to the next one, give or take a sixth. The first one comes at once.
    pub(crate) interval: Duration,
    /// The limit of a probe, from the beginning of the connection to the end of the response.
    pub(crate) timeout: Duration,
    /// The failures in a row after which an endpoint gets no requests.
    pub(crate) unhealthy_after: NonZeroU32,
    /// The successes in a row after which it gets them again.
    pub(crate) healthy_after: NonZeroU32,
    /// The state of an endpoint until its first probe has ended.
    pub(crate) start: StartHealth,
    /// The port to probe. Default: the endpoint's own, or its Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<NonZeroU16>,
    /// The method of the request. Default: `GET`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<Method>,
    /// The Host that is sent. Default: the endpoint's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<HostHeader>,
    /// The statuses of a healthy endpoint: single ones, or ranges. Default: `[200-299]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) expect: Option<Vec<ExpectedStatus>>,
    /// A text that the response's body contains, in its first 64 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) body: Option<String>,
}

/// One status, or a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ExpectedStatus {
    /// One status.
    Status(#[schemars(range(min = 200, max = 599))] u16),
    /// All statuses from one to another.
    Range(StatusRange),
}

/// The state of an endpoint that no probe has judged yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StartHealth {
    /// It gets requests.
    #[default]
    Healthy,
    /// It gets none until a probe succeeds.
    Unhealthy,
}

/// Complete settings of active health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ActiveSettings {
    pub(crate) kind: ProbeKind,
    pub(crate) interval: time::Duration,
    pub(crate) timeout: time::Duration,
    /// Consecutive failures, at least 1.
    pub(crate) unhealthy_after: u32,
    /// Consecutive successes, at least 1.
    pub(crate) healthy_after: u32,
    pub(crate) starts_unhealthy: bool,
    pub(crate) port: Option<u16>,
}

/// The kind of a probe, with what only this kind needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProbeKind {
    Http(HttpProbe),
    Tcp,
    /// The name of a service.
    Grpc(String),
}

/// A request, and the responses to it that mean health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpProbe {
    pub(crate) method: http::Method,
    /// Path and query.
    pub(crate) target: String,
    /// `None` for the endpoint's own.
    pub(crate) host: Option<HeaderValue>,
    expect: Vec<ExpectedStatus>,
    pub(crate) body: Option<String>,
}

impl ActiveHealth {
    /// Returns the settings.
    pub(super) fn settings(&self) -> ActiveSettings {
        ActiveSettings {
            kind: self.kind(),
            interval: self.interval.into(),
            timeout: self.timeout.into(),
            unhealthy_after: self.unhealthy_after.get(),
            healthy_after: self.healthy_after.get(),
            starts_unhealthy: self.start == StartHealth::Unhealthy,
            port: self.port.map(NonZeroU16::get),
        }
    }

    fn kind(&self) -> ProbeKind {
        let Some(path) = &self.path else {
            return self.grpc.clone().map_or(ProbeKind::Tcp, ProbeKind::Grpc);
        };
        let host = match &self.host {
            Some(HostHeader::Literal(host)) => Some(host.clone()),
            _ => None,
        };
        ProbeKind::Http(HttpProbe {
            method: self.method.as_ref().map_or(http::Method::GET, |method| method.as_http().clone()),
            target: path.as_str().to_owned(),
            host,
            expect: self.expect.clone().unwrap_or_else(|| vec![ExpectedStatus::Range(StatusRange::SUCCESS)]),
            body: self.body.clone(),
        })
    }

    /// Returns the keys that only requests over HTTP use and that are present.
    pub(crate) fn http_keys(&self) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("method", self.method.is_some()),
            ("host", self.host.is_some()),
            ("expect", self.expect.is_some()),
            ("body", self.body.is_some()),
        ];
        keys.into_iter().filter(|(_, is_present)| *is_present).map(|(key, _)| key)
    }
}

impl HttpProbe {
    /// Returns true if a healthy endpoint may respond with this status.
    pub(crate) fn expects(&self, status: StatusCode) -> bool {
        self.expect.iter().any(|expected| match expected {
            ExpectedStatus::Status(code) => *code == status.as_u16(),
            ExpectedStatus::Range(range) => range.contains(status),
        })
    }
}

impl Default for ActiveHealth {
    fn default() -> Self {
        Self {
            path: None,
            tcp: None,
            grpc: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            unhealthy_after: crate::config::model::count(3),
            healthy_after: crate::config::model::count(2),
            start: StartHealth::default(),
            port: None,
            method: None,
            host: None,
            expect: None,
            body: None,
        }
    }
}
