//! The cookies that hold clients at an endpoint (`sticky`).

use std::fmt::Write as _;
use std::hash::BuildHasher as _;

use foldhash::quality::FixedState;

use crate::config;

/// The cookie of an upstream. All workers, and gateways beside each other, give the same endpoint the same value.
pub(crate) struct Sticky {
    pub(crate) cookie: String,
    /// Stands for the upstream's name.
    pub(crate) upstream: u64,
    /// Its attributes but for `Secure`, each with a semicolon before it.
    pub(crate) attributes: String,
    /// The attribute `Secure`; `None` if it depends on the client's scheme.
    pub(crate) secure: Option<bool>,
}

impl Sticky {
    /// Returns the cookie of the upstream `name`, which is empty for one that a route defines.
    pub(crate) fn new(written: &config::Sticky, name: &str) -> Self {
        let mut attributes = format!("; Path=/; HttpOnly; SameSite={}", written.same_site.as_str());
        if let Some(max_age) = written.max_age.duration() {
            // 0 would delete the cookie.
            let seconds = max_age.as_secs() + u64::from(max_age.subsec_nanos() > 0);
            // Writing to a string does not fail.
            let _infallible = write!(attributes, "; Max-Age={seconds}");
        }
        Self {
            cookie: written.cookie.as_str().to_owned(),
            upstream: FixedState::default().hash_one(name),
            attributes,
            secure: written.secure,
        }
    }
}
