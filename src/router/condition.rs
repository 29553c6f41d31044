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

    /// Returns true if every request with the headers and the query of these conditions has those of the others.
    pub(super) fn imply_fields_of(&self, others: &Self) -> bool {
        let has_header = |(name, wanted): &(HeaderName, HeaderMatch)| {
            let mut own = self.headers.iter().filter(|(own, _)| own == name);
            own.any(|(_, value)| *wanted == HeaderMatch::Present || value == wanted)
        };
        let has_parameter = |(name, wanted): &(String, QueryMatch)| {
            let mut own = self.query.iter().filter(|(own, _)| own == name);
            own.any(|(_, value)| *wanted == QueryMatch::Present || value == wanted)
        };
        others.headers.iter().all(has_header) && others.query.iter().all(has_parameter)
    }

    /// Returns true if they hold on a listener.
    pub(super) fn serves(&self, listener: usize) -> bool {
        self.listeners.is_empty() || self.listeners.contains(&listener)
    }

    /// Returns the methods, or `None` alone for any method, which stands for one that no route mentions.
    pub(super) fn methods_or_any(&self) -> impl Iterator<Item = Option<&Method>> {
        let any = self.methods.is_empty().then_some(None);
        any.into_iter().chain(self.methods.iter().map(Some))
    }

    /// Returns true if they hold for a method, or with `None` for any.
    pub(super) fn takes(&self, method: Option<&Method>) -> bool {
        self.methods.is_empty() || method.is_some_and(|method| self.methods.contains(method))
    }
}
