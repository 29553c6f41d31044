//! Routes that no request reaches, because routes that precede them take all of their requests.
//!
//! Only routes of the same host can take all requests of a route: a more specific host leaves names to it, and a less
//! specific one comes later. Of the paths below a prefix, one that no route mentions decides: besides the routes with the
//! same prefix, only those with one slash more precede it there. Of the rest, a request decides that has nothing but what the
//! route requires. So the result is exact: every other route gets some request.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::condition::Conditions;
use super::parameters::path_segments;
use super::{RouteMatch, specificity};
use crate::config::{HostPattern, PathMatch, Piece};

/// The number of routes with the same host and path that a route is compared with. With more of them the result may be
/// incomplete, but never wrong.
const COMPARED_MAX: usize = 256;

/// A route that no request reaches.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shadowed {
    /// The position of the route.
    pub(crate) route: usize,
    /// The positions of the routes that take its requests, the most specific first.
    pub(crate) by: Vec<usize>,
}

/// Returns the routes that no request reaches, in their order. The numbers of the listeners are those below `listeners`.
pub(crate) fn shadowed(routes: &[RouteMatch<'_>], listeners: usize) -> Vec<Shadowed> {
    let mut sorted: Vec<_> = routes.iter().map(|route| (route, Conditions::new(route))).enumerate().collect();
    sorted.sort_by_key(|(_, (route, conditions))| Reverse(specificity(route.matches, conditions)));
    let mut hosts: HashMap<Option<&HostPattern>, Paths> = HashMap::new();
    for (rank, (position, (route, conditions))) in sorted.into_iter().enumerate() {
        let paths = hosts.entry(route.matches.host.as_ref()).or_default();
        let group = paths.0.entry(Path::of(route.matches.path_match())).or_default();
        group.push(Candidate { position, rank, conditions });
    }
    let mut found: Vec<Shadowed> = hosts.values().flat_map(|paths| paths.shadowed(listeners)).collect();
    found.sort_by_key(|shadowed| shadowed.route);
    found
}

/// The path of a match.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Path {
    Any,
    Exact(String),
    Prefix(String),
    /// The segments of a template, with `None` for a parameter.
    Template(Vec<Option<Box<str>>>),
}

#[derive(Debug)]
struct Candidate {
    position: usize,
    /// The position in the order of precedence.
    rank: usize,
    conditions: Conditions,
}

/// The routes of a host by their path, each group in the order of precedence.
#[derive(Default)]
struct Paths(HashMap<Path, Vec<Candidate>>);

impl Paths {
    fn shadowed(&self, listeners: usize) -> impl Iterator<Item = Shadowed> {
        let routes = self.0.iter().flat_map(|(path, group)| group.iter().map(move |route| (path, route)));
        routes.filter_map(move |(path, route)| {
            let by = self.takers(path, route, listeners)?;
            Some(Shadowed { route: route.position, by: by.iter().map(|other| other.position).collect() })
        })
    }

    /// Returns the routes that together take all requests of a route, or `None` if it gets some.
    fn takers(&self, path: &Path, route: &Candidate, listeners: usize) -> Option<Vec<&Candidate>> {
        let same = self.group(path);
        let mut takers = match path {
            Path::Any => {
                let all = same.chain(self.group(&Path::Prefix("/".to_owned())));
                takers_of(route, all, listeners)?
            }
            Path::Prefix(prefix) if !prefix.ends_with('/') => {
                let below = self.group(&Path::Prefix(format!("{prefix}/")));
                let mut takers = takers_of(route, same.chain(below), listeners)?;
                let itself = self.group(&Path::Exact(prefix.clone())).chain(self.templates_for(prefix));
                takers.extend(takers_of(route, self.group(path).chain(itself), listeners)?);
                takers
            }
            // All paths of the prefix `/a/` lie below it.
            Path::Prefix(_) | Path::Exact(_) | Path::Template(_) => takers_of(route, same, listeners)?,
        };
        takers.sort_by_key(|taker| taker.rank);
        takers.dedup_by_key(|taker| taker.rank);
        Some(takers)
    }

    fn group(&self, path: &Path) -> impl Iterator<Item = &Candidate> + use<'_> {
        self.0.get(path).into_iter().flatten().take(COMPARED_MAX)
    }

    /// Returns the routes whose template matches a path.
    fn templates_for(&self, path: &str) -> impl Iterator<Item = &Candidate> {
        let segments: Vec<&str> = path_segments(path).collect();
        let is_match = |(wanted, segment): (&Option<Box<str>>, &&str)| match wanted {
            Some(literal) => **literal == **segment,
            None => !segment.is_empty(),
        };
        let templates = self.0.iter().filter(move |(path, _)| match path {
            Path::Template(wanted) => {
                wanted.len() == segments.len() && wanted.iter().zip(&segments).all(is_match)
            }
            _ => false,
        });
        templates.flat_map(|(_, group)| group.iter().take(COMPARED_MAX))
    }
}

impl Path {
    fn of(path: PathMatch<'_>) -> Self {
        match path {
            PathMatch::Any => Self::Any,
            PathMatch::Exact(path) => Self::Exact(path.normal().to_owned()),
            PathMatch::Prefix(path) => Self::Prefix(path.normal().to_owned()),
            PathMatch::Template(template) => {
                let segments = template.pieces().iter().map(|piece| match piece {
                    Piece::Literal(text) => Some(text.clone()),
                    Piece::Parameter(_) => None,
                });
                Self::Template(segments.collect())
            }
        }
    }
}

/// Returns those of the candidates, all of which match a path, that together take the requests of a route for it, or `None`
/// if a request is left.
fn takers_of<'c>(
    route: &Candidate,
    candidates: impl Iterator<Item = &'c Candidate>,
    listeners: usize,
) -> Option<Vec<&'c Candidate>> {
    let precedes =
        |other: &&Candidate| other.rank < route.rank && route.conditions.imply_fields_of(&other.conditions);
    let mut candidates: Vec<&Candidate> = candidates.filter(precedes).collect();
    candidates.sort_by_key(|candidate| candidate.rank);
    let mut takers = Vec::new();
    for listener in (0..listeners).filter(|listener| route.conditions.serves(*listener)) {
        for method in route.conditions.methods_or_any() {
            let takes =
                |other: &&&Candidate| other.conditions.serves(listener) && other.conditions.takes(method);
            takers.push(*candidates.iter().find(takes)?);
        }
    }
    // Without a listener there is no request, and nothing to warn of.
    (!takers.is_empty()).then_some(takers)
}

#[cfg(test)]
mod tests;
