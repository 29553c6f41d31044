//! Finds the route of a request. It is pure: no I/O, no clock, no shared mutable state.
//!
//! Precedence is data. Each match has a [`Specificity`], routes are sorted by it once, and a request belongs to the
//! first one that matches. [`Router::find`] returns the same route as trying the sorted routes one by one (a test
//! compares the two), but reaches the candidates through an index by host and path. Its cost depends on the request and
//! on the number of routes that share host and path with it, differing only in methods, headers and query. It does not
//! depend on the number of routes.
//!
//! A route's path may match while its conditions do not. Then the next most specific route is tried, down to the routes
//! for every path, and then those of the less specific hosts.

mod condition;
mod error;
mod header;
mod host;
mod method;
mod path;
mod paths;
mod query;
mod specificity;
mod template;

use std::cmp::Reverse;

use condition::Conditions;
pub(crate) use error::{MatchError, RouterError};
use host::HostIndex;
use http::Method;
use path::PathMatch;
pub(crate) use path::PathPattern;
use paths::Rank;
use specificity::HostSpecificity;
pub(crate) use specificity::Specificity;
pub(crate) use template::{Parameters, Template, is_parameter_name};

use crate::config::HostPattern;
use crate::http::fields::Fields;
use crate::http::path::EncodedSlash;

/// The hash of names and segments. Each process has another seed, except where lookups are counted for comparison:
/// random collisions would change the counts.
#[cfg(not(feature = "bench-internals"))]
type Hashing = foldhash::fast::RandomState;
#[cfg(feature = "bench-internals")]
type Hashing = foldhash::fast::FixedState;

/// The conditions of a route as written. The default matches every request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RouteMatch {
    /// Numbers of the listeners on which the route is served; empty for all.
    pub(crate) listeners: Vec<usize>,
    /// The host; `None` matches any host, and no host.
    pub(crate) host: Option<HostPattern>,
    pub(crate) path: PathPattern,
    /// The treatment of encoded slashes in the path. With [`EncodedSlash::Reject`], the path as written must have none,
    /// and the caller must reject requests with one.
    pub(crate) encoded_slash: EncodedSlash,
    /// Methods, exactly as requests have them; empty for all. GET does not include HEAD.
    pub(crate) methods: Vec<String>,
    /// Headers that must be present.
    pub(crate) headers: Vec<(String, Expected)>,
    /// Query parameters that must be present.
    pub(crate) query: Vec<(String, Expected)>,
}

/// The expected value of a header or a query parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Present, with any value.
    Present,
    /// Present with exactly this value.
    Value(String),
}

/// The parts of a request that the router reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestLine<'a> {
    /// The number of the listener that accepted the request.
    pub(crate) listener: usize,
    /// The host without its port; empty if there is none. Case and a trailing dot do not matter.
    pub(crate) host: &'a str,
    /// The path, [normalised](crate::http::path::normalise()).
    pub(crate) path: &'a str,
    /// The part after the `?`, if there is one.
    pub(crate) query: Option<&'a str>,
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a Fields,
}

/// The route that was found for a request.
#[derive(Debug)]
pub(crate) struct Found<'r, T> {
    /// The value that the route was built with.
    pub(crate) value: &'r T,
    /// The template that the path matches, if the route has one.
    pub(crate) template: Option<&'r Template>,
}

/// A searchable set of routes.
#[derive(Debug)]
pub(crate) struct Router<T> {
    /// Sorted, the most specific first: the position of a route is its rank.
    routes: Vec<Route<T>>,
    hosts: HostIndex,
}

#[derive(Debug)]
struct Route<T> {
    specificity: Specificity,
    conditions: Conditions,
    template: Option<Template>,
    value: T,
}

impl<T> Router<T> {
    /// Builds a router from the routes in the order of the file, each with the value that [`Router::find`] returns for
    /// it.
    ///
    /// # Errors
    /// Returns everything that is wrong with any of the matches.
    pub(crate) fn build(routes: Vec<(RouteMatch, T)>) -> Result<Self, Vec<RouterError>> {
        let mut parsed = Vec::with_capacity(routes.len());
        let mut errors = Vec::new();
        for (position, (written, value)) in routes.into_iter().enumerate() {
            match parse(&written) {
                Ok(matched) => parsed.push((matched, value)),
                Err(problems) => errors.extend(problems.into_iter().map(|(key, problem)| RouterError {
                    route: position,
                    key,
                    problem,
                })),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        // The sort is stable: equal routes stay in the order of the file.
        parsed.sort_by_key(|(matched, _)| Reverse(matched.specificity()));
        Ok(Self::index(parsed))
    }

    fn index(sorted: Vec<(Match, T)>) -> Self {
        let mut hosts = HostIndex::default();
        let mut routes = Vec::with_capacity(sorted.len());
        for (rank, (matched, value)) in sorted.into_iter().enumerate() {
            let specificity = matched.specificity();
            let Match { host, path, conditions } = matched;
            hosts.paths_mut(host.as_ref()).insert(&path, rank);
            let template = if let PathMatch::Template(template) = path { Some(template) } else { None };
            routes.push(Route { specificity, conditions, template, value });
        }
        Self { routes, hosts }
    }

    /// Returns the most specific route that matches a request, or `None` if there is none, which is a 404. Does not
    /// allocate.
    pub(crate) fn find(&self, request: &RequestLine<'_>) -> Option<Found<'_, T>> {
        let accepts = |rank: Rank| self.routes.get(rank).is_some_and(|route| route.conditions.hold(request));
        let rank = self.hosts.find_map(request.host, |paths| paths.find(request.path, accepts))?;
        let route = self.routes.get(rank)?;
        Some(Found { value: &route.value, template: route.template.as_ref() })
    }

    #[cfg(test)]
    pub(crate) fn routes_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.routes.iter_mut().map(|route| &mut route.value)
    }

    /// Returns the routes with their specificity, in the order of precedence.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (Specificity, &T)> {
        self.routes.iter().map(|route| (route.specificity, &route.value))
    }
}

/// A parsed match.
#[derive(Debug)]
struct Match {
    host: Option<HostPattern>,
    path: PathMatch,
    conditions: Conditions,
}

impl Match {
    fn specificity(&self) -> Specificity {
        let host = HostSpecificity::of(self.host.as_ref());
        let path = self.path.specificity();
        Specificity { host, path, conditions: self.conditions.count() }
    }
}

fn parse(written: &RouteMatch) -> Result<Match, Vec<(&'static str, MatchError)>> {
    let mut errors = Vec::new();
    let path = PathMatch::parse(&written.path, written.encoded_slash)
        .map_err(|problem| errors.push((written.path.key(), problem)));
    let conditions = Conditions::parse(written).map_err(|problems| errors.extend(problems));
    match (path, conditions) {
        (Ok(path), Ok(conditions)) => Ok(Match { host: written.host.clone(), path, conditions }),
        _ => Err(errors),
    }
}

#[cfg(test)]
mod tests;
