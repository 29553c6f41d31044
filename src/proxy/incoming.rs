//! A request on its way through its route.

use std::borrow::Cow;

use http::{Method, Version};

use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::path::{EncodedSlash, PathError, has_encoded_slash};
use crate::snapshot::Route;

/// A request on its way through its route.
pub(crate) struct Incoming<'a> {
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    /// The requested host, with its port.
    pub(crate) authority: &'a str,
    pub(crate) headers: Fields,
    pub(crate) body: Body,
}

/// Rejects encoded slashes in a path, unless its route keeps them.
#[allow(clippy::ptr_arg, reason = "a borrowed path needs no search: it has no escape")]
pub(crate) fn check_slashes(path: &Cow<'_, str>, route: Option<&Route>) -> Result<(), Error> {
    if has_encoded_slash(path) && route.is_none_or(|route| route.encoded_slash == EncodedSlash::Reject) {
        return Err(Error::RequestPath(PathError::EncodedSlash.reason()));
    }
    Ok(())
}
