//! Replacing an upstream's own addresses in its responses.

use http::{Method, StatusCode, header};

use crate::config::HostHeader;
use crate::http::fields::Fields;
use crate::http::forward;
use crate::http::forward::ClientOrigin;
use crate::policy::Reverse;
use crate::proxy::exchange::Exchange;
use crate::proxy::outgoing::Outgoing;
use crate::snapshot::forwarding::UpstreamRoute;
use crate::upstream::{Endpoint, Received};

/// Returns true if a response may contain an address that must be rewritten or reported.
pub(crate) fn may_be_in(status: StatusCode, route: &UpstreamRoute, headers: &Fields) -> bool {
    let has_location = may_have_location(status) && headers.contains_key(header::LOCATION);
    has_location || (route.rewrite_cookies && headers.contains_key(header::SET_COOKIE))
}

/// Returns true for a status whose responses have a `Location` that clients follow: those of RFC 9110 §10.2.2, and 202,
/// with which many APIs name the place to poll later. A 304 leads nowhere.
fn may_have_location(status: StatusCode) -> bool {
    match status {
        StatusCode::CREATED | StatusCode::ACCEPTED => true,
        StatusCode::NOT_MODIFIED => false,
        _ => status.is_redirection(),
    }
}

/// Replaces the upstream's addresses by those that the client knows, if the route says so. Logs a redirect that leads
/// the client back to the URL it requested.
#[cold]
pub(crate) fn rewrite(
    received: &mut Received,
    outgoing: &Outgoing,
    endpoint: &Endpoint,
    route: &UpstreamRoute,
    exchange: &Exchange<'_>,
) {
    let Received { status, headers, .. } = received;
    let authority = exchange.authority();
    let sent = outgoing.headers.get(header::HOST);
    let own = [Some(endpoint.host()), sent].map(|host| host.and_then(|host| host.to_str().ok()));
    let reverse = Reverse {
        client: ClientOrigin::new(outgoing.client_scheme, authority),
        scheme: endpoint.scheme(),
        authorities: own.map(|host| host.and_then(forward::parse_authority).unwrap_or_default()),
        keeps_host: matches!(route.host, HostHeader::Preserve) && !authority.is_empty(),
        requested: &exchange.path,
        base: endpoint.base_path(),
        rewrite: route.rewrite.as_ref(),
    };
    if route.rewrite_location && may_have_location(*status) {
        headers.replace(header::LOCATION, |value| reverse.location(value));
    }
    if is_redirect_loop(&reverse, &exchange.request.method, &outgoing.target, *status, headers) {
        exchange.log.redirected_back(endpoint.url(), outgoing.headers.get(forward::X_FORWARDED_PROTO));
    }
    if route.rewrite_cookies {
        headers.replace(header::SET_COOKIE, |value| reverse.cookie(value));
    }
}

/// Returns true for a redirect that makes the client send its request again. With a cookie, the next request may
/// differ.
fn is_redirect_loop(
    reverse: &Reverse<'_>,
    method: &Method,
    target: &str,
    status: StatusCode,
    headers: &Fields,
) -> bool {
    let query = target.split_once('?').map(|(_, query)| query);
    status.is_redirection()
        && matches!(*method, Method::GET | Method::HEAD)
        && !headers.contains_key(header::SET_COOKIE)
        && headers.get(header::LOCATION).is_some_and(|location| reverse.leads_back(location, query))
}
