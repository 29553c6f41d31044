//! The state that the tasks of a connection and of its streams share.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;

use crate::http::fields::Fields;
use crate::http::h2::{Code, Connection, ConnectionError, Limits, StreamKey};
use crate::http::interim::InterimSink;
use crate::net::{clock, waker};
use crate::proxy::client::Client;
use crate::snapshot::listener::{ConnectionLimits, Http2Limits};

/// A connection as its tasks share it. Its cells are borrowed within a poll, never across one.
pub(super) struct Shared {
    pub(super) engine: RefCell<Connection>,
    pub(super) client: Rc<Client>,
    /// The limits and timeouts of the snapshot that was current when bytes arrived last.
    options: RefCell<Arc<ConnectionLimits>>,
    pub(super) served: Cell<u64>,
    /// The time since which no stream is open.
    pub(super) idle_since: Cell<Option<Instant>>,
    /// The connection's task.
    connection: RefCell<Option<Waker>>,
    /// The tasks of streams, by slot.
    streams: RefCell<Vec<Option<Waker>>>,
}

impl Shared {
    pub(super) fn new(client: Rc<Client>, began: Instant, options: Arc<ConnectionLimits>) -> Self {
        let Http2Limits { max_streams, stream_window, connection_window, header_table } = options.http2;
        let limits = Limits {
            head: options.limits,
            max_streams,
            stream_window,
            stream_window_max: stream_window,
            connection_window,
            header_table,
            // Always, as a reload may let a route upgrade, and what was allowed cannot be taken back (RFC 8441 §3). A route that does
            // not refuses the protocol.
            connect_protocol: true,
        };
        Self {
            engine: RefCell::new(Connection::server(limits, began)),
            client,
            options: RefCell::new(options),
            served: Cell::new(0),
            idle_since: Cell::new(Some(began)),
            connection: RefCell::new(None),
            streams: RefCell::default(),
        }
    }

    /// Returns the present options. The borrow must end within the poll.
    pub(super) fn options(&self) -> Ref<'_, Arc<ConnectionLimits>> {
        self.options.borrow()
    }

    /// Takes the options of the current snapshot for the next stream.
    pub(super) fn refresh(&self) -> Arc<ConnectionLimits> {
        let mut options = self.options.borrow_mut();
        self.client.refresh(&mut options);
        options.clone()
    }

    /// Takes bytes of the client. The current snapshot's options hold from now on.
    pub(super) fn receive(&self, bytes: Bytes) -> Result<(), ConnectionError> {
        let options = self.client.options();
        let mut engine = self.engine.borrow_mut();
        engine.set_head_limits(options.limits);
        *self.options.borrow_mut() = options;
        engine.receive(bytes, clock::now())
    }

    /// Has the connection's task woken by [`Shared::wake`].
    pub(super) fn register(&self, cx: &Context<'_>) {
        waker::set(&mut self.connection.borrow_mut(), cx.waker());
    }

    /// Wakes the connection's task: there is something to write, or to end.
    pub(super) fn wake(&self) {
        if let Some(connection) = &*self.connection.borrow() {
            connection.wake_by_ref();
        }
    }

    /// Wakes the connection's task if something waits to be written.
    pub(super) fn wake_to_write(&self) {
        if self.engine.borrow().has_output() {
            self.wake();
        }
    }

    /// Has a stream's task woken by [`Shared::wake_stream`].
    pub(super) fn register_stream(&self, key: StreamKey, cx: &Context<'_>) {
        let mut streams = self.streams.borrow_mut();
        if streams.len() <= key.slot {
            streams.resize_with(key.slot + 1, || None);
        }
        if let Some(stream) = streams.get_mut(key.slot) {
            waker::set(stream, cx.waker());
        }
    }

    pub(super) fn wake_stream(&self, key: StreamKey) {
        if let Some(Some(stream)) = self.streams.borrow().get(key.slot) {
            stream.wake_by_ref();
        }
    }

    pub(super) fn wake_streams(&self) {
        self.streams.borrow().iter().flatten().for_each(Waker::wake_by_ref);
    }

    /// Lets a stream go.
    pub(super) fn release(&self, key: StreamKey) {
        if let Some(stream) = self.streams.borrow_mut().get_mut(key.slot) {
            *stream = None;
        }
        let mut engine = self.engine.borrow_mut();
        engine.release(key);
        if engine.open() == 0 {
            self.idle_since.set(Some(clock::now()));
            let mut streams = self.streams.borrow_mut();
            streams.truncate(1);
            streams.shrink_to(1);
        }
        // For the reset of the stream, or for the deadlines of an idle connection.
        if engine.has_output() || engine.open() == 0 {
            drop(engine);
            self.wake();
        }
    }
}

/// An open stream, which counts until this is dropped.
pub(super) struct OpenStream {
    pub(super) shared: Rc<Shared>,
    pub(super) key: StreamKey,
    /// The bytes of the request's data that were taken.
    pub(super) received: Cell<u64>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.shared.release(self.key);
    }
}

impl InterimSink for OpenStream {
    fn send(&self, status: StatusCode, headers: &Fields) {
        self.shared.engine.borrow_mut().interim(self.key, status, headers);
        self.shared.wake();
    }
}

impl OpenStream {
    /// Returns true if the stream was reset by the client, or is gone with its connection.
    pub(super) fn is_reset(&self) -> bool {
        self.shared.engine.borrow().is_reset(self.key)
    }

    pub(super) fn reset(&self, code: Code) {
        self.shared.engine.borrow_mut().reset(self.key, code);
        self.shared.wake();
    }
}
