//! Redirects that lead to themselves: a client that follows one returns to the same route until it gives up.
//!
//! They are found by following sample requests. Only certain loops are reported. A location with another host than the
//! request's may lead to another server. A location without a port may lead to any listener of its scheme, because
//! ports are often mapped.

use std::net::IpAddr;

use http::{HeaderValue, Method, StatusCode, Uri, header};

use crate::config::{
    Code, ConfigWarning, HostPattern, Loaded, PathMatch, Piece, QueryMatch, Route, Scheme, SocketAddress,
};
use crate::http::fields::Fields;
use crate::http::forward::{ClientOrigin, parse_authority};
use crate::http::path::{EncodedSlash, normalise};
use crate::path;
use crate::policy::{Identity, RequestValues};
use crate::router::{Parameters, RequestLine};
use crate::snapshot::{Action, Snapshot};

/// The segments that samples have below a prefix. A more specific route may match the first one.
const BELOW: [&str; 2] = ["", "x"];

/// Returns a warning for each route whose redirect leads back to it.
pub(super) fn warnings(loaded: &Loaded, snapshot: &Snapshot) -> impl Iterator<Item = ConfigWarning> {
    let routes = loaded.config.routes.iter().enumerate().filter(|(_, route)| route.redirect.is_some());
    routes.filter_map(move |(index, route)| {
        let listener = Redirecting { loaded, snapshot, route, name: route.name() }.find_loop()?;
        Some(warning(loaded, index, route, listener))
    })
}

fn warning(loaded: &Loaded, index: usize, route: &Route, listener: usize) -> ConfigWarning {
    let listeners = &loaded.config.listeners;
    let is_tls = |index: usize| listeners.get(index).is_some_and(|listener| listener.tls.is_some());
    let serves = |index: &usize| {
        let name = listeners.get(*index).map(|listener| listener.name());
        route.listeners.as_ref().is_none_or(|names| name.is_some_and(|name| names.contains(&name)))
    };
    let leaves_scheme = route.redirect.as_ref().is_some_and(|redirect| redirect.scheme.is_some());
    let meant = (0..listeners.len()).filter(|index| leaves_scheme && is_tls(*index) != is_tls(listener));
    let meant: Vec<String> = meant.filter(serves).map(|index| loaded.listener_name(index)).collect();
    let cure = match &meant[..] {
        [] => "narrow its `match`".to_owned(),
        meant => format!("write `listeners: [{}]`", meant.join(", ")),
    };
    let message = format!(
        "the route `{}` redirects requests on listener `{}` to themselves, in a loop",
        loaded.route_name(index),
        loaded.listener_name(listener)
    );
    loaded.source.warning(Code::RedirectLoop, &path!["routes", index, "redirect"], message, &cure)
}

/// A route that may redirect.
struct Redirecting<'a> {
    loaded: &'a Loaded,
    snapshot: &'a Snapshot,
    route: &'a Route,
    name: String,
}

/// A request by a client that follows redirects.
#[derive(Clone)]
struct Request {
    /// The position of its listener.
    listener: usize,
    scheme: Scheme,
    /// The host; with a port, if the location has one.
    authority: String,
    path: String,
    query: Option<String>,
    method: Method,
}

/// The values of such a request. It has no others than those that its route requires.
struct Sample<'a> {
    parameters: Parameters<'a, 'a>,
    query: Option<&'a str>,
    headers: &'a Fields,
    host: &'a str,
}

impl RequestValues for Sample<'_> {
    fn parameters(&self) -> Parameters<'_, '_> {
        self.parameters
    }

    fn query(&self) -> Option<&str> {
        self.query
    }

    fn headers(&self) -> &Fields {
        self.headers
    }

    fn host(&self) -> &str {
        self.host
    }

    fn client_ip(&self) -> Option<IpAddr> {
        None
    }

    fn identity(&self) -> Option<&Identity> {
        None
    }

    fn request_id(&self) -> Option<&HeaderValue> {
        None
    }
}

impl Redirecting<'_> {
    /// Returns the position of the listener on which the route redirects a request to itself.
    fn find_loop(&self) -> Option<usize> {
        let redirect = self.route.redirect.as_ref()?;
        // Proxies and browsers may send other header fields with the next request.
        if !self.route.matches.headers.is_empty() {
            return None;
        }
        let listeners = 0..self.snapshot.listeners.len();
        let samples = listeners.flat_map(|listener| BELOW.iter().map(move |below| (listener, below)));
        samples.into_iter().find_map(|(listener, below)| {
            let request = self.sample(listener, below)?;
            let location = self.location(&request)?;
            let next = self.followed(&request, &location, redirect.status)?;
            let leads_back = |next: &Request| self.location(next).as_ref() == Some(&location);
            next.first().filter(|_| next.iter().all(leads_back)).map(|next| next.listener)
        })
    }

    fn sample(&self, listener: usize, below: &str) -> Option<Request> {
        let matches = &self.route.matches;
        let authority = match &matches.host {
            None => "gateway.invalid".to_owned(),
            Some(HostPattern::Exact(host)) => host.clone(),
            Some(HostPattern::Below(domain)) => format!("gateway.{domain}"),
        };
        let path = match matches.path_match() {
            PathMatch::Any => format!("/{below}"),
            PathMatch::Prefix(path) if !below.is_empty() => {
                format!("{}/{below}", path.normal().trim_end_matches('/'))
            }
            PathMatch::Exact(path) | PathMatch::Prefix(path) => path.normal().to_owned(),
            PathMatch::Template(template) => {
                let segment = |piece: &Piece| match piece {
                    Piece::Literal(text) => format!("/{text}"),
                    Piece::Parameter(_) => "/x".to_owned(),
                };
                template.pieces().iter().map(segment).collect()
            }
        };
        let query = matches.query.iter().map(|(name, value)| match value {
            QueryMatch::Present => format!("{name}=1"),
            QueryMatch::Exact(value) => format!("{name}={value}"),
        });
        let query: Vec<String> = query.collect();
        let method = matches.methods.iter().flatten().next().map(|method| method.as_http().clone());
        Some(Request {
            listener,
            scheme: self.scheme(listener)?,
            authority,
            path,
            query: (!query.is_empty()).then(|| query.join("&")),
            method: method.unwrap_or_default(),
        })
    }

    fn scheme(&self, listener: usize) -> Option<Scheme> {
        let tls = &self.snapshot.listeners.get(listener)?.tls;
        Some(if tls.is_some() { Scheme::Https } else { Scheme::Http })
    }

    /// Returns the location that the route sends a client to, or `None` if another route gets the request.
    fn location(&self, request: &Request) -> Option<HeaderValue> {
        let (path, query) = (request.path.as_str(), request.query.as_deref());
        let host = parse_authority(&request.authority)?.host;
        let listener = self.snapshot.listeners.get(request.listener)?.id.number();
        let headers = &Fields::default();
        let line = RequestLine { listener, host, path, query, method: &request.method, headers };
        let found = self.snapshot.router.find(&line).filter(|found| *found.value.name == *self.name)?;
        // A filter may respond instead.
        let Action::Redirect(redirect) = &found.value.action else { return None };
        if found.value.stages.filters().is_some() {
            return None;
        }
        let client = || ClientOrigin::new(request.scheme, &request.authority);
        let sample = Sample { parameters: Parameters::new(found.template, path), query, headers, host };
        let response = redirect.response(&sample, path, query, client).ok()?;
        response.headers.get(header::LOCATION).cloned()
    }

    /// Returns the client's next request on each listener that may receive it.
    fn followed(
        &self,
        request: &Request,
        location: &HeaderValue,
        status: StatusCode,
    ) -> Option<Vec<Request>> {
        let uri: Uri = location.to_str().ok()?.parse().ok()?;
        let is_post = request.method == Method::POST;
        let becomes_get = match status {
            StatusCode::SEE_OTHER => request.method != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => is_post,
            _ => false,
        };
        let mut next = Request {
            path: normalise(uri.path(), EncodedSlash::Keep).ok()?.into_owned(),
            query: uri.query().map(str::to_owned),
            method: if becomes_get { Method::GET } else { request.method.clone() },
            ..request.clone()
        };
        let Some(authority) = uri.authority() else { return Some(vec![next]) };
        let (host, before) = (parse_authority(authority.as_str())?, parse_authority(&request.authority)?);
        if !host.host.eq_ignore_ascii_case(before.host) {
            return None;
        }
        next.scheme = if uri.scheme_str() == Some("https") { Scheme::Https } else { Scheme::Http };
        next.authority = authority.as_str().to_owned();
        let listeners = self.listeners(next.scheme, host.port).into_iter();
        Some(listeners.map(|listener| Request { listener, ..next.clone() }).collect())
    }

    /// Returns the listeners that a client may reach. An explicit port is a listener's own. Otherwise the port is the
    /// scheme's default, and if no listener has that one, it may be mapped to any of them. A Unix socket has no port.
    fn listeners(&self, scheme: Scheme, port: Option<u16>) -> Vec<usize> {
        let port_of = |address: SocketAddress| address.inet().map(|inet| inet.port());
        let listeners =
            self.loaded.config.listeners.iter().map(|listener| port_of(listener.socket_address()));
        let of_scheme: Vec<(usize, Option<u16>)> =
            listeners.enumerate().filter(|(index, _)| self.scheme(*index) == Some(scheme)).collect();
        let wanted = port.unwrap_or(scheme.default_port());
        let at_port: Vec<usize> =
            of_scheme.iter().filter(|(_, port)| *port == Some(wanted)).map(|(index, _)| *index).collect();
        if at_port.is_empty() && port.is_none() {
            return of_scheme.into_iter().map(|(index, _)| index).collect();
        }
        at_port
    }
}
