//! The observers of a request's attempts.

use std::cell::RefCell;

use http::StatusCode;
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::request::UpstreamRequest;
use crate::http::error::Error;

/// An observer of a request's attempts.
pub(crate) trait Progress {
    /// Called when an attempt at an endpoint begins. It may change the fields that are sent.
    fn attempt(&mut self, endpoint: &Endpoint, request: &mut UpstreamRequest<'_>);
    /// Called when a kept connection is reused.
    fn reused(&mut self);
    /// Called when a new connection is being opened.
    fn dialling(&mut self);
    /// Called when the new connection is open, or could not be opened. `secured_from` is the time at which its TLS handshake began.
    fn connected(&mut self, secured_from: Option<Instant>);
    /// Called when another endpoint took the attempt, on a kept connection or a new one.
    fn moved(&mut self, endpoint: &Endpoint, is_reused: bool);
    /// Called when an attempt begins beside one that has not ended. It may change the fields that are sent.
    fn hedged(&mut self, endpoint: &Endpoint, request: &mut UpstreamRequest<'_>);
    /// Called when that attempt, at another endpoint, has responded first.
    fn overtaken(&mut self, endpoint: &Endpoint, is_reused: bool);
    /// Called when an attempt has a response, or has failed.
    fn attempted(&mut self, outcome: Result<StatusCode, Error>);
}

/// The progress of a request, shared by its dials, or by attempts at once.
pub(super) struct Shared<'a, 'p, P>(pub(super) &'a RefCell<&'p mut P>);

impl<P: Progress> Progress for Shared<'_, '_, P> {
    fn attempt(&mut self, endpoint: &Endpoint, request: &mut UpstreamRequest<'_>) {
        self.0.borrow_mut().attempt(endpoint, request);
    }

    fn reused(&mut self) {
        self.0.borrow_mut().reused();
    }

    fn dialling(&mut self) {
        self.0.borrow_mut().dialling();
    }

    fn connected(&mut self, secured_from: Option<Instant>) {
        self.0.borrow_mut().connected(secured_from);
    }

    fn moved(&mut self, endpoint: &Endpoint, is_reused: bool) {
        self.0.borrow_mut().moved(endpoint, is_reused);
    }

    fn hedged(&mut self, endpoint: &Endpoint, request: &mut UpstreamRequest<'_>) {
        self.0.borrow_mut().hedged(endpoint, request);
    }

    fn overtaken(&mut self, endpoint: &Endpoint, is_reused: bool) {
        self.0.borrow_mut().overtaken(endpoint, is_reused);
    }

    fn attempted(&mut self, outcome: Result<StatusCode, Error>) {
        self.0.borrow_mut().attempted(outcome);
    }
}

/// The progress of a dial or an attempt that may come too late.
#[derive(Default)]
pub(super) struct Quiet {
    pub(super) is_reused: bool,
}

impl Progress for Quiet {
    fn attempt(&mut self, _: &Endpoint, _: &mut UpstreamRequest<'_>) {}

    fn reused(&mut self) {
        self.is_reused = true;
    }

    fn dialling(&mut self) {}

    fn connected(&mut self, _: Option<Instant>) {}

    fn moved(&mut self, _: &Endpoint, is_reused: bool) {
        self.is_reused = is_reused;
    }

    fn hedged(&mut self, _: &Endpoint, _: &mut UpstreamRequest<'_>) {}

    fn overtaken(&mut self, _: &Endpoint, _: bool) {}

    fn attempted(&mut self, _: Result<StatusCode, Error>) {}
}
