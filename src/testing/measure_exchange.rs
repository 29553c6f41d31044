//! Whole exchanges for counting, in HTTP/1 and HTTP/2 on either side: a worker with its tasks, and peers in memory.
#![allow(clippy::panic, clippy::expect_used, reason = "a benchmark that cannot run may panic")]

use std::cell::RefCell;
use std::path::Path;
use std::task::{Poll, Waker};

use tokio::io::duplex;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::time::Instant;

use crate::downstream::connection;
use crate::net::clock;
use crate::net::drain::DrainSignal;
use crate::net::end_of_turn;
use crate::net::stream::Stream;
use crate::testing::measure::{PIPE_BYTES, connected, endpoint, first_slot, snapshot};
pub use crate::testing::measure_peer::{Arrived, Message, Protocol};
use crate::testing::measure_peer::{Peer, Role};
use crate::upstream::{adopt, adopt_shared, keep_idle_connections};

thread_local! {
    /// The waker of [`idle`].
    static AWAITS_IDLE: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// A worker with one client connection and one connection to its upstream, both in memory. The owner acts as client and
/// upstream, and lets the worker's tasks run in between.
pub struct Worker {
    runtime: LocalRuntime,
    client: Peer,
    upstream: Peer,
}

impl Worker {
    /// Builds the worker from a configuration. Requests use its first listener and its first upstream, which must have a
    /// literal address and the protocol of `upstream`. Files are relative to `folder`.
    pub fn new(config: &str, folder: &Path, client: Protocol, upstream: Protocol) -> Self {
        let runtime = runtime();
        let (client, upstream) = runtime.block_on(async {
            let snapshot = snapshot(config, folder);
            tokio::task::spawn_local(keep_idle_connections());
            let slot = first_slot(&endpoint(&snapshot));
            let (pipe, stream) = duplex(PIPE_BYTES);
            let upstream_peer = Peer::new(pipe, upstream, Role::Server);
            let (transport, lease) = match upstream {
                Protocol::H1 => adopt(slot, Stream::memory(stream)),
                Protocol::H2 => {
                    adopt_shared(slot, Stream::memory(stream)).await.expect("the peer speaks HTTP/2")
                }
            };
            lease.give_back(transport);
            let (pipe, stream) = duplex(PIPE_BYTES);
            tokio::task::spawn_local(async move {
                let client_connection = connected(snapshot);
                let protocols = client_connection.begin().settings.listener_settings.protocols;
                // As TLS would have settled it.
                let is_h2 = Some(client == Protocol::H2);
                let (stream, guard) = (Stream::memory(stream), DrainSignal::default().guard());
                connection::serve(stream, is_h2, protocols, Instant::now(), client_connection, &guard).await
            });
            (Peer::new(pipe, client, Role::Client), upstream_peer)
        });
        let mut worker = Self { runtime, client, upstream };
        // Settings pass in both directions.
        worker.work();
        worker.client.arrived();
        worker.upstream.arrived();
        worker
    }

    /// Lets the worker's tasks run until it would sleep.
    pub fn work(&self) {
        self.runtime.block_on(idle());
    }

    /// Has the client send a request. No task runs yet.
    pub fn client_sends(&mut self, request: &Message) {
        // Within the runtime, where a socket's event would wake the task, too.
        self.runtime.block_on(async { self.client.send(request) });
    }

    /// Has the upstream respond to the request that arrived last. No task runs yet.
    pub fn upstream_sends(&mut self, response: &Message) {
        self.runtime.block_on(async { self.upstream.send(response) });
    }

    /// Returns the request that has arrived at the upstream.
    pub fn upstream_arrived(&mut self) -> Option<Arrived> {
        self.upstream.arrived()
    }

    /// Returns the response that has arrived at the client.
    pub fn client_arrived(&mut self) -> Option<Arrived> {
        self.client.arrived()
    }
}

/// Returns a runtime like that of a worker, except that it has no sockets.
fn runtime() -> LocalRuntime {
    clock::start();
    let sleeps = || {
        end_of_turn::sleeps();
        AWAITS_IDLE.take().into_iter().for_each(Waker::wake);
    };
    Builder::new_current_thread()
        .enable_time()
        .on_thread_park(sleeps)
        .on_thread_unpark(clock::advance)
        .build_local(LocalOptions::default())
        .expect("a runtime without sockets needs nothing")
}

/// Waits until no task can continue.
async fn idle() {
    let mut is_first = true;
    std::future::poll_fn(|cx| {
        if std::mem::take(&mut is_first) {
            AWAITS_IDLE.set(Some(cx.waker().clone()));
        }
        if AWAITS_IDLE.with_borrow(Option::is_some) { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}
