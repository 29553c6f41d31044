//! Precedence as data: each matcher says how specific it is, and the greatest matching route answers.

use serde::Serialize;

/// How specific a match is. Of the routes that match a request the one with the greatest specificity answers;
/// between equals, the one that comes first in the file.
///
/// Fields are compared in order: a more specific host wins over any path, a more specific path over any
/// number of conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Specificity {
    /// Exact, then the longer wildcard suffix, then any host.
    pub(crate) host: HostSpecificity,
    /// Exact, then templates, then the longer prefix, then any path.
    pub(crate) path: PathSpecificity,
    /// How many conditions a match sets besides: one for its methods, one for its listeners, one for each
    /// header and each query parameter.
    pub(crate) conditions: usize,
}

/// How specific a match's host is, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HostSpecificity {
    /// No host is asked for.
    Any,
    /// `*.example.com`.
    Wildcard {
        /// Length of the part after `*.`.
        suffix_bytes: usize,
    },
    /// A whole host name.
    Exact,
}

/// How specific a match's path is, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PathSpecificity {
    /// No path is asked for.
    Any,
    /// A prefix; a longer one is more specific.
    Prefix {
        /// Its length, a final slash included.
        bytes: usize,
    },
    /// A template; more literal segments are more specific, then those that are literal further to the left.
    Template {
        /// Number of segments without a parameter.
        literals: u32,
        /// A bit for each segment, the first segment's the most significant, set where it is literal.
        /// JSON numbers do not hold 64 bits exactly.
        #[serde(skip)]
        literal_positions: u64,
    },
    /// A whole path.
    Exact,
}
