//! Paths and path templates, as the file writes them.

use std::fmt;
use std::str::FromStr;

use super::pattern;
use super::text::{Malformed, text_type};

/// A path that requests are compared with or sent to: absolute, without query, in the form of requests' paths after
/// normalising (RFC 3986 §6.2.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RoutePath(String);

text_type!(RoutePath, format: "path", pattern: pattern::whole(&format!("{NO_DOTS}(?:/{SEGMENT})+")));

/// A pattern for the characters of a path segment.
const SEGMENT: &str = "(?:[0-9A-Za-z._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*";

/// A look-ahead that rejects a segment `.` or `..`, with or without escapes.
const NO_DOTS: &str = "(?!(?:.*/)?(?:\\.|%2[Ee]){1,2}(?:/|$))";

impl RoutePath {
    /// Returns the path, beginning with `/`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path in the form that is compared with requests' paths.
    pub(crate) fn normal(&self) -> String {
        normal(&self.0)
    }
}

/// Decodes the escapes of unreserved characters in a well-formed path, and writes the digits of other escapes in upper
/// case (RFC 3986 §6.2.2): `/%7euser/%c3` becomes `/~user/%C3`.
pub(crate) fn normal(path: &str) -> String {
    let mut pieces = path.split('%');
    let mut normal = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2).unwrap_or((piece, ""));
        match u8::from_str_radix(digits, 16).map(char::from) {
            Ok(character) if character.is_ascii_alphanumeric() || "-._~".contains(character) => {
                normal.push(character);
            }
            _ => normal.extend(["%", &digits.to_ascii_uppercase()]),
        }
        normal.push_str(rest);
    }
    normal
}

/// Removes dot segments (RFC 3986 §5.2.4). Returns `None` if the path climbs above its root.
fn without_dot_segments(path: &str) -> Option<String> {
    let mut kept = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => drop(kept.pop()?),
            name => {
                kept.push(name);
                continue;
            }
        }
        // A dot segment at the end names a folder: `/a/b/..` is `/a/`.
        if segments.peek().is_none() {
            kept.push("");
        }
    }
    Some(format!("/{}", kept.join("/")))
}

impl fmt::Display for RoutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RoutePath {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        check_form(text)?;
        check_dots(text)?;
        Ok(Self(text.to_owned()))
    }
}

/// A path with parameters: `/users/{id}/orders/{order}`. A parameter stands for one segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PathTemplate {
    text: String,
    pieces: Vec<Piece>,
}

/// A part of a path template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Piece {
    /// Literal text, which may span several segments.
    Literal(String),
    /// The name of a parameter, without its braces.
    Parameter(String),
}

text_type!(PathTemplate, format: "path-template", pattern: {
    let parameter = "\\{[A-Za-z_][0-9A-Za-z_]*\\}";
    pattern::whole(&format!("{NO_DOTS}(?:/(?:{parameter}|{SEGMENT}))+"))
});

impl PathTemplate {
    /// Returns the template as written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns its parts in order; together they are the whole template.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Returns the names of its parameters in order.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &str> {
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
        // The checks of any path hold for the text around the parameters.
        check_form(&with_parameters(text, "p"))?;
        check_dots(text)?;
        Ok(template)
    }
}

/// Returns a template, or a part of one, with `value` in place of each parameter.
pub(crate) fn with_parameters(template: &str, value: &str) -> String {
    let mut pieces = template.split('{');
    let mut path = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let literal = piece.split_once('}').map_or(piece, |(_, literal)| literal);
        path.extend([value, literal]);
    }
    path
}

fn is_parameter_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Checks that a path is absolute, has no query, and consists of characters that a path can have.
fn check_form(path: &str) -> Result<(), Malformed> {
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

/// Checks that a path has no dot segments, which are removed from requests' paths before they are compared.
fn check_dots(path: &str) -> Result<(), Malformed> {
    let compared = normal(path);
    if compared.split('/').any(|segment| segment == "." || segment == "..") {
        let help = without_dot_segments(&compared).map(|path| format!("write `{path}`"));
        let help = help.unwrap_or_else(|| "write the path without `.` and `..`".to_owned());
        return Err(Malformed::new(format!(
            "`{path}` has dot segments, which requests' paths lose before they are compared"
        ))
        .help(help));
    }
    Ok(())
}

/// Returns true if a character may stand in a path as it is (RFC 3986 §3.3), or is `%`.
fn is_path_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%".contains(c)
}

#[cfg(test)]
mod tests {
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
            "/a/%2e%2E/b",
            "/a/.%2e",
            "/%2e",
            "/[a]",
            "/a b",
            "/a\\b",
            "/a%2",
            "/%zz",
            "/é",
        ] {
            assert!(text.parse::<RoutePath>().is_err(), "{text}");
        }
        for (text, help) in [
            ("/é", "write it as `%C3%A9`"),
            ("/[a]", "write it as `%5B`"),
            ("/a/../b", "write `/b`"),
            ("/a/%2e%2E/b/%2e", "write `/b/`"),
            ("/a/b/..", "write `/a/`"),
            ("/%2e%2e", "write the path without `.` and `..`"),
        ] {
            assert_eq!(text.parse::<RoutePath>().unwrap_err().help.unwrap(), help, "{text}");
        }
        assert!("/{a}/%2e%2e/b".parse::<PathTemplate>().is_err());
    }

    #[test]
    fn a_path_in_normal_form_has_no_escape_of_an_unreserved_character() {
        for (path, expected) in [
            ("/", "/"),
            ("/a//b/", "/a//b/"),
            ("/%7Euser/%41%2d%5f", "/~user/A-_"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%20b%25", "/a%20b%25"),
            ("/%2561/%3a:%2f", "/%2561/%3A:%2F"),
            ("/%5ba%5D", "/%5Ba%5D"),
        ] {
            assert_eq!(path.parse::<RoutePath>().unwrap().normal(), expected);
        }
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
