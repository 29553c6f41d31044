//! The values of an exchange's request for texts of the configuration.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderValue;

use crate::http::fields::Fields;
use crate::http::forward::parse_authority;
use crate::policy::{Identity, RequestValues};
use crate::proxy::exchange::Exchange;
use crate::router::Parameters;
use crate::snapshot::Route;

impl RequestValues for Exchange<'_> {
    fn parameters(&self) -> Parameters<'_, '_> {
        Exchange::parameters(self)
    }

    fn query(&self) -> Option<&str> {
        Exchange::query(self)
    }

    fn headers(&self) -> &Fields {
        &self.request.headers
    }

    fn host(&self) -> &str {
        parse_authority(self.authority()).map_or("", |authority| authority.host)
    }

    fn client_ip(&self) -> Option<IpAddr> {
        Exchange::client_ip(self)
    }

    fn identity(&self) -> Option<&Identity> {
        self.log.identity().map(|identity| &**identity)
    }

    fn request_id(&self) -> Option<&HeaderValue> {
        self.log.notes()?.request_id.as_ref()
    }
}

/// Takes the values of the request into the header edits of its route, and of the one that a filter chose. They are the same from
/// then on, although the request's fields are taken out of the exchange.
#[inline]
pub(super) fn resolve_edits(exchange: &mut Exchange<'_>) {
    for route in [exchange.found, exchange.route] {
        if route.stages.has_placeholders() {
            resolve_edits_of(route, exchange);
        }
    }
}

fn resolve_edits_of(route: &Arc<Route>, exchange: &mut Exchange<'_>) {
    let mut resolved = std::mem::take(&mut exchange.log.notes_mut().edits);
    resolved.add(&route.stages, exchange);
    exchange.log.notes_mut().edits = resolved;
}
