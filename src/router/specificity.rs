//! Precedence as data: each matcher says how specific it is, and the matching route with the greatest specificity wins.

use serde::Serialize;

/// The specificity of a match. Of the routes that match a request, the one with the greatest specificity wins; of equal
/// ones, the first in the file.
///
/// Fields are compared in order: a more specific host beats any path, and a more specific path beats any number of
/// conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Specificity {
    /// Any host, then wildcards by the length of their suffix, then exact hosts, in ascending order.
    pub(crate) host: HostSpecificity,
    /// Any path, then prefixes by their length, then templates, then exact paths, in ascending order.
    pub(crate) path: PathSpecificity,
    /// The number of the other conditions: one for the methods, one for the listeners, one for each header and each
    /// query parameter.
    pub(crate) conditions: usize,
}

/// The specificity of a match's host, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HostSpecificity {
    Any,
    /// `*.example.com`.
    Wildcard {
        /// The length of the part after `*.`.
        suffix_bytes: usize,
    },
    Exact,
}

/// The specificity of a match's path, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PathSpecificity {
    Any,
    /// A prefix; a longer one is more specific.
    Prefix {
        /// The length, a trailing slash included.
        bytes: usize,
    },
    /// A template. More literal segments are more specific; of as many, those further to the left win.
    Template {
        /// The number of segments without a parameter.
        literals: u32,
        /// A bit for each segment, set if it is literal; the first segment's bit is the most significant. It is not
        /// serialised because JSON numbers do not hold 64 bits exactly.
        #[serde(skip)]
        literal_positions: u64,
    },
    Exact,
}
