//! The task of a connection: reads, writes, and the end.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite as _;
use tokio::time::Instant;

use super::shared::Shared;
use super::stream;
use crate::http::h2::{Code, Event, Writer};
use crate::net::drain::DrainGuard;
use crate::net::stream::Stream;
use crate::net::timer::{Stall, Timer, deadline, earlier};

/// The time for which an ending connection may be silent before it is cut: a client that has gone never confirms the GOAWAY.
const GOODBYE: Duration = Duration::from_secs(2);

/// The time that a client may take, however slowly it reads, to close a connection on which everything was sent.
const GOODBYE_AT_MOST: Duration = Duration::from_secs(30);

/// The reads of one turn, after which other connections have theirs.
const READS: u32 = 16;

pub(super) struct Driver<'g> {
    stream: Stream,
    shared: Rc<Shared>,
    guard: &'g DrainGuard,
    timer: Timer,
    stall: Stall,
    /// The wait for the client to take the last bytes of a connection that has nothing more to send.
    last_bytes: Stall,
    writer: Writer,
    /// The reason for which the connection takes no further streams.
    ending: Option<&'static str>,
    /// True if the client has closed its side, or broken the protocol.
    is_over: bool,
    /// The time until which a client that knows of the end may open streams.
    end_by: Option<Instant>,
    goodbye: Option<Goodbye>,
}

/// The wait for the client's close, once everything is sent.
struct Goodbye {
    is_shut: bool,
    /// The time at which the connection is cut in any case.
    at_most: Option<Instant>,
    /// The time at which it is cut if the client sends nothing more.
    silent_until: Option<Instant>,
}

impl<'g> Driver<'g> {
    pub(super) fn new(stream: Stream, shared: Rc<Shared>, guard: &'g DrainGuard) -> Self {
        let stall = Stall::new(shared.options().response_write);
        Self {
            stream,
            shared,
            guard,
            timer: Timer::default(),
            stall,
            last_bytes: Stall::new(Some(GOODBYE)),
            writer: Writer::default(),
            ending: None,
            is_over: false,
            end_by: None,
            goodbye: None,
        }
    }

    /// Resolves to the reason for the end of the connection.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<&'static str> {
        if self.goodbye.is_some() {
            return self.poll_goodbye(cx);
        }
        self.shared.register(cx);
        if self.poll_read(cx).is_ready() || self.poll_slow_frame(cx).is_ready() {
            return Poll::Ready(self.lost());
        }
        self.poll_end(cx);
        let written = self.poll_write(cx);
        self.dispatch();
        match written {
            Poll::Ready(Err(_broken)) => Poll::Ready(self.lost()),
            _ if !self.is_finished() => Poll::Pending,
            Poll::Ready(Ok(())) => self.poll_goodbye(cx),
            // `timeouts.response_write` may be off.
            Poll::Pending => self.last_bytes.poll_waiting(cx, &self.timer).map(|()| self.lost()),
        }
    }

    /// Ends a connection on which a frame or a head arrives too slowly: no other frame can pass it, and what has arrived is kept.
    fn poll_slow_frame(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(began) = self.shared.engine.borrow().arriving_since() else { return Poll::Pending };
        let limit = self.shared.options().request_header.and_then(|limit| began.checked_add(limit));
        self.timer.poll_elapsed(cx, limit).map(|()| self.ending = Some("timeouts.request_header"))
    }

    /// Ends the streams of a connection that is gone. Returns the reason.
    fn lost(&mut self) -> &'static str {
        self.shared.engine.borrow_mut().lose();
        self.shared.wake_streams();
        self.ending.unwrap_or("client")
    }

    /// Reads what has arrived. It is ready when no more can arrive.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_over {
            return Poll::Pending;
        }
        for _ in 0..READS {
            match self.stream.poll_read_chunk(cx) {
                Poll::Ready(Ok(chunk)) if !chunk.is_empty() => {
                    let received = self.shared.receive(chunk);
                    self.dispatch();
                    if let Err(error) = received {
                        tracing::debug!(reason = %error, code = error.code.0, "an HTTP/2 client broke the protocol");
                        self.is_over = true;
                        self.ending = Some(error.abuse.map_or("protocol", |abuse| abuse.reason()));
                        self.lost();
                        return Poll::Pending;
                    }
                }
                Poll::Ready(_end_or_error) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Handles the events of the engine.
    fn dispatch(&mut self) {
        loop {
            let event = self.shared.engine.borrow_mut().event();
            match event {
                None => return,
                Some(Event::Request(key, head)) => stream::start(&self.shared, key, head),
                Some(Event::Readable(stream) | Event::Writable(stream) | Event::Reset { stream, .. }) => {
                    self.shared.wake_stream(stream);
                }
                // Everything that the client had sent before it knew of the end has arrived.
                Some(Event::Pong) if self.ending.is_some() => self.end(),
                Some(Event::GoingAway(_)) => {
                    // It opens no further streams, but for those that it needs for the ones that it has.
                    self.ending.get_or_insert("client");
                }
                Some(Event::Pong | Event::Settings | Event::Response(..)) => {}
            }
        }
    }

    fn end(&self) {
        self.shared.engine.borrow_mut().end(Code::NO_ERROR, "");
    }

    /// Announces the end if there is a reason for it, and takes no further streams soon after.
    fn poll_end(&mut self, cx: &mut Context<'_>) {
        if self.ending.is_none() {
            self.ending = self.why_end(cx);
            if self.ending.is_none() {
                return;
            }
            self.shared.engine.borrow_mut().announce_end();
            self.end_by = deadline(Some(GOODBYE));
        }
        let (has_ended, open) = {
            let engine = self.shared.engine.borrow();
            (engine.has_ended(), engine.open())
        };
        // Without a time, it is the client that goes away, when its last stream has ended.
        let is_time = match self.end_by {
            None => open == 0,
            end_by => !has_ended && self.timer.poll_elapsed(cx, end_by).is_ready(),
        };
        if !has_ended && is_time {
            self.end();
        }
    }

    /// Returns the reason for which the connection takes no further streams, if there is one.
    fn why_end(&self, cx: &mut Context<'_>) -> Option<&'static str> {
        let (served, idle_since) = (self.shared.served.get(), self.shared.idle_since.get());
        let options = self.shared.options();
        let first_awaited = idle_since.filter(|_| served == 0);
        if self.guard.poll_draining_idle(cx, &self.timer, first_awaited).is_ready() {
            return Some("drain");
        }
        if options.requests.is_some_and(|limit| served >= limit) {
            return Some("limits.requests_per_connection");
        }
        let (limit, reason) = match served {
            0 => (options.request_header, "timeouts.request_header"),
            _ => (options.keep_alive, "timeouts.keep_alive"),
        };
        let idle_until = idle_since.zip(limit).and_then(|(since, limit)| since.checked_add(limit));
        self.timer.poll_elapsed(cx, idle_until).is_ready().then_some(reason)
    }

    /// Returns true if nothing more is sent or received.
    fn is_finished(&self) -> bool {
        let engine = self.shared.engine.borrow();
        engine.open() == 0 && (self.is_over || (self.ending.is_some() && engine.has_ended()))
    }

    /// Writes what waits. It is ready when everything is written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Writer::poll_turn(&self.shared.engine, &mut self.stream, cx));
        let written = self.writer.poll_write(&self.shared.engine, &mut self.stream, cx);
        if self.writer.take_progress() {
            // This is `Stall::progress` with the present limit.
            self.stall = Stall::new(self.shared.options().response_write);
            self.last_bytes.progress();
        }
        if written.is_pending() { self.poll_stalled(cx) } else { written }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stall.poll_waiting(cx, &self.timer).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Ends the sending side, then reads and drops data until the client has closed, too. A client that reads its last response
    /// continues to open windows. If the socket were closed by then, it would be reset, and data on its way would be lost.
    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<&'static str> {
        let ended = self.ending.unwrap_or("client");
        let goodbye = self.goodbye.get_or_insert_with(|| Goodbye {
            is_shut: false,
            at_most: deadline(Some(GOODBYE_AT_MOST)),
            silent_until: deadline(Some(GOODBYE)),
        });
        if !goodbye.is_shut {
            match Pin::new(&mut self.stream).poll_shutdown(cx) {
                Poll::Ready(Err(_broken)) => return Poll::Ready(ended),
                shut => goodbye.is_shut = shut.is_ready(),
            }
        }
        loop {
            match self.stream.poll_read_chunk(cx) {
                Poll::Ready(Ok(chunk)) if !chunk.is_empty() => goodbye.silent_until = deadline(Some(GOODBYE)),
                Poll::Ready(_end_or_error) => return Poll::Ready(ended),
                Poll::Pending => break,
            }
        }
        self.timer.poll_elapsed(cx, earlier(goodbye.at_most, goodbye.silent_until)).map(|()| ended)
    }
}

impl Drop for Driver<'_> {
    fn drop(&mut self) {
        self.lost();
    }
}
