//! Matching of hosts, and the index of hosts.

use std::collections::HashMap;

use super::Hashing;
use super::error::MatchError;
use super::paths::PathIndex;
use super::specificity::HostSpecificity;
use crate::http::forward::{HOST_BYTES_MAX, is_host_name, is_ipv6_literal};

/// The host of a match. Case, the port and a trailing dot of a request's host do not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostMatch {
    /// Every host, including none.
    Any,
    /// `*.example.com`: every name that ends in `.example.com` with one or more labels before it, but never
    /// `example.com` itself. Holds the part after `*.`.
    Wildcard(Box<str>),
    /// `example.com`.
    Exact(Box<str>),
}

impl HostMatch {
    /// Parses a host as written in a configuration; `None` is any host.
    pub(super) fn parse(written: Option<&str>) -> Result<Self, MatchError> {
        let Some(written) = written else { return Ok(Self::Any) };
        let lower = written.to_ascii_lowercase();
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        if let Some(suffix) = name.strip_prefix("*.") {
            return check_name(suffix, written).map(|()| Self::Wildcard(suffix.into()));
        }
        if !is_ipv6_literal(name) {
            check_name(name, written)?;
        }
        Ok(Self::Exact(name.into()))
    }

    pub(super) fn specificity(&self) -> HostSpecificity {
        match self {
            Self::Any => HostSpecificity::Any,
            Self::Wildcard(suffix) => HostSpecificity::Wildcard { suffix_bytes: suffix.len() },
            Self::Exact(_) => HostSpecificity::Exact,
        }
    }
}

fn check_name(name: &str, written: &str) -> Result<(), MatchError> {
    if is_host_name(name) && !name.ends_with('.') {
        Ok(())
    } else {
        Err(MatchError::Host(written.to_owned()))
    }
}

/// The paths of every host, found by one lookup for the whole name and one for each of its suffixes.
#[derive(Debug, Default)]
pub(super) struct HostIndex {
    exact: HashMap<Box<str>, PathIndex, Hashing>,
    wildcards: HashMap<Box<str>, PathIndex, Hashing>,
    any: PathIndex,
}

impl HostIndex {
    /// Returns the paths of one host, to add to.
    pub(super) fn paths_mut(&mut self, host: &HostMatch) -> &mut PathIndex {
        match host {
            HostMatch::Any => &mut self.any,
            HostMatch::Wildcard(suffix) => self.wildcards.entry(suffix.clone()).or_default(),
            HostMatch::Exact(name) => self.exact.entry(name.clone()).or_default(),
        }
    }

    /// Tries the paths of each host that `host` matches, the most specific host first, until one yields a value.
    pub(super) fn find_map<R>(
        &self,
        host: &str,
        mut try_paths: impl FnMut(&PathIndex) -> Option<R>,
    ) -> Option<R> {
        if !self.exact.is_empty() || !self.wildcards.is_empty() {
            let mut buffer = [0; HOST_BYTES_MAX];
            let host = lower_case(host.strip_suffix('.').unwrap_or(host), &mut buffer);
            if let Some(found) = self.exact.get(host).and_then(&mut try_paths) {
                return Some(found);
            }
            let mut wildcards = self.suffixes(host).filter_map(|suffix| self.wildcards.get(suffix));
            if let Some(found) = wildcards.find_map(&mut try_paths) {
                return Some(found);
            }
        }
        try_paths(&self.any)
    }

    /// Returns the part after each dot of `host`, longest first, or nothing if no route has a wildcard.
    fn suffixes<'a>(&self, host: &'a str) -> impl Iterator<Item = &'a str> {
        let host = if self.wildcards.is_empty() { "" } else { host };
        // A leading dot has no label before it.
        let dots = host.match_indices('.').filter(|(at, _)| *at > 0);
        dots.filter_map(|(at, _)| host.get(at + 1..))
    }
}

/// Returns `host` in lower case, without allocating. A host longer than any name can be becomes empty, which matches no
/// named host.
fn lower_case<'a>(host: &'a str, buffer: &'a mut [u8; HOST_BYTES_MAX]) -> &'a str {
    if host.len() > HOST_BYTES_MAX {
        return "";
    }
    if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return host;
    }
    let Some(lower) = buffer.get_mut(..host.len()) else { return "" };
    lower.copy_from_slice(host.as_bytes());
    lower.make_ascii_lowercase();
    std::str::from_utf8(lower).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]

    use super::*;

    #[test]
    fn hosts_are_read_without_case_and_final_dot() {
        let exact = |name: &str| Ok(HostMatch::Exact(name.into()));
        assert_eq!(HostMatch::parse(None), Ok(HostMatch::Any));
        assert_eq!(HostMatch::parse(Some("Api.Example.COM.")), exact("api.example.com"));
        assert_eq!(HostMatch::parse(Some("[::1]")), exact("[::1]"));
        assert_eq!(HostMatch::parse(Some("127.0.0.1")), exact("127.0.0.1"));
        assert_eq!(HostMatch::parse(Some("*.Example.com")), Ok(HostMatch::Wildcard("example.com".into())));
    }

    #[test]
    fn invalid_host_patterns_are_rejected() {
        for host in [
            "",
            "*",
            "*.",
            "a.*",
            "a..b",
            ".a",
            "a:80",
            "[::1]:80",
            "[x]",
            "http://a",
            "a/b",
            "bücher.de",
            "*a.b",
        ] {
            assert_eq!(HostMatch::parse(Some(host)), Err(MatchError::Host(host.to_owned())), "{host}");
        }
    }

    #[test]
    fn a_name_too_long_for_the_buffer_is_no_name() {
        let mut buffer = [0; HOST_BYTES_MAX];
        assert_eq!(lower_case(&"a".repeat(255), &mut buffer).len(), 255);
        assert_eq!(lower_case(&"A".repeat(256), &mut buffer), "");
        assert_eq!(lower_case("A.b", &mut buffer), "a.b");
    }
}
