//! An HTTP/2 connection as its exchanges share it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use crate::http::error::Error;
use crate::http::h2::{
    Code, Connection, ConnectionError, Event, Limits, OutgoingRequest, ResponseHead, StreamKey,
};
use crate::http::message::HeadLimits;
use crate::net::{clock, waker};
use crate::upstream::close_reason::CloseReason;
use crate::upstream::transport::request_body::INTERIM_RESPONSES;

/// The limits on a response's head. They are those of HTTP/1 responses.
const RESPONSE_LIMITS: HeadLimits = HeadLimits { headers: 256, header_bytes: 128 * 1024, target_bytes: 0 };

/// The data that a server may send in one stream before it is taken.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The same in a stream that is taken as fast as it arrives. It fills a line of 100 Mbit/s over a round trip of 100 ms, as updates
/// of the window come after each quarter.
const STREAM_WINDOW_MAX: u32 = 2 * 1024 * 1024;

/// The data that a server may send in all streams together before it is taken: what a connection can make the gateway hold. Clients
/// that read slowly must not stop the others, so a hundred full streams fit in.
const CONNECTION_WINDOW: u32 = 32 * 1024 * 1024;

/// The data that waits to be written, from which a connection takes no further requests: the server does not read.
const OUTPUT_MAX: usize = 64 * 1024;

/// The table that servers encode their headers with.
const HEADER_TABLE: u32 = 4096;

/// A connection as its tasks share it. Its cells are borrowed within a poll, never across one.
pub(crate) struct H2Connection {
    pub(super) engine: RefCell<Connection>,
    /// The task that reads and writes.
    driver: RefCell<Option<Waker>>,
    /// The events of each stream, by slot.
    inboxes: RefCell<Vec<Inbox>>,
    /// Exchanges that wait for the answer to a ping before they open their stream.
    pinging: RefCell<Vec<Waker>>,
    /// The reason for which the connection is to end.
    closing: Cell<Option<CloseReason>>,
    /// The error that ended the connection, for the exchanges that it takes with it.
    lost: Cell<Option<Error>>,
    broken: RefCell<Option<io::Error>>,
    is_settled: Cell<bool>,
    /// The number of reads so far, and the time of the last one.
    reads: Cell<u64>,
    read_at: Cell<Instant>,
}

/// The events of a stream that its exchange has not seen.
#[derive(Default)]
struct Inbox {
    stream: u32,
    waker: Option<Waker>,
    /// Interim heads, and the final one.
    heads: VecDeque<Box<ResponseHead>>,
    /// True if the server has certainly done nothing for the request.
    is_unprocessed: bool,
}

impl H2Connection {
    /// Begins a connection. Its preface waits to be written.
    pub(super) fn new() -> Self {
        let limits = Limits {
            head: RESPONSE_LIMITS,
            max_streams: 0, // no server may open any
            stream_window: STREAM_WINDOW,
            stream_window_max: STREAM_WINDOW_MAX,
            connection_window: CONNECTION_WINDOW,
            header_table: HEADER_TABLE,
            connect_protocol: false,
        };
        let now = clock::now();
        Self {
            engine: RefCell::new(Connection::client(limits, now)),
            driver: RefCell::new(None),
            inboxes: RefCell::default(),
            pinging: RefCell::default(),
            closing: Cell::new(None),
            lost: Cell::new(None),
            broken: RefCell::new(None),
            is_settled: Cell::new(false),
            reads: Cell::new(0),
            read_at: Cell::new(now),
        }
    }

    /// Returns true once the server's settings are known.
    pub(super) fn is_settled(&self) -> bool {
        self.is_settled.get()
    }

    /// Returns the number of streams that the connection takes at once: those that the server allows, or none while either side
    /// does not read enough.
    pub(in crate::upstream) fn streams_max(&self) -> usize {
        let engine = self.engine.borrow();
        if engine.waiting() > OUTPUT_MAX || engine.held() > CONNECTION_WINDOW / 2 {
            return 0;
        }
        let max = engine.peer().max_streams;
        max.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX))
    }

    /// Returns true if the server takes CONNECT with `:protocol` (RFC 8441 §3).
    pub(in crate::upstream) fn takes_upgrades(&self) -> bool {
        self.engine.borrow().peer().connect_protocol
    }

    /// Returns true if the connection takes no further streams: the server ends it, or the numbers are used up.
    pub(in crate::upstream) fn is_ending(&self) -> bool {
        self.closing.get().is_some() || !self.engine.borrow().can_open_later()
    }

    /// Notes that the connection is to end once no exchange uses it.
    pub(in crate::upstream) fn close(&self, reason: CloseReason) {
        if self.closing.get().is_none() {
            self.closing.set(Some(reason));
            self.wake();
        }
    }

    pub(in crate::upstream) fn closing(&self) -> Option<CloseReason> {
        self.closing.get()
    }

    /// Returns the time since which nothing has arrived.
    pub(in crate::upstream) fn silent_since(&self) -> Instant {
        self.read_at.get()
    }

    /// Returns a number that changes with each read.
    pub(in crate::upstream) fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// Takes no further request if nothing was read since the count of reads was `before`: its server may have vanished.
    pub(in crate::upstream) fn suspect(&self, before: u64) {
        if self.reads() == before {
            self.close(CloseReason::Timeout);
        }
    }

    /// Sends a ping. Exchanges that wait for the answer are woken by the next read.
    pub(super) fn ping(&self) {
        self.engine.borrow_mut().ping();
        self.wake();
    }

    /// Has the task woken by the next read, or by the end of the connection.
    pub(super) fn register_pinging(&self, cx: &Context<'_>) {
        let mut pinging = self.pinging.borrow_mut();
        if !pinging.iter().any(|waker| waker.will_wake(cx.waker())) {
            pinging.push(cx.waker().clone());
        }
    }

    /// Opens a stream with a request. Returns `None` if the server takes none. One that we are closing still serves its leases.
    pub(super) fn open(&self, request: &OutgoingRequest<'_>, end_stream: bool) -> Option<StreamKey> {
        let key = self.engine.borrow_mut().request(request, end_stream)?;
        let mut inboxes = self.inboxes.borrow_mut();
        if inboxes.len() <= key.slot {
            inboxes.resize_with(key.slot + 1, Inbox::default);
        }
        if let Some(inbox) = inboxes.get_mut(key.slot) {
            *inbox = Inbox { stream: key.id, ..Inbox::default() };
        }
        drop(inboxes);
        self.wake();
        Some(key)
    }

    /// Takes the next head of a stream's response.
    pub(super) fn head(&self, key: StreamKey) -> Option<Box<ResponseHead>> {
        self.inbox(key, |inbox| inbox.heads.pop_front()).flatten()
    }

    /// Returns true if the server has certainly done nothing for a stream's request.
    pub(super) fn is_unprocessed(&self, key: StreamKey) -> bool {
        self.inbox(key, |inbox| inbox.is_unprocessed).unwrap_or(false)
    }

    /// Returns the error that ended the connection, if that has ended.
    pub(super) fn lost(&self) -> Option<Error> {
        self.lost.get()
    }

    /// Takes the I/O error that ended the connection, for the log of one exchange.
    pub(super) fn take_broken(&self) -> Option<io::Error> {
        self.broken.borrow_mut().take()
    }

    /// Has a stream's task woken by the next event of its stream.
    pub(super) fn register_stream(&self, key: StreamKey, cx: &Context<'_>) {
        self.inbox(key, |inbox| waker::set(&mut inbox.waker, cx.waker()));
    }

    /// Lets a stream go. If it has not ended, it is reset.
    pub(super) fn release(&self, key: StreamKey) {
        self.inbox(key, |inbox| *inbox = Inbox::default());
        let mut engine = self.engine.borrow_mut();
        engine.release(key);
        if engine.open() == 0 {
            let mut inboxes = self.inboxes.borrow_mut();
            inboxes.truncate(1);
            inboxes.shrink_to(1);
        }
        if engine.has_output() || engine.open() == 0 {
            drop(engine);
            self.wake();
        }
    }

    fn inbox<T>(&self, key: StreamKey, use_it: impl FnOnce(&mut Inbox) -> T) -> Option<T> {
        let mut inboxes = self.inboxes.borrow_mut();
        inboxes.get_mut(key.slot).filter(|inbox| inbox.stream == key.id).map(use_it)
    }

    /// Has the connection's task woken by [`H2Connection::wake`].
    pub(super) fn register(&self, cx: &Context<'_>) {
        waker::set(&mut self.driver.borrow_mut(), cx.waker());
    }

    /// Wakes the connection's task: there is something to write, or to end.
    pub(in crate::upstream) fn wake(&self) {
        if let Some(driver) = &*self.driver.borrow() {
            driver.wake_by_ref();
        }
    }

    /// Wakes the connection's task if something waits to be written.
    pub(super) fn wake_to_write(&self) {
        if self.engine.borrow().has_output() {
            self.wake();
        }
    }

    /// Takes bytes of the server.
    pub(super) fn receive(&self, bytes: bytes::Bytes) -> Result<(), ConnectionError> {
        let now = clock::now();
        self.reads.set(self.reads.get() + 1);
        self.read_at.set(now);
        let received = self.engine.borrow_mut().receive(bytes, now);
        self.dispatch();
        self.pinging.borrow_mut().drain(..).for_each(Waker::wake);
        received
    }

    /// Hands the engine's events to the streams that they are for.
    pub(super) fn dispatch(&self) {
        loop {
            let event = self.engine.borrow_mut().event();
            match event {
                None => return,
                Some(Event::Response(key, head)) => self.deliver(key, head),
                Some(Event::Readable(key) | Event::Writable(key)) => self.wake_stream(key, false),
                Some(Event::Reset { stream, code, unprocessed }) => {
                    tracing::debug!(
                        stream = stream.id,
                        code = code.0,
                        "an HTTP/2 stream to an upstream was reset"
                    );
                    self.wake_stream(stream, unprocessed);
                }
                Some(Event::Settings) => self.is_settled.set(true),
                Some(Event::GoingAway(code)) => {
                    tracing::debug!(code = code.0, "an HTTP/2 upstream ends a connection");
                    self.close(CloseReason::Peer);
                }
                Some(Event::Pong | Event::Request(..)) => {}
            }
        }
    }

    fn deliver(&self, key: StreamKey, head: Box<ResponseHead>) {
        let is_flood = self.inbox(key, |inbox| {
            inbox.heads.push_back(head);
            inbox.heads.len() > INTERIM_RESPONSES as usize + 1
        });
        if is_flood == Some(true) {
            self.engine.borrow_mut().reset(key, Code::ENHANCE_YOUR_CALM);
        }
        self.wake_stream(key, false);
    }

    fn wake_stream(&self, key: StreamKey, is_unprocessed: bool) {
        self.inbox(key, |inbox| {
            inbox.is_unprocessed |= is_unprocessed;
            if let Some(waker) = &inbox.waker {
                waker.wake_by_ref();
            }
        });
    }

    /// Ends all streams: the connection is gone.
    pub(super) fn lose(&self, reason: CloseReason, error: Error, broken: Option<io::Error>) {
        self.engine.borrow_mut().lose();
        self.dispatch();
        self.closing.set(self.closing.get().or(Some(reason)));
        self.lost.set(Some(error));
        *self.broken.borrow_mut() = broken;
        self.pinging.borrow_mut().drain(..).for_each(Waker::wake);
        self.inboxes.borrow().iter().filter_map(|inbox| inbox.waker.as_ref()).for_each(Waker::wake_by_ref);
    }
}

impl std::fmt::Debug for H2Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("H2Connection").field("closing", &self.closing).finish_non_exhaustive()
    }
}

/// Polls whether anything was read since the count of reads was `before`. The task is woken when it is, or when the connection ends.
pub(super) fn poll_read_since(connection: &H2Connection, before: u64, cx: &Context<'_>) -> Poll<()> {
    if connection.reads() != before || connection.lost().is_some() {
        return Poll::Ready(());
    }
    connection.register_pinging(cx);
    Poll::Pending
}
