//! Deadlines for the streams and tunnels of a route that a reload removed (`shutdown.drain_removed_routes`).

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::SizeHint;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::http::body::{Body, PollFrame, Streaming};
use crate::http::error::Error;

/// The deadline of one route's streams. Clones share it, so that it reaches the streams of every snapshot that had the
/// route.
#[derive(Debug, Clone, Default)]
pub(crate) struct Removal(Arc<watch::Sender<Option<Limit>>>);

/// The start and the length of the time that streams of a removed route have left.
#[derive(Debug, Clone, Copy)]
struct Limit {
    since: Instant,
    time: Duration,
}

/// A future that completes when the stream's deadline passes.
pub(crate) type Ended = Pin<Box<dyn Future<Output = ()>>>;

/// The [`Removal`]s by route name: those of the snapshot's routes, and those of removed routes that still have streams.
#[derive(Clone, Default)]
pub(crate) struct Removals(HashMap<String, Weak<watch::Sender<Option<Limit>>>>);

impl Removals {
    /// Returns the entries that are still in use.
    pub(crate) fn living(&self) -> Self {
        let living = self.0.iter().filter(|(_, removal)| removal.strong_count() > 0);
        Self(living.map(|(name, removal)| (name.clone(), removal.clone())).collect())
    }

    /// Returns the [`Removal`] of the route `name`. A route that is restored while its streams run gets its earlier
    /// one.
    pub(crate) fn of(&mut self, name: &str) -> Removal {
        if let Some(known) = self.0.get(name).and_then(Weak::upgrade) {
            return Removal(known);
        }
        let new = Removal::default();
        self.0.insert(name.to_owned(), Arc::downgrade(&new.0));
        new
    }

    /// Gives the streams of routes for which `is_there` returns false this `time`, and lifts the limit of all others.
    /// `None` lifts every limit.
    pub(crate) fn apply(&self, time: Option<Duration>, is_there: impl Fn(&str) -> bool) {
        for (name, removal) in &self.0 {
            if let Some(removal) = removal.upgrade().map(Removal) {
                removal.set(time.filter(|_| !is_there(name)));
            }
        }
    }
}

impl Removal {
    /// Limits the route's streams to this time from now on, unless they are limited already. `None` lifts the limit.
    fn set(&self, time: Option<Duration>) {
        self.0.send_if_modified(|limit| {
            let changes = limit.is_some() != time.is_some();
            if changes {
                *limit = time.map(|time| Limit { since: Instant::now(), time });
            }
            changes
        });
    }

    /// Waits for the deadline of a stream that begins now. A stream that begins after its route was removed, because
    /// its upstream was slow, has the full time from its own beginning.
    pub(crate) fn ended(&self) -> Ended {
        let (began, removal) = (Instant::now(), self.clone());
        Box::pin(async move {
            let mut limits = removal.0.subscribe();
            loop {
                let limit = *limits.borrow_and_update();
                let until = limit.and_then(|limit| began.max(limit.since).checked_add(limit.time));
                // This future holds a sender, so the channel does not close.
                match until {
                    None => drop(limits.changed().await),
                    Some(until) => {
                        if timeout_at(until, limits.changed()).await.is_err() {
                            return;
                        }
                    }
                }
            }
        })
    }

    /// Wraps a body so that it fails with [`Error::RouteRemoved`] at the deadline. A body that is already in memory is
    /// sent whole.
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
    /// `None` once the body is complete: the deadline does not apply to bytes that only have to be written to the
    /// client.
    ended: Option<Ended>,
}

impl Bounded {
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> bool {
        self.ended.as_mut().is_some_and(|ended| ended.as_mut().poll(cx).is_ready())
    }
}

impl Streaming for Bounded {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        if self.poll_ended(cx) {
            return Poll::Ready(Some(Err(Error::RouteRemoved)));
        }
        let frame = ready!(self.body.poll_frame(cx));
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

    fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        if self.poll_ended(cx) {
            return Poll::Ready(Error::RouteRemoved);
        }
        self.body.poll_background(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(3);

    /// Returns the number of seconds until the deadline, or `None` if it takes longer than ten.
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
        // Another reload does not extend the time.
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
        // Without a limit in the configuration, removed routes have none either.
        let stream = next.of("a").ended();
        next.apply(Some(TIME), |_| false);
        next.apply(None, |_| false);
        assert_eq!(seconds(stream).await, None);
        assert!(next.living().0.is_empty(), "the removal is still in use");
    }
}
