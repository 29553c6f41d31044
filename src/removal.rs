//! The end of what a removed route has left behind: streams and tunnels, where `shutdown.drain_removed_routes` sets
//! them a limit.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::watch;

use crate::body::{Body, Streaming};
use crate::error::Error;

/// The word to the streams of one route that their time is over. Clones are the same word, so that it reaches the streams of
/// every snapshot that had the route.
#[derive(Debug, Clone, Default)]
pub(crate) struct Removal(Arc<watch::Sender<bool>>);

/// Becomes ready when the route's streams are to end.
pub(crate) type Ended = Pin<Box<dyn Future<Output = ()>>>;

impl Removal {
    /// Ends what streams.
    pub(crate) fn end(&self) {
        self.0.send_replace(true);
    }

    /// Waits for that.
    pub(crate) fn ended(&self) -> Ended {
        let mut word = self.0.subscribe();
        // Without a sender nobody will say it any more.
        let said = async move { word.wait_for(|ended| *ended).await.is_ok() };
        Box::pin(async {
            if !said.await {
                std::future::pending().await
            }
        })
    }

    /// A body that ends with [`Error::RouteRemoved`] when the time is over. What is in memory already is sent.
    pub(crate) fn bound(&self, body: Body) -> Body {
        if matches!(body, Body::Boxed(_)) { Body::boxed(Bounded { body, ended: self.ended() }) } else { body }
    }
}

struct Bounded {
    body: Body,
    ended: Ended,
}

impl Streaming for Bounded {
    fn poll_aside(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Error> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Error::RouteRemoved);
        }
        self.body.poll_aside(cx)
    }
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(Error::RouteRemoved)));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
