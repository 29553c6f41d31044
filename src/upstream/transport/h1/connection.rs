//! An HTTP/1 connection between two exchanges.

use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::fields::Fields;
use crate::http::h1::ResponseHead;
use crate::http::message::may_have_body;
use crate::net::stream::{Arrived, Stream};
use crate::upstream::close_reason::CloseReason;

/// An HTTP/1 connection: its stream, and what its last response said about it.
#[derive(Debug)]
pub(crate) struct H1Connection {
    pub(crate) stream: Stream,
    /// True if its last response had no body by rule. A server that sends one all the same may send it only now.
    pub(crate) bodiless: bool,
    /// The evidence in its responses that it persists.
    pub(crate) word: Word,
    /// The time that the server keeps it idle (`Keep-Alive: timeout=N`), less a second.
    pub(crate) server_keeps: Option<Duration>,
}

/// The evidence in a server's responses that it keeps a connection open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// Each response had a length, or said that the connection persists.
    Given,
    /// The last response had no body by rule, and said neither. A server that ends its bodies by closing would close
    /// now.
    Silent,
    /// The connection has served another request after such a response, or was idle for a while. Silence means that it
    /// persists.
    Proven,
}

impl Word {
    /// Returns the evidence after one more response.
    pub(crate) fn after(self, is_silent: bool) -> Self {
        match self {
            // The server had been silent, but responded to this request all the same.
            Word::Silent | Word::Proven => Word::Proven,
            Word::Given if is_silent => Word::Silent,
            Word::Given => Word::Given,
        }
    }
}

/// The time that a connection must be idle after a silent response before a request that cannot be retried uses it.
///
/// Measured on a busy machine (ten runnable threads on two cores), from a response's head to the FIN behind it: a
/// server that closes at once does so within 0.04 ms in 99.9 % of 2,000 cases and within 15 ms in all; one that closes
/// 1 ms later, within 21 ms and 86 ms; Python's `http.server` (HTTP/1.0), within 3.3 ms. Servers that speak HTTP/1.1 on
/// purpose (Node, Python) kept all connections open.
pub(crate) const SETTLING: Duration = Duration::from_millis(100);

impl H1Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, bodiless: false, word: Word::Given, server_keeps: None }
    }

    /// Records what the head of a final response says about the connection.
    pub(super) fn responded(&mut self, head: &ResponseHead, is_head: bool) {
        self.server_keeps = server_keeps(&head.headers);
        self.bodiless = is_head || !may_have_body(head.status);
        self.word = self.word.after(self.bodiless && head.is_silent);
    }

    /// See [`Exclusive::settles_after`](crate::upstream::transport::Exclusive::settles_after).
    pub(crate) fn settles_after(&self) -> Option<Duration> {
        (self.word == Word::Silent).then_some(SETTLING)
    }

    /// Notes that it was idle for so long that silence means that it persists.
    pub(crate) fn settle(&mut self) {
        if self.word == Word::Silent {
            self.word = Word::Proven;
        }
    }

    /// Closes the socket. It sends the TLS close alert, as far as that is possible without waiting.
    pub(crate) fn close(mut self) {
        let _best_effort = Pin::new(&mut self.stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }

    /// Returns true if a body has arrived that the last response must not have: the next client would take it for its
    /// response. Bytes that the reactor has not yet seen count, too. Asking the kernel each time would be a third
    /// system call for every request; a message whose end both sides agree on needs none.
    pub(crate) fn has_forbidden_body(&mut self) -> bool {
        self.bodiless && self.stream.has_arrived()
    }

    /// Checks, without waiting, whether an idle connection is dead. Wakes `cx` when it dies later.
    pub(crate) fn poll_dead(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        match self.bodiless.then(|| self.stream.arrived()).flatten() {
            Some(Arrived::Bytes) => return Poll::Ready(CloseReason::UnexpectedBytes),
            Some(Arrived::End) => return Poll::Ready(CloseReason::Peer),
            None => {}
        }
        let mut byte = [0u8; 1];
        let mut read = ReadBuf::new(&mut byte);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut read);
        polled.map(|result| match result {
            Ok(()) if read.filled().is_empty() => CloseReason::Peer,
            Ok(()) => CloseReason::UnexpectedBytes,
            // Many servers end TLS without a close alert. That is as good as any other end while no response is
            // expected.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {
                CloseReason::Peer
            }
            Err(_) => CloseReason::Error,
        })
    }
}

/// Returns the `timeout=N` of a Keep-Alive field, less a second so that the gateway is the first to close.
fn server_keeps(headers: &Fields) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    let seconds = value.split(',').find_map(|parameter| {
        let (name, seconds) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("timeout")
            .then(|| seconds.trim().trim_matches('"').parse::<u32>().ok())?
    })?;
    Some(Duration::from_secs(u64::from(seconds.saturating_sub(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_server_is_believed_once_it_has_answered_again() {
        let after =
            |responses: &[bool]| responses.iter().fold(Word::Given, |word, silent| word.after(*silent));
        for (responses, expected) in [
            (&[][..], Word::Given),
            (&[false, false], Word::Given),
            (&[false, true], Word::Silent),
            (&[true, true], Word::Proven),
            (&[true, false], Word::Proven),
            (&[true, false, true], Word::Proven),
        ] {
            assert_eq!(after(responses), expected, "{responses:?}");
        }
    }

    #[test]
    fn the_servers_hint_is_read_and_shortened() {
        for (value, expected) in [
            ("timeout=5, max=100", Some(4)),
            ("max=3, Timeout = 10", Some(9)),
            ("timeout=0", Some(0)),
            ("x", None),
        ] {
            let headers = Fields::written(&[("keep-alive", value)]);
            assert_eq!(server_keeps(&headers).map(|keeps| keeps.as_secs()), expected, "{value}");
        }
    }
}
