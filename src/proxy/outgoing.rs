//! A request on its way to an upstream.

use http::{HeaderValue, header};

use crate::config::{HostHeader, Scheme};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward;
use crate::proxy::exchange::Exchange;
use crate::snapshot::UpstreamRoute;

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
        let mut headers = std::mem::take(&mut exchange.request.headers);
        let forwarding = &exchange.settings().forwarding;
        let target = route.target(&exchange.path, exchange.query(), &exchange.parameters());
        let upgrade = forward::upgrade_requested(&headers, exchange.request.version, &route.upgrade);
        // This must come before the route changes the fields.
        let client_scheme = forwarding.client_scheme(&headers);
        forward::remove_hop_by_hop(&mut headers);
        forwarding.apply(&mut headers, exchange.authority());
        forward::via(&mut headers, exchange.request.version);
        exchange.route.stages.edit_outgoing(&mut headers);
        if let Some(protocol) = &upgrade {
            forward::set_upgrade(&mut headers, protocol.clone());
        }
        Self { target, headers, client_scheme, upgrade }
    }

    /// Sets the `Host` that the route specifies. `authority` is the client's. Returns true if the `Host` is the endpoint's
    /// own, which the attempt sets.
    pub(crate) fn set_host(&mut self, route: &UpstreamRoute, authority: &str) -> Result<bool, Error> {
        let host = match &route.host {
            HostHeader::Literal(host) => host.clone(),
            HostHeader::Preserve if !authority.is_empty() => {
                HeaderValue::from_str(authority).map_err(|_| Error::RequestHost("host.malformed"))?
            }
            // An HTTP/1.0 client may have sent no Host.
            HostHeader::Upstream | HostHeader::Preserve => return Ok(true),
        };
        self.headers.insert(header::HOST, host);
        Ok(false)
    }
}
