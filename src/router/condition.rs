//! The conditions of a match besides host and path, all of which must hold.

use super::{RequestLine, RouteMatch, header, query};
use crate::config::{HeaderMatch, HeaderName, Method, QueryMatch};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conditions {
    /// The listeners on which the route is served; empty for all.
    listeners: Vec<usize>,
    /// The methods; empty for all. GET does not include HEAD: a route for both lists both.
    methods: Vec<Method>,
    headers: Vec<(HeaderName, HeaderMatch)>,
    query: Vec<(String, QueryMatch)>,
}

impl Conditions {
    pub(super) fn new(route: &RouteMatch<'_>) -> Self {
        let RouteMatch { listeners, matches } = route;
        let headers = matches.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
        let query = matches.query.iter().map(|(name, value)| (name.clone(), value.clone()));
        Self {
            listeners: listeners.clone(),
            methods: matches.methods.clone().unwrap_or_default(),
            headers: headers.collect(),
            query: query.collect(),
        }
    }

    /// Returns the number of conditions, for the specificity of the match.
    pub(super) fn count(&self) -> usize {
        let listeners = usize::from(!self.listeners.is_empty());
        let methods = usize::from(!self.methods.is_empty());
        listeners + methods + self.headers.len() + self.query.len()
    }

    /// Returns true if all of them hold for a request.
    pub(super) fn hold(&self, request: &RequestLine<'_>) -> bool {
        (self.listeners.is_empty() || self.listeners.contains(&request.listener))
            && (self.methods.is_empty()
                || self.methods.iter().any(|method| method.as_http() == request.method))
            && self.headers.iter().all(|(name, value)| header::matches(name, value, request.headers))
            && self.query.iter().all(|(name, value)| query::matches(name, value, request.query))
    }
}
