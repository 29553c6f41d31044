//! Matching of headers.

use http::{HeaderName, HeaderValue};

use super::Expected;
use super::error::MatchError;
use crate::http::fields::Fields;

/// A header that must be present, or must have a value. A repeated header matches if one of its values does. Values are
/// compared whole and with their case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeaderMatch {
    name: HeaderName,
    value: Option<HeaderValue>,
}

impl HeaderMatch {
    pub(super) fn parse(name: &str, expected: &Expected) -> Result<Self, MatchError> {
        let value = match expected {
            Expected::Present => None,
            Expected::Value(text) => {
                Some(HeaderValue::from_str(text).map_err(|_| MatchError::HeaderValue(name.to_owned()))?)
            }
        };
        let name = name.parse().map_err(|_| MatchError::HeaderName(name.to_owned()))?;
        Ok(Self { name, value })
    }

    pub(super) fn matches(&self, headers: &Fields) -> bool {
        match &self.value {
            None => headers.contains_key(&self.name),
            Some(value) => headers.get_all(&self.name).any(|present| present == value),
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
            |name: &str, expected: Expected| HeaderMatch::parse(name, &expected).unwrap().matches(&headers);
        assert!(matches("X-Canary", Expected::Value("yes".into())));
        assert!(matches("x-canary", Expected::Present));
        assert!(!matches("x-canary", Expected::Value("YES".into())));
        assert!(!matches("x-canary", Expected::Value("0, yes".into())));
        assert!(!matches("x-debug", Expected::Present));
    }

    #[test]
    fn invalid_header_names_and_values_are_rejected() {
        let parse = |name: &str, value: &str| HeaderMatch::parse(name, &Expected::Value(value.into()));
        assert_eq!(parse("a b", "1"), Err(MatchError::HeaderName("a b".into())));
        assert_eq!(parse("a", "1\n"), Err(MatchError::HeaderValue("a".into())));
    }
}
