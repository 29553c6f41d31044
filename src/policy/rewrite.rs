//! Rewriting the path that is sent upstream.

use std::borrow::Cow;

use super::template::{Template, TemplateError};
use crate::http::path::{
    EncodedSlash, PathError, hex_digit, is_foreign_to_paths, is_unreserved, normalise, normalise_written,
};
use crate::router::Parameters;

/// The worst values that a parameter can have for the text around it. Beside dots they make a disguised dot segment,
/// the second one only if encoded slashes are kept. A value is never empty and never a dot segment itself, since it is
/// a segment of a normalised path.
const WORST_VALUES: [&str; 2] = [";", "%2F"];

/// A rule that turns the path of a request into the one that is sent upstream. The query is sent as it arrived. The path
/// has encoded slashes only if the route keeps them in requests.
///
/// Every result is normalised as the request's path was, so no rewrite brings back what the router rejects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rewrite(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Path(Box<str>),
    /// Holds the prefixes without a trailing slash.
    Prefix {
        strip: Box<str>,
        add: Box<str>,
    },
    Template(Template),
}

/// The reason why a rewrite cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RewriteError {
    /// Its result would not be a path.
    #[error("`{written}` cannot be a path: {error}")]
    Path { written: String, error: PathError },
    /// Its braces are invalid.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Rewrite {
    /// Returns a rewrite of every path to `written`. Braces are an error: parameters are for [`Rewrite::template`].
    ///
    /// # Errors
    /// Returns [`RewriteError`] if it is not a path, for example because it has a query.
    pub(crate) fn path(written: &str, slashes: EncodedSlash) -> Result<Self, RewriteError> {
        let path = normalise_for(written, slashes)?;
        // No parameters are known here, so any brace is an error.
        Template::parse(&path, &[])?;
        Ok(Self(Kind::Path(path.into())))
    }

    /// Returns a rewrite that removes `strip` from the beginning of the path, at a segment border, and puts `add`
    /// before the rest. A trailing slash of either does not matter, and `/` is no prefix at all.
    ///
    /// # Errors
    /// Returns [`RewriteError`] if one of them is not a path.
    pub(crate) fn prefix(strip: &str, add: &str, slashes: EncodedSlash) -> Result<Self, RewriteError> {
        let prefix = |written| -> Result<Box<str>, RewriteError> {
            let prefix = normalise_for(written, slashes)?;
            Template::parse(&prefix, &[])?;
            Ok(prefix.strip_suffix('/').unwrap_or(&prefix).into())
        };
        Ok(Self(Kind::Prefix { strip: prefix(strip)?, add: prefix(add)? }))
    }

    /// Returns a rewrite that inserts the parameters of the route's template into `written`. `known` are their names.
    ///
    /// # Errors
    /// Returns [`RewriteError`] if it is not a path, could be none with some values, or has parameters that the route
    /// does not have.
    pub(crate) fn template(
        written: &str,
        known: &[String],
        slashes: EncodedSlash,
    ) -> Result<Self, RewriteError> {
        let template = Template::parse(&normalise_for(written, slashes)?, known)?;
        let possible = if slashes == EncodedSlash::Keep { 2 } else { 1 };
        for value in WORST_VALUES.iter().take(possible) {
            normalise(&template.expand_with(|_| value), slashes)
                .map_err(|error| RewriteError::Path { written: written.to_owned(), error })?;
        }
        Ok(Self(Kind::Template(template)))
    }

    /// Returns the path to send for the normalised `path`. Parameters are inserted as the path has them, including
    /// percent-encoding.
    ///
    /// Nothing is stripped from a path outside the prefix to strip. Of the prefix itself nothing remains, which is `/`
    /// if no other prefix takes its place.
    pub(crate) fn apply<'a>(&'a self, path: &'a str, parameters: &Parameters<'_, '_>) -> Cow<'a, str> {
        match &self.0 {
            Kind::Path(path) => Cow::Borrowed(path),
            Kind::Prefix { strip, add } => match (below(path, strip).unwrap_or(path), &**add) {
                ("", "") => Cow::Borrowed("/"),
                (rest, "") => Cow::Borrowed(rest),
                (rest, add) => Cow::Owned([add, rest].concat()),
            },
            Kind::Template(template) => Cow::Owned(template.expand(parameters)),
        }
    }
}

impl Rewrite {
    /// Returns the client's path that leads to the upstream's `path`. Either may be empty, which means `/`. Returns
    /// `None` for a path that is not below the added prefix. The stripped prefix returns only if `requested`, the path
    /// of this request, had it. A path that is written as a whole says nothing about others, which stay.
    pub(super) fn reverse<'p>(&self, path: &'p str, requested: &str) -> Option<Cow<'p, str>> {
        match &self.0 {
            Kind::Prefix { strip, add } => below_written(path, add).map(|rest| {
                if strip.is_empty() || below(requested, strip).is_none() {
                    Cow::Borrowed(rest)
                } else {
                    Cow::Owned([strip, rest].concat())
                }
            }),
            Kind::Path(_) | Kind::Template(_) => Some(Cow::Borrowed(path)),
        }
    }

    /// Returns the prefix that is stripped without another one in its place.
    pub(super) fn only_stripped(&self) -> Option<&str> {
        match &self.0 {
            Kind::Prefix { strip, add } if add.is_empty() && !strip.is_empty() => Some(strip),
            _ => None,
        }
    }
}

/// Returns the rest of a path after a prefix without a trailing slash, which is empty or a path, if the path is that
/// prefix or below it.
pub(super) fn below<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns the rest of a path that an upstream wrote after a normalised prefix, as [`below`] does. The upstream may
/// escape other characters than a normalised path does, and write hexadecimal digits in the other case.
pub(super) fn below_written<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii() && byte != b'%');
    let plain = below(path, prefix);
    if plain.is_some() || (is_plain(path) && is_plain(prefix)) {
        return plain;
    }
    let (mut rest, mut prefix) = (path.as_bytes(), prefix.as_bytes());
    while !prefix.is_empty() {
        let (wanted, after_wanted) = first_octet(prefix)?;
        let (written, after_written) = first_octet(rest)?;
        if wanted != written {
            return None;
        }
        (rest, prefix) = (after_written, after_wanted);
    }
    path.get(path.len() - rest.len()..).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns the first octet of a path, true if a normalised path has it as an escape, and the rest. Returns `None` at
/// the end, and for an escape without two digits.
fn first_octet(path: &[u8]) -> Option<((u8, bool), &[u8])> {
    match path {
        [b'%', high, low, rest @ ..] => {
            let byte = hex_digit(Some(*high))? << 4 | hex_digit(Some(*low))?;
            Some(((byte, !is_unreserved(byte)), rest))
        }
        [] | [b'%', ..] => None,
        [byte, rest @ ..] => Some(((*byte, is_foreign_to_paths(*byte) || !byte.is_ascii_graphic()), rest)),
    }
}

fn normalise_for(written: &str, slashes: EncodedSlash) -> Result<String, RewriteError> {
    normalise_written(written, slashes)
        .map_err(|error| RewriteError::Path { written: written.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::http::fields::Fields;
    use crate::router::{PathPattern, RequestLine, RouteMatch, Router};

    const REJECT: EncodedSlash = EncodedSlash::Reject;

    fn apply(rewrite: &Rewrite, path: &str) -> String {
        rewrite.apply(path, &Parameters::none()).into_owned()
    }

    #[test]
    fn a_path_replaces_every_path() {
        assert_eq!(apply(&Rewrite::path("/a/./é", REJECT).unwrap(), "/x"), "/a/%C3%A9");
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
            let rewrite = Rewrite::prefix(prefix, "/", REJECT).unwrap();
            assert_eq!(apply(&rewrite, path), expected, "{prefix} {path}");
        }
    }

    #[test]
    fn an_added_prefix_goes_before_the_path_or_in_the_place_of_the_stripped_one() {
        let cases = [
            ("/", "/v2", "/", "/v2/"),
            ("/", "/v2", "/x", "/v2/x"),
            ("/", "/v2/", "//x", "/v2//x"),
            ("/", "/", "/x", "/x"),
            ("/api", "/v2", "/api", "/v2"),
            ("/api", "/v2", "/api/", "/v2/"),
            ("/api/", "/v2/", "/api/x", "/v2/x"),
            ("/api", "/v2", "/apix", "/v2/apix"),
            ("/api", "/%7ev2/é", "/api/a%2Fb", "/~v2/%C3%A9/a%2Fb"),
        ];
        for (strip, add, path, expected) in cases {
            let rewrite = Rewrite::prefix(strip, add, REJECT).unwrap();
            assert_eq!(apply(&rewrite, path), expected, "{strip} {add} {path}");
        }
    }

    #[test]
    fn a_prefix_matches_a_path_in_any_spelling_of_its_escapes() {
        for (prefix, path, expected) in [
            ("/%C3%A9", "/%c3%a9/x%c3", Some("/x%c3")),
            ("/%C3%A9", "/é/é", Some("/é")),
            ("/%C3%A9", "/%C3%a9", Some("")),
            ("/%C3%A9", "/éé", None),
            ("/%C3%A9", "/%C3", None),
            ("/%C3%A9", "/è", None),
            ("/~v", "/%7ev/x", Some("/x")),
            ("/~v", "/%7Ev%2Fx", None),
            ("/a%7Cb", "/a|b/x", Some("/x")),
            ("/a%20b", "/a%20b", Some("")),
            ("/a+b", "/a%2Bb", None),
            ("/a%2Fb", "/a/b", None),
            ("/a/b", "/a%2fb", None),
            ("/a%2Fb", "/a%2fb/", Some("/")),
            ("/v2", "/v2/%", Some("/%")),
            ("/v2", "/%v2", None),
            ("/v2", "/v%", None),
            ("/v2", "/v%+2", None),
            ("/v2", "/é", None),
            ("", "/é%c3", Some("/é%c3")),
        ] {
            assert_eq!(below_written(path, prefix), expected, "{prefix} {path}");
        }
    }

    #[test]
    fn a_template_gets_the_values_as_they_came() {
        let path = PathPattern::Template("/users/{id}/{order}".into());
        let rewrite = Rewrite::template("/v2/{order}/of-{id}", &path.parameter_names(), REJECT).unwrap();
        let router = Router::build(vec![(RouteMatch { path, ..RouteMatch::default() }, ())]).unwrap();
        let (path, method, headers) = ("/users/a%20b/%C3%A9", &Method::GET, &Fields::new());
        let request = RequestLine { listener: 0, host: "", path, query: None, method, headers };
        let found = router.find(&request).unwrap();
        assert_eq!(rewrite.apply(path, &Parameters::new(found.template, path)), "/v2/%C3%A9/of-a%20b");
    }

    #[test]
    fn rewrites_that_could_yield_an_invalid_path_are_rejected() {
        let known = ["id".to_owned()];
        let path_error = |result: Result<Rewrite, RewriteError>| match result {
            Err(RewriteError::Path { error, .. }) => Some(error),
            _ => None,
        };
        assert_eq!(path_error(Rewrite::path("a", REJECT)), Some(PathError::NotAbsolute));
        assert_eq!(path_error(Rewrite::path("/a?b=c", REJECT)), Some(PathError::RawCharacter));
        assert_eq!(path_error(Rewrite::prefix("/../a", "/", REJECT)), Some(PathError::ClimbsAboveRoot));
        assert_eq!(path_error(Rewrite::prefix("/", "/a%2Fb", REJECT)), Some(PathError::EncodedSlash));
        assert_eq!(path_error(Rewrite::template("/a%2f{id}", &known, REJECT)), Some(PathError::EncodedSlash));
        assert_eq!(path_error(Rewrite::template("/a%4{id}", &known, REJECT)), Some(PathError::InvalidEscape));
        assert_eq!(
            path_error(Rewrite::template("/.{id}/a", &known, REJECT)),
            Some(PathError::HiddenDotSegment)
        );
        assert_eq!(
            path_error(Rewrite::template("/a/..{id}", &known, REJECT)),
            Some(PathError::HiddenDotSegment)
        );
        let keep = |written: &str| Rewrite::template(written, &known, EncodedSlash::Keep);
        assert_eq!(path_error(keep("/a%2f{id}")), None);
        assert_eq!(path_error(keep("/{id}..")), Some(PathError::HiddenDotSegment));
        assert_eq!(path_error(Rewrite::template("/{id}..", &known, REJECT)), None);
        assert!(matches!(Rewrite::path("/{id}", REJECT), Err(RewriteError::Template(_))));
        assert!(matches!(Rewrite::template("/{other}", &known, REJECT), Err(RewriteError::Template(_))));
    }
}
