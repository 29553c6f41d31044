//! The life of a request, from top to bottom.

use http::{HeaderValue, Method, Uri, header};

use crate::http::body::{Body, Limited};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward;
use crate::http::message::{Request, is_continue};
use crate::http::path::{EncodedSlash, normalise};
use crate::proxy::action::act;
use crate::proxy::client::{Client, RequestStart};
use crate::proxy::exchange_log::ExchangeLog;
use crate::proxy::incoming::{Incoming, check_slashes};
use crate::proxy::reply::{Answer, Call, Reply};
use crate::router::RequestLine;
use crate::snapshot::Route;

/// Serves a request. Every failure becomes a response, too.
pub(crate) async fn serve(client: &Client, request: Request, call: Call) -> Reply {
    let start = client.begin();
    let mut log = ExchangeLog::begin(client, &start, &request);
    match answer(client, &start, request, &call, &mut log).await {
        Ok(Answer { response, tunnel, close }) => {
            log.answered(response.status);
            Reply { response, log, close, unsent: None, tunnel }
        }
        Err(error) => refuse(error, log),
    }
}

/// Returns the response to a request that failed.
pub(crate) fn refuse(error: Error, mut log: ExchangeLog) -> Reply {
    log.failed(error);
    let Answer { response, close, .. } = Answer::from(error);
    Reply { response, log, close, unsent: error.is_unsent().then_some(error), tunnel: None }
}

/// Responds to bytes that are not a request.
pub(crate) fn refuse_unreadable(client: &Client, error: Error) -> Reply {
    refuse(error, ExchangeLog::unreadable(client, &client.begin()))
}

async fn answer(
    client: &Client,
    start: &RequestStart,
    request: Request,
    call: &Call,
    log: &mut ExchangeLog,
) -> Result<Answer, Error> {
    let RequestStart { snapshot, settings } = start;
    let Request { method, target: uri, version, headers, body } = request;
    check(&method, &uri, &headers)?;
    // A copy shares its bytes. The fields themselves are about to change.
    let host_field = headers.get(header::HOST).cloned();
    let host = forward::request_host(&uri, &headers, version).map_err(|e| Error::RequestHost(e.reason()))?;
    // The route decides about encoded slashes, so they are kept until it is found.
    let path =
        normalise(uri.path(), EncodedSlash::Keep).map_err(|error| Error::RequestPath(error.reason()))?;

    let found = snapshot.router.find(&RequestLine {
        listener: settings.listener_settings.id.number(),
        host: host.host,
        path: &path,
        query: uri.query(),
        method: &method,
        headers: &headers,
    });
    check_slashes(&path, found.as_ref().map(|found| &**found.value))?;
    let found = found.ok_or(Error::NoRoute)?;
    let route: &Route = found.value;
    log.routed(found.value);
    tracing::trace!(route = &*route.name, path = &*path, "route found");
    let body = limit_body(body, route.body_bytes_max.unwrap_or(settings.listener_settings.body_bytes_max))?;

    let authority = authority(&uri, host_field.as_ref());
    let incoming = Incoming { method, version, path: &path, query: uri.query(), authority, headers, body };
    let mut answer = match &route.filters {
        None => act(settings, route, &found.parameters, incoming, call, log).await?,
        Some(chain) => {
            let filtered =
                crate::proxy::filtered::Filtered { client, start, chain, found: &found, uri: &uri, call };
            filtered.answer(incoming, log).await?
        }
    };
    route.response_headers.apply(&mut answer.response.headers);
    Ok(answer)
}

/// Rejects what no route could handle.
fn check(method: &Method, uri: &Uri, headers: &Fields) -> Result<(), Error> {
    if *method == Method::CONNECT {
        return Err(Error::RequestMethod);
    }
    if uri.path() == "*" && *method == Method::OPTIONS {
        // `OPTIONS *` is about the server as a whole, which has nothing to report (RFC 9110 §7.1).
        return Err(Error::NoRoute);
    }
    let expect = headers.get(header::EXPECT);
    if expect.is_some_and(|expect| !is_continue(expect.as_bytes())) {
        return Err(Error::RequestExpectation);
    }
    Ok(())
}

/// Returns the host that the client named, with its port: the target's, if it has one (RFC 9112 §3.2.2).
fn authority<'a>(uri: &'a Uri, host: Option<&'a HeaderValue>) -> &'a str {
    match (uri.authority(), host) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().unwrap_or_default(),
        (None, None) => "",
    }
}

/// Rejects a body that declares too large a length, and limits one that declares none.
fn limit_body(body: Body, limit: Option<u64>) -> Result<Body, Error> {
    let Some(limit) = limit else { return Ok(body) };
    match body.size_hint().exact() {
        Some(length) if length > limit => Err(Error::BodyTooLarge),
        Some(_) => Ok(body),
        None => Ok(Body::boxed(Limited::new(body, limit))),
    }
}
