//! A request on its way to an upstream.

use http::{HeaderValue, Method, Version, header};

use crate::config::Scheme;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward;
use crate::http::forward::Forwarding;
use crate::http::h1::output::OutgoingHead;
use crate::snapshot::{HostSent, Route, UpstreamRoute};
use crate::upstream::Endpoint;

/// A request on its way to an upstream, except for the parts that depend on the endpoint.
pub(crate) struct Outgoing<'a> {
    pub(crate) method: Method,
    /// Path and query, without the base path of an endpoint.
    pub(crate) target: String,
    pub(crate) headers: Fields,
    /// The client's Host.
    pub(crate) authority: &'a str,
    pub(crate) client_scheme: Scheme,
    /// The normalised path that the client requested.
    pub(crate) path: &'a str,
    pub(crate) upgrade: Option<HeaderValue>,
}

impl Outgoing<'_> {
    /// Turns the client's fields into those that the gateway sends.
    pub(crate) fn rewrite_headers(&mut self, forwarding: &Forwarding, version: Version, route: &Route) {
        let headers = &mut self.headers;
        forward::remove_hop_by_hop(headers);
        forwarding.apply(headers, self.authority);
        forward::via(headers, version);
        route.request_headers.apply_to_request(headers);
        if let Some(protocol) = &self.upgrade {
            forward::set_upgrade(headers, protocol.clone());
        }
    }

    pub(crate) fn head<'h>(&'h self, target: &'h str, route: &UpstreamRoute) -> OutgoingHead<'h> {
        OutgoingHead {
            method: &self.method,
            target,
            headers: &self.headers,
            connection: self.connection_option(route.keep_alive),
            case: route.header_case,
        }
    }

    /// Returns the `Connection` field, which concerns this hop alone. An upgrade has its own among the fields already.
    fn connection_option(&self, keep_alive: bool) -> Option<&'static str> {
        // A sender of TE must list it in Connection (RFC 9110 §10.1.4). Only `trailers` is left of TE here.
        match (keep_alive, self.headers.contains_key(header::TE)) {
            _ if self.upgrade.is_some() => None,
            (true, false) => None,
            (true, true) => Some("te"),
            (false, false) => Some("close"),
            (false, true) => Some("close, te"),
        }
    }

    pub(crate) fn set_host(&mut self, route: &UpstreamRoute, endpoint: &Endpoint) -> Result<(), Error> {
        let host = match &route.host {
            HostSent::Literal(host) => host.clone(),
            HostSent::Preserve if !self.authority.is_empty() => {
                HeaderValue::from_str(self.authority).map_err(|_| Error::RequestHost("host.malformed"))?
            }
            // An HTTP/1.0 client may have sent no Host.
            HostSent::Upstream | HostSent::Preserve => endpoint.host().clone(),
        };
        self.headers.insert(header::HOST, host);
        Ok(())
    }
}
