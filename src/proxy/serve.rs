//! The life of a request, top to bottom.

use std::borrow::Cow;
use std::cell::Cell;
use std::time::Duration;

use http::{HeaderValue, Method, Uri, Version, header};
use http_body::Body as _;
use tokio::time::Instant;

use crate::config::Scheme;
use crate::http::body::{Body, Limited};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward;
use crate::http::forward::{ClientOrigin, Forwarding};
use crate::http::h1::output::OutgoingHead;
use crate::http::message::{Request, Response, is_continue};
use crate::http::path::{EncodedSlash, PathError, has_encoded_slash, normalise};
use crate::proxy::client::{Begun, Downstream, Settings};
use crate::proxy::exchange_log::Record;
use crate::proxy::reply::{Call, Reply, Tunnel};
use crate::proxy::retry::Retries;
use crate::proxy::tunnel;
use crate::router::{Parameters, RequestLine};
use crate::snapshot::route_deadline::Removal;
use crate::snapshot::{Action, HostSent, Route, UpstreamRoute};
use crate::upstream::{Attempt, Endpoint, Received};

/// How long a request waits for the first look-up of its upstream's name where `timeouts.connect` is off.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);

/// Answers a request: whatever goes wrong becomes an answer, too.
pub(crate) async fn serve(downstream: &Downstream, request: Request, call: Call) -> Reply {
    let begun = downstream.begin();
    let mut record = Record::begin(downstream, &begun, &request);
    match answer(downstream, &begun, request, &call, &mut record).await {
        Ok(Answer { response, tunnel, close }) => {
            record.answered(response.status);
            Reply { response, record, close, unsent: None, tunnel }
        }
        Err(error) => refuse(error, record),
    }
}

/// The answer to a request that failed.
pub(crate) fn refuse(error: Error, mut record: Record) -> Reply {
    record.failed(error);
    let Answer { response, close, .. } = Answer::from(error);
    Reply { response, record, close, unsent: error.is_unsent().then_some(error), tunnel: None }
}

/// Answers bytes that are not a request.
pub(crate) fn refuse_unreadable(downstream: &Downstream, error: Error) -> Reply {
    refuse(error, Record::unreadable(downstream, &downstream.begin()))
}

pub(crate) struct Answer {
    pub(crate) response: Response<Body>,
    pub(crate) tunnel: Option<Tunnel>,
    /// The client's connection cannot be used any more.
    pub(crate) close: bool,
}

impl From<Response<Body>> for Answer {
    fn from(response: Response<Body>) -> Self {
        Answer { response, tunnel: None, close: false }
    }
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        Answer { response: error.into(), tunnel: None, close: error.closes_connection() }
    }
}

/// A request on its way through its route.
pub(crate) struct Incoming<'a> {
    pub(crate) method: Method,
    pub(crate) version: Version,
    /// Normalised.
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    /// The host that was asked for, with its port.
    pub(crate) authority: &'a str,
    pub(crate) headers: Fields,
    pub(crate) body: Body,
}

async fn answer(
    downstream: &Downstream,
    begun: &Begun,
    request: Request,
    call: &Call,
    record: &mut Record,
) -> Result<Answer, Error> {
    let Begun { snapshot, settings } = begun;
    let Request { method, target: uri, version, headers, body } = request;
    check(&method, &uri, &headers)?;
    // A copy shares its bytes; the fields themselves are about to change.
    let host_field = headers.get(header::HOST).cloned();
    let host = forward::request_host(&uri, &headers, version).map_err(|e| Error::RequestHost(e.reason()))?;
    // Which route it is decides about encoded slashes.
    let path =
        normalise(uri.path(), EncodedSlash::Keep).map_err(|error| Error::RequestPath(error.reason()))?;

    let found = snapshot.router.find(&RequestLine {
        listener: settings.entrance.id.number(),
        host: host.host,
        path: &path,
        query: uri.query(),
        method: &method,
        headers: &headers,
    });
    check_slashes(&path, found.as_ref().map(|found| &**found.value))?;
    let found = found.ok_or(Error::NoRoute)?;
    let route: &Route = found.value;
    record.routed(found.value);
    tracing::trace!(route = &*route.name, path = &*path, "route found");
    let body = limit_body(body, route.body_bytes_max.unwrap_or(settings.entrance.body_bytes_max))?;

    let authority = authority(&uri, host_field.as_ref());
    let incoming = Incoming { method, version, path: &path, query: uri.query(), authority, headers, body };
    let mut answer = match &route.filters {
        None => {
            let now = record.began();
            act(settings, route, &found.parameters, incoming, call, now, record).await?
        }
        Some(chain) => {
            let filtered =
                crate::proxy::filtered::Filtered { downstream, begun, chain, found: &found, uri: &uri, call };
            filtered.answer(incoming, record).await?
        }
    };
    route.response_headers.apply(&mut answer.response.headers);
    Ok(answer)
}

/// Does what the route says, at the time `now`.
pub(crate) async fn act(
    settings: &Settings,
    route: &Route,
    parameters: &Parameters<'_, '_>,
    incoming: Incoming<'_>,
    call: &Call,
    now: Instant,
    record: &mut Record,
) -> Result<Answer, Error> {
    match &route.action {
        Action::Respond(respond) => {
            if let Some(delay) = respond.delay() {
                crate::proxy::delay::pass(now.checked_add(delay), incoming.body, &call.timer).await?;
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
            // Before the route changes the fields.
            let client_scheme = settings.forwarding.client_scheme(&headers);
            let mut outgoing = Outgoing { method, target, headers, authority, client_scheme, path, upgrade };
            outgoing.rewrite_headers(&settings.forwarding, version, route);
            forward_request(upstream, call, &mut outgoing, body, now, record).await
        }
    }
}

/// What no route could make good.
fn check(method: &Method, uri: &Uri, headers: &Fields) -> Result<(), Error> {
    if *method == Method::CONNECT {
        return Err(Error::RequestMethod);
    }
    if uri.path() == "*" && *method == Method::OPTIONS {
        // `OPTIONS *` is about the server as a whole, which has nothing to say (RFC 9110 §7.1).
        return Err(Error::NoRoute);
    }
    let expect = headers.get(header::EXPECT);
    if expect.is_some_and(|expect| !is_continue(expect.as_bytes())) {
        return Err(Error::RequestExpectation);
    }
    Ok(())
}

/// Refuses encoded slashes in a path, unless it is a route's that keeps them.
#[allow(clippy::ptr_arg, reason = "a borrowed path needs no search: it has no escape")]
pub(crate) fn check_slashes(path: &Cow<'_, str>, route: Option<&Route>) -> Result<(), Error> {
    if has_encoded_slash(path) && route.is_none_or(|route| route.encoded_slash == EncodedSlash::Reject) {
        return Err(Error::RequestPath(PathError::EncodedSlash.reason()));
    }
    Ok(())
}

/// The host that the client named, with its port: the target's, if it has one (RFC 9112 §3.2.2).
fn authority<'a>(uri: &'a Uri, host: Option<&'a HeaderValue>) -> &'a str {
    match (uri.authority(), host) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().unwrap_or_default(),
        (None, None) => "",
    }
}

/// Refuses a body that says it is too large, and watches one that does not say.
fn limit_body(body: Body, limit: Option<u64>) -> Result<Body, Error> {
    let Some(limit) = limit else { return Ok(body) };
    match body.size_hint().exact() {
        Some(length) if length > limit => Err(Error::BodyTooLarge),
        Some(_) => Ok(body),
        None => Ok(Body::boxed(Limited::new(body, limit))),
    }
}

/// A request as it goes upstream, but for what depends on the endpoint.
pub(crate) struct Outgoing<'a> {
    pub(crate) method: Method,
    /// Path and query, without the base path of an endpoint.
    pub(crate) target: String,
    pub(crate) headers: Fields,
    /// The client's Host.
    pub(crate) authority: &'a str,
    pub(crate) client_scheme: Scheme,
    /// The normalised path that the client asked for.
    pub(crate) path: &'a str,
    upgrade: Option<HeaderValue>,
}

/// Sends a request to one endpoint after the other until there is a response, or no further try is allowed.
async fn forward_request(
    route: &UpstreamRoute,
    call: &Call,
    outgoing: &mut Outgoing<'_>,
    mut body: Body,
    mut now: Instant,
    record: &mut Record,
) -> Result<Answer, Error> {
    // When the whole exchange must be over.
    let done_by = route.timeouts.request.and_then(|limit| now.checked_add(limit));
    let lookup = route.timeouts.connect.unwrap_or(LOOKUP_LIMIT);
    let lookup = route.timeouts.request.map_or(lookup, |request| request.min(lookup));
    let endpoints = route.upstream.endpoints(Some(lookup), &call.timer).await?;
    let mut candidates = endpoints.candidates();
    let mut endpoint = candidates.next().ok_or(Error::Unresolved)?;
    let mut retries = Retries::new(&route.retry, route.timeouts.connect, endpoints.len());
    let queued = Cell::new(Duration::ZERO);
    let received = loop {
        outgoing.set_host(route, endpoint)?;
        let target = endpoint.target(&outgoing.target);
        tracing::trace!(endpoint = endpoint.url(), target = &*target, "trying an endpoint");
        record.attempt(endpoint);
        let again = body.replay();
        let attempt = Attempt {
            head: outgoing.head(&target, route),
            upgrade: outgoing.upgrade.is_some(),
            interim: call.interim.as_ref(),
            fresh: retries.fresh,
            moves_on: retries.moves_on(now),
            keeping: route.keeping.as_ref(),
            now,
            timeouts: &route.timeouts,
            done_by,
            queued: &queued,
            timer: &call.timer,
        };
        match attempt.run(endpoint, body, record).await {
            Ok(received) => break received,
            Err(mut failure) => {
                failure.body = failure.body.or(again);
                let (error, failed) = (failure.error, endpoint);
                (body, endpoint) = retries.next(failure, failed, &mut candidates)?;
                tracing::debug!(endpoint = failed.url(), "trying again: {error}");
                failed.pool().count_retry();
                retries.back_off(&call.timer, done_by, error).await?;
                now = Instant::now();
            }
        }
    };
    record.first_byte();
    tracing::trace!(status = received.status.as_u16(), "response begins");
    respond(received, outgoing, endpoint, route, call, record)
}

impl Outgoing<'_> {
    /// Makes the client's fields those that the gateway sends.
    fn rewrite_headers(&mut self, forwarding: &Forwarding, version: Version, route: &Route) {
        let headers = &mut self.headers;
        forward::remove_hop_by_hop(headers);
        forwarding.apply(headers, self.authority);
        forward::via(headers, version);
        route.request_headers.apply_to_request(headers);
        if let Some(protocol) = &self.upgrade {
            forward::set_upgrade(headers, protocol.clone());
        }
    }

    fn head<'h>(&'h self, target: &'h str, route: &UpstreamRoute) -> OutgoingHead<'h> {
        OutgoingHead {
            method: &self.method,
            target,
            headers: &self.headers,
            connection: self.connection_option(route.keep_alive),
            case: route.header_case,
        }
    }

    /// The `Connection` field: what concerns this hop alone. An upgrade has its own among the fields already.
    fn connection_option(&self, keep_alive: bool) -> Option<&'static str> {
        // Whoever sends TE says so (RFC 9110 §10.1.4); what is left of it is `trailers`.
        match (keep_alive, self.headers.contains_key(header::TE)) {
            _ if self.upgrade.is_some() => None,
            (true, false) => None,
            (true, true) => Some("te"),
            (false, false) => Some("close"),
            (false, true) => Some("close, te"),
        }
    }

    fn set_host(&mut self, route: &UpstreamRoute, endpoint: &Endpoint) -> Result<(), Error> {
        let host = match &route.host {
            HostSent::Literal(host) => host.clone(),
            HostSent::Preserve if !self.authority.is_empty() => {
                HeaderValue::from_str(self.authority).map_err(|_| Error::RequestHost("host.malformed"))?
            }
            // A client of HTTP/1.0 may have sent none.
            HostSent::Upstream | HostSent::Preserve => endpoint.host().clone(),
        };
        self.headers.insert(header::HOST, host);
        Ok(())
    }
}

/// The response as the client gets it.
fn respond(
    mut received: Received,
    outgoing: &Outgoing<'_>,
    endpoint: &Endpoint,
    route: &UpstreamRoute,
    call: &Call,
    record: &Record,
) -> Result<Answer, Error> {
    let status = received.status;
    let upgrade = outgoing.upgrade.as_ref();
    forward::clean_response(status, &mut received.headers, upgrade).map_err(|_| Error::UnexpectedUpgrade)?;
    forward::via(&mut received.headers, received.version);
    if crate::proxy::addresses::may_be_in(status, route, &received.headers) {
        crate::proxy::addresses::rewrite(&mut received, outgoing, endpoint, route, record);
    }
    let tunnel = received.upgraded.map(|upgraded| {
        let removed = route.removal.as_ref().map(Removal::ended);
        tunnel::open(upgraded, route.timeouts.idle, call.timer.clone(), removed)
    });
    let body = match &route.removal {
        None => received.body,
        Some(removal) => removal.bound(received.body),
    };
    let response = Response { status, headers: received.headers, body };
    Ok(Answer { response, tunnel, close: false })
}
