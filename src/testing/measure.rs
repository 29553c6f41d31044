//! The parts of the request path that `benches/instructions` counts, each with all that it needs and nothing that
//! varies from run to run. Compiled for that purpose only.
#![allow(clippy::panic, clippy::expect_used, reason = "a benchmark that cannot run may panic")]

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri, Version};
use tokio::io::{DuplexStream, duplex};
use tokio::time::Instant;

use crate::config::load::files::Files;
use crate::control::compile::generation::{Next, Purpose};
use crate::downstream::connection;
use crate::filter::{End, RequestHead, RequestInfo, Session};
use crate::http::body::Body;
use crate::http::message::Response;
use crate::net::clock;
use crate::net::drain::DrainSignal;
use crate::net::end_of_turn;
use crate::net::stream::Stream;
use crate::net::timer::Timer;
use crate::observe::metrics::enter_worker;
use crate::proxy::client::{Client, CurrentSnapshot, RequestStart};
use crate::snapshot::{Route, Snapshot};
use crate::testing::measure_heads::Head;
use crate::upstream::{
    Acquired, Endpoint, Lease, NewConnection, Slot, Transport, WaitBounds, Wanted, adopt, worker_channel,
};
use crate::worker::POOL_COMMANDS_MAX;

/// The capacity of a pipe. It is larger than any message here, so that no writer waits for room.
pub(super) const PIPE_BYTES: usize = 1 << 20;

/// A gateway with one client connection and one connection to its upstream, both in memory. The owner acts as client
/// and upstream, and lets the gateway work in between. Use it within a worker's runtime.
pub struct Proxied {
    serving: Pin<Box<dyn Future<Output = &'static str>>>,
    woken: Arc<Woken>,
    waker: Waker,
    /// The client's end of its connection.
    pub client: DuplexStream,
    /// The upstream's end of the gateway's connection.
    pub upstream: DuplexStream,
}

impl Proxied {
    /// Builds the gateway from a configuration. Requests use its first listener and its first upstream, which must have
    /// a literal address. Files are relative to `folder`.
    pub fn new(config: &str, folder: &Path) -> Self {
        let snapshot = snapshot(config, folder);
        let upstream = kept_connection(&endpoint(&snapshot));
        let (client, stream) = duplex(PIPE_BYTES);
        let serving = Box::pin(async move {
            let client = connected(snapshot);
            let protocols = client.begin().settings.listener_settings.protocols;
            let guard = DrainSignal::default().guard();
            connection::serve(Stream::memory(stream), None, protocols, Instant::now(), client, &guard).await
        });
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        Self { serving, woken, waker, client, upstream }
    }

    /// Lets the gateway do all pending work, like a worker that has just slept.
    pub fn work(&mut self) {
        end_of_turn::sleeps();
        clock::start();
        let mut cx = Context::from_waker(&self.waker);
        loop {
            self.woken.0.store(false, Ordering::Relaxed);
            if let Poll::Ready(reason) = self.serving.as_mut().poll(&mut cx) {
                panic!("the gateway has closed the client's connection: {reason}");
            }
            if !self.woken.0.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// A pool that keeps one connection. Use it within a worker's runtime.
pub struct Pooled {
    endpoint: Arc<Endpoint>,
    timer: Timer,
    _upstream: DuplexStream,
}

impl Pooled {
    /// Builds the pool from a configuration whose first upstream has a literal address.
    pub fn new(config: &str, folder: &Path) -> Self {
        clock::start();
        let endpoint = endpoint(&snapshot(config, folder));
        let upstream = kept_connection(&endpoint);
        Self { endpoint, timer: Timer::default(), _upstream: upstream }
    }

    /// Acquires the connection and releases it.
    pub fn acquire_and_release(&self) {
        let pool = self.endpoint.pool();
        let Poll::Ready(Ok(Acquired::Reused((transport, lease)))) =
            once(pool.acquire(&self.timer, Wanted::Any, WaitBounds::default()))
        else {
            panic!("the pool has kept no connection");
        };
        release(transport, lease);
    }
}

/// The filters of a route, and exchanges to send through them. Use it within a worker's runtime.
pub struct Filtered {
    start: RequestStart,
    client: Rc<Client>,
    route: Arc<Route>,
    timer: Timer,
}

/// A request without a body, and a response.
pub struct Message {
    request_info: RequestInfo,
    request: RequestHead,
    response: Response<Body>,
}

impl Filtered {
    /// Builds the filters from a configuration with one route.
    pub fn new(config: &str, folder: &Path) -> Self {
        clock::start();
        let snapshot = snapshot(config, folder);
        let (_, route) = snapshot.router.routes().next().expect("a configuration has a route");
        let route = route.clone();
        let client = connected(snapshot);
        Self { start: client.begin(), client, route, timer: Timer::default() }
    }

    /// Returns a GET with these fields, and its response with these.
    pub fn message(&self, request: Head, response: Head, body: Bytes) -> Message {
        let (request, response) = (request.into_fields(), response.into_fields());
        let (target, authority) = (Uri::from_static("/api"), HeaderValue::from_static("api.example.com"));
        let request = RequestHead::new(Method::GET, target, authority, "http", request);
        let response = Response { status: StatusCode::OK, headers: response, body: Body::full(body) };
        let request_info = self.client.request_info(
            Method::GET,
            Version::HTTP_11,
            &self.start.settings,
            &self.route,
            Instant::now(),
        );
        Message { request_info, request, response }
    }

    /// Runs an exchange through the filters, from its beginning to its end. Returns the length of the response's body.
    pub fn pass(&self, message: Message) -> u64 {
        let chain = self.route.stages.filters().expect("the route has a filter");
        let session = Session::new(message.request_info, message.request);
        session.begin(chain).expect("a filter takes part");
        if chain.sees_requests() {
            let request = once(session.request(Body::Empty, &self.timer));
            assert!(matches!(request, Poll::Ready(Ok(_))), "a filter does not let the request go on");
        }
        let response = once(session.response(message.response, &self.timer));
        let Poll::Ready(Ok(response)) = response else { panic!("a filter does not let the response go on") };
        let (mut body, mut sent) = (response.body, 0);
        while let Poll::Ready(Some(Ok(frame))) = once(body.frame()) {
            sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        let duration = Duration::ZERO;
        session.end(End { status: 200, grpc_status: None, received: 0, sent, duration, error: None });
        sent
    }
}

/// A waker that remembers that the task has more to do.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(super) fn snapshot(config: &str, folder: &Path) -> Arc<Snapshot> {
    enter_worker(0);
    let file = folder.join("gateway.yaml");
    let files = Files::new();
    files.give(&file, config.as_bytes());
    // The only worker needs no commands, so its receiver is dropped.
    let channels = |workers| (0..workers).map(|_| worker_channel(POOL_COMMANDS_MAX).0).collect();
    match Next::build(Purpose::Serve, &file, &files, channels, None) {
        Ok((next, _)) => next.generation.snapshot,
        Err(errors) => panic!("{errors}"),
    }
}

pub(super) fn connected(snapshot: Arc<Snapshot>) -> Rc<Client> {
    let listener_settings = snapshot.listeners.first().expect("a configuration has a listener").clone();
    let current = CurrentSnapshot::new(Arc::new(ArcSwap::new(snapshot)));
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000));
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
    Client::new(&listener_settings, current, peer.into(), local.into(), false, None)
}

pub(super) fn endpoint(snapshot: &Snapshot) -> Arc<Endpoint> {
    let upstream = snapshot.upstreams.first().expect("a route of the configuration has an upstream");
    let endpoints = upstream.targets.upstream().current();
    endpoints.iter().next().expect("an upstream with a literal address has an endpoint").clone()
}

/// Returns the slot of the first connection of an endpoint.
pub(super) fn first_slot(endpoint: &Endpoint) -> Slot {
    let (pool, timer) = (endpoint.pool(), Timer::default());
    match once(pool.acquire(&timer, Wanted::Any, WaitBounds::default())) {
        Poll::Ready(Ok(Acquired::New(NewConnection::Dial(slot)))) => slot,
        _ => panic!("the pool has no room for a first connection"),
    }
}

/// Makes the pool of an endpoint keep a connection. Returns its other end.
fn kept_connection(endpoint: &Endpoint) -> DuplexStream {
    let (upstream, stream) = duplex(PIPE_BYTES);
    let (transport, lease) = adopt(first_slot(endpoint), Stream::memory(stream));
    release(transport, lease);
    upstream
}

fn once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Ends a lease after an exchange that leaves its connection idle.
fn release(transport: Transport, lease: Lease) {
    let Transport::Exclusive(transport) = transport else {
        panic!("a pipe in memory is no shared connection")
    };
    lease.finish(Ok(Some(transport)));
}
