//! The errors of a route's match.

use crate::http::path::PathError;

/// A part of a route's match that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct RouterError {
    /// The route's position in the argument of [`Router::build`](super::Router::build).
    pub(crate) route: usize,
    /// The key of `match` at fault: `path`, `prefix`, `template`, `methods`, `headers` or `query`.
    pub(crate) key: &'static str,
    /// The problem, with what to write instead.
    pub(crate) problem: MatchError,
}

/// A problem in a match, worded so that it says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MatchError {
    /// No request can have such a path.
    #[error("no request can have the path `{written}`: {error}")]
    Path { written: String, error: PathError },
    /// An exact path or a prefix has braces.
    #[error(
        "`{0}` has braces, which are for templates: write `template:`, or %7B and %7D for braces in a path"
    )]
    Braces(String),
    /// A parameter is not a whole segment, or its name is not valid.
    #[error(
        "`{0}` is not a template segment: a parameter fills a whole segment, as in /users/{{id}}, and its name \
         has letters, digits, `_` and `-`"
    )]
    TemplateSegment(String),
    /// Two parameters of one template have the same name.
    #[error("the parameter `{{{0}}}` appears twice: give each its own name")]
    RepeatedParameter(String),
    /// A template has no parameters.
    #[error("`{0}` has no parameter such as {{id}}: write `path:` for a path that is matched whole")]
    NoParameter(String),
    /// The template has more segments than permitted.
    #[error("the template has more than {max} segments")]
    TooManySegments { max: usize },
    /// The text is not the name of a method.
    #[error("`{0}` is not a method that can be routed: write it as requests have it, for example GET")]
    Method(String),
    /// The text is not the name of a header.
    #[error("`{0}` is not a header name")]
    HeaderName(String),
    /// The text is not the value of a header.
    #[error("the value for header `{0}` has characters that a header cannot have")]
    HeaderValue(String),
    /// A query parameter has no name.
    #[error("a query parameter needs a name")]
    QueryName,
}
