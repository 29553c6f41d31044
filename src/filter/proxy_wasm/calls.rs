//! Calls of a guest to upstreams.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;

use crate::filter::FilterContext;
use crate::http::fields::Fields;
use crate::upstream::OwnRequest;

/// The longest time that a call may take, and the default if it specifies none.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Returns the time that a guest gives its call in milliseconds, where 0 is none.
pub(super) fn call_timeout(millis: u32) -> Duration {
    let timeout = Duration::from_millis(millis.into());
    if timeout.is_zero() { TIMEOUT_MAX } else { timeout.min(TIMEOUT_MAX) }
}

/// A request that the guest itself makes.
pub(crate) struct OutgoingCall {
    pub(super) token: u32,
    pub(super) upstream: String,
    pub(super) request: OwnRequest,
    pub(super) timeout: Duration,
    /// The exchange that waits for the call, if it was made for one.
    pub(super) filter_context: Option<Weak<FilterContext>>,
    pub(super) held: Held,
}

#[derive(Default)]
pub(crate) struct CallResponse {
    /// `None` if no response arrived.
    pub(super) status: Option<http::StatusCode>,
    pub(super) headers: Fields,
    pub(super) body: Bytes,
    pub(super) trailers: Fields,
}

/// The bytes of a call in progress. They count as produced by the guest until this is dropped.
pub(crate) struct Held {
    pub(super) bytes: usize,
    pub(super) by: Holder,
}

pub(super) enum Holder {
    FilterContext(Weak<FilterContext>),
    Root(Rc<Cell<usize>>),
}

impl Drop for Held {
    fn drop(&mut self) {
        match &self.by {
            Holder::Root(made) => made.set(made.get().saturating_sub(self.bytes)),
            Holder::FilterContext(filter_context) => {
                if let Some(filter_context) = filter_context.upgrade() {
                    filter_context.frees(self.bytes);
                }
            }
        }
    }
}
