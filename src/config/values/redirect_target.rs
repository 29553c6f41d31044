//! The targets of redirects, as the file writes them.

use std::fmt;
use std::str::FromStr;

use super::pattern;
use super::placeholder::{self, Part, Placeholder};
use super::template::{self, PARAMETER};
use super::text::{Malformed, text_type};

/// The target of a redirect: an absolute URL or an absolute path, in whose path, query and fragment values of the request may
/// stand. They cannot stand in the host: a request must not choose where it is redirected to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RedirectTarget {
    text: String,
    parts: Vec<Part>,
}

text_type!(RedirectTarget, format: "redirect-target", pattern: redirect_pattern());

/// Returns a pattern for a URL or a path of the characters that `http::Uri` accepts, without `\` and unpaired braces.
fn redirect_pattern() -> String {
    let parameter = format!("(?:{PARAMETER}|{})", placeholder::pattern_in_path());
    let path = format!(
        "(?:[!$-;=@-\\[\\]^_a-z|~\"]|{parameter})*(?:[?](?:[!$-;=?-\\[\\]-z|~\"]|{parameter})*)?(?:#(?:[!-\\[\\]-z|~]|{parameter})*)?"
    );
    let host = "[0-9A-Za-z._~!$&'()*+,;=%-]";
    pattern::whole(&format!(
        "/(?!/){path}|https?://(?:[0-9A-Za-z._~!$&'()*+,;=%:-]*@)?(?:{host}+|\\[[0-9A-Fa-f:.]+\\])(?::[0-9]*)?(?:[/?#]{path})?"
    ))
}

impl RedirectTarget {
    /// Returns the value of the `location` field if no placeholder is in it.
    pub(crate) fn fixed(&self) -> Option<&str> {
        self.placeholders().next().is_none().then_some(&self.text)
    }

    /// Returns its placeholders in order.
    pub(crate) fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        template::parameters(&self.parts)
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }
}

impl fmt::Display for RedirectTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RedirectTarget {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        // To a browser, `//a` and `/\a` are hosts.
        let is_absolute = match host_part(text) {
            Some(host) => !host.is_empty() && !host.contains(['{', '}']),
            None => text.starts_with('/') && !text.starts_with("//"),
        };
        if is_plain && is_absolute {
            let parts = template::pieces(text, Placeholder::in_path)?;
            let literal = |part: &Part| match part {
                Part::Literal(text) => text.to_string(),
                Part::Parameter(_) => "x".to_owned(),
            };
            if parts.iter().map(literal).collect::<String>().parse::<http::Uri>().is_ok() {
                return Ok(Self { text: text.to_owned(), parts });
            }
        }
        Err(Malformed::new(format!("`{text}` is not a place to redirect to"))
            .help("write a URL or a path: `https://example.com/new`, `/new`"))
    }
}

/// Returns the part between the scheme and the path of a URL.
fn host_part(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    rest.split(['/', '?', '#']).next()
}

#[cfg(test)]
mod tests {
    use super::RedirectTarget;

    #[test]
    fn a_redirect_leads_to_a_url_or_a_path() {
        for text in ["/", "/new?x=1", "https://example.com/new", "http://a", "http://[::1]:8080"] {
            assert_eq!(text.parse::<RedirectTarget>().unwrap().fixed(), Some(text));
        }
        for text in [
            "",
            "new",
            "javascript:x",
            "/a b",
            "/é",
            "/a\r\nb",
            "https://",
            "https:///a",
            "https://a b/",
            "//a.b",
            "/\\a",
            "/a\\b",
        ] {
            assert!(text.parse::<RedirectTarget>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn parameters_stand_in_path_query_and_fragment_alone() {
        let target: RedirectTarget = "https://a.b/new/{id}?id={query.a.b}#{host}x".parse().unwrap();
        let shown: Vec<_> = target.placeholders().map(ToString::to_string).collect();
        assert_eq!(shown, ["{path.id}", "{query.a.b}", "{host}"]);
        assert_eq!(target.fixed(), None);
        for text in [
            "https://{id}",
            "https://{id}.a.b/",
            "https://a.b{id}/",
            "https://a:{id}@b/",
            "http://{id}?x",
            "//{id}/a",
            "{id}",
            "/\\{id}",
            "ftp://{id}",
            "/{id",
            "/id}",
            "/{}",
            "/{{id}}",
            "/{i d}",
            "/}{id}",
            "/{1}",
            "/{a-b}",
            "/{query.a/b}",
            "https://{host}/",
            "/{header.}",
        ] {
            assert!(text.parse::<RedirectTarget>().is_err(), "{text}");
        }
    }
}
