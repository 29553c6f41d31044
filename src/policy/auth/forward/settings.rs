//! The settings of a way by another server.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use crate::config::{self, ForwardAuth, HashKey, OnAuthError};

/// The settings of a way by another server, ready for use.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ForwardSettings {
    /// The way's name.
    pub(super) way: Arc<str>,
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) timeout: Duration,
    /// The fields of a request that go along.
    pub(super) request_headers: Box<[HeaderName]>,
    /// The fields of an answer that the request gets.
    pub(super) response_headers: Box<[HeaderName]>,
    /// The fields of an answer that the client gets.
    pub(super) client_headers: Box<[HeaderName]>,
    pub(super) identity: Option<HeaderName>,
    /// True if requests pass that the server does not decide about.
    pub(super) is_open: bool,
    pub(super) cache: Option<CacheSettings>,
}

/// The settings of a memory of answers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CacheSettings {
    /// The time for which a request is admitted.
    pub(super) admitted: Duration,
    /// The time for which one is refused, if at all.
    pub(super) denied: Option<Duration>,
    /// The parts of a request that an answer is for; `None` for all that the server is told.
    pub(super) parts: Option<Box<[HashKey]>>,
}

impl ForwardSettings {
    pub(crate) fn new(way: &Arc<str>, written: &ForwardAuth) -> Self {
        let names = |names: &[config::HeaderName]| names.iter().map(|name| name.as_http().clone()).collect();
        let cache = written.cache.as_ref().map(|cache| CacheSettings {
            admitted: cache.ttl.into(),
            denied: cache.refusals.duration(),
            parts: cache.key.as_deref().map(Into::into),
        });
        Self {
            way: way.clone(),
            method: written.method.as_http().clone(),
            target: written.path.as_str().to_owned(),
            timeout: written.timeout.into(),
            request_headers: names(&written.request_headers),
            response_headers: names(&written.response_headers),
            client_headers: names(&written.client_headers),
            identity: written.identity.as_ref().map(|name| name.as_http().clone()),
            is_open: written.on_error == OnAuthError::Open,
            cache,
        }
    }
}
