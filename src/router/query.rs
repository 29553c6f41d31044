//! Matching of query parameters.

use crate::config::QueryMatch;
use crate::http::parts::percent_decode;

/// Returns true if a query has a parameter, with the value if one is required.
///
/// Parameters are separated by `&`. The part after the first `=` is the value; a parameter without one has an empty
/// value. Names and values of a request are percent-decoded once, `+` stays `+`, and a `%` that begins no escape stands
/// for itself. A repeated parameter matches if one of its values does.
pub(super) fn matches(name: &str, value: &QueryMatch, query: Option<&str>) -> bool {
    let same = |text: &str, expected: &str| percent_decode(text).eq(expected.bytes());
    let matches_parameter = |parameter: &str| {
        let (written, found) = parameter.split_once('=').unwrap_or((parameter, ""));
        same(written, name)
            && match value {
                QueryMatch::Present => true,
                QueryMatch::Exact(expected) => same(found, expected),
            }
    };
    query.is_some_and(|query| query.split('&').any(matches_parameter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_once_and_compared_whole() {
        let is = |text: &str| QueryMatch::Exact(text.to_owned());
        let cases = [
            ("v", is("2"), "v=2", true),
            ("v", is("2"), "a=1&v=2&b", true),
            ("v", is("2"), "v=1&v=2", true),
            ("v", is("2"), "v=%32", true),
            ("v", is("2"), "%76=2", true),
            ("v", is("2"), "v=%2532", false),
            ("v", is("%32"), "v=%2532", true),
            ("v", is("é="), "v=%c3%A9=", true),
            ("v", is("a b"), "v=a+b", false),
            ("v", is("a+b"), "v=a+b", true),
            ("v", is("%zz"), "v=%zz", true),
            ("v", is("%2"), "v=%2", true),
            ("v", is("2"), "v=22", false),
            ("v", is("2"), "xv=2", false),
            ("v", is("2"), "", false),
            ("v", is(""), "v", true),
            ("v", is(""), "v=", true),
            ("v", QueryMatch::Present, "a&v", true),
            ("v", QueryMatch::Present, "a=v", false),
        ];
        for (name, expected, query, matches) in cases {
            let found = super::matches(name, &expected, Some(query));
            assert_eq!(found, matches, "{name} {expected:?} {query}");
            assert!(!super::matches(name, &expected, None));
        }
    }
}
