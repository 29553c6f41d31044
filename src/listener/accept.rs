//! Accepting: a loop per listener and worker, and the way of a connection until HTTP begins.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::bind::{BACKLOG, keep_out};
use super::per_client::Counted;
use super::permits::Permit;
use super::{Accepting, Listener};
use crate::connection;
use crate::downstream::{Current, Downstream};
use crate::entrance::Entrance;
use crate::forward;
use crate::metrics::this_worker;
use crate::shutdown::{DRAIN_PATIENCE, Drain, Seat};
use crate::stream::{Socket, Stream};
use crate::timer::{Elapsed, Timer, deadline, earlier};

/// How long accepting pauses when the process or the machine is out of something, as of file descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// How long a socket that lets nobody in any more stays open for those that have sent the first packet of their handshake:
/// a round trip.
const LAST_HANDSHAKES: Duration = Duration::from_millis(100);

/// How long a PROXY header may take where neither timeout is on: a trusted proxy sends it at once.
const PROXY_HEADER_PATIENCE: Duration = Duration::from_secs(10);

/// Accepts connections until `drain` starts, and then those that the kernel has begun with already, because it resets what
/// it still holds when the socket closes. The drain is not over before those are in, however late this future is first
/// polled.
pub(crate) fn accept(accepting: Accepting, current: Rc<Current>, drain: Drain) -> impl Future<Output = ()> {
    let waiting = drain.seat();
    accept_until_drain(accepting, current, drain, waiting)
}

async fn accept_until_drain(accepting: Accepting, current: Rc<Current>, drain: Drain, waiting: Seat) {
    // In this order, so that the socket is closed first.
    let Accepting { listening: _listening, socket, listener, entrance } = accepting;
    let mut door = Door { listener, entrance, current, drain };
    loop {
        let accepted = std::future::poll_fn(|cx| match socket.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => waiting.poll_draining(cx).map(|()| None),
        });
        match accepted.await {
            None => break,
            Some(Err(error)) => door.pause(&error).await,
            Some(Ok((socket, peer))) => door.take_in(socket, peer).await,
        }
    }
    keep_out(&socket);
    let until = Instant::now() + LAST_HANDSHAKES;
    while let Ok(accepted) = timeout_at(until, socket.accept()).await {
        match accepted {
            Err(error) => door.pause(&error).await,
            Ok((socket, peer)) => door.take_in(socket, peer).await,
        }
    }
    // The kernel knows of connections that the reactor has yet to hear of.
    let Ok(socket) = socket.into_std() else { return };
    for _ in 0..BACKLOG {
        let Ok((socket, peer)) = socket.accept() else { return };
        if socket.set_nonblocking(true).is_ok()
            && let Ok(socket) = TcpStream::from_std(socket)
        {
            door.take_in(socket, peer).await;
        }
    }
}

/// A listener on one worker.
struct Door {
    listener: Arc<Listener>,
    /// The settings that were seen last: the present ones, or the last ones of a listener that ends.
    entrance: Arc<Entrance>,
    current: Rc<Current>,
    drain: Drain,
}

impl Door {
    /// Starts the connection's task as soon as `limits.connections` lets it in.
    async fn take_in(&mut self, socket: TcpStream, peer: SocketAddr) {
        let Some(permit) = self.admit().await else { return };
        // Of this listener alone: another one of its name may have TLS.
        let present = self.current.load().entrance_of(self.entrance.id).cloned();
        self.entrance = present.unwrap_or_else(|| self.entrance.clone());
        let admitted = Admitted::new(self.listener.clone(), self.entrance.clone(), self.drain.seat(), permit);
        start(socket, peer, self.current.clone(), admitted);
    }

    /// After an error that concerns one connection, the next one is accepted; after one that concerns them all,
    /// accepting would only fail again, in a spin.
    async fn pause(&self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
            self.warn("file descriptors or memory", &format!("accepting pauses: {error}"));
            tokio::time::sleep(EXHAUSTED_PAUSE).await;
        }
    }

    /// Waits for one of `limits.connections`; `None` when draining begins first.
    async fn admit(&self) -> Option<Permit> {
        if let Some(permit) = self.listener.connections.try_acquire() {
            return Some(permit);
        }
        self.warn("limits.connections", "as many connections are open as may be: new ones wait");
        let drained = self.drain.seat_uncounted();
        tokio::select! {
            permit = self.listener.connections.acquire() => permit,
            () = std::future::poll_fn(|cx| drained.poll_draining(cx)) => None,
        }
    }

    fn warn(&self, limit: &'static str, what: &str) {
        self.listener.warn(&self.entrance.name, limit, what);
    }
}

/// A connection that was let in, and what it holds while it is open.
struct Admitted {
    listener: Arc<Listener>,
    /// The settings under which it was accepted.
    entrance: Arc<Entrance>,
    seat: Seat,
    _permit: Permit,
    _counted: Option<Counted>,
    /// Why it ended.
    ended: &'static str,
}

impl Admitted {
    fn new(listener: Arc<Listener>, entrance: Arc<Entrance>, seat: Seat, permit: Permit) -> Self {
        listener.stats.accepted(this_worker());
        // Whatever ends a connection says so; a task that is dropped with its runtime says nothing.
        Self { listener, entrance, seat, _permit: permit, _counted: None, ended: "drain" }
    }

    /// Counts the connection to its client; `false` when the client has as many as it may.
    fn count(&mut self, client: IpAddr) -> bool {
        let Some(limit) = self.entrance.connections_per_client else { return true };
        self._counted = self.listener.per_client.admit(client, limit);
        if self._counted.is_none() {
            self.warn("limits.connections_per_client", "a client has as many connections as it may");
            self.ended = "limits.connections_per_client";
        }
        self._counted.is_some()
    }

    fn warn(&self, limit: &'static str, what: &str) {
        self.listener.warn(&self.entrance.name, limit, what);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.listener.stats.closed(this_worker(), self.ended);
        tracing::debug!(listener = &*self.entrance.name, reason = self.ended, "client connection closed");
    }
}

/// Starts the task of a connection. One that has something to settle first gets a task for that, and another
/// for HTTP: a task is as large as the largest thing it does, and a handshake is larger than an idle connection.
fn start(socket: TcpStream, peer: SocketAddr, current: Rc<Current>, mut admitted: Admitted) {
    let accepted = Instant::now();
    let entrance = admitted.entrance.clone();
    tracing::debug!(listener = &*entrance.name, %peer, "client connection accepted");
    let peer = canonical(peer);
    if entrance.tls.is_some() || entrance.proxy_protocol {
        tokio::task::spawn_local(settle(socket, peer, accepted, current, admitted));
    } else if admitted.count(peer.ip()) {
        let downstream = Downstream::new(&entrance, current, peer, admitted.listener.address, false);
        tokio::task::spawn_local(speak(Stream::plain(socket), None, accepted, downstream, admitted));
    }
}

/// An address of IPv4 in its own form.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// HTTP until the connection ends. The first request's header is awaited since `began`.
async fn speak(
    stream: Stream,
    is_h2: Option<bool>,
    began: Instant,
    downstream: Rc<Downstream>,
    mut admitted: Admitted,
) {
    let protocols = admitted.entrance.protocols;
    admitted.ended = connection::serve(stream, is_h2, protocols, began, downstream, &admitted.seat).await;
}

/// PROXY header and TLS handshake, then HTTP. With TLS, `timeouts.tls_handshake` is for both, and the request's header
/// has its time from then on; without, `timeouts.request_header` is for the PROXY header too. A PROXY header is
/// never awaited for ever: where its limit is off the other one holds, and [`PROXY_HEADER_PATIENCE`] where both are.
async fn settle(
    socket: TcpStream,
    peer: SocketAddr,
    accepted: Instant,
    current: Rc<Current>,
    mut admitted: Admitted,
) {
    let entrance = admitted.entrance.clone();
    let has_tls = entrance.tls.is_some();
    let limit = if has_tls { entrance.tls_handshake } else { None };
    let header_limit = limit.or(entrance.options.request_header).unwrap_or(PROXY_HEADER_PATIENCE);
    let mut opening = Opening { timer: Timer::default(), limit: accepted.checked_add(header_limit) };
    match proxied(socket, peer, &current, &admitted, &mut opening).await {
        Err(ended) => admitted.ended = ended,
        Ok((socket, peer)) if admitted.count(peer.ip()) => {
            let downstream = Downstream::new(&entrance, current, peer, admitted.listener.address, has_tls);
            opening.limit = limit.and_then(|limit| accepted.checked_add(limit));
            match secured(socket, peer, &admitted, opening).await {
                Err(ended) => admitted.ended = ended,
                Ok((stream, is_h2)) => {
                    let began = if has_tls { Instant::now() } else { accepted };
                    tokio::task::spawn_local(speak(stream, is_h2, began, downstream, admitted));
                }
            }
        }
        Ok(_too_many) => {}
    }
}

/// The time until HTTP begins: until `limit`, and no longer than [`DRAIN_PATIENCE`] once draining has begun.
struct Opening {
    timer: Timer,
    limit: Option<Instant>,
}

impl Opening {
    async fn within<F: Future>(&mut self, seat: &Seat, step: F) -> Result<F::Output, Elapsed> {
        let mut step = pin!(step);
        let mut drains = false;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = step.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if !drains && seat.poll_draining(cx).is_ready() {
                drains = true;
                self.limit = earlier(self.limit, deadline(Some(DRAIN_PATIENCE)));
            }
            self.timer.poll_elapsed(cx, self.limit).map(|()| Err(Elapsed))
        })
        .await
    }
}

/// Reads the PROXY header where a trusted proxy sends one: the client that it names instead of the peer.
///
/// # Errors
/// Why the connection ends.
async fn proxied(
    mut socket: TcpStream,
    peer: SocketAddr,
    current: &Current,
    admitted: &Admitted,
    opening: &mut Opening,
) -> Result<(Socket, SocketAddr), &'static str> {
    if !admitted.entrance.proxy_protocol || !forward::is_trusted(peer.ip(), &current.load().trusted_proxies) {
        return Ok((Socket::new(socket), peer));
    }
    let Ok(Ok((client, early))) =
        opening.within(&admitted.seat, super::proxy_protocol::read(&mut socket)).await
    else {
        admitted.warn("proxy_protocol", "a trusted proxy sent no valid PROXY header: connection closed");
        return Err("proxy_protocol");
    };
    let mut socket = Socket::new(socket);
    socket.unread(early);
    Ok((socket, client.map_or(peer, canonical)))
}

/// The TLS handshake, where the listener has TLS, and whether it settled on HTTP/2.
///
/// # Errors
/// Why the connection ends.
async fn secured(
    socket: Socket,
    peer: SocketAddr,
    admitted: &Admitted,
    mut opening: Opening,
) -> Result<(Stream, Option<bool>), &'static str> {
    let stats = &admitted.listener.stats;
    let Some(tls) = &admitted.entrance.tls else { return Ok((Stream::Plain(socket), None)) };
    match opening.within(&admitted.seat, tls.acceptor.accept(socket)).await {
        Ok(Ok(stream)) => {
            let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Ok((Stream::Tls(Box::new(stream.into())), Some(is_h2)))
        }
        Ok(Err(error)) => {
            tracing::debug!(listener = &*admitted.entrance.name, %peer, "TLS handshake failed: {error}");
            stats.tls_failed(this_worker(), "handshake");
            Err("tls")
        }
        Err(_elapsed) => {
            admitted.warn("timeouts.tls_handshake", "a client did not finish its TLS handshake in time");
            stats.tls_failed(this_worker(), "timeouts.tls_handshake");
            Err("timeouts.tls_handshake")
        }
    }
}
