//! Rewriting the path that is sent upstream.

use std::borrow::Cow;

use super::placeholders::{RequestValues, segment};
use crate::config::{Part, RewriteForm, RewriteTemplate, RoutePath};
use crate::http::error::Error;
use crate::http::path::{hex_digit, is_foreign_to_paths, is_unreserved};

/// A rule that turns the path of a request into the one that is sent upstream. The query is sent as it arrived. The path
/// has encoded slashes only if the route keeps them in requests.
///
/// Every result is normalised as the request's path was, so no rewrite brings back what the router rejects: a placeholder
/// is a whole segment, and its value must be a segment of a normalised path, or the request is refused.
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
    Template(RewriteTemplate),
}

impl Rewrite {
    /// Creates the rewrite. Of prefixes, a trailing slash does not matter, and `/` is no prefix at all.
    pub(crate) fn new(form: RewriteForm<'_>) -> Self {
        let prefix = |path: Option<&RoutePath>| -> Box<str> {
            let prefix = path.map_or("", RoutePath::normal);
            prefix.strip_suffix('/').unwrap_or(prefix).into()
        };
        Self(match form {
            RewriteForm::Path(path) => Kind::Path(path.normal().into()),
            RewriteForm::Prefix { strip, add } => Kind::Prefix { strip: prefix(strip), add: prefix(add) },
            RewriteForm::Template(template) => Kind::Template(template.clone()),
        })
    }

    /// Returns the path to send for the normalised `path`. Parameters are inserted as the path has them, including
    /// percent-encoding.
    ///
    /// Nothing is stripped from a path outside the prefix to strip. Of the prefix itself nothing remains, which is `/`
    /// if no other prefix takes its place.
    ///
    /// # Errors
    /// Returns [`Error::RouteValue`] if the request lacks a value, or has one that cannot be a segment.
    pub(crate) fn apply<'a>(
        &'a self,
        path: &'a str,
        values: &dyn RequestValues,
    ) -> Result<Cow<'a, str>, Error> {
        Ok(match &self.0 {
            Kind::Path(path) => Cow::Borrowed(path),
            Kind::Prefix { strip, add } => match (below(path, strip).unwrap_or(path), &**add) {
                ("", "") => Cow::Borrowed("/"),
                (rest, "") => Cow::Borrowed(rest),
                (rest, add) => Cow::Owned([add, rest].concat()),
            },
            Kind::Template(template) => Cow::Owned(filled(template, values)?),
        })
    }
}

/// The initial capacity of a path. It is enough for nearly all, so that they are allocated once.
const FILLED_BYTES: usize = 128;

/// Returns the path of a template with the values of a request.
fn filled(template: &RewriteTemplate, values: &dyn RequestValues) -> Result<String, Error> {
    let mut path = String::with_capacity(FILLED_BYTES);
    for part in template.segments() {
        path.push('/');
        match part {
            Part::Literal(text) => path.push_str(text),
            Part::Parameter(placeholder) => {
                path.push_str(&segment(values, placeholder).ok_or(Error::RouteValue)?);
            }
        }
    }
    Ok(path)
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

#[cfg(test)]
mod tests {
    use super::super::placeholders::tests::Values;
    use super::*;
    use crate::config::section;

    fn rewrite(yaml: &str) -> Rewrite {
        let written: crate::config::Rewrite = section(yaml);
        Rewrite::new(written.form().unwrap())
    }

    fn prefix(strip: &str, add: &str) -> Rewrite {
        rewrite(&format!("{{ strip_prefix: '{strip}', add_prefix: '{add}' }}"))
    }

    fn apply(rewrite: &Rewrite, path: &str) -> String {
        rewrite.apply(path, &Values::new("/", "/", "")).unwrap().into_owned()
    }

    #[test]
    fn a_path_replaces_every_path() {
        assert_eq!(apply(&rewrite("path: /a/%7e/%c3"), "/x"), "/a/~/%C3");
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
        for (strip, path, expected) in cases {
            assert_eq!(apply(&prefix(strip, "/"), path), expected, "{strip} {path}");
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
            ("/api", "/%7ev2/%c3%a9", "/api/a%2Fb", "/~v2/%C3%A9/a%2Fb"),
        ];
        for (strip, add, path, expected) in cases {
            let rewrite = prefix(strip, add);
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
    fn a_template_gets_parameters_as_they_came_and_other_values_with_escapes() {
        let rewrite = rewrite("template: '/v2/{order}/of/{id}/{query.v}'");
        let apply = |query| {
            let values = Values::new("/users/{id}/{order}", "/users/a%20b/%C3%A9", query);
            rewrite.apply("/users/a%20b/%C3%A9", &values).map(Cow::into_owned)
        };
        assert_eq!(apply("v=1%202").as_deref(), Ok("/v2/%C3%A9/of/a%20b/1%202"));
        for query in ["", "v=", "v=..", "v=a/b"] {
            assert_eq!(apply(query), Err(Error::RouteValue), "{query}");
        }
    }
}
