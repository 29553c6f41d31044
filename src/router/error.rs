//! What can be wrong with a route's match.

use crate::http::path::PathError;

/// A part of a route's match that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct RouterError {
    /// The route's position in what [`Router::build`](super::Router::build) was given.
    pub(crate) route: usize,
    /// The key of `match` at fault: `host`, `path`, `prefix`, `template`, `methods`, `headers` or `query`.
    pub(crate) key: &'static str,
    /// What is wrong, and what to do.
    pub(crate) problem: MatchError,
}

/// What is wrong with a match, in a sentence that says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MatchError {
    /// Not a host name, an IP address or `*.` before a host name.
    #[error(
        "`{0}` is not a host: write a name such as api.example.com or *.example.com, without scheme or port \
         (a name in another script as punycode, xn--…)"
    )]
    Host(String),
    /// No request has such a path.
    #[error("no request can have the path `{written}`: {error}")]
    Path {
        /// The path as written.
        written: String,
        /// What is wrong with it.
        error: PathError,
    },
    /// Braces in an exact path or a prefix.
    #[error(
        "`{0}` has braces, which are for templates: write `template:`, or %7B and %7D for braces in a path"
    )]
    Braces(String),
    /// A parameter is not a whole segment, or its name is not a name.
    #[error(
        "`{0}` is not a template segment: a parameter fills a whole segment, as in /users/{{id}}, and its name \
         has letters, digits, `_` and `-`"
    )]
    TemplateSegment(String),
    /// Two parameters of one template have the same name.
    #[error("the parameter `{{{0}}}` is there twice: give each its own name")]
    RepeatedParameter(String),
    /// A template without parameters.
    #[error("`{0}` has no parameter such as {{id}}: write `path:` for a path that is matched whole")]
    NoParameter(String),
    /// More segments than a template may have.
    #[error("the template has more than {max} segments")]
    TooManySegments {
        /// The limit.
        max: usize,
    },
    /// Not a method's name.
    #[error("`{0}` is not a method that can be routed: write it as requests have it, for example GET")]
    Method(String),
    /// Not a header's name.
    #[error("`{0}` is not a header name")]
    HeaderName(String),
    /// Not a header's value.
    #[error("the value for header `{0}` has characters that a header cannot have")]
    HeaderValue(String),
    /// A query parameter without a name.
    #[error("a query parameter needs a name")]
    QueryName,
}
