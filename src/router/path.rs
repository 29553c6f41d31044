//! Matching of paths.

use super::error::MatchError;
use super::specificity::PathSpecificity;
use super::template::Template;
use crate::http::path::{EncodedSlash, normalise_written};

/// The path of a route's match, as written. It is normalised in the same way as the paths of requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum PathPattern {
    #[default]
    Any,
    Exact(String),
    /// A path and everything below it, at segment borders: `/api` matches `/api` and `/api/x`, never `/apix`; `/api/`
    /// matches what is below `/api`, but not `/api`; `/` matches every path.
    Prefix(String),
    /// Segments, some of which are parameters: `{name}` takes any value but an empty one, as in
    /// `/users/{id}/orders/{order}`.
    Template(String),
}

impl PathPattern {
    /// Returns the names of a template's parameters, in order. There are none for any other pattern or an invalid
    /// template.
    pub(crate) fn parameter_names(&self) -> Vec<String> {
        match self {
            Self::Template(written) => Template::parse(written, EncodedSlash::Keep)
                .map(|template| template.parameter_names().map(str::to_owned).collect())
                .unwrap_or_default(),
            Self::Any | Self::Exact(_) | Self::Prefix(_) => Vec::new(),
        }
    }

    /// Returns the key of `match` that holds the pattern.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Any | Self::Exact(_) => "path",
            Self::Prefix(_) => "prefix",
            Self::Template(_) => "template",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PathMatch {
    Any,
    Exact(Box<str>),
    Prefix(Box<str>),
    Template(Template),
}

impl PathMatch {
    pub(super) fn parse(pattern: &PathPattern, slashes: EncodedSlash) -> Result<Self, MatchError> {
        Ok(match pattern {
            PathPattern::Any => Self::Any,
            PathPattern::Exact(written) => Self::Exact(literal(written, slashes)?),
            PathPattern::Prefix(written) => Self::Prefix(literal(written, slashes)?),
            PathPattern::Template(written) => Self::Template(Template::parse(written, slashes)?),
        })
    }

    pub(super) fn specificity(&self) -> PathSpecificity {
        match self {
            Self::Any => PathSpecificity::Any,
            Self::Prefix(prefix) => PathSpecificity::Prefix { bytes: prefix.len() },
            Self::Template(template) => template.specificity(),
            Self::Exact(_) => PathSpecificity::Exact,
        }
    }
}

fn literal(written: &str, slashes: EncodedSlash) -> Result<Box<str>, MatchError> {
    // This is most likely a template under the wrong key, which would silently match nothing.
    if written.contains(['{', '}']) {
        return Err(MatchError::Braces(written.to_owned()));
    }
    normalise_written(written, slashes)
        .map(String::into_boxed_str)
        .map_err(|error| MatchError::Path { written: written.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::path::PathError;

    #[test]
    fn patterns_are_normalised_as_requests_are() {
        let exact =
            |written: &str| PathMatch::parse(&PathPattern::Exact(written.to_owned()), EncodedSlash::Reject);
        assert_eq!(exact("/a/./%7Eb/é"), Ok(PathMatch::Exact("/a/~b/%C3%A9".into())));
        let error = PathError::NotAbsolute;
        assert_eq!(exact("a"), Err(MatchError::Path { written: "a".into(), error }));
        let kept = PathMatch::parse(&PathPattern::Prefix("/queues/%2f".to_owned()), EncodedSlash::Keep);
        assert_eq!(kept, Ok(PathMatch::Prefix("/queues/%2F".into())));
        assert_eq!(exact("/{id}"), Err(MatchError::Braces("/{id}".into())));
    }

    #[test]
    fn only_templates_have_parameters() {
        assert_eq!(PathPattern::Template("/a/{b}/{c}".into()).parameter_names(), ["b", "c"]);
        assert!(PathPattern::Template("/a/{b}x".into()).parameter_names().is_empty());
        assert!(PathPattern::Prefix("/a".into()).parameter_names().is_empty());
    }

    #[test]
    fn specificity_is_exact_then_template_then_the_longer_prefix() {
        let pattern_of = |text: &str| -> PathPattern {
            match text.split_once(' ') {
                Some(("exact", path)) => PathPattern::Exact(path.to_owned()),
                Some(("prefix", path)) => PathPattern::Prefix(path.to_owned()),
                Some(("template", path)) => PathPattern::Template(path.to_owned()),
                _ => PathPattern::Any,
            }
        };
        let order =
            ["any", "prefix /", "prefix /a", "prefix /a/", "prefix /a/bcd", "template /{a}", "exact /"];
        let specificities: Vec<_> = order
            .iter()
            .map(|text| {
                PathMatch::parse(&pattern_of(text), EncodedSlash::Reject).map(|path| path.specificity())
            })
            .collect();
        assert!(
            specificities.is_sorted_by(|less, more| less.as_ref().ok() < more.as_ref().ok()),
            "{specificities:?}"
        );
    }
}
