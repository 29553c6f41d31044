//! Finding the marker in a body that comes in chunks, which may begin and end anywhere.

use serde::{Deserialize, Deserializer, de::Error};
use std::mem;
use std::rc::Rc;

/// The filter's configuration.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snippet {
    /// Where the snippet goes: before the first place that has this text, in capitals or not.
    #[serde(default = "body_end", deserialize_with = "not_empty")]
    before: String,
    /// What is inserted, as it is.
    html: String,
}

fn body_end() -> String {
    "</body>".into()
}

fn not_empty<'a, D: Deserializer<'a>>(value: D) -> Result<String, D::Error> {
    let text = String::deserialize(value)?;
    if text.is_empty() { Err(D::Error::custom("`before` must not be empty")) } else { Ok(text) }
}

/// Whether a `content-type` says `text/html`.
pub(crate) fn is_html(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"text/html")
}

/// One body on its way through.
pub(crate) struct Insertion {
    snippet: Rc<Snippet>,
    /// The end of what came, where it may be the beginning of the marker: always shorter than the marker.
    held: Vec<u8>,
    done: bool,
}

impl Insertion {
    pub(crate) fn new(snippet: Rc<Snippet>) -> Self {
        Self { snippet, held: Vec::new(), done: false }
    }

    /// Whether the rest of the body passes as it is.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// What goes on now that `chunk` has come.
    pub(crate) fn pass(&mut self, chunk: Vec<u8>, is_last: bool) -> Vec<u8> {
        let mut body = mem::take(&mut self.held);
        if body.is_empty() {
            body = chunk;
        } else {
            body.extend_from_slice(&chunk);
        }
        let marker = self.snippet.before.as_bytes();
        if let Some(at) = find(&body, marker) {
            body.splice(at..at, self.snippet.html.bytes());
            self.done = true;
        } else if is_last {
            self.done = true;
        } else {
            self.held = body.split_off(body.len() - begun(&body, marker));
        }
        body
    }

    /// What did not go on, where the body has ended without saying so.
    pub(crate) fn into_held(self) -> Vec<u8> {
        self.held
    }
}

fn find(body: &[u8], marker: &[u8]) -> Option<usize> {
    let (first, rest) = marker.split_first()?;
    let (lower, upper) = (first.to_ascii_lowercase(), first.to_ascii_uppercase());
    let starts = body.get(..body.len().checked_sub(rest.len())?)?;
    memchr::memchr2_iter(lower, upper, starts)
        .find(|at| body.get(at + 1..=at + rest.len()).is_some_and(|here| here.eq_ignore_ascii_case(rest)))
}

/// Bytes at the end of `body` that the marker begins with: the longest such end.
fn begun(body: &[u8], marker: &[u8]) -> usize {
    let longest = body.len().min(marker.len() - 1);
    let is_begun = |len: &usize| match (body.get(body.len() - len..), marker.get(..*len)) {
        (Some(end), Some(beginning)) => end.eq_ignore_ascii_case(beginning),
        _ => false,
    };
    (1..=longest).rev().find(is_begun).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snippet(before: &str, html: &str) -> Rc<Snippet> {
        Rc::new(Snippet { before: before.into(), html: html.into() })
    }

    /// What comes out, the last chunk being said to be the last.
    fn passed(snippet: &Rc<Snippet>, chunks: &[&str]) -> String {
        let mut insertion = Insertion::new(Rc::clone(snippet));
        let mut out = Vec::new();
        for (index, chunk) in chunks.iter().enumerate() {
            if insertion.is_done() {
                out.extend_from_slice(chunk.as_bytes());
            } else {
                out.extend(insertion.pass(chunk.as_bytes().to_vec(), index + 1 == chunks.len()));
            }
            assert!(insertion.held.len() < snippet.before.len());
        }
        assert!(insertion.into_held().is_empty());
        String::from_utf8(out).unwrap()
    }

    /// marker, page, page with `#` inserted
    const PAGES: [(&str, &str, &str); 13] = [
        ("</body>", "<body>hello</body></html>", "<body>hello#</body></html>"),
        ("</body>", "<BODY>hello</Body>", "<BODY>hello#</Body>"),
        ("</body>", "</body></body>", "#</body></body>"),
        ("</body>", "<</<</bod</body", "<</<</bod</body"),
        ("</body>", "</bod</body>", "</bod#</body>"),
        ("</body>", "</body >", "</body >"),
        ("</body>", "", ""),
        ("</body>", "é</body>é", "é#</body>é"),
        ("aab", "aaab", "a#aab"),
        ("aab", "aaaabaab", "aa#aabaab"),
        ("abab", "abaabab", "aba#abab"),
        ("x", "axbx", "a#xbx"),
        ("[END]", "{end}[end]", "{end}#[end]"),
    ];

    #[test]
    fn the_snippet_goes_before_the_first_marker_wherever_a_body_is_cut() {
        for (before, page, expected) in PAGES {
            let snippet = snippet(before, "#");
            assert_eq!(passed(&snippet, &[page]), expected, "{page}");
            let borders: Vec<usize> = (0..=page.len()).filter(|&at| page.is_char_boundary(at)).collect();
            for &first in &borders {
                for &second in borders.iter().filter(|&&at| at >= first) {
                    let chunks = [&page[..first], &page[first..second], &page[second..], ""];
                    assert_eq!(passed(&snippet, &chunks[..3]), expected, "{chunks:?}");
                    assert_eq!(passed(&snippet, &chunks), expected, "{chunks:?}");
                }
            }
        }
    }

    #[test]
    fn a_page_that_comes_byte_by_byte_is_as_good() {
        for (before, page, expected) in PAGES.into_iter().filter(|(_, page, _)| page.is_ascii()) {
            let mut chunks: Vec<&str> = (0..page.len()).map(|at| &page[at..=at]).collect();
            chunks.push("");
            assert_eq!(passed(&snippet(before, "#"), &chunks), expected, "{page}");
        }
    }

    #[test]
    fn only_what_may_be_a_marker_is_held() {
        let table = [("hello", 0), ("hello<", 1), ("hello</bOd", 5), ("hello</body", 6), ("hello</bo ", 0)];
        for (chunk, held) in table {
            let mut insertion = Insertion::new(snippet("</body>", "#"));
            let passed = insertion.pass(chunk.into(), false);
            assert_eq!(passed.len(), chunk.len() - held, "{chunk}");
            assert_eq!(insertion.into_held(), &chunk.as_bytes()[passed.len()..], "{chunk}");
        }
    }

    #[test]
    fn a_configuration_needs_a_snippet_and_a_marker_that_is_there() {
        let parse = serde_json::from_str::<Snippet>;
        assert_eq!(parse(r#"{"html":"x"}"#).unwrap().before, "</body>");
        for config in ["", "{}", r#"{"html":"x","before":""}"#, r#"{"html":"x","after":"y"}"#] {
            assert!(parse(config).is_err(), "{config}");
        }
    }

    #[test]
    fn pages_are_known_by_their_media_type() {
        let table: [(&[u8], bool); 6] = [
            (b"text/html", true),
            (b"Text/HTML; charset=utf-8", true),
            (b"text/html ;a", true),
            (b"text/htmlx", false),
            (b"text/plain; x=text/html", false),
            (b"", false),
        ];
        for (content_type, expected) in table {
            assert_eq!(is_html(content_type), expected, "{}", content_type.escape_ascii());
        }
    }
}
