//! The action of a route: respond, redirect, or forward to an upstream.

use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::forward;
use crate::http::forward::ClientOrigin;
use crate::net::timer::deadline;
use crate::proxy::client::ConnectionSettings;
use crate::proxy::exchange_log::ExchangeLog;
use crate::proxy::forward::forward_request;
use crate::proxy::incoming::Incoming;
use crate::proxy::outgoing::Outgoing;
use crate::proxy::reply::{Answer, Call};
use crate::router::Parameters;
use crate::snapshot::{Action, Route};

/// Performs the route's action.
pub(crate) async fn act(
    settings: &ConnectionSettings,
    route: &Route,
    parameters: &Parameters<'_, '_>,
    incoming: Incoming<'_>,
    call: &Call,
    log: &mut ExchangeLog,
) -> Result<Answer, Error> {
    match &route.action {
        Action::Respond(respond) => {
            if let Some(delay) = respond.delay() {
                crate::proxy::delay::pass(deadline(Some(delay)), incoming.body, &call.timer).await?;
            }
            Ok(respond.response().map(Body::full).into())
        }
        Action::Redirect(redirect) => {
            let Incoming { path, query, authority, headers, .. } = &incoming;
            let client = || ClientOrigin::new(settings.forwarding.client_scheme(headers), authority);
            Ok(redirect.response(parameters, path, *query, client)?.map(Body::full).into())
        }
        Action::Upstream(upstream) => {
            let Incoming { method, version, path, query, authority, headers, body } = incoming;
            let target = upstream.target(path, query, parameters);
            let upgrade = forward::upgrade_requested(&headers, version, &upstream.upgrade);
            // This must come before the route changes the fields.
            let client_scheme = settings.forwarding.client_scheme(&headers);
            let mut outgoing = Outgoing { method, target, headers, authority, client_scheme, path, upgrade };
            outgoing.rewrite_headers(&settings.forwarding, version, route);
            forward_request(upstream, call, &mut outgoing, body, log).await
        }
    }
}
