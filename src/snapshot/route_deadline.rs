//! The end of what a removed route has left behind: streams and tunnels, where `shutdown.drain_removed_routes` sets
//! them a limit.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::http::body::{Body, Streaming};
use crate::http::error::Error;

/// What tells the streams of one route that their time is limited. Clones are the same, so that it reaches the streams of
/// every snapshot that had the route.
#[derive(Debug, Clone, Default)]
pub(crate) struct Removal(Arc<watch::Sender<Option<Limit>>>);

/// How long the streams of a removed route may go on.
#[derive(Debug, Clone, Copy)]
struct Limit {
    since: Instant,
    time: Duration,
}

/// Becomes ready when the route's streams are to end.
pub(crate) type Ended = Pin<Box<dyn Future<Output = ()>>>;

/// The [`Removal`]s of routes, by name: of those that a snapshot has, and of those that are gone but have streams yet.
#[derive(Clone, Default)]
pub(crate) struct Removals(HashMap<String, Weak<watch::Sender<Option<Limit>>>>);

impl Removals {
    /// Those that somebody still has.
    pub(crate) fn living(&self) -> Self {
        let living = self.0.iter().filter(|(_, removal)| removal.strong_count() > 0);
        Self(living.map(|(name, removal)| (name.clone(), removal.clone())).collect())
    }

    /// The one of the route `name`. A route that comes back while it has streams finds the one that it had.
    pub(crate) fn of(&mut self, name: &str) -> Removal {
        if let Some(known) = self.0.get(name).and_then(Weak::upgrade) {
            return Removal(known);
        }
        let new = Removal::default();
        self.0.insert(name.to_owned(), Arc::downgrade(&new.0));
        new
    }

    /// Limits the streams of routes of which `is_there` says no to this `time`, if any, and those of no others.
    pub(crate) fn apply(&self, time: Option<Duration>, is_there: impl Fn(&str) -> bool) {
        for (name, removal) in &self.0 {
            if let Some(removal) = removal.upgrade().map(Removal) {
                removal.set(time.filter(|_| !is_there(name)));
            }
        }
    }
}

impl Removal {
    /// Limits the route's streams to this time from now on, if they are not limited already; `None` lifts the limit.
    fn set(&self, time: Option<Duration>) {
        self.0.send_if_modified(|limit| {
            let changes = limit.is_some() != time.is_some();
            if changes {
                *limit = time.map(|time| Limit { since: Instant::now(), time });
            }
            changes
        });
    }

    /// Waits for the end of the time of a stream that begins now. One that begins after its route was removed, because its
    /// upstream took so long, has all of it from now on.
    pub(crate) fn ended(&self) -> Ended {
        let (began, removal) = (Instant::now(), self.clone());
        Box::pin(async move {
            let mut told = removal.0.subscribe();
            loop {
                let limit = *told.borrow_and_update();
                let until = limit.and_then(|limit| began.max(limit.since).checked_add(limit.time));
                // The sender is this future's own, so there is no other end to the waiting.
                match until {
                    None => drop(told.changed().await),
                    Some(until) => {
                        if timeout_at(until, told.changed()).await.is_err() {
                            return;
                        }
                    }
                }
            }
        })
    }

    /// A body that ends with [`Error::RouteRemoved`] when the time is over. What is in memory already is sent.
    pub(crate) fn bound(&self, body: Body) -> Body {
        if matches!(body, Body::Boxed(_)) {
            Body::boxed(Bounded { body, ended: Some(self.ended()) })
        } else {
            body
        }
    }
}

struct Bounded {
    body: Body,
    /// None once the body is all there: what has yet to be written of it is the client's to wait for.
    ended: Option<Ended>,
}

impl Bounded {
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> bool {
        self.ended.as_mut().is_some_and(|ended| ended.as_mut().poll(cx).is_ready())
    }
}

impl Streaming for Bounded {
    fn poll_background(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Error> {
        if self.poll_ended(cx) {
            return Poll::Ready(Error::RouteRemoved);
        }
        self.body.poll_background(cx)
    }
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.poll_ended(cx) {
            return Poll::Ready(Some(Err(Error::RouteRemoved)));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.ended = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(3);

    /// After how many seconds it has ended, if it has within ten.
    async fn seconds(ended: Ended) -> Option<u64> {
        let began = Instant::now();
        let within = tokio::time::timeout(Duration::from_secs(10), ended).await;
        within.is_ok().then(|| began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn streams_have_their_time_from_the_removal_or_from_their_beginning() {
        let mut removals = Removals::default();
        let removal = removals.of("a");
        let early = removal.ended();
        tokio::time::sleep(Duration::from_secs(1)).await;
        removals.apply(Some(TIME), |_| false);
        tokio::time::sleep(Duration::from_secs(2)).await;
        // Another reload does not prolong it.
        removals.apply(Some(TIME), |_| false);
        let late = removal.ended();
        assert_eq!(tokio::join!(seconds(early), seconds(late)), (Some(1), Some(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_route_that_is_there_again_has_the_same_one_and_no_limit() {
        let mut removals = Removals::default();
        let stream = removals.of("a").ended();
        removals.apply(Some(TIME), |_| false);
        let mut next = removals.living();
        next.of("a");
        next.apply(Some(TIME), |name| name == "a");
        assert_eq!(seconds(stream).await, None);
        // Without a limit in the configuration there is none for those that are gone.
        let stream = next.of("a").ended();
        next.apply(Some(TIME), |_| false);
        next.apply(None, |_| false);
        assert_eq!(seconds(stream).await, None);
        assert!(next.living().0.is_empty(), "nobody has it any more");
    }
}
