//! Which statuses have a page, and what it says.

use serde::{Deserialize, Deserializer, de::Error};
use std::ops::RangeInclusive;

/// The filter's configuration.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErrorPage {
    /// Statuses and classes of them, with commas between: `5xx` or `404, 502, 5xx`. From 400 on.
    #[serde(default = "server_errors", deserialize_with = "ranges")]
    statuses: Vec<RangeInclusive<u16>>,
    /// HTML, with `{status}`, `{path}` and `{request_id}` where they are to stand.
    page: String,
}

fn server_errors() -> Vec<RangeInclusive<u16>> {
    vec![500..=599]
}

fn ranges<'a, D: Deserializer<'a>>(value: D) -> Result<Vec<RangeInclusive<u16>>, D::Error> {
    let list = String::deserialize(value)?;
    let wrong =
        |item| D::Error::custom(format!("`{item}` is neither a status from 400 to 599 nor 4xx or 5xx"));
    list.split(',').map(|item| range(item.trim()).ok_or_else(|| wrong(item))).collect()
}

fn range(item: &str) -> Option<RangeInclusive<u16>> {
    match item {
        "4xx" => Some(400..=499),
        "5xx" => Some(500..=599),
        _ => item.parse().ok().filter(|status| (400..=599).contains(status)).map(|status| status..=status),
    }
}

impl ErrorPage {
    pub(crate) fn is_for(&self, status: u16) -> bool {
        self.statuses.iter().any(|range| range.contains(&status))
    }

    /// The page. What a client sent cannot become a tag or an attribute of it, nor a placeholder.
    pub(crate) fn render(&self, status: u16, path: &str, request_id: &str) -> String {
        let mut rendered = String::with_capacity(self.page.len() + path.len() + request_id.len());
        let mut rest = self.page.as_str();
        while let Some((before, from)) = rest.split_once('{') {
            rendered.push_str(before);
            if let Some(after) = from.strip_prefix("status}") {
                rendered.push_str(&status.to_string());
                rest = after;
            } else if let Some(after) = from.strip_prefix("path}") {
                escape(path, &mut rendered);
                rest = after;
            } else if let Some(after) = from.strip_prefix("request_id}") {
                escape(request_id, &mut rendered);
                rest = after;
            } else {
                rendered.push('{');
                rest = from;
            }
        }
        rendered.push_str(rest);
        rendered
    }
}

fn escape(text: &str, into: &mut String) {
    for character in text.chars() {
        match character {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&#39;"),
            _ => into.push(character),
        }
    }
}

/// A field's value as text; bytes that are no text become U+FFFD.
pub(crate) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// Queries carry what is not for showing: tokens, names, addresses.
pub(crate) fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}

pub(crate) fn status(value: &[u8]) -> Option<u16> {
    str::from_utf8(value).ok()?.parse().ok()
}

/// Whether a field holds for a response with another body too: `retry-after` does, `content-encoding` does not.
pub(crate) fn says_nothing_of_the_body(name: &str) -> bool {
    !name.starts_with(':')
        && !name.starts_with("content-")
        && !["accept-ranges", "digest", "etag", "last-modified", "trailer", "transfer-encoding"]
            .contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(html: &str) -> ErrorPage {
        ErrorPage { statuses: server_errors(), page: html.into() }
    }

    #[test]
    fn placeholders_are_filled_and_other_braces_stay() {
        let table = [
            ("", ""),
            ("<h1>{status}</h1>{path} {request_id}", "<h1>503</h1>/a r-1"),
            ("{status}{status}", "503503"),
            ("a { b } {} {{status}} {stat", "a { b } {} {503} {stat"),
            ("{", "{"),
            ("{Status} {path", "{Status} {path"),
            ("b{color:red}", "b{color:red}"),
        ];
        for (html, expected) in table {
            assert_eq!(page(html).render(503, "/a", "r-1"), expected, "{html}");
        }
    }

    #[test]
    fn what_clients_send_is_escaped_and_never_a_placeholder() {
        let table = [
            ("/<script>", "/&lt;script&gt;"),
            ("/\" onload='x'", "/&quot; onload=&#39;x&#39;"),
            ("/a&b", "/a&amp;b"),
            ("/{status}{request_id}{path}", "/{status}{request_id}{path}"),
            ("/é", "/é"),
        ];
        for (sent, expected) in table {
            assert_eq!(page("{path}").render(500, sent, ""), expected);
            assert_eq!(page("{request_id}").render(500, "", sent), expected);
        }
    }

    #[test]
    fn statuses_are_listed_singly_or_by_class() {
        let table: [(&str, &[u16], &[u16]); 4] = [
            (r#"{"page":""}"#, &[500, 503, 599], &[200, 404, 499, 600]),
            (r#"{"page":"","statuses":"5xx"}"#, &[500, 599], &[499]),
            (r#"{"page":"","statuses":"404, 502"}"#, &[404, 502], &[403, 405, 500]),
            (r#"{"page":"","statuses":"4xx,503"}"#, &[400, 499, 503], &[500]),
        ];
        for (config, with, without) in table {
            let page: ErrorPage = serde_json::from_str(config).unwrap();
            assert!(with.iter().all(|status| page.is_for(*status)), "{config}");
            assert!(!without.iter().any(|status| page.is_for(*status)), "{config}");
        }
    }

    #[test]
    fn a_configuration_needs_a_page_and_statuses_of_errors() {
        let statuses = ["", "2xx", "200", "600", "5XX", "500-599", "500,", "x"];
        let configs = statuses.map(|statuses| format!(r#"{{"page":"","statuses":"{statuses}"}}"#));
        for config in configs.iter().map(String::as_str).chain(["", "{}", r#"{"page":"","pages":""}"#]) {
            assert!(serde_json::from_str::<ErrorPage>(config).is_err(), "{config}");
        }
    }

    #[test]
    fn fields_of_the_dropped_body_are_dropped_with_it() {
        for name in [":status", "content-type", "content-length", "content-encoding", "etag", "last-modified"]
        {
            assert!(!says_nothing_of_the_body(name), "{name}");
        }
        for name in ["retry-after", "set-cookie", "cache-control", "x-request-id", "www-authenticate"] {
            assert!(says_nothing_of_the_body(name), "{name}");
        }
    }

    #[test]
    fn fields_are_read_whatever_bytes_they_have() {
        assert_eq!(text(b"/\xff"), "/\u{fffd}");
        assert_eq!(without_query("/a?b?c"), "/a");
        assert_eq!(without_query("/a"), "/a");
        let table: [(&[u8], Option<u16>); 4] =
            [(b"503", Some(503)), (b"", None), (b"\xff", None), (b"99999", None)];
        for (value, expected) in table {
            assert_eq!(status(value), expected);
        }
    }
}
