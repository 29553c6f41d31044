//! An upgraded connection, which carries bytes both ways until either side ends.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use crate::http::error::Error;
use crate::net::timer::{Stall, Timer};
use crate::net::tunnel_end::TunnelEnd;
use crate::proxy::reply::Tunnel;
use crate::snapshot::route_deadline::Ended;
use crate::upstream::Upgraded;

/// Returns a tunnel between a client, once its connection is handed over, and `upgraded`. It ends when both sides have
/// ended, when nothing has moved for `idle`, or when its route is `removed` and its time is up.
pub(crate) fn open(
    upgraded: Upgraded,
    idle: Option<Duration>,
    timer: Timer,
    removed: Option<Ended>,
) -> Tunnel {
    let removed = removed.unwrap_or_else(|| Box::pin(std::future::pending()));
    Box::new(move |client, early| Box::pin(run(client, early, upgraded, idle, timer, removed)))
}

async fn run(
    mut client: Box<dyn TunnelEnd>,
    early: Bytes,
    mut upgraded: Upgraded,
    idle: Option<Duration>,
    timer: Timer,
    mut removed: Ended,
) -> (u64, u64, Option<Error>) {
    let mut up = Direction::new(early, Error::ClientClosed, Error::UpstreamClosed);
    let early = std::mem::take(&mut upgraded.early);
    let mut down = Direction::new(early, Error::UpstreamClosed, Error::ClientClosed);
    let mut stall = Stall::new(idle);
    let mut progress = (0, 0);
    let error = std::future::poll_fn(|cx| {
        let upward = up.poll(&mut *client, &mut *upgraded.stream, cx);
        let downward = down.poll(&mut *upgraded.stream, &mut *client, cx);
        match (upward, downward) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(None),
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => return Poll::Ready(Some(error)),
            _ => {}
        }
        if removed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Error::RouteRemoved));
        }
        let now = (up.sent(&*upgraded.stream), down.sent(&*client));
        if std::mem::replace(&mut progress, now) != now {
            stall.progress();
        }
        stall.poll_waiting(cx, &timer).map(|()| Some(Error::IdleTimeout))
    })
    .await;
    let (received, sent) = (up.sent(&*upgraded.stream), down.sent(&*client));
    upgraded.end();
    (received, sent, error)
}

/// One direction of the tunnel.
struct Direction {
    chunk: Bytes,
    read_all: bool,
    done: bool,
    carried: u64,
    /// The error that reports a failure of the source. `sink_failed` does the same for the sink.
    source_failed: Error,
    sink_failed: Error,
}

impl Direction {
    fn new(early: Bytes, source_failed: Error, sink_failed: Error) -> Self {
        Self { chunk: early, read_all: false, done: false, carried: 0, source_failed, sink_failed }
    }

    /// Carries the available bytes. It is ready when the source has ended and the sink has been shut down.
    fn poll(
        &mut self,
        from: &mut dyn TunnelEnd,
        to: &mut dyn TunnelEnd,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        while !self.done {
            while !self.chunk.is_empty() {
                let written = ready!(to.poll_write(&mut self.chunk, cx)).map_err(|_| self.sink_failed)?;
                if written == 0 {
                    return Poll::Ready(Err(self.sink_failed));
                }
                self.carried += written as u64;
            }
            ready!(to.poll_flush(cx)).map_err(|_| self.sink_failed)?;
            if self.read_all {
                ready!(to.poll_shutdown(cx)).map_err(|_| self.sink_failed)?;
                self.done = true;
            } else {
                self.chunk = ready!(from.poll_read_chunk(cx)).map_err(|_| self.source_failed)?;
                self.read_all = self.chunk.is_empty();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Returns the number of bytes that have gone to the sink's peer.
    fn sent(&self, sink: &dyn TunnelEnd) -> u64 {
        self.carried.saturating_sub(sink.unsent())
    }
}
