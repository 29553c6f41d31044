//! Replacing the addresses of an upstream in its responses by those that the client knows.

mod cookie;
mod location;

use std::borrow::Cow;

use super::rewrite::{Rewrite, below_written};
use crate::config::Scheme;
use crate::http::forward::{ClientOrigin, RequestHost};

/// The addresses of an upstream, and those that the client used for it, in one exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reverse<'a> {
    /// The scheme and the host that the client used.
    pub(crate) client: ClientOrigin<'a>,
    /// The scheme of the endpoint.
    pub(crate) scheme: Scheme,
    /// The hosts that name the upstream: the endpoint's own, and the one that it was sent as Host.
    pub(crate) authorities: [RequestHost<'a>; 2],
    /// True if the upstream was sent the client's Host. Its locations then name the client's host already, with the
    /// scheme that the upstream means, and only their paths can be its own.
    pub(crate) keeps_host: bool,
    /// The normalised path of the request.
    pub(crate) requested: &'a str,
    /// The base path of the endpoint, empty for none.
    pub(crate) base: &'a str,
    pub(crate) rewrite: Option<&'a Rewrite>,
}

impl Reverse<'_> {
    /// Returns the client's path for the upstream's `path`, or `None` for a path that is not below the prefix that the
    /// gateway adds to requests.
    fn path<'p>(&self, path: &'p str) -> Option<Cow<'p, str>> {
        let path = below_written(path, self.base)?;
        let path = match self.rewrite {
            Some(rewrite) => rewrite.reverse(path, self.requested)?,
            None => Cow::Borrowed(path),
        };
        Some(if path.is_empty() { Cow::Borrowed("/") } else { path })
    }

    /// Returns true if `path` begins with a prefix that upstream requests never have. The upstream then knows its
    /// public path and has written the client's path.
    fn is_client_path(&self, path: &str) -> bool {
        let stripped = self.rewrite.and_then(Rewrite::only_stripped).filter(|_| self.base.is_empty());
        stripped.is_some_and(|prefix| below_written(path, prefix).is_some())
    }
}

#[cfg(test)]
mod tests;
