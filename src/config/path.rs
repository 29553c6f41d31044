//! Paths and path templates, as the file writes them.

use std::{fmt, str::FromStr};

use super::text::{Malformed, text_type};

/// A path that requests are compared with, or sent to: absolute, without query, in the one form that a
/// request's path has after normalising (RFC 3986 §6.2.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoutePath(String);

text_type!(RoutePath, format: "path", pattern: "^/[^?#\\s\\\\]*$");

impl RoutePath {
    /// The path, beginning with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RoutePath {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        check_path(text)?;
        Ok(Self(text.to_owned()))
    }
}

/// A path with parameters: `/users/{id}/orders/{order}`. A parameter stands for one segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathTemplate {
    text: String,
    pieces: Vec<Piece>,
}

/// A part of a path template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// Text that stands for itself; may hold several segments.
    Literal(String),
    /// The name of a parameter, without its braces.
    Parameter(String),
}

text_type!(PathTemplate, format: "path-template", pattern: "^/[^?#\\s\\\\]*$");

impl PathTemplate {
    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its parts in order; together they are the whole template.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The names of its parameters in order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Parameter(name) => Some(name.as_str()),
        })
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for PathTemplate {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                return Err(Malformed::new(format!("`{text}` has a `{{` without its `}}`")));
            };
            if !is_parameter_name(name) {
                return Err(Malformed::new(format!("`{{{name}}}` is not a parameter"))
                    .help("write a name of letters, digits and `_` in braces: `{id}`"));
            }
            if !literal.ends_with('/') || !(after.is_empty() || after.starts_with('/')) {
                return Err(Malformed::new(format!("`{{{name}}}` is not a whole segment"))
                    .help(format!("put it between slashes: `/{{{name}}}/`")));
            }
            pieces.push(Piece::Literal(literal.to_owned()));
            pieces.push(Piece::Parameter(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.to_owned()));
        }
        let template = Self { text: text.to_owned(), pieces };
        check_path(&template.with_parameters_filled())?;
        Ok(template)
    }
}

impl PathTemplate {
    /// The path that the template makes when every parameter is `p`: what is left to check is a path like any
    /// other.
    fn with_parameters_filled(&self) -> String {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Literal(literal) => literal.as_str(),
            Piece::Parameter(_) => "p",
        });
        pieces.collect()
    }
}

fn is_parameter_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Checks that a path is absolute, without query, and written as requests' paths are compared.
fn check_path(path: &str) -> Result<(), Malformed> {
    if !path.starts_with('/') {
        let advice = if path.contains("://") {
            "write only the path of the URL".to_owned()
        } else {
            format!("write `/{path}`")
        };
        return Err(Malformed::new(format!("`{path}` does not begin with `/`")).help(advice));
    }
    if path.contains(['?', '#']) {
        return Err(Malformed::new(format!("`{path}` is more than a path"))
            .help("take out `?` or `#` and what follows"));
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(Malformed::new(format!(
            "`{path}` has dot segments, which requests' paths lose before they are compared"
        ))
        .help("write the path without `.` and `..`"));
    }
    if let Some(bad) = path.chars().find(|&c| !is_path_character(c)) {
        let escaped: String = bad.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
        return Err(Malformed::new(format!("{bad:?} cannot stand in a path"))
            .help(format!("write it as `{escaped}`")));
    }
    let is_escape = |after: &str| after.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !path.split('%').skip(1).all(is_escape) {
        return Err(Malformed::new(format!("`{path}` has a `%` without two hexadecimal digits"))
            .help("write `%25` for a percent sign"));
    }
    Ok(())
}

/// Whether a character may stand in a path as it is (RFC 3986 §3.3), `%` among them.
fn is_path_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%".contains(c)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]

    use super::{PathTemplate, Piece, RoutePath};

    #[test]
    fn a_path_is_written_as_requests_paths_are_compared() {
        for text in ["/", "/spike", "/a/b/", "/a%20b", "/a;b=c", "/a:b@c", "/~user"] {
            assert_eq!(text.parse::<RoutePath>().unwrap().as_str(), text);
        }
        for text in [
            "",
            "spike",
            "http://a/b",
            "/a?b",
            "/a#b",
            "/a/../b",
            "/./a",
            "/..",
            "/a b",
            "/a\\b",
            "/a%2",
            "/%zz",
            "/é",
        ] {
            assert!(text.parse::<RoutePath>().is_err(), "{text}");
        }
        assert_eq!("/é".parse::<RoutePath>().unwrap_err().help.unwrap(), "write it as `%C3%A9`");
    }

    #[test]
    fn a_template_is_literals_and_parameters() {
        let template: PathTemplate = "/users/{id}/orders/{order_2}".parse().unwrap();
        assert_eq!(template.parameters().collect::<Vec<_>>(), ["id", "order_2"]);
        assert_eq!(template.pieces().first(), Some(&Piece::Literal("/users/".to_owned())));
        assert_eq!(template.pieces().len(), 4);
        let plain: PathTemplate = "/users".parse().unwrap();
        assert_eq!(plain.parameters().count(), 0);
    }

    #[test]
    fn a_parameter_is_a_whole_segment_with_a_name() {
        for text in [
            "/{",
            "/{id",
            "/id}",
            "/{}",
            "/{1}",
            "/{a b}",
            "/{*rest}",
            "/x{id}",
            "/{id}x",
            "/{a}{b}",
            "{id}",
            "/{a}/../b",
        ] {
            assert!(text.parse::<PathTemplate>().is_err(), "{text}");
        }
    }
}
