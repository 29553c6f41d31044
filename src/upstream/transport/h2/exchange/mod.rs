//! One exchange on a stream of an HTTP/2 connection.

mod opening;
mod ping;
mod upload;

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use http_body::{Frame, SizeHint};

pub(in crate::upstream) use self::ping::PingCheck;
use self::ping::Pinging;
use super::connection::H2Connection;
use super::upgrade::Upgrade;
use crate::http::body::{Body, KeptBody, PollFrame};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward::filter_trailers;
use crate::http::h2::{Part, ResponseHead, StreamKey};
use crate::http::message::may_have_body;
use crate::net::timer::{Stall, Timer, deadline};
use crate::upstream::transport::options::{AddressedRequest, ExchangeOptions};
use crate::upstream::transport::request_body::{CONTINUE_TIMEOUT, INTERIM_RESPONSES, Taken, Writing};
use crate::upstream::transport::result::{ExchangeFailure, ReceivedHead};

/// A request and its response on one stream.
pub(crate) struct H2Exchange {
    connection: Rc<H2Connection>,
    /// Present from the opening of the stream until the exchange has ended.
    key: Option<StreamKey>,
    /// Set while the connection is asked for a sign of life, before the stream is opened.
    pinging: Option<Box<Pinging>>,
    /// Set until the response of a request for another protocol.
    upgrade: Option<Box<Upgrade>>,
    options: ExchangeOptions,
    is_head: bool,
    body: Body,
    taken: Taken,
    writing: Writing,
    reading: Reading,
    /// The engine's count of what it has sent, at the last look.
    sent: u64,
    /// The connection's count of reads at the last progress.
    reads: u64,
    stall: Stall,
}

/// The state of receiving the response.
#[derive(Debug, Clone, Copy)]
enum Reading {
    /// Not one head has arrived.
    Nothing,
    /// The final head is awaited, after this number of interim ones.
    Head { interim: u32 },
    /// The body is read, of which this much is left if its length is known.
    Body { left: Option<u64> },
}

impl H2Exchange {
    /// Sends the head of a request on a stream of `connection`. Data taken from the body goes into `kept`.
    pub(in crate::upstream::transport) fn new(
        connection: Rc<H2Connection>,
        AddressedRequest { request, target, scheme }: AddressedRequest<'_>,
        body: Body,
        kept: Option<Box<KeptBody>>,
        options: ExchangeOptions,
        check: Option<PingCheck>,
    ) -> Self {
        let length = body.size_hint().exact();
        let is_empty = length == Some(0);
        let writing = match () {
            () if options.upgrade => Writing::Upgrading(deadline(options.response_header)),
            () if is_empty => Writing::Sent(deadline(options.response_header)),
            () if options.expect_continue => Writing::AwaitingContinue(deadline(Some(CONTINUE_TIMEOUT))),
            () => Writing::Body,
        };
        let mut exchange = Self {
            key: None,
            pinging: None,
            upgrade: None,
            is_head: request.method == Method::HEAD,
            body,
            taken: Taken::Nothing(kept),
            writing,
            reading: Reading::Nothing,
            sent: 0,
            reads: connection.reads(),
            stall: Stall::new(options.idle),
            options,
            connection,
        };
        if exchange.options.upgrade {
            exchange.upgrade = Some(Box::new(Upgrade::of(request.headers)));
        }
        exchange.begin(AddressedRequest { request, target, scheme }, length.filter(|_| !is_empty), check);
        exchange
    }

    /// Waits for the head of the final response. Interim responses go to `interim`.
    pub(in crate::upstream::transport) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        interim: &mut dyn FnMut(StatusCode, Fields),
    ) -> Poll<Result<ReceivedHead, Error>> {
        if self.pinging.is_some() {
            ready!(self.poll_ping(cx));
        }
        let Some(key) = self.key else { return Poll::Ready(Err(self.unopened_error())) };
        loop {
            if let Poll::Ready(result) = self.poll_upload(cx) {
                result?;
            }
            if let Some(head) = self.connection.head(key) {
                match self.accept_head(*head, interim)? {
                    Some(head) => return Poll::Ready(Ok(head)),
                    None => continue, // a 100 releases the body
                }
            }
            if self.connection.engine.borrow().is_reset(key) {
                return Poll::Ready(Err(self.reset_error(key)));
            }
            self.connection.register_stream(key, cx);
            ready!(self.poll_late_head(cx))?;
        }
    }

    /// Handles interim responses. Returns the head if it is the final one.
    fn accept_head(
        &mut self,
        head: ResponseHead,
        interim: &mut dyn FnMut(StatusCode, Fields),
    ) -> Result<Option<ReceivedHead>, Error> {
        let ResponseHead { status, mut headers, length } = head;
        if status.is_informational() {
            let count = match self.reading {
                Reading::Head { interim } => interim + 1,
                _ => 1,
            };
            if count > INTERIM_RESPONSES {
                return Err(Error::ResponseMalformed("too many interim responses"));
            }
            self.reading = Reading::Head { interim: count };
            if status == StatusCode::CONTINUE {
                self.end_continue_wait();
            } else {
                interim(status, headers);
            }
            return Ok(None);
        }
        if self.options.expect_continue && matches!(self.taken, Taken::Nothing(_)) {
            // The upstream responded without the body, so do not request it from the client after its final response.
            self.abandon_upload();
        }
        // This is the length for a GET (RFC 9110 §8.6), and the only case of a length without a body.
        if let Some(length) = length
            && (self.is_head || status == StatusCode::NOT_MODIFIED)
        {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let headers = match self.upgrade.take() {
            Some(upgrade) if status.is_success() => {
                self.writing = Writing::Body;
                self.reading = Reading::Body { left: None };
                let status = StatusCode::SWITCHING_PROTOCOLS;
                return Ok(Some(ReceivedHead {
                    status,
                    version: Version::HTTP_2,
                    headers: upgrade.confirm(headers),
                }));
            }
            Some(_) => {
                // The response is an ordinary one, and nothing follows the request.
                self.writing = Writing::Rest;
                if let Some(key) = self.key {
                    self.send(key, Bytes::new(), true);
                }
                headers
            }
            None => headers,
        };
        let left = if self.is_head || !may_have_body(status) { Some(0) } else { length };
        self.reading = Reading::Body { left };
        Ok(Some(ReceivedHead { status, version: Version::HTTP_2, headers }))
    }

    /// Returns the error of a stream that was reset, or went with its connection.
    fn reset_error(&self, key: StreamKey) -> Error {
        match self.connection.lost() {
            _ if self.connection.is_unprocessed(key) => Error::UpstreamRefused,
            Some(lost) => lost,
            None if self.connection.engine.borrow().is_malformed(key) => {
                Error::ResponseMalformed("not a message of HTTP/2")
            }
            None => Error::UpstreamReset,
        }
    }

    /// Checks the deadlines while no response has arrived. Returns `Ok` when the wait for `100 Continue` is over.
    fn poll_late_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let timer = &self.options.timer;
        match self.writing {
            Writing::AwaitingContinue(until) => {
                ready!(timer.poll_elapsed(cx, until));
                self.end_continue_wait();
                Poll::Ready(Ok(()))
            }
            Writing::Upgrading(until) | Writing::Sent(until) | Writing::Abandoned(until) => {
                timer.poll_elapsed(cx, until).map(|()| Err(Error::ResponseHeaderTimeout))
            }
            Writing::Body | Writing::Rest => Poll::Pending,
        }
    }

    /// Releases a body that waits for `100 Continue`.
    fn end_continue_wait(&mut self) {
        if let Writing::AwaitingContinue(_) = self.writing {
            self.writing = Writing::Body;
        }
    }

    /// Ends the exchange without a response. Returns what a retry needs to know.
    pub(in crate::upstream::transport) fn fail(&mut self, error: Error) -> ExchangeFailure {
        if error.is_upstream_late() {
            self.suspect();
        }
        let is_starved = matches!(self.writing, Writing::Body)
            && self.key.is_some_and(|key| self.connection.engine.borrow().takes_data(key));
        let rest = std::mem::take(&mut self.body);
        // A server that ends the connection has not looked at the request at all, which is as good as if nothing had been sent.
        let is_unsent =
            self.key.is_none() || (error == Error::UpstreamRefused && self.connection.is_ending());
        self.end();
        ExchangeFailure {
            error,
            unanswered: matches!(self.reading, Reading::Nothing) && error == Error::UpstreamClosed,
            unsent: is_unsent,
            unprocessed: error == Error::UpstreamRefused,
            starved: is_starved,
            broken: self.connection.take_broken(),
            body: self.taken.whole(rest),
        }
    }

    /// Gives up the kept part of the request: it is not sent again.
    pub(in crate::upstream::transport) fn free_request(&mut self) {
        self.taken.free();
    }

    /// Returns the request's body for another attempt, if all of it was sent and kept.
    pub(in crate::upstream::transport) fn take_request(&mut self) -> Option<Body> {
        let is_sent = matches!(self.writing, Writing::Sent(_));
        if is_sent { self.taken.whole(Body::Empty) } else { None }
    }

    /// Returns the response's body if all of it arrived with its head, as small responses usually do.
    pub(in crate::upstream::transport) fn complete_body(&mut self) -> Option<Bytes> {
        let key = self.key?;
        let whole = self.connection.engine.borrow_mut().take_whole(key)?;
        self.connection.wake_to_write(); // the windows
        self.reading = Reading::Body { left: Some(0) };
        Some(whole)
    }

    /// Polls the next frame of the response's body, and meanwhile sends the rest of the request.
    pub(in crate::upstream::transport) fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        if let Poll::Ready(Err(error)) = self.poll_upload(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        let Some(key) = self.key else { return Poll::Ready(None) };
        let part = self.connection.engine.borrow_mut().take(key);
        match part {
            Some(Part::Data(data)) => {
                self.connection.wake_to_write(); // the windows
                self.progress();
                if let Reading::Body { left: Some(left) } = &mut self.reading {
                    *left = left.saturating_sub(data.len() as u64);
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Part::Trailers(trailers)) => {
                let mut trailers = HeaderMap::from(trailers);
                filter_trailers(&mut trailers);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Some(Part::End) => Poll::Ready(None),
            Some(Part::Reset(_)) => Poll::Ready(Some(Err(Error::ResponseTruncated))),
            None => {
                self.connection.register_stream(key, cx);
                ready!(self.stall.poll_waiting(cx, &self.options.timer));
                self.suspect();
                Poll::Ready(Some(Err(Error::IdleTimeout)))
            }
        }
    }

    /// Returns true if the request has been sent, or what is left of it never will be.
    pub(in crate::upstream::transport) fn is_sent(&self) -> bool {
        self.writing.is_over()
    }

    /// Returns true if the response's body has been read to its end.
    pub(in crate::upstream::transport) fn is_end_stream(&self) -> bool {
        self.key.is_none_or(|key| {
            let engine = self.connection.engine.borrow();
            engine.is_taken(key) && !engine.is_reset(key)
        })
    }

    /// Returns the bounds of the response's body that follows.
    pub(in crate::upstream::transport) fn size_hint(&self) -> SizeHint {
        match self.reading {
            Reading::Body { left: Some(left) } => SizeHint::with_exact(left),
            Reading::Body { left: None } if self.is_end_stream() => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }

    /// Returns the timer of the task that polls it.
    pub(in crate::upstream::transport) fn timer(&self) -> &Timer {
        &self.options.timer
    }

    /// Ends the exchange. Its stream is reset if it has not ended.
    pub(in crate::upstream::transport) fn end(&mut self) {
        if let Some(key) = self.key.take() {
            self.connection.release(key);
        }
    }
}

impl Drop for H2Exchange {
    fn drop(&mut self) {
        self.end();
    }
}
