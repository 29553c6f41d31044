//! A request on its way to an upstream.

use http::{HeaderValue, header};

use crate::config::{HostHeader, Scheme};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward::{self, WebSocketKey};
use crate::http::message::Request;
use crate::proxy::exchange::Exchange;
use crate::proxy::request_values;
use crate::snapshot::forwarding::UpstreamRoute;

/// The parts of an exchange's request that differ on its way to an upstream, except for those that depend on the endpoint.
pub(crate) struct Outgoing {
    /// Path and query, without the base path of an endpoint.
    pub(crate) target: String,
    pub(crate) headers: Fields,
    /// True if the `Host` is the endpoint's own, which the attempt sets.
    pub(crate) endpoint_host: bool,
    pub(crate) client_scheme: Scheme,
    /// The protocol that the request asks to switch to.
    pub(crate) upgrade: Option<HeaderValue>,
    /// The key of the handshake, if it is the gateway's own.
    pub(crate) websocket_key: Option<WebSocketKey>,
}

impl Outgoing {
    /// Turns the client's fields, which it takes out of the exchange, into those that the gateway sends.
    ///
    /// # Errors
    /// Fails for an extended CONNECT to a protocol that the route does not allow, and for a request without a value that its path gets.
    pub(crate) fn new(route: &UpstreamRoute, exchange: &mut Exchange<'_>) -> Result<Self, Error> {
        let upgrade = upgrade_of(&*exchange.request, route)?;
        // These need the fields.
        let target = route.target(&exchange.path, exchange.query(), exchange)?;
        request_values::resolve_edits(exchange);
        let mut headers = std::mem::take(&mut exchange.request.headers);
        let forwarding = &exchange.settings().forwarding;
        // This must come before the route changes the fields.
        let client_scheme = forwarding.client_scheme(&headers);
        forward::remove_hop_by_hop(&mut headers);
        forwarding.apply(&mut headers, exchange.authority());
        forward::via(&mut headers, exchange.request.version);
        exchange.route.stages.edit_outgoing(exchange.log.edits(), &mut headers);
        if let Some(protocol) = &upgrade {
            forward::set_upgrade(&mut headers, protocol.clone());
        }
        let websocket_key = match upgrade.as_ref().filter(|_| exchange.request.protocol.is_some()) {
            Some(protocol) if forward::is_websocket(protocol) => {
                let key = WebSocketKey::fresh().ok_or(Error::Internal)?;
                key.ask(&mut headers);
                Some(key)
            }
            _ => None,
        };
        Ok(Self { target, headers, endpoint_host: false, client_scheme, upgrade, websocket_key })
    }

    /// Sets the `Host` that the route specifies. `authority` is the client's.
    pub(crate) fn set_host(&mut self, route: &UpstreamRoute, authority: &str) -> Result<(), Error> {
        let host = match &route.host {
            HostHeader::Literal(host) => host.clone(),
            HostHeader::Preserve if !authority.is_empty() => {
                HeaderValue::from_str(authority).map_err(|_| Error::RequestHost("host.malformed"))?
            }
            // An HTTP/1.0 client may have sent no Host.
            HostHeader::Upstream | HostHeader::Preserve => {
                self.endpoint_host = true;
                return Ok(());
            }
        };
        self.headers.insert(header::HOST, host);
        Ok(())
    }
}

/// Returns the protocol that a request asks to switch to, if the route allows it.
fn upgrade_of(request: &Request, route: &UpstreamRoute) -> Result<Option<HeaderValue>, Error> {
    let Some(protocol) = &request.protocol else {
        return Ok(forward::upgrade_requested(&request.headers, request.version, &route.upgrade));
    };
    // On HTTP/1 such a request is served without an upgrade. Here every other response than a refusal would be one.
    let is_allowed = protocol.to_str().is_ok_and(|protocol| forward::is_allowed(protocol, &route.upgrade));
    if is_allowed { Ok(Some(HeaderValue::clone(protocol))) } else { Err(Error::RequestProtocol) }
}
