//! The observers of a request's attempts.

use std::cell::RefCell;

use super::endpoint::Endpoint;

/// An observer of a request's attempts.
pub(crate) trait Progress {
    /// Called when an attempt at an endpoint begins.
    fn attempt(&mut self, endpoint: &Endpoint);
    /// Called when a kept connection is reused.
    fn reused(&mut self);
    /// Called when a new connection is being opened.
    fn dialling(&mut self);
    /// Called when the new connection is open, or could not be opened.
    fn connected(&mut self);
    /// Called when another endpoint took the attempt, on a kept connection or a new one.
    fn moved(&mut self, endpoint: &Endpoint, is_reused: bool);
    /// Called when an attempt begins beside one that has not ended.
    fn hedged(&mut self);
    /// Called when that attempt, at another endpoint, has responded first.
    fn overtaken(&mut self, endpoint: &Endpoint, is_reused: bool);
}

/// The progress of a request, shared by its dials, or by attempts at once.
pub(super) struct Shared<'a, 'p, P>(pub(super) &'a RefCell<&'p mut P>);

impl<P: Progress> Progress for Shared<'_, '_, P> {
    fn attempt(&mut self, endpoint: &Endpoint) {
        self.0.borrow_mut().attempt(endpoint);
    }

    fn reused(&mut self) {
        self.0.borrow_mut().reused();
    }

    fn dialling(&mut self) {
        self.0.borrow_mut().dialling();
    }

    fn connected(&mut self) {
        self.0.borrow_mut().connected();
    }

    fn moved(&mut self, endpoint: &Endpoint, is_reused: bool) {
        self.0.borrow_mut().moved(endpoint, is_reused);
    }

    fn hedged(&mut self) {
        self.0.borrow_mut().hedged();
    }

    fn overtaken(&mut self, endpoint: &Endpoint, is_reused: bool) {
        self.0.borrow_mut().overtaken(endpoint, is_reused);
    }
}

/// The progress of a dial or an attempt that may come too late.
#[derive(Default)]
pub(super) struct Quiet {
    pub(super) is_reused: bool,
}

impl Progress for Quiet {
    fn attempt(&mut self, _: &Endpoint) {}

    fn reused(&mut self) {
        self.is_reused = true;
    }

    fn dialling(&mut self) {}

    fn connected(&mut self) {}

    fn moved(&mut self, _: &Endpoint, is_reused: bool) {
        self.is_reused = is_reused;
    }

    fn hedged(&mut self) {}

    fn overtaken(&mut self, _: &Endpoint, _: bool) {}
}
