//! The body of a request: the data and trailers that arrive on its stream.

use std::rc::Rc;
use std::task::{Context, Poll};

use http::{HeaderMap, StatusCode, header};
use http_body::{Frame, SizeHint};

use super::shared::OpenStream;
use crate::http::body::{PollFrame, Streaming};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward::{drop_unusual_trailers, filter_trailers};
use crate::http::h2::{Part, RequestHead};
use crate::http::interim::InterimSink as _;
use crate::http::message::is_continue;
use crate::net::timer::{Stall, Timer};

pub(super) struct StreamBody {
    stream: Rc<OpenStream>,
    stall: Stall,
    timer: Timer,
    /// The rest by Content-Length.
    length: Option<u64>,
    /// True if the client waits for `100 Continue` before it sends the body.
    continue_awaited: bool,
    /// True if `headers.underscores` drops unusual trailers.
    drops_unusual_fields: bool,
}

impl StreamBody {
    pub(super) fn new(
        stream: Rc<OpenStream>,
        head: &RequestHead,
        stall: Stall,
        timer: Timer,
        drops_unusual_fields: bool,
    ) -> Self {
        let expects = |value: &http::HeaderValue| is_continue(value.as_bytes());
        Self {
            stream,
            stall,
            timer,
            length: head.length,
            continue_awaited: head.headers.get(header::EXPECT).is_some_and(expects),
            drops_unusual_fields,
        }
    }

    fn trailers(&self, trailers: Fields) -> HeaderMap {
        let mut trailers = HeaderMap::from(trailers);
        filter_trailers(&mut trailers);
        if self.drops_unusual_fields {
            drop_unusual_trailers(&mut trailers);
        }
        trailers
    }
}

impl Streaming for StreamBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        let OpenStream { shared, key, received } = &*self.stream;
        if std::mem::take(&mut self.continue_awaited) {
            self.stream.send(StatusCode::CONTINUE, &Fields::new());
        }
        let part = shared.engine.borrow_mut().take(*key);
        if part.is_some() {
            self.stall.progress();
        }
        match part {
            Some(Part::Data(data)) => {
                shared.wake_to_write(); // the windows
                let length = data.len() as u64;
                received.set(received.get() + length);
                self.length = self.length.map(|left| left.saturating_sub(length));
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Part::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(self.trailers(trailers))))),
            Some(Part::End) => Poll::Ready(None),
            Some(Part::Reset(_)) => Poll::Ready(Some(Err(Error::ClientClosed))),
            None => {
                shared.register_stream(*key, cx);
                let late = self.stall.poll_waiting(cx, &self.timer);
                late.map(|()| Some(Err(Error::RequestBodyTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.shared.engine.borrow().is_taken(self.stream.key)
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(length) => SizeHint::with_exact(length),
            None => SizeHint::default(),
        }
    }
}
