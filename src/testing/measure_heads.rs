//! Routes and heads by themselves, for counting: finding a route, and the rules of forwarding.

use std::net::IpAddr;

use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use crate::config::Match;
use crate::http::fields::Fields;
use crate::http::forward::{self, Forwarding};
use crate::router::{RequestLine, RouteMatch, Router};

/// A number of routes that differ in their prefix, and a request for one of them.
pub struct Routes {
    router: Router<usize>,
    path: String,
    headers: Fields,
}

impl Routes {
    /// Builds the routes, and a request for the one with the number `wanted`.
    pub fn new(routes: usize, wanted: usize) -> Option<Self> {
        let prefix = |number| format!("/api/v1/service-{number:05}");
        let matches = |number| Some(Match { prefix: Some(prefix(number).parse().ok()?), ..Match::default() });
        let matches: Vec<Match> = (0..routes).map(matches).collect::<Option<_>>()?;
        let routes = matches.iter().map(|matches| RouteMatch { listeners: Vec::new(), matches });
        let router = Router::build(routes.zip(0..).collect());
        Some(Self { router, path: prefix(wanted) + "/items/7", headers: Fields::new() })
    }

    /// Returns the line of the request.
    pub fn line(&self) -> Line<'_> {
        Line(RequestLine {
            listener: 0,
            host: "api.example.com",
            path: &self.path,
            query: None,
            method: &Method::GET,
            headers: &self.headers,
        })
    }

    /// Returns the number of the route that matches the request.
    pub fn find(&self, line: &Line<'_>) -> Option<usize> {
        self.router.find(&line.0).map(|found| *found.value)
    }
}

/// The input of a route lookup.
pub struct Line<'a>(RequestLine<'a>);

/// The header fields of a message on its way.
#[derive(Clone, Debug)]
pub struct Head(Fields);

impl Head {
    /// Builds a head of names and values.
    ///
    /// # Panics
    /// Panics if one of them is not a valid field.
    pub fn new(fields: &[(&'static str, &'static str)]) -> Self {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        Self(fields.iter().map(field).collect())
    }

    /// Returns true if the head has a field.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn fields(&self) -> &Fields {
        &self.0
    }

    pub(crate) fn into_fields(self) -> Fields {
        self.0
    }
}

/// The rules of forwarding, as a request's head passes through them.
pub struct Forward {
    uri: Uri,
    forwarding: Forwarding,
}

impl Forward {
    /// Builds the rules for a client on plain HTTP.
    pub fn new(client: IpAddr) -> Self {
        Self {
            uri: Uri::from_static("/api/v1/items/7"),
            forwarding: Forwarding::new(Some(client), &Scheme::HTTP, false),
        }
    }

    /// Applies all the rules for a request's head, in the order that `forward` prescribes. Returns true if its host is
    /// valid and it requests no upgrade.
    pub fn request(&self, head: &mut Head, version: Version, authority: &str) -> bool {
        let headers = &mut head.0;
        let host = forward::request_host(&self.uri, headers, version).map(|host| host.host.len());
        let upgrade = forward::upgrade_requested(headers, version, &[]);
        forward::remove_hop_by_hop(headers);
        self.forwarding.apply(headers, authority);
        forward::via(headers, version);
        host.ok().filter(|_| upgrade.is_none()).is_some()
    }

    /// Applies all the rules for a response's head. Returns false if it upgrades the connection without a request to do
    /// so.
    pub fn response(&self, head: &mut Head, status: StatusCode, version: Version) -> bool {
        let cleaned = forward::clean_response(status, &mut head.0, None);
        forward::via(&mut head.0, version);
        cleaned.is_ok()
    }
}
