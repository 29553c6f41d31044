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
mod header;
mod host;
mod parameters;
mod path;
mod paths;
mod query;
mod shadowed;
mod specificity;

use std::cmp::Reverse;

use condition::Conditions;
use host::HostIndex;
use http::Method;
pub(crate) use parameters::Parameters;
use paths::Rank;
pub(crate) use shadowed::{Shadowed, shadowed};
pub(crate) use specificity::Specificity;
use specificity::{HostSpecificity, PathSpecificity};

use crate::config::{Match, PathMatch, PathTemplate};
use crate::http::fields::Fields;

/// The hash of names and segments. Each process has another seed, except where lookups are counted for comparison:
/// random collisions would change the counts.
#[cfg(not(feature = "bench-internals"))]
type Hashing = foldhash::fast::RandomState;
#[cfg(feature = "bench-internals")]
type Hashing = foldhash::fast::FixedState;

/// The conditions of a route.
#[derive(Debug, Clone)]
pub(crate) struct RouteMatch<'a> {
    /// Numbers of the listeners on which the route is served; empty for all.
    pub(crate) listeners: Vec<usize>,
    pub(crate) matches: &'a Match,
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
    pub(crate) template: Option<&'r PathTemplate>,
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
    template: Option<PathTemplate>,
    value: T,
}

impl<T> Router<T> {
    /// Builds a router from the routes in the order of the file, each with the value that [`Router::find`] returns for
    /// it.
    pub(crate) fn build(routes: Vec<(RouteMatch<'_>, T)>) -> Self {
        let routes = routes.into_iter().map(|(written, value)| {
            let RouteMatch { matches, .. } = &written;
            let conditions = Conditions::new(&written);
            let path = matches.path_match();
            let specificity = specificity(matches, &conditions);
            let template =
                if let PathMatch::Template(template) = path { Some(template.clone()) } else { None };
            (written.matches, Route { specificity, conditions, template, value })
        });
        let mut routes: Vec<_> = routes.collect();
        // The sort is stable: equal routes stay in the order of the file.
        routes.sort_by_key(|(_, route)| Reverse(route.specificity));
        let mut hosts = HostIndex::default();
        for (rank, (matches, _)) in routes.iter().enumerate() {
            hosts.paths_mut(matches.host.as_ref()).insert(matches.path_match(), rank);
        }
        Self { routes: routes.into_iter().map(|(_, route)| route).collect(), hosts }
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

/// Returns the specificity of a match with these conditions.
fn specificity(matches: &Match, conditions: &Conditions) -> Specificity {
    Specificity {
        host: HostSpecificity::of(matches.host.as_ref()),
        path: PathSpecificity::of(matches.path_match()),
        conditions: conditions.count(),
    }
}

#[cfg(test)]
mod tests;
