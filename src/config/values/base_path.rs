//! The base path of an endpoint's URL.

use super::path::RoutePath;
use super::text::Malformed;

/// The path that precedes the path of each request to an endpoint: `/v2` of `http://app:3000/v2/`. It has the form of
/// requests' paths after normalising, without a slash at its end. It is empty for a URL without a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct BasePath(String);

/// Returns a pattern for what [`BasePath::parse`] accepts.
pub(crate) fn pattern() -> String {
    let no_dots = "(?!(?:[.]|%2[Ee]){1,2}(?:/|;|%3[Bb]|$))";
    let escape = "%(?!2[Ff]|5[Cc]|7[Ff]|[01])[0-9A-Fa-f]{2}";
    format!("(?:/{no_dots}(?:[0-9A-Za-z._~!$&'()*+,;=:@-]|{escape})+)*/?")
}

impl BasePath {
    /// Returns the path: empty, or with a slash at its beginning and none at its end.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses the part of a URL after its authority. The gateway puts a base path before paths that it has checked, so
    /// it must itself be a path that all servers read in the same way: no dot segments, no empty segments, no escapes
    /// of slashes, backslashes and control characters.
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        if matches!(text, "" | "/") {
            return Ok(Self::default());
        }
        let written = text.parse::<RoutePath>()?;
        let path = written.normal();
        if path.contains("//") {
            let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
            return Err(Malformed::new("it has an empty segment")
                .help(format!("write `/{}`, without two slashes together", segments.join("/"))));
        }
        if written.has_encoded_slash() {
            return Err(Malformed::new("servers read its `%2F` in different ways")
                .help("write the path without `%2F`"));
        }
        Ok(Self(path.strip_suffix('/').unwrap_or(path).to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::BasePath;

    #[test]
    fn a_base_path_is_normal_and_has_no_slash_at_its_end() {
        for (text, expected) in [
            ("", ""),
            ("/", ""),
            ("/v2", "/v2"),
            ("/v2/", "/v2"),
            ("/a/b.c/...", "/a/b.c/..."),
            ("/%7Ea/%c3%a9", "/~a/%C3%A9"),
            ("/a;b=c/.d;", "/a;b=c/.d;"),
        ] {
            assert_eq!(BasePath::parse(text).unwrap().as_str(), expected, "{text}");
        }
    }

    #[test]
    fn a_path_that_servers_read_in_two_ways_is_no_base_path() {
        for text in [
            "v2",
            "//",
            "/a//b",
            "/a/..",
            "/%2e%2e/a",
            "/..;/a",
            "/.%3B",
            "/a%2fb",
            "/a%5Cb",
            "/a%00",
            "/a%1f",
            "/a%7f",
            "/{a}",
            "/a b",
            "/a%2",
        ] {
            assert!(BasePath::parse(text).is_err(), "{text}");
        }
    }
}
