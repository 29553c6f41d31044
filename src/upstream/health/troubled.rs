//! The endpoints of an upstream that do not simply serve.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// The endpoints of an upstream that do not simply serve. It survives reloads as the endpoints do.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Troubled {
    /// Without one, no request looks any further.
    count: AtomicUsize,
    /// True if there are so many that requests no longer avoid them.
    is_panic: AtomicBool,
}

impl Troubled {
    pub(super) fn add(&self) {
        self.count.fetch_add(1, SeqCst);
    }

    pub(super) fn remove(&self) {
        self.count.fetch_sub(1, SeqCst);
    }

    /// Returns true if some endpoint is ejected or coming back.
    pub(in crate::upstream) fn any(&self) -> bool {
        self.count.load(SeqCst) > 0
    }

    /// Takes whether there are too many of them. Returns true if that is news.
    pub(in crate::upstream) fn panics(&self, is_panic: bool) -> bool {
        self.is_panic.load(Relaxed) != is_panic && self.is_panic.swap(is_panic, Relaxed) != is_panic
    }
}
