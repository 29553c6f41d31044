//! The body of a request in the text form.

use std::task::{Context, Poll, ready};

use http_body::Frame;

use crate::http::base64::Decoder;
use crate::http::body::{Body, PollFrame, Streaming};
use crate::http::error::Error;

/// A body without its base64. Each frame is decoded as it comes.
pub(super) struct DecodedBody {
    source: Body,
    decoder: Decoder,
}

impl DecodedBody {
    pub(super) fn new(source: Body) -> Self {
        Self { source, decoder: Decoder::default() }
    }
}

impl Streaming for DecodedBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        loop {
            let frame = match ready!(self.source.poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                None if !self.decoder.is_complete() => return Poll::Ready(Some(Err(Error::GrpcWebText))),
                end_or_error => return Poll::Ready(end_or_error),
            };
            let Some(text) = frame.data_ref() else {
                let is_complete = self.decoder.is_complete();
                return Poll::Ready(Some(if is_complete { Ok(frame) } else { Err(Error::GrpcWebText) }));
            };
            let mut data = Vec::new();
            if self.decoder.decode(text, &mut data).is_err() {
                return Poll::Ready(Some(Err(Error::GrpcWebText)));
            }
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end_stream() && self.decoder.is_complete()
    }

    fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.source.poll_background(cx)
    }

    fn is_held_back(&self) -> bool {
        self.source.is_held_back()
    }
}
