//! An exchange on a connection of another worker. A request comes here when its worker has no connection to the endpoint and
//! `pool.max_connections` allows no more.
//!
//! The request goes to the other worker, which sends it on a stream of its connection and returns the response. Frames pass one at
//! a time in each direction: that is the backpressure.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{mpsc, oneshot};

use super::options::AddressedRequest;
use super::request_body::Taken;
use super::result::{ExchangeFailure, ReceivedHead};
use crate::config::RouteTimeouts;
use crate::http::body::{Body, KeptBody, PollFrame, Streaming};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::net::timer::Timer;
use crate::upstream::request::SendOptions;

/// The replies that may wait: a head, and the frame behind it.
const REPLIES: usize = 2;

/// A leased stream of another worker's connection.
pub(crate) struct RemoteStream(Submit);

/// Sends a request to the worker that has the connection. Returns false if that takes no more.
pub(in crate::upstream) type Submit = Box<dyn FnOnce(RemoteRequest) -> bool>;

/// A request on its way to another worker.
pub(in crate::upstream) struct RemoteRequest {
    pub(in crate::upstream) method: Method,
    pub(in crate::upstream) target: String,
    pub(in crate::upstream) scheme: &'static str,
    pub(in crate::upstream) headers: Fields,
    pub(in crate::upstream) upgrade: bool,
    pub(in crate::upstream) timeouts: RouteTimeouts,
    pub(in crate::upstream) body: RemoteBody,
    pub(in crate::upstream) replies: mpsc::Sender<Reply>,
    /// Set when the request has run out of time, before it is given up.
    pub(in crate::upstream) is_late: Arc<AtomicBool>,
}

/// A part of a request's body.
enum Upload {
    Frame(Frame<Bytes>),
    End,
    Failed(Error),
}

/// A part of the response, or the end without one.
pub(in crate::upstream) enum Reply {
    Interim(StatusCode, Fields),
    /// The head and the size of the body, which is there if it is whole.
    Head(Box<ReceivedHead>, SizeHint, Option<Bytes>),
    Frame(Frame<Bytes>),
    End,
    /// The exchange failed before its head.
    Failed(Box<ExchangeFailure<()>>),
    /// The body broke.
    Broken(Error),
}

/// The body of a request from another worker.
pub(in crate::upstream) struct RemoteBody {
    /// Tells the other worker that the body is wanted. Its client may wait for that (`100 Continue`).
    wanted: Option<oneshot::Sender<()>>,
    parts: mpsc::Receiver<Upload>,
    size: SizeHint,
    is_over: bool,
}

impl Streaming for RemoteBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        if self.is_over {
            return Poll::Ready(None);
        }
        if let Some(wanted) = self.wanted.take() {
            // If the other worker no longer listens, the parts end, too.
            let _gone = wanted.send(());
        }
        let part = ready!(self.parts.poll_recv(cx));
        self.is_over = !matches!(part, Some(Upload::Frame(_)));
        Poll::Ready(match part {
            Some(Upload::Frame(frame)) => Some(Ok(frame)),
            Some(Upload::End) => None,
            Some(Upload::Failed(error)) => Some(Err(error)),
            None => Some(Err(Error::ClientClosed)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

/// The room for the next part of the body, which is awaited while the last one is on its way.
type Room = Pin<Box<dyn Future<Output = Result<OwnedPermit<Upload>, SendError<()>>>>>;

/// An exchange as the worker of its request sees it.
pub(crate) struct RemoteExchange {
    timer: Timer,
    body: Body,
    taken: Taken,
    /// Present until the body has ended.
    room: Option<Room>,
    /// True if there is room for a part that has not come.
    is_starved: bool,
    /// Present until the exchange has ended.
    replies: Option<mpsc::Receiver<Reply>>,
    failure: Option<Box<ExchangeFailure<()>>>,
    complete: Option<Bytes>,
    /// The size of the rest of the response's body.
    size: SizeHint,
    is_ended: bool,
    is_late: Arc<AtomicBool>,
}

impl RemoteStream {
    pub(in crate::upstream) fn new(submit: Submit) -> Self {
        Self(submit)
    }

    /// Starts an exchange.
    pub(super) fn start(
        self,
        AddressedRequest { request, target, scheme }: AddressedRequest<'_>,
        options: &SendOptions<'_>,
        body: Body,
        kept: Option<Box<KeptBody>>,
    ) -> RemoteExchange {
        let (uploads, parts) = mpsc::channel(1);
        let (replies, received) = mpsc::channel(REPLIES);
        let (wanted, is_wanted) = oneshot::channel();
        let is_late = Arc::new(AtomicBool::new(false));
        let size = body.size_hint();
        let is_empty = size.exact() == Some(0);
        let submitted = (self.0)(RemoteRequest {
            method: request.method.clone(),
            target: target.to_owned(),
            scheme,
            headers: request.headers.clone(),
            upgrade: request.upgrade,
            timeouts: options.timeouts.clone(),
            body: RemoteBody { wanted: Some(wanted), parts, size, is_over: is_empty },
            replies,
            is_late: is_late.clone(),
        });
        let first_room = async move {
            match is_wanted.await {
                Ok(()) => uploads.reserve_owned().await,
                Err(_unwanted) => Err(SendError(())),
            }
        };
        RemoteExchange {
            timer: options.timer.clone(),
            body,
            taken: Taken::Nothing(kept),
            room: (!is_empty).then(|| Box::pin(first_room) as Room),
            is_starved: false,
            replies: submitted.then_some(received),
            failure: None,
            complete: None,
            size: SizeHint::default(),
            is_ended: false,
            is_late,
        }
    }
}

impl RemoteExchange {
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        interim: &mut dyn FnMut(StatusCode, Fields),
    ) -> Poll<Result<ReceivedHead, Error>> {
        loop {
            self.poll_upload(cx);
            let Some(replies) = &mut self.replies else { return Poll::Ready(Err(Error::UpstreamRefused)) };
            match ready!(replies.poll_recv(cx)) {
                Some(Reply::Interim(status, headers)) => interim(status, headers),
                Some(Reply::Head(head, size, complete)) => {
                    self.size = size;
                    self.is_ended = complete.is_some();
                    self.complete = complete;
                    return Poll::Ready(Ok(*head));
                }
                Some(Reply::Failed(failure)) => {
                    let error = failure.error;
                    self.failure = Some(failure);
                    return Poll::Ready(Err(error));
                }
                Some(Reply::Broken(error)) => return Poll::Ready(Err(error)),
                Some(Reply::Frame(_) | Reply::End) | None => {
                    return Poll::Ready(Err(Error::UpstreamClosed));
                }
            }
        }
    }

    /// Hands over the body, each frame when the other worker has taken the last one.
    fn poll_upload(&mut self, cx: &mut Context<'_>) {
        while let Some(room) = &mut self.room {
            let permit = match room.as_mut().poll(cx) {
                Poll::Ready(Ok(permit)) => permit,
                // The other worker wants no more of it.
                Poll::Ready(Err(_closed)) => return self.room = None,
                Poll::Pending => return,
            };
            let frame = match self.body.poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    self.is_starved = true;
                    self.room = Some(Box::pin(std::future::ready(Ok(permit))));
                    return;
                }
            };
            self.is_starved = false;
            let (part, is_over) = match frame {
                Some(Ok(frame)) => {
                    self.taken.push(&frame);
                    (Upload::Frame(frame), false)
                }
                Some(Err(error)) => (Upload::Failed(error), true),
                None => (Upload::End, true),
            };
            let uploads = permit.send(part);
            self.room = (!is_over).then(|| Box::pin(uploads.reserve_owned()) as Room);
        }
    }

    pub(super) fn fail(&mut self, error: Error) -> ExchangeFailure {
        let rest = std::mem::take(&mut self.body);
        if error.is_upstream_late() {
            self.is_late.store(true, SeqCst);
        }
        let failure = self.failure.take().filter(|failure| failure.error == error);
        let is_refused = error == Error::UpstreamRefused;
        let (unanswered, unsent, unprocessed) = failure.map_or((false, is_refused, is_refused), |failure| {
            (failure.unanswered, failure.unsent, failure.unprocessed)
        });
        self.end();
        ExchangeFailure {
            error,
            unanswered,
            unsent,
            unprocessed,
            starved: self.is_starved,
            broken: None,
            body: self.taken.whole(rest),
        }
    }

    pub(super) fn free_request(&mut self) {
        self.taken.free();
    }

    pub(super) fn take_request(&mut self) -> Option<Body> {
        if self.room.is_none() { self.taken.whole(Body::Empty) } else { None }
    }

    pub(super) fn complete_body(&mut self) -> Option<Bytes> {
        self.complete.take()
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        self.poll_upload(cx);
        let Some(replies) = self.replies.as_mut().filter(|_| !self.is_ended) else {
            return Poll::Ready(None);
        };
        let reply = ready!(replies.poll_recv(cx));
        self.is_ended = !matches!(reply, Some(Reply::Frame(_)));
        Poll::Ready(match reply {
            Some(Reply::Frame(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(left) = self.size.exact() {
                    self.size = SizeHint::with_exact(left.saturating_sub(length));
                }
                Some(Ok(frame))
            }
            Some(Reply::End) => None,
            Some(Reply::Broken(error)) => Some(Err(error)),
            _ => Some(Err(Error::ResponseTruncated)),
        })
    }

    pub(super) fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.poll_upload(cx);
        Poll::Pending
    }

    pub(super) fn is_sent(&self) -> bool {
        self.room.is_none()
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.is_ended
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        if self.is_ended { SizeHint::with_exact(0) } else { self.size }
    }

    pub(super) fn timer(&self) -> &Timer {
        &self.timer
    }

    /// Ends the exchange. The other worker notices, and resets the stream if it has not ended.
    pub(super) fn end(&mut self) {
        (self.room, self.replies) = (None, None);
    }
}

impl fmt::Debug for RemoteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteStream").finish_non_exhaustive()
    }
}
