//! Matching of headers.

use crate::config::{HeaderMatch, HeaderName};
use crate::http::fields::Fields;

/// Returns true if a header is present, with the value if one is required. A repeated header matches if one of its
/// values does. Values are compared whole and with their case.
pub(super) fn matches(name: &HeaderName, value: &HeaderMatch, headers: &Fields) -> bool {
    match value {
        HeaderMatch::Present => headers.contains_key(name.as_http()),
        HeaderMatch::Exact(value) => {
            headers.get_all(name.as_http()).any(|present| present == value.as_http())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_condition_matches_one_of_several_values() {
        let headers = Fields::written(&[("x-canary", "0"), ("x-canary", "yes")]);
        let matches =
            |name: &str, value: &str| matches(&name.parse().unwrap(), &value.parse().unwrap(), &headers);
        assert!(matches("X-Canary", "yes"));
        assert!(matches("x-canary", "present"));
        assert!(!matches("x-canary", "YES"));
        assert!(!matches("x-canary", "0, yes"));
        assert!(!matches("x-debug", "present"));
    }
}
