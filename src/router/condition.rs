//! The conditions of a match besides host and path, all of which must hold.

use super::error::MatchError;
use super::header::HeaderMatch;
use super::method::MethodMatch;
use super::query::QueryMatch;
use super::{Expected, RequestLine, RouteMatch};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    /// The listeners on which the route is served; empty for all.
    listeners: Vec<usize>,
    methods: MethodMatch,
    headers: Vec<HeaderMatch>,
    query: Vec<QueryMatch>,
}

impl Conditions {
    /// Parses the conditions of a match. Each error comes with the key that it belongs to.
    pub(super) fn parse(written: &RouteMatch) -> Result<Self, Vec<(&'static str, MatchError)>> {
        let mut errors = Vec::new();
        let methods = MethodMatch::parse(&written.methods).unwrap_or_else(|problems| {
            errors.extend(problems.into_iter().map(|problem| ("methods", problem)));
            MethodMatch::default()
        });
        let headers = parse_all(&written.headers, HeaderMatch::parse, "headers", &mut errors);
        let query = parse_all(&written.query, QueryMatch::parse, "query", &mut errors);
        let listeners = written.listeners.clone();
        if errors.is_empty() { Ok(Self { listeners, methods, headers, query }) } else { Err(errors) }
    }

    /// Returns the number of conditions, for the specificity of the match.
    pub(super) fn count(&self) -> usize {
        let listeners = usize::from(!self.listeners.is_empty());
        let methods = usize::from(!self.methods.is_any());
        listeners + methods + self.headers.len() + self.query.len()
    }

    /// Returns true if all of them hold for a request.
    pub(super) fn hold(&self, request: &RequestLine<'_>) -> bool {
        (self.listeners.is_empty() || self.listeners.contains(&request.listener))
            && self.methods.matches(request.method)
            && self.headers.iter().all(|header| header.matches(request.headers))
            && self.query.iter().all(|parameter| parameter.matches(request.query))
    }
}

/// Parses each named value with `parse`, collecting all errors.
fn parse_all<M>(
    written: &[(String, Expected)],
    parse: fn(&str, &Expected) -> Result<M, MatchError>,
    key: &'static str,
    errors: &mut Vec<(&'static str, MatchError)>,
) -> Vec<M> {
    let mut matches = Vec::with_capacity(written.len());
    for (name, expected) in written {
        match parse(name, expected) {
            Ok(parsed) => matches.push(parsed),
            Err(problem) => errors.push((key, problem)),
        }
    }
    matches
}
