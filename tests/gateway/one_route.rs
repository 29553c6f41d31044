//! Gateways with a single route for every path: to an origin, or to an answer of its own.

use support::{Gateway, GatewayBuilder, Origin};

use crate::PROGRAM;

/// A gateway with listener `web` and route `all` to `origin`, which has these further keys, as `, host: preserve`.
pub(crate) fn builder(origin: &Origin, route_keys: &str) -> GatewayBuilder {
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
routes: [{{ name: all, upstream: {{ url: '{}' }}{route_keys} }}]",
        origin.url()
    );
    Gateway::builder(PROGRAM, config)
}

/// A gateway that forwards everything to `origin`.
pub(crate) async fn forwarding_to(origin: &Origin) -> Gateway {
    builder(origin, "").start().await
}

/// A gateway that forwards everything to `origin`, by a route with these further keys.
pub(crate) async fn forwarding_with(origin: &Origin, route_keys: &str) -> Gateway {
    builder(origin, route_keys).start().await
}
