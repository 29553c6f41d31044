//! A request on its way through the gateway.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Uri, Version, header};

use crate::config::PathTemplate;
use crate::filter::RequestHead;
use crate::http::body::{Body, Limited};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward::request_host;
use crate::http::h1::parse_target;
use crate::http::message::Request;
use crate::http::path::{EncodedSlash, PathError, has_encoded_slash, normalise};
use crate::policy::preflight_method;
use crate::proxy::client::{Client, ConnectionSettings, RequestStart};
use crate::proxy::exchange_log::ExchangeLog;
use crate::proxy::reply::Call;
use crate::router::{Found, Parameters, RequestLine};
use crate::snapshot::Route;

/// A request on its way through the gateway: what stages read and change, and what they decide.
pub(crate) struct Exchange<'a> {
    pub(crate) client: &'a Client,
    /// The snapshot and the settings that hold until the end of the exchange.
    pub(crate) start: &'a RequestStart,
    pub(crate) call: &'a Call,
    /// The request, but for its target.
    pub(crate) request: &'a mut Request,
    /// The target as the client wrote it, or as its filters have left it.
    pub(crate) target: Cow<'a, Uri>,
    /// The normalised path.
    pub(crate) path: Cow<'a, str>,
    /// The Host field, or the authority that filters have left.
    host: Option<HeaderValue>,
    /// The route that the request was found to have. Its counters, its limits and its response stages hold in any case.
    pub(crate) found: &'a Arc<Route>,
    /// The route that acts. It is `found`, unless a filter had another one chosen.
    pub(crate) route: &'a Arc<Route>,
    /// The template of `route`, if the path has its parameters.
    template: Option<&'a PathTemplate>,
    pub(crate) log: &'a mut ExchangeLog,
}

impl<'a> Exchange<'a> {
    /// Finds the route of a request. `target` is the request's own.
    pub(crate) fn begin(
        client: &'a Client,
        start: &'a RequestStart,
        call: &'a Call,
        target: &'a Uri,
        request: &'a mut Request,
        log: &'a mut ExchangeLog,
    ) -> Result<Self, Error> {
        let host = host_of(target, &request.headers, request.version)?;
        let path = normalised(target)?;
        let found = find_first(start, host, &path, target, request);
        check_slashes(&path, found.as_ref().map(|found| &**found.value))?;
        let Found { value: route, template } = found.ok_or(Error::NoRoute)?;
        log.routed(route);
        tracing::trace!(route = &*route.name, path = &*path, "route found");
        // A copy shares its bytes. The fields themselves are about to change.
        let host = request.headers.get(header::HOST).cloned();
        let (target, found) = (Cow::Borrowed(target), route);
        Ok(Self { client, start, call, request, target, path, host, found, route, template, log })
    }

    /// Continues with the request as its filters have left it. If they changed its path or cleared its route, the route is
    /// matched again.
    ///
    /// # Errors
    /// Fails if the request is no longer acceptable, if no route matches it, or if one does whose own stages it has not passed.
    pub(crate) fn take_filtered(&mut self, head: RequestHead, is_route_cleared: bool) -> Result<(), Error> {
        let changed =
            head.changed_path().map(|path| parse_target(path, Bytes::copy_from_slice(path.as_bytes())));
        let RequestHead { method, headers, authority, .. } = head;
        (self.request.method, self.request.headers) = (method, headers);
        if !authority.is_empty() {
            self.request.headers.insert(header::HOST, authority.clone());
        }
        authority.to_str().map_err(|_| Error::RequestHost("host.malformed"))?;
        self.host = Some(authority);
        if self.target.authority().is_some() {
            // Filters may have changed the authority, which has become the Host.
            let path_and_query = self.target.path_and_query().cloned();
            self.target = Cow::Owned(path_and_query.map(Uri::from).unwrap_or_default());
        }
        let is_changed = changed.is_some();
        if let Some(target) = changed {
            let target = target.map_err(|_| Error::RequestPath("path.malformed"))?;
            self.path = Cow::Owned(normalised(&target)?.into_owned());
            self.target = Cow::Owned(target);
        }
        if is_changed || is_route_cleared {
            self.find_again(is_route_cleared)?;
            check_slashes(&self.path, Some(self.route))?;
        }
        Ok(())
    }

    fn find_again(&mut self, is_route_cleared: bool) -> Result<(), Error> {
        // A request that filters have left without a host is matched as one of HTTP/1.0, which needs none.
        let host = host_of(&self.target, &self.request.headers, Version::HTTP_10)?;
        let again = find(self.start, host, &self.path, &self.target, &self.request.method, self.request);
        if !is_route_cleared {
            // If the path is not one that the route matches, its template has no parameters in it.
            let same = again.filter(|again| Arc::ptr_eq(again.value, self.found));
            self.template = same.and_then(|same| same.template);
            return Ok(());
        }
        let again = again.ok_or(Error::NoRoute)?;
        if !again.value.stages.is_admitted_by(&self.found.stages) {
            return Err(Error::RoutePolicies);
        }
        if !again.value.stages.is_entered_by(&self.found.stages) {
            return Err(Error::RouteFilters);
        }
        (self.route, self.template) = (again.value, again.template);
        Ok(())
    }

    /// Limits the body of the request as its route says, or its listener.
    ///
    /// # Errors
    /// Fails if the body declares too large a length.
    #[inline]
    pub(crate) fn limit_body(&mut self) -> Result<(), Error> {
        let of_listener = self.start.settings.listener_settings.body_bytes_max;
        limit_body(&mut self.request.body, self.found.body_bytes_max.unwrap_or(of_listener))
    }

    /// Returns the address of the client, which may be behind proxies that are trusted; `None` on a Unix socket. To be called before filters
    /// change the request.
    pub(crate) fn client_ip(&self) -> Option<IpAddr> {
        self.start.client_ip(&self.request.headers)
    }

    /// Returns true if a filter had another route chosen.
    pub(crate) fn is_rerouted(&self) -> bool {
        !Arc::ptr_eq(self.route, self.found)
    }

    pub(crate) fn settings(&self) -> &'a ConnectionSettings {
        &self.start.settings
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.target.query()
    }

    /// Returns the values that the path has for the parameters of the route's template.
    pub(crate) fn parameters(&self) -> Parameters<'_, '_> {
        Parameters::new(self.template, &self.path)
    }

    /// Returns the requested host with its port: the target's, if it has one (RFC 9112 §3.2.2).
    pub(crate) fn authority(&self) -> &str {
        match (self.target.authority(), &self.host) {
            (Some(authority), _) => authority.as_str(),
            (None, Some(host)) => host.to_str().unwrap_or_default(),
            (None, None) => "",
        }
    }
}

/// Returns the route of a request as it came. A preflight request is one for the route that it asks about, whose methods may exclude
/// OPTIONS, if that route answers it.
fn find_first<'a>(
    start: &'a RequestStart,
    host: &str,
    path: &str,
    target: &Uri,
    request: &Request,
) -> Option<Found<'a, Arc<Route>>> {
    if request.method == Method::OPTIONS
        && let Some(asked) = preflight_method(&request.method, &request.headers)
        && let Some(found) = find(start, host, path, target, &asked, request)
        && found.value.stages.has_cors()
    {
        return Some(found);
    }
    find(start, host, path, target, &request.method, request)
}

fn find<'a>(
    start: &'a RequestStart,
    host: &str,
    path: &str,
    target: &Uri,
    method: &Method,
    request: &Request,
) -> Option<Found<'a, Arc<Route>>> {
    let headers = &request.headers;
    let listener = start.settings.listener_settings.id.number();
    start.snapshot.router.find(&RequestLine { listener, host, path, query: target.query(), method, headers })
}

fn host_of<'h>(target: &'h Uri, headers: &'h Fields, version: Version) -> Result<&'h str, Error> {
    match request_host(target, headers, version) {
        Ok(host) => Ok(host.host),
        Err(error) => Err(Error::RequestHost(error.reason())),
    }
}

/// Returns the normalised path of a target. The route decides about encoded slashes, so they are kept until it is found.
fn normalised(target: &Uri) -> Result<Cow<'_, str>, Error> {
    normalise(target.path(), EncodedSlash::Keep).map_err(|error| Error::RequestPath(error.reason()))
}

/// Rejects encoded slashes in a path, unless its route keeps them.
#[allow(clippy::ptr_arg, reason = "a borrowed path needs no search: it has no escape")]
fn check_slashes(path: &Cow<'_, str>, route: Option<&Route>) -> Result<(), Error> {
    if has_encoded_slash(path) && route.is_none_or(|route| route.encoded_slash == EncodedSlash::Reject) {
        return Err(Error::RequestPath(PathError::EncodedSlash.reason()));
    }
    Ok(())
}

/// Rejects a body that declares too large a length, and limits one that declares none.
fn limit_body(body: &mut Body, limit: Option<u64>) -> Result<(), Error> {
    let Some(limit) = limit else { return Ok(()) };
    match body.size_hint().exact() {
        Some(length) if length > limit => return Err(Error::BodyTooLarge),
        Some(_) => {}
        None => *body = Body::boxed(Limited::new(std::mem::replace(body, Body::Empty), limit)),
    }
    Ok(())
}
