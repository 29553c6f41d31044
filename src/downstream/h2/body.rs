//! The data of a stream, in both directions.

use std::cell::Cell;
use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::OpenStream;
use super::task::StreamTask;
use crate::http::body::{Body, PollFrame, Streaming, bounds_with};
use crate::http::error::Error;
use crate::http::forward::{drop_unusual_trailers, filter_trailers};
use crate::net::timer::{Stall, Timer};
use crate::proxy::exchange_log::{ExchangeLog, abandoned};

/// The size of the pieces in which response data is handed to hyper: the default of a DATA frame (RFC 9113 §4.2). This
/// distinguishes a client that takes data now and then from one that takes nothing.
const PIECE_BYTES: usize = 16 * 1024;

/// The incoming data of a stream.
pub(super) struct StreamRequestBody {
    pub(super) body: Incoming,
    pub(super) stall: Stall,
    pub(super) timer: Timer,
    pub(super) received: Rc<Cell<u64>>,
    /// True if `headers.underscores` drops unusual trailers.
    pub(super) drops_unusual_fields: bool,
}

impl Streaming for StreamRequestBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => {
                let late = self.stall.poll_waiting(cx, &self.timer);
                late.map(|()| Some(Err(Error::RequestBodyTimeout)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(_reset))) => Poll::Ready(Some(Err(Error::ClientClosed))),
            Poll::Ready(Some(Ok(mut frame))) => {
                self.stall.progress();
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.received.set(self.received.get() + length);
                if let Some(trailers) = frame.trailers_mut() {
                    filter_trailers(trailers);
                    if self.drops_unusual_fields {
                        drop_unusual_trailers(trailers);
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The outgoing data of a stream, with the log that ends when it does.
pub(super) struct StreamResponseBody {
    body: Body,
    /// The rest of the latest data.
    rest: Bytes,
    /// Trailers that were the first frame.
    trailers: Option<Frame<Bytes>>,
    /// The body's error, and the signal that everything before it is written.
    failed: Option<(Error, oneshot::Receiver<()>)>,
    log: Option<ExchangeLog>,
    sent: u64,
    received: Rc<Cell<u64>>,
    task: Rc<StreamTask>,
    stream: OpenStream,
}

impl StreamResponseBody {
    /// Prepares to send `body`, whose `first` frame was taken.
    pub(super) fn new(
        body: Body,
        first: Option<Frame<Bytes>>,
        log: ExchangeLog,
        received: Rc<Cell<u64>>,
        task: Rc<StreamTask>,
        stream: OpenStream,
    ) -> Self {
        let (rest, trailers) = match first.map(Frame::into_data) {
            Some(Ok(data)) => (data, None),
            Some(Err(trailers)) => (Bytes::new(), Some(trailers)),
            None => (Bytes::new(), None),
        };
        Self { body, rest, trailers, failed: None, log: Some(log), sent: 0, received, task, stream }
    }

    fn end(&mut self, error: Option<Error>) {
        if let Some(log) = self.log.take() {
            log.end(self.received.get(), self.sent, error);
        }
    }

    /// Fails once everything before the error is written: a reset drops what the stream still has in its queue, its
    /// head included.
    fn poll_failed(&mut self, cx: &mut Context<'_>) -> PollFrame {
        let Some((error, flushed)) = &mut self.failed else { return Poll::Ready(None) };
        // An error means that the connection has ended.
        Pin::new(flushed).poll(cx).map(|_| Some(Err(*error)))
    }

    /// Returns the next piece of the available data.
    fn piece(&mut self) -> PollFrame {
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        self.sent += piece.len() as u64;
        self.task.holds_data.set(true);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl HttpBody for StreamResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollFrame {
        self.task.moved.set(true);
        self.task.holds_data.set(false);
        if !self.rest.is_empty() {
            return self.piece();
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(trailers)));
        }
        if self.failed.is_some() {
            return self.poll_failed(cx);
        }
        match std::task::ready!(self.body.poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    self.rest = data;
                    self.piece()
                }
                Err(trailers) => Poll::Ready(Some(Ok(trailers))),
            },
            Some(Err(error)) => {
                self.end(Some(error));
                self.failed = Some((error, self.stream.0.flush()));
                self.poll_failed(cx)
            }
            None => {
                self.end(None);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.trailers.is_none() && self.failed.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.trailers.is_some() {
            return SizeHint::default();
        }
        bounds_with(self.rest.len() as u64, &self.body.size_hint())
    }
}

impl Drop for StreamResponseBody {
    fn drop(&mut self) {
        // The body was not polled to its end because it had no more frames, because the stream was reset, or because
        // the worker ends.
        let error = match () {
            () if self.task.cut.get() => Some(Error::ResponseWriteTimeout),
            () if self.is_end_stream() => None,
            () => Some(abandoned()),
        };
        self.end(error);
    }
}
