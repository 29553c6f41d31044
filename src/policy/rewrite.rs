//! The path that goes upstream, where it is not the one that came.

use std::borrow::Cow;

use super::template::{Template, TemplateError};
use crate::router::{Parameters, PathError, normalise, normalise_written};

/// The worst value that a parameter can have for the text around it: after a dot it makes a dot segment in
/// disguise. A value is never empty and never a dot segment itself, since it is a segment of a normalised
/// path.
const WORST_VALUE: &str = ";";

/// What a route makes of a path. The query goes upstream as it came.
///
/// Whatever it makes is normalised as the request's path was, so that no rewrite brings back what the router
/// refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Path(Box<str>),
    /// Holds the prefix without a slash at its end.
    StripPrefix(Box<str>),
    Template(Template),
}

/// Why a rewrite cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// What it makes would be no path.
    #[error("`{written}` cannot be a path: {error}")]
    Path {
        /// The rewrite as written.
        written: String,
        /// What is wrong with it.
        error: PathError,
    },
    /// Its braces are wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Rewrite {
    /// Every request goes to `written`. Braces are an error: parameters are for [`Rewrite::template`].
    ///
    /// # Errors
    /// [`RewriteError`] where it is not a path, for example because it has a query.
    pub fn path(written: &str) -> Result<Self, RewriteError> {
        let path = normalise_for(written)?;
        // Without parameters that are known, any brace is an error.
        Template::parse(&path, &[])?;
        Ok(Self(Kind::Path(path.into())))
    }

    /// `written` is taken away from the beginning of the path, at a segment border; a slash at its end does
    /// not matter.
    ///
    /// # Errors
    /// [`RewriteError`] where it is not a path.
    pub fn strip_prefix(written: &str) -> Result<Self, RewriteError> {
        let prefix = normalise_for(written)?;
        Template::parse(&prefix, &[])?;
        Ok(Self(Kind::StripPrefix(prefix.strip_suffix('/').unwrap_or(&prefix).into())))
    }

    /// The parameters of the route's template are put into `written`; `known` are their names.
    ///
    /// # Errors
    /// [`RewriteError`] where it is not a path, or could be none with some values, or has parameters that the
    /// route has not.
    pub fn template(written: &str, known: &[String]) -> Result<Self, RewriteError> {
        let template = Template::parse(&normalise_for(written)?, known)?;
        normalise(&template.expand_with(|_| WORST_VALUE))
            .map_err(|error| RewriteError::Path { written: written.to_owned(), error })?;
        Ok(Self(Kind::Template(template)))
    }

    /// The path to send for the normalised `path`. Parameters go in as the path has them, percent-encoded
    /// where it is.
    ///
    /// A path outside of the prefix to strip stays as it is; `/` is what remains of the prefix itself.
    #[must_use]
    pub fn apply<'a>(&'a self, path: &'a str, parameters: &Parameters<'_, '_>) -> Cow<'a, str> {
        match &self.0 {
            Kind::Path(path) => Cow::Borrowed(path),
            Kind::StripPrefix(prefix) => Cow::Borrowed(match path.strip_prefix(&**prefix) {
                Some("") => "/",
                Some(rest) if rest.starts_with('/') => rest,
                _ => path,
            }),
            Kind::Template(template) => Cow::Owned(template.expand(parameters)),
        }
    }
}

fn normalise_for(written: &str) -> Result<String, RewriteError> {
    normalise_written(written).map_err(|error| RewriteError::Path { written: written.to_owned(), error })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]

    use http::Method;

    use crate::fields::Fields;

    use super::*;
    use crate::router::{PathPattern, RequestLine, RouteMatch, Router};

    fn apply(rewrite: &Rewrite, path: &str) -> String {
        rewrite.apply(path, &Parameters::none()).into_owned()
    }

    #[test]
    fn a_path_replaces_every_path() {
        assert_eq!(apply(&Rewrite::path("/a/./é").unwrap(), "/x"), "/a/%C3%A9");
    }

    #[test]
    fn a_prefix_is_stripped_at_a_segment_border() {
        let cases = [
            ("/api", "/api", "/"),
            ("/api", "/api/", "/"),
            ("/api", "/api/x", "/x"),
            ("/api", "/api//x", "//x"),
            ("/api", "/apix", "/apix"),
            ("/api", "/", "/"),
            ("/api/", "/api/x", "/x"),
            ("/api/", "/api", "/"),
            ("/", "/x", "/x"),
        ];
        for (prefix, path, expected) in cases {
            assert_eq!(apply(&Rewrite::strip_prefix(prefix).unwrap(), path), expected, "{prefix} {path}");
        }
    }

    #[test]
    fn a_template_gets_the_values_as_they_came() {
        let path = PathPattern::Template("/users/{id}/{order}".into());
        let rewrite = Rewrite::template("/v2/{order}/of-{id}", &path.parameter_names()).unwrap();
        let router = Router::build(vec![(RouteMatch { path, ..RouteMatch::default() }, ())]).unwrap();
        let (path, method, headers) = ("/users/a%20b/%C3%A9", &Method::GET, &Fields::new());
        let request = RequestLine { listener: 0, host: "", path, query: None, method, headers };
        let found = router.find(&request).unwrap();
        assert_eq!(rewrite.apply(path, &found.parameters), "/v2/%C3%A9/of-a%20b");
    }

    #[test]
    fn what_could_become_no_path_is_refused() {
        let known = ["id".to_owned()];
        let path_error = |result: Result<Rewrite, RewriteError>| match result {
            Err(RewriteError::Path { error, .. }) => Some(error),
            _ => None,
        };
        assert_eq!(path_error(Rewrite::path("a")), Some(PathError::NotAbsolute));
        assert_eq!(path_error(Rewrite::path("/a?b=c")), Some(PathError::RawCharacter));
        assert_eq!(path_error(Rewrite::strip_prefix("/../a")), Some(PathError::ClimbsAboveRoot));
        assert_eq!(path_error(Rewrite::template("/a%2f{id}", &known)), Some(PathError::EncodedSlash));
        assert_eq!(path_error(Rewrite::template("/a%4{id}", &known)), Some(PathError::InvalidEscape));
        assert_eq!(path_error(Rewrite::template("/.{id}/a", &known)), Some(PathError::HiddenDotSegment));
        assert_eq!(path_error(Rewrite::template("/a/..{id}", &known)), Some(PathError::HiddenDotSegment));
        assert!(matches!(Rewrite::path("/{id}"), Err(RewriteError::Template(_))));
        assert!(matches!(Rewrite::template("/{other}", &known), Err(RewriteError::Template(_))));
    }
}
