//! Matching of hosts, and the index of hosts.

use std::collections::HashMap;

use super::Hashing;
use super::paths::PathIndex;
use super::specificity::HostSpecificity;
use crate::config::HostPattern;
use crate::config::values::host::HOST_BYTES_MAX;

impl HostSpecificity {
    /// Returns the specificity of a match's host; `None` is any host.
    pub(super) fn of(host: Option<&HostPattern>) -> Self {
        match host {
            None => Self::Any,
            Some(HostPattern::Below(domain)) => Self::Wildcard { suffix_bytes: domain.len() },
            Some(HostPattern::Exact(_)) => Self::Exact,
        }
    }
}

/// The paths of every host, found by one lookup for the whole name and one for each of its suffixes.
#[derive(Debug, Default)]
pub(super) struct HostIndex {
    exact: HashMap<Box<str>, PathIndex, Hashing>,
    /// By the part after `*.`.
    wildcards: HashMap<Box<str>, PathIndex, Hashing>,
    any: PathIndex,
}

impl HostIndex {
    /// Returns the paths of one host, to add to; `None` is any host.
    pub(super) fn paths_mut(&mut self, host: Option<&HostPattern>) -> &mut PathIndex {
        match host {
            None => &mut self.any,
            Some(HostPattern::Below(domain)) => self.wildcards.entry(domain.as_str().into()).or_default(),
            Some(HostPattern::Exact(name)) => self.exact.entry(name.as_str().into()).or_default(),
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
    use super::*;

    #[test]
    fn a_name_too_long_for_the_buffer_is_no_name() {
        let mut buffer = [0; HOST_BYTES_MAX];
        assert_eq!(lower_case(&"a".repeat(253), &mut buffer).len(), 253);
        assert_eq!(lower_case(&"A".repeat(254), &mut buffer), "");
        assert_eq!(lower_case("A.b", &mut buffer), "a.b");
    }
}
