//! `redirect` of a route.

use std::num::NonZeroU16;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::values::network::{Scheme, ServerName};
use crate::config::values::redirect_target::RedirectTarget;
use crate::config::values::segment::Segment;
use crate::config::values::status;
use crate::path;

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
    /// The request's query is not carried over. Behind the host it may have values of the request: `{id}` is a parameter of the route's
    /// `match.template`, the others are those of `headers`.
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
