//! The response of a stream.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body::Frame;

use super::shared::OpenStream;
use crate::http::body::Body;
use crate::http::date::with_date;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::grpc::GRPC_STATUS;
use crate::http::h2::Code;
use crate::http::message::{Response, may_have_body};
use crate::net::timer::{Stall, Timer};
use crate::proxy::reply::Reply;

/// Sends a response, head and body, and ends its log.
pub(super) async fn respond(
    stream: &OpenStream,
    reply: Reply,
    is_head: bool,
    response_write: Option<Duration>,
    timer: &Timer,
) {
    let Reply { mut response, mut log, .. } = reply;
    let mut first = first_frame(&mut response.body).await;
    if let Some(Err(error)) = first {
        let Some(replacement) = log.replace(error) else {
            log.end(stream.received.get(), 0, Some(error));
            return stream.reset(Code::INTERNAL_ERROR);
        };
        (response, first) = (replacement, None);
    }
    let Response { status, mut headers, mut body } = response;
    if !headers.contains_key(header::DATE) {
        headers.append(header::DATE, with_date(HeaderValue::clone));
    }
    let length = content_length(status, &headers, &body, first.as_ref(), is_head);
    if is_head || !may_have_body(status) {
        (body, first) = (Body::Empty, None);
    }
    let is_empty = first.is_none() && body.is_end_stream();
    stream.shared.engine.borrow_mut().respond(stream.key, status, &headers, length, is_empty);
    stream.shared.wake();
    let mut sending =
        Sending { body, first, is_over: is_empty, progress: 0, stall: Stall::new(response_write) };
    let result = std::future::poll_fn(|cx| sending.poll(stream, timer, cx)).await;
    let sent = stream.shared.engine.borrow().sent_bytes(stream.key);
    if let Err(error) = result {
        let code = if error == Error::ResponseWriteTimeout { Code::CANCEL } else { Code::INTERNAL_ERROR };
        stream.reset(code);
    }
    log.end(stream.received.get(), sent, result.err());
}

/// Returns the Content-Length that the gateway writes, unless there is one among `headers`.
fn content_length(
    status: StatusCode,
    headers: &Fields,
    body: &Body,
    first: Option<&Result<Frame<Bytes>, Error>>,
    is_head: bool,
) -> Option<u64> {
    if headers.contains_key(header::CONTENT_LENGTH) || !may_have_body(status) {
        return None;
    }
    let taken = match first {
        Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len) as u64,
        _ => 0,
    };
    let length = body.size_hint().exact()?.checked_add(taken)?;
    if length == 0 && headers.contains_key(GRPC_STATUS) {
        // Clients take all fields of a Trailers-Only response of gRPC for its metadata.
        return None;
    }
    // The length of the response to a GET is not known.
    Some(length).filter(|length| !is_head || *length > 0)
}

/// Takes the first frame of a streamed body, if it is there. If the body breaks with it, a response can still give the reason.
async fn first_frame(body: &mut Body) -> Option<Result<Frame<Bytes>, Error>> {
    let Body::Boxed(body) = body else { return None };
    std::future::poll_fn(|cx| {
        Poll::Ready(match body.poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => None,
        })
    })
    .await
}

/// A body on its way to the client.
struct Sending {
    body: Body,
    first: Option<Result<Frame<Bytes>, Error>>,
    /// True if everything was handed to the engine.
    is_over: bool,
    /// The engine's count of what it has sent, at the last look.
    progress: u64,
    stall: Stall,
}

impl Sending {
    /// Moves frames from the body to the engine, each when the ones before it are sent.
    fn poll(&mut self, stream: &OpenStream, timer: &Timer, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        stream.shared.register_stream(stream.key, cx);
        loop {
            if stream.shared.engine.borrow().has_sent_all(stream.key) {
                return Poll::Ready(Ok(()));
            }
            if stream.is_reset() {
                return Poll::Ready(Err(Error::ClientClosed));
            }
            if self.is_over || !stream.shared.engine.borrow().takes_data(stream.key) {
                if !self.is_over
                    && let Poll::Ready(error) = self.body.poll_background(cx)
                {
                    return Poll::Ready(Err(error));
                }
                return self.poll_stalled(stream, timer, cx);
            }
            let frame = match self.first.take() {
                Some(first) => Poll::Ready(Some(first)),
                None => self.body.poll_frame(cx),
            };
            self.stall.progress();
            match std::task::ready!(frame) {
                Some(Ok(frame)) => self.send(stream, frame),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => {
                    self.is_over = true;
                    stream.shared.engine.borrow_mut().data(stream.key, Bytes::new(), true);
                }
            }
            // A response that fits into the output is over at once: its task need not be woken for its end.
            stream.shared.engine.borrow_mut().schedule();
            stream.shared.wake();
        }
    }

    fn send(&mut self, stream: &OpenStream, frame: Frame<Bytes>) {
        // The body may look into the engine, too.
        self.is_over = frame.is_trailers() || self.body.is_end_stream();
        let mut engine = stream.shared.engine.borrow_mut();
        match frame.into_data() {
            Ok(data) => {
                engine.data(stream.key, data, self.is_over);
            }
            Err(frame) => {
                let trailers = frame.into_trailers().map(Fields::from).unwrap_or_default();
                engine.trailers(stream.key, trailers);
            }
        }
    }

    /// Waits for the client to take data.
    fn poll_stalled(
        &mut self,
        stream: &OpenStream,
        timer: &Timer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let progress = stream.shared.engine.borrow().sent_bytes(stream.key);
        if std::mem::replace(&mut self.progress, progress) != progress {
            self.stall.progress();
        }
        self.stall.poll_waiting(cx, timer).map(|()| Err(Error::ResponseWriteTimeout))
    }
}
