//! A request on its way to an upstream.

use http::{HeaderValue, Method, header};

use crate::config::{HostHeader, Scheme};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward;
use crate::http::h1::output::OutgoingHead;
use crate::proxy::exchange::Exchange;
use crate::proxy::stages;
use crate::snapshot::UpstreamRoute;
use crate::upstream::Endpoint;

/// The parts of an exchange's request that differ on its way to an upstream, except for those that depend on the endpoint.
pub(crate) struct Outgoing {
    /// Path and query, without the base path of an endpoint.
    pub(crate) target: String,
    pub(crate) headers: Fields,
    pub(crate) client_scheme: Scheme,
    pub(crate) upgrade: Option<HeaderValue>,
}

impl Outgoing {
    /// Turns the client's fields, which it takes out of the exchange, into those that the gateway sends.
    pub(crate) fn new(route: &UpstreamRoute, exchange: &mut Exchange<'_>) -> Self {
        let mut headers = std::mem::take(&mut exchange.headers);
        let forwarding = &exchange.settings().forwarding;
        let target = route.target(&exchange.path, exchange.query(), &exchange.parameters());
        let upgrade = forward::upgrade_requested(&headers, exchange.version, &route.upgrade);
        // This must come before the route changes the fields.
        let client_scheme = forwarding.client_scheme(&headers);
        forward::remove_hop_by_hop(&mut headers);
        forwarding.apply(&mut headers, exchange.authority());
        forward::via(&mut headers, exchange.version);
        stages::outgoing(exchange.route, &mut headers);
        if let Some(protocol) = &upgrade {
            forward::set_upgrade(&mut headers, protocol.clone());
        }
        Self { target, headers, client_scheme, upgrade }
    }

    pub(crate) fn head<'h>(
        &'h self,
        method: &'h Method,
        target: &'h str,
        route: &UpstreamRoute,
    ) -> OutgoingHead<'h> {
        OutgoingHead {
            method,
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

    /// Sets the Host for an endpoint. `authority` is the client's.
    pub(crate) fn set_host(
        &mut self,
        route: &UpstreamRoute,
        authority: &str,
        endpoint: &Endpoint,
    ) -> Result<(), Error> {
        let host = match &route.host {
            HostHeader::Literal(host) => host.clone(),
            HostHeader::Preserve if !authority.is_empty() => {
                HeaderValue::from_str(authority).map_err(|_| Error::RequestHost("host.malformed"))?
            }
            // An HTTP/1.0 client may have sent no Host.
            HostHeader::Upstream | HostHeader::Preserve => endpoint.host().clone(),
        };
        self.headers.insert(header::HOST, host);
        Ok(())
    }
}
