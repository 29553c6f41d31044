//! Paths and path templates, as the file writes them.
//!
//! Each keeps the form that requests' paths have after normalising (RFC 3986 §6.2.2), which routes and rewrites use.

use std::fmt;
use std::str::FromStr;

use super::pattern;
use super::template::{self, PARAMETER, Piece, parameter_name, with_parameters};
use super::text::{Malformed, text_type};

/// A path that requests are compared with or sent to: absolute, without query, and one that all servers read in the same
/// way. `%2F` is the exception: a route may keep encoded slashes in its paths.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RoutePath {
    text: String,
    normal: String,
}

text_type!(RoutePath, format: "path", pattern: pattern::whole(&format!("{NO_DOTS}(?:/{SEGMENT})+")));

/// A pattern for the characters of a path segment.
pub(super) const SEGMENT: &str = "(?:[0-9A-Za-z._~!$&'()*+,;=:@-]|%(?!5[Cc]|7[Ff]|[01])[0-9A-Fa-f]{2})*";

/// A look-ahead that rejects a segment that is a dot segment to some servers: `.` or `..`, with or without escapes, also
/// before a `;` and beside an encoded slash.
pub(super) const NO_DOTS: &str = "(?!(?:.*(?:/|%2[Ff]))?(?:\\.|%2[Ee]){1,2}(?:/|;|%3[Bb]|%2[Ff]|$))";

impl RoutePath {
    /// Returns the path as written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the path in the form that is compared with requests' paths.
    pub(crate) fn normal(&self) -> &str {
        &self.normal
    }

    /// Returns true if the path has a `%2F`.
    pub(crate) fn has_encoded_slash(&self) -> bool {
        self.normal.contains(ENCODED_SLASH)
    }
}

const ENCODED_SLASH: &str = "%2F";

/// Decodes the escapes of unreserved characters in a well-formed path, and writes the digits of other escapes in upper
/// case: `/%7euser/%c3` becomes `/~user/%C3`.
fn normal(path: &str) -> String {
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
        f.write_str(&self.text)
    }
}

impl FromStr for RoutePath {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        check_form(text)?;
        Ok(Self { normal: checked_normal(text)?, text: text.to_owned() })
    }
}

/// A path with parameters: `/users/{id}/orders/{order}`. A parameter stands for one segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PathTemplate {
    text: String,
    /// One for each segment, in the form of requests' paths after normalising.
    pieces: Vec<Piece>,
}

text_type!(PathTemplate, format: "path-template", pattern: {
    pattern::whole(&format!("{NO_DOTS}(?:/(?:{PARAMETER}|{SEGMENT})){{1,{}}}", PathTemplate::SEGMENTS_MAX))
});

impl PathTemplate {
    /// More segments than any API has. A specificity has as many bits.
    pub(crate) const SEGMENTS_MAX: usize = 64;

    /// Returns the template as written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns its segments in order.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Returns the names of its parameters in order.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &str> {
        template::parameters(&self.pieces).map(|name| &**name)
    }

    /// Returns true if one of its segments has a `%2F`.
    pub(crate) fn has_encoded_slash(&self) -> bool {
        has_encoded_slash(&self.pieces)
    }
}

/// Returns true if one of the segments of a template has a `%2F`.
pub(super) fn has_encoded_slash<P>(segments: &[Piece<P>]) -> bool {
    segments.iter().any(|piece| matches!(piece, Piece::Literal(text) if text.contains(ENCODED_SLASH)))
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for PathTemplate {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.split('/').skip(1).count() > Self::SEGMENTS_MAX {
            return Err(Malformed::new(format!("a template has at most {} segments", Self::SEGMENTS_MAX)));
        }
        for name in template::parameters(&template::pieces(text, parameter_name)?) {
            let parameter = format!("{{{name}}}");
            if text.split('/').any(|segment| segment.contains(&parameter) && segment != parameter) {
                return Err(Malformed::new(format!("`{parameter}` is not a whole segment"))
                    .help(format!("put it between slashes: `/{parameter}/`")));
            }
        }
        // The checks of any path hold for the text around the parameters.
        check_form(&with_parameters(text, "p"))?;
        let normal = checked_normal(text)?;
        let piece = |segment: &str| match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => Piece::Parameter(name.into()),
            None => Piece::Literal(segment.into()),
        };
        let pieces = normal.split('/').skip(1).map(piece).collect();
        Ok(Self { text: text.to_owned(), pieces })
    }
}

/// Checks that a path is absolute, has no query, and consists of characters that a path can have.
pub(super) fn check_form(path: &str) -> Result<(), Malformed> {
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

/// Returns the form that is compared with requests' paths, of a path that all servers read in the same way. One with
/// plain dot segments is none, since requests' paths lose them before they are compared.
pub(super) fn checked_normal(path: &str) -> Result<String, Malformed> {
    let normal = normal(path);
    if normal.split('/').any(is_dots) {
        let help = without_dot_segments(&normal).map(|path| format!("write `{path}`"));
        let help = help.unwrap_or_else(|| "write the path without `.` and `..`".to_owned());
        return Err(Malformed::new(format!(
            "`{path}` has dot segments, which requests' paths lose before they are compared"
        ))
        .help(help));
    }
    if normal.split('%').skip(1).any(has_two_meanings) {
        return Err(Malformed::new(format!("`{path}` has an escape that servers read in different ways"))
            .help("write the path without `%5C` and control characters"));
    }
    if normal.split('/').flat_map(|segment| segment.split(ENCODED_SLASH)).any(is_hidden_dots) {
        return Err(Malformed::new(format!(
            "`{path}` has a dot segment before a `;` or beside an encoded slash, which some servers resolve"
        ))
        .help("write the path without it"));
    }
    Ok(normal)
}

fn is_dots(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// Returns true for `..;x` and the like.
fn is_hidden_dots(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or_default();
    is_dots(name.split("%3B").next().unwrap_or_default())
}

/// Returns true if a text begins with the digits of a backslash or a control character.
fn has_two_meanings(after_percent: &str) -> bool {
    ["5C", "7F", "0", "1"].iter().any(|digits| after_percent.starts_with(digits))
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
        for text in
            ["/", "/spike", "/a/b/", "/a%20b", "/a;b=c", "/a:b@c", "/~user", "/a%2Fb", "/.a;", "/a..;"]
        {
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
            "/%5c",
            "/a%00",
            "/a%1F",
            "/%7f",
            "/..;a",
            "/.%3b/a",
            "/a%2F..",
            "/.%2fa",
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
        assert_eq!(template.pieces().first(), Some(&Piece::Literal("users".into())));
        assert_eq!(template.pieces().len(), 4);
        let normal: PathTemplate = "/%7Ea/{id}/%c3".parse().unwrap();
        let expected =
            [Piece::Literal("~a".into()), Piece::Parameter("id".into()), Piece::Literal("%C3".into())];
        assert_eq!(normal.pieces(), expected);
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
            "/{a-b}",
            "/{a b}",
            "/{*rest}",
            "/x{id}",
            "/{id}x",
            "/{a}{b}",
            "{id}",
            "/{a}/../b",
            "/{a}/..;b",
            "/{a}/x{a}",
            &"/{a}/b".repeat(33),
        ] {
            assert!(text.parse::<PathTemplate>().is_err(), "{text}");
        }
    }
}
