//! The request's body on its way to the stream.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;

use super::H2Exchange;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::h2::StreamKey;
use crate::net::timer::deadline;
use crate::upstream::transport::request_body::Writing;

impl H2Exchange {
    /// Hands the request's body to the engine, each frame when the ones before it are sent. It is ready when the whole request
    /// is sent, or can no longer be sent.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(key) = self.key else { return Poll::Ready(Ok(())) };
        while !self.is_sent() {
            if let Writing::AwaitingContinue(_) | Writing::Upgrading(_) = self.writing {
                return Poll::Pending;
            }
            let (has_sent_all, takes_data) = {
                let engine = self.connection.engine.borrow();
                (engine.has_sent_all(key), engine.takes_data(key))
            };
            match self.writing {
                Writing::Rest if has_sent_all => {
                    self.progress();
                    self.writing = Writing::Sent(deadline(self.options.response_header));
                }
                // The server wants no more of it, or the stream is gone.
                Writing::Body if has_sent_all => self.abandon_upload(),
                _ if self.connection.engine.borrow().is_reset(key) => self.abandon_upload(),
                Writing::Body if takes_data => {
                    let Some(frame) = ready!(self.body.poll_frame(cx)) else {
                        self.send(key, Bytes::new(), true);
                        continue;
                    };
                    self.send_frame(key, frame?);
                }
                _ => {
                    self.connection.register_stream(key, cx);
                    return self.poll_unsent(key, cx);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn send_frame(&mut self, key: StreamKey, frame: Frame<Bytes>) {
        self.taken.push(&frame);
        match frame.into_data() {
            Ok(data) => {
                let is_last = self.body.is_end_stream();
                if is_last || !data.is_empty() {
                    self.send(key, data, is_last);
                }
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                self.connection.engine.borrow_mut().trailers(key, Fields::from(trailers));
                self.writing = Writing::Rest;
                self.connection.wake();
            }
        }
    }

    pub(super) fn send(&mut self, key: StreamKey, data: Bytes, is_last: bool) {
        {
            let mut engine = self.connection.engine.borrow_mut();
            engine.data(key, data, is_last);
            // Data that fits into the output counts as sent, so this task need not be woken for it.
            engine.schedule();
        }
        if is_last {
            self.writing = Writing::Rest;
        }
        self.stall.progress();
        self.connection.wake();
    }

    /// Waits while the engine has something to send. Nothing for `timeouts.idle` is an error.
    fn poll_unsent(&mut self, key: StreamKey, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let sent = self.connection.engine.borrow().sent_bytes(key);
        if std::mem::replace(&mut self.sent, sent) != sent {
            self.progress();
        }
        ready!(self.stall.poll_waiting(cx, &self.options.timer));
        self.suspect();
        Poll::Ready(Err(Error::IdleTimeout))
    }

    pub(super) fn progress(&mut self) {
        self.stall.progress();
        self.reads = self.connection.reads();
    }

    /// Takes no further request to a connection on which nothing has arrived since this exchange made progress: its server may have
    /// vanished.
    pub(super) fn suspect(&self) {
        self.connection.suspect(self.reads);
    }

    /// Gives up sending the rest of the request. A response may still come.
    pub(super) fn abandon_upload(&mut self) {
        if !self.is_sent() {
            self.writing = Writing::Abandoned(deadline(self.options.response_header));
        }
    }

    /// Continues to send the rest of the request while the response is not being polled.
    pub(in crate::upstream::transport) fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        match self.poll_upload(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(error),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }
}
