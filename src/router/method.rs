//! Matching of methods.

use http::Method;

use super::error::MatchError;

/// The methods of a match; every method if none is written. GET does not include HEAD: a route for both lists both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct MethodMatch {
    methods: Vec<Method>,
}

impl MethodMatch {
    /// Parses the methods. Each invalid one has its error.
    pub(super) fn parse(written: &[String]) -> Result<Self, Vec<MatchError>> {
        let mut methods = Vec::with_capacity(written.len());
        let mut errors = Vec::new();
        for name in written {
            match Method::from_bytes(name.as_bytes()) {
                // Methods are case-sensitive (RFC 9110 §9.1), `get` is never meant, and CONNECT is never forwarded.
                Ok(method)
                    if !name.bytes().any(|byte| byte.is_ascii_lowercase()) && method != Method::CONNECT =>
                {
                    methods.push(method);
                }
                _ => errors.push(MatchError::Method(name.clone())),
            }
        }
        if errors.is_empty() { Ok(Self { methods }) } else { Err(errors) }
    }

    pub(super) fn is_any(&self) -> bool {
        self.methods.is_empty()
    }

    pub(super) fn matches(&self, method: &Method) -> bool {
        self.is_any() || self.methods.contains(method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_methods_listed_match() {
        let methods = MethodMatch::parse(&["GET".into(), "PURGE".into()]).unwrap();
        assert!(methods.matches(&Method::GET));
        assert!(methods.matches(&Method::from_bytes(b"PURGE").unwrap()));
        assert!(!methods.matches(&Method::HEAD));
        assert!(MethodMatch::default().matches(&Method::HEAD));
    }

    #[test]
    fn each_word_that_is_no_method_is_reported() {
        let errors =
            MethodMatch::parse(&["get".into(), "GET".into(), "A B".into(), "CONNECT".into(), String::new()]);
        let names = ["get", "A B", "CONNECT", ""].map(|name| MatchError::Method(name.into()));
        assert_eq!(errors.unwrap_err(), names);
    }
}
