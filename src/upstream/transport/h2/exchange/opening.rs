//! The opening of an exchange's stream: at once, or after a sign of life of the connection.

use std::task::{Context, Poll, ready};

use http::{HeaderValue, Method, header};

use super::H2Exchange;
use super::ping::{OwnedHead, PingCheck, Pinging};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::h2::OutgoingRequest;
use crate::net::clock;
use crate::net::timer::deadline;
use crate::upstream::close_reason::CloseReason;
use crate::upstream::transport::h2::connection::poll_read_since;
use crate::upstream::transport::options::AddressedRequest;
use crate::upstream::transport::request_body::Writing;

impl H2Exchange {
    /// Opens the stream, or pings the connection first. `length` is that of the body, if it is known and the body is not empty.
    pub(super) fn begin(
        &mut self,
        AddressedRequest { request, target, scheme }: AddressedRequest<'_>,
        length: Option<u64>,
        check: Option<PingCheck>,
    ) {
        let is_silent = |check: &PingCheck| clock::since(self.connection.silent_since()) >= check.after;
        if let Some(check) = check.filter(is_silent) {
            let head = OwnedHead {
                method: request.method.clone(),
                target: target.to_owned(),
                scheme,
                headers: request.headers.clone(),
                length,
            };
            let until = deadline(Some(check.timeout));
            self.pinging = Some(Box::new(Pinging { head, reads: self.reads, until }));
            return self.connection.ping();
        }
        self.open(OutgoingRequest {
            method: request.method,
            scheme,
            authority: authority(request.headers),
            path: target,
            protocol: None,
            headers: request.headers,
            length,
        });
    }

    /// Opens the stream, as an extended CONNECT if the request is an upgrade.
    fn open(&mut self, head: OutgoingRequest<'_>) {
        let end_stream = self.writing.is_over();
        let Some(upgrade) = &self.upgrade else {
            self.key = self.connection.open(&head, end_stream);
            return;
        };
        if self.connection.takes_upgrades() {
            let connect = OutgoingRequest {
                method: &Method::CONNECT,
                protocol: upgrade.protocol.to_str().ok(),
                headers: &upgrade.headers,
                ..head
            };
            self.key = self.connection.open(&connect, end_stream);
        }
    }

    /// Waits for a sign of life of the connection, then opens the stream. A connection that gives none is closed.
    pub(super) fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pinging) = &self.pinging else { return Poll::Ready(()) };
        if poll_read_since(&self.connection, pinging.reads, cx).is_pending() {
            ready!(self.options.timer.poll_elapsed(cx, pinging.until));
            self.connection.close(CloseReason::Ping);
            // The stream stays unopened, so the request may go elsewhere.
            self.pinging = None;
        }
        let Some(pinging) = self.pinging.take() else { return Poll::Ready(()) };
        self.open(pinging.head.as_outgoing(authority(&pinging.head.headers)));
        if let Writing::Sent(_) = self.writing {
            self.writing = Writing::Sent(deadline(self.options.response_header));
        }
        Poll::Ready(())
    }

    /// Returns the error of a request for which there is no stream.
    pub(super) fn unopened_error(&self) -> Error {
        let is_refused = self.upgrade.is_some() && !self.connection.takes_upgrades();
        if is_refused { Error::UpgradeUnsupported } else { Error::UpstreamRefused }
    }
}

/// Returns the value of `:authority`. Each request to an upstream has a Host.
fn authority(headers: &Fields) -> &[u8] {
    headers.get(header::HOST).map_or(b"", HeaderValue::as_bytes)
}
