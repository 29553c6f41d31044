//! Copies of requests, for the mirror of a route. A copy is sent in a task of its own as soon as it is whole.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::Method;
use http_body::{Frame, SizeHint};

use crate::http::body::{Body, KeptBody, PollFrame, Streaming};
use crate::http::error::Error;
use crate::proxy::affinity;
use crate::proxy::exchange::Exchange;
use crate::proxy::outgoing::Outgoing;
use crate::snapshot::mirror::Mirror;
use crate::upstream::{Affinity, OwnRequest, call_and_discard};

/// The reasons for which a request is not mirrored.
const TOO_LARGE: &str = "mirror.max_body";
const NO_MEMORY: &str = "mirror.memory";
const INCOMPLETE: &str = "request.incomplete";

/// The place of a copy, for a request that is about to be sent. The box keeps it small in the request's own future.
pub(super) struct Turn(Box<(Arc<Mirror>, Affinity)>);

impl Turn {
    /// Returns the turn of a request that will be copied. The fields are still those of the client, which the choice of an
    /// endpoint may depend on.
    pub(super) fn take(exchange: &Exchange<'_>) -> Option<Self> {
        let mirror = exchange.route.mirror.as_ref().filter(|mirror| mirror.takes_next())?;
        let hash = mirror.hash_on.as_ref().and_then(|key| affinity::hash(key, exchange));
        Some(Self(Box::new((mirror.clone(), hash.map_or(Affinity::None, Affinity::Hash)))))
    }

    /// Begins to copy a request, and sends the copy if it is whole already. Returns the body of the request itself.
    pub(super) fn copy(self, method: &Method, outgoing: &Outgoing, body: Body) -> Body {
        let (mirror, affinity) = *self.0;
        if outgoing.upgrade.is_some() {
            return body;
        }
        if !mirror.copies.fits(&body) {
            mirror.drops(TOO_LARGE);
            return body;
        }
        let (target, headers) = (outgoing.target.clone(), outgoing.headers.clone());
        let request = OwnRequest::copied(method.clone(), target, headers, outgoing.endpoint_host, affinity);
        let mut copy = Copy { request, body: mirror.copies.buffer(), mirror };
        match body {
            Body::Full(bytes) => {
                if copy.push(&bytes) {
                    copy.send();
                }
                Body::Full(bytes)
            }
            body if body.is_end_stream() => {
                copy.send();
                body
            }
            body => Body::boxed(Copied { body, copy: Some(Box::new(copy)) }),
        }
    }
}

/// A copy of a request.
struct Copy {
    mirror: Arc<Mirror>,
    request: OwnRequest,
    body: Box<KeptBody>,
}

impl Copy {
    /// Appends a part of the body. Returns false if there is no room for it: the request is not mirrored.
    fn push(&mut self, data: &[u8]) -> bool {
        if !self.body.has_room_for(data) {
            self.mirror.drops(TOO_LARGE);
            return false;
        }
        let is_copied = self.body.push(data);
        if !is_copied {
            self.mirror.drops(NO_MEMORY);
        }
        is_copied
    }

    /// Sends the copy, which is whole. It does not wait for a name that is not resolved yet: only the pool bounds how many wait.
    fn send(self) {
        let Self { mirror, request, body } = self;
        if mirror.upstream.current().len() == 0 {
            return mirror.ended(Err(Error::Unresolved));
        }
        tokio::task::spawn_local(async move {
            let request = request.with_body(body.into_bytes());
            mirror.ended(call_and_discard(&mirror.upstream, &request, mirror.limits()).await);
        });
    }
}

/// A request's body that is copied while it is read.
struct Copied {
    body: Body,
    /// The copy, until it is sent or has been given up.
    copy: Option<Box<Copy>>,
}

impl Copied {
    fn take(&mut self, frame: &Frame<bytes::Bytes>) {
        if let (Some(copy), Some(data)) = (&mut self.copy, frame.data_ref())
            && !copy.push(data)
        {
            self.copy = None;
        }
        // A transport that knows the length does not ask for the end.
        if self.body.is_end_stream() || self.body.size_hint().exact() == Some(0) {
            self.complete();
        }
    }

    fn complete(&mut self) {
        if let Some(copy) = self.copy.take() {
            copy.send();
        }
    }
}

impl Streaming for Copied {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        let frame = std::task::ready!(self.body.poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.take(frame),
            Some(Err(_)) => {}
            None => self.complete(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.body.poll_background(cx)
    }

    fn is_held_back(&self) -> bool {
        self.body.is_held_back()
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        if let Some(copy) = &self.copy {
            copy.mirror.drops(INCOMPLETE);
        }
    }
}
