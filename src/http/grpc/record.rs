//! The end of a call, for the access log.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{GRPC_STATUS, Status};
use crate::http::body::{Body, PollFrame, Streaming};
use crate::http::error::Error;
use crate::http::message::Response;

/// The record of a call in progress.
#[derive(Debug, Default)]
pub(crate) struct Record {
    status: Cell<Option<Status>>,
}

impl Record {
    /// Returns the status of the call, once the client has got it.
    pub(crate) fn status(&self) -> Option<Status> {
        self.status.get()
    }

    /// Records the error in place of a response.
    pub(crate) fn failed(&self, error: Error) {
        self.status.set(Some(error.into()).filter(|_| !error.is_unsent()));
    }

    /// Records the status of a response: the one among its fields, or the one in its trailers when they are sent.
    pub(crate) fn observe(self: &Rc<Self>, response: &mut Response<Body>) {
        self.status.set(response.headers.get(GRPC_STATUS).and_then(Status::parse));
        if matches!(response.body, Body::Boxed(_)) {
            let source = std::mem::take(&mut response.body);
            response.body = Body::boxed(Recorded { source, record: self.clone() });
        }
    }
}

/// The body of a response to a call.
pub(crate) struct Recorded {
    source: Body,
    record: Rc<Record>,
}

impl Recorded {
    fn look(&self, frame: &Frame<Bytes>) {
        if let Some(status) = frame.trailers_ref().and_then(|trailers| trailers.get(GRPC_STATUS)) {
            self.record.status.set(Status::parse(status));
        }
    }
}

impl Streaming for Recorded {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        let frame = self.source.poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.look(frame);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }

    fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.source.poll_background(cx)
    }

    fn is_held_back(&self) -> bool {
        self.source.is_held_back()
    }
}
