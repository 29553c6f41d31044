//! Accepting: a loop per listener and worker, and the way of a connection until HTTP begins.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError};
use tokio::time::Instant;

use super::Listener;
use super::bind::BACKLOG;
use super::per_client::Counted;
use crate::connection;
use crate::downstream::{Current, Downstream};
use crate::forward;
use crate::metrics::this_worker;
use crate::shutdown::{Drain, Seat};
use crate::stream::{Socket, Stream};
use crate::timer::{Elapsed, Timer, deadline, earlier};

/// How long accepting pauses when the process or the machine is out of something, as of file descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// How long a PROXY header may take where neither timeout is on: a trusted proxy sends it at once.
const PROXY_HEADER_PATIENCE: Duration = Duration::from_secs(10);

/// What a client that is in its handshake when draining begins may still take: a few round trips.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

/// Accepts connections until `drain` starts, and then those that the kernel has completed already.
pub(crate) async fn accept(socket: TcpListener, listener: Arc<Listener>, current: Rc<Current>, drain: Drain) {
    let waiting = drain.seat_uncounted();
    let take_in = async |(socket, peer): (TcpStream, SocketAddr)| {
        let Some(permit) = admit(&listener, &drain).await else { return };
        start(socket, peer, current.clone(), Admitted::new(listener.clone(), drain.seat(), permit));
    };
    loop {
        let accepted = std::future::poll_fn(|cx| match socket.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => waiting.poll_draining(cx).map(|()| None),
        });
        match accepted.await {
            None => break,
            Some(Err(error)) => pause(&listener, &error).await,
            Some(Ok(connection)) => take_in(connection).await,
        }
    }
    // The kernel knows of connections that the reactor has yet to hear of.
    let Ok(socket) = socket.into_std() else { return };
    for _ in 0..BACKLOG {
        let Ok((socket, peer)) = socket.accept() else { return };
        if socket.set_nonblocking(true).is_ok()
            && let Ok(socket) = TcpStream::from_std(socket)
        {
            take_in((socket, peer)).await;
        }
    }
}

/// After an error that concerns one connection, the next one is accepted; after one that concerns them all,
/// accepting would only fail again, in a spin.
async fn pause(listener: &Listener, error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        listener.warn("file descriptors or memory", &format!("accepting pauses: {error}"));
        tokio::time::sleep(EXHAUSTED_PAUSE).await;
    }
}

/// Waits for one of `limits.connections`; `None` when draining begins first.
async fn admit(listener: &Listener, drain: &Drain) -> Option<Option<OwnedSemaphorePermit>> {
    let Some(connections) = &listener.connections else { return Some(None) };
    match connections.clone().try_acquire_owned() {
        Ok(permit) => return Some(Some(permit)),
        Err(TryAcquireError::Closed) => return None,
        Err(TryAcquireError::NoPermits) => {}
    }
    listener.warn("limits.connections", "as many connections are open as may be: new ones wait");
    let drained = drain.seat_uncounted();
    tokio::select! {
        permit = connections.clone().acquire_owned() => permit.ok().map(Some),
        () = std::future::poll_fn(|cx| drained.poll_draining(cx)) => None,
    }
}

/// A connection that was let in, and what it holds while it is open.
struct Admitted {
    listener: Arc<Listener>,
    seat: Seat,
    _permit: Option<OwnedSemaphorePermit>,
    _counted: Option<Counted>,
    /// Why it ended.
    ended: &'static str,
}

impl Admitted {
    fn new(listener: Arc<Listener>, seat: Seat, permit: Option<OwnedSemaphorePermit>) -> Self {
        listener.stats.accepted(this_worker());
        // Whatever ends a connection says so; a task that is dropped with its runtime says nothing.
        Self { listener, seat, _permit: permit, _counted: None, ended: "drain" }
    }

    /// Counts the connection to its client; `false` when the client has as many as it may.
    fn count(&mut self, client: IpAddr) -> bool {
        let Some(clients) = &self.listener.per_client else { return true };
        self._counted = clients.admit(client);
        if self._counted.is_none() {
            self.listener.warn("limits.connections_per_client", "a client has as many connections as it may");
            self.ended = "limits.connections_per_client";
        }
        self._counted.is_some()
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.listener.stats.closed(this_worker(), self.ended);
        tracing::debug!(listener = self.listener.name(), reason = self.ended, "client connection closed");
    }
}

/// Starts the task of a connection. One that has something to settle first gets a task for that, and another
/// for HTTP: a task is as large as the largest thing it does, and a handshake is larger than an idle connection.
fn start(socket: TcpStream, peer: SocketAddr, current: Rc<Current>, mut admitted: Admitted) {
    // Without it the last part of a response can wait for the client's delayed acknowledgement.
    drop(socket.set_nodelay(true));
    let accepted = Instant::now();
    let listener = admitted.listener.clone();
    tracing::debug!(listener = listener.name(), %peer, "client connection accepted");
    let peer = peer.ip().to_canonical();
    if listener.tls.is_some() || listener.proxy_protocol {
        tokio::task::spawn_local(settle(socket, peer, accepted, current, admitted));
    } else if admitted.count(peer) {
        let downstream = Downstream::new(listener.entrance.clone(), current, peer, false);
        tokio::task::spawn_local(speak(Stream::plain(socket), None, accepted, downstream, admitted));
    }
}

/// HTTP until the connection ends. The first request's header is awaited since `began`.
async fn speak(
    stream: Stream,
    is_h2: Option<bool>,
    began: Instant,
    downstream: Rc<Downstream>,
    mut admitted: Admitted,
) {
    admitted.ended =
        connection::serve(stream, is_h2, began, downstream, &admitted.listener, &admitted.seat).await;
}

/// PROXY header and TLS handshake, then HTTP. With TLS, `timeouts.tls_handshake` is for both, and the request's header
/// has its time from then on; without, `timeouts.request_header` is for the PROXY header too. A PROXY header is
/// never awaited for ever: where its limit is off the other one holds, and [`PROXY_HEADER_PATIENCE`] where both are.
async fn settle(
    socket: TcpStream,
    peer: IpAddr,
    accepted: Instant,
    current: Rc<Current>,
    mut admitted: Admitted,
) {
    let listener = admitted.listener.clone();
    let limit = if listener.tls.is_some() { listener.tls_handshake } else { None };
    let header_limit = limit.or(listener.options.request_header).unwrap_or(PROXY_HEADER_PATIENCE);
    let mut opening = Opening { timer: Timer::default(), limit: accepted.checked_add(header_limit) };
    match proxied(socket, peer, &current, &admitted, &mut opening).await {
        Err(ended) => admitted.ended = ended,
        Ok((socket, peer)) if admitted.count(peer) => {
            let downstream =
                Downstream::new(listener.entrance.clone(), current, peer, listener.tls.is_some());
            opening.limit = limit.and_then(|limit| accepted.checked_add(limit));
            match secured(socket, peer, &admitted, opening).await {
                Err(ended) => admitted.ended = ended,
                Ok((stream, is_h2)) => {
                    let began = if listener.tls.is_some() { Instant::now() } else { accepted };
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
    peer: IpAddr,
    current: &Current,
    admitted: &Admitted,
    opening: &mut Opening,
) -> Result<(Socket, IpAddr), &'static str> {
    let listener = &admitted.listener;
    if !listener.proxy_protocol || !forward::is_trusted(peer, &current.load().trusted_proxies) {
        return Ok((Socket::new(socket), peer));
    }
    let Ok(Ok((client, early))) =
        opening.within(&admitted.seat, super::proxy_protocol::read(&mut socket)).await
    else {
        listener.warn("proxy_protocol", "a trusted proxy sent no valid PROXY header: connection closed");
        return Err("proxy_protocol");
    };
    let mut socket = Socket::new(socket);
    socket.unread(early);
    Ok((socket, client.map_or(peer, |client| client.to_canonical())))
}

/// The TLS handshake, where the listener has TLS, and whether it settled on HTTP/2.
///
/// # Errors
/// Why the connection ends.
async fn secured(
    socket: Socket,
    peer: IpAddr,
    admitted: &Admitted,
    mut opening: Opening,
) -> Result<(Stream, Option<bool>), &'static str> {
    let listener = &admitted.listener;
    let Some(tls) = &listener.tls else { return Ok((Stream::Plain(socket), None)) };
    match opening.within(&admitted.seat, tls.accept(socket)).await {
        Ok(Ok(stream)) => {
            let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Ok((Stream::Tls(Box::new(stream.into())), Some(is_h2)))
        }
        Ok(Err(error)) => {
            tracing::debug!(listener = listener.name(), %peer, "TLS handshake failed: {error}");
            listener.stats.tls_failed(this_worker(), "handshake");
            Err("tls")
        }
        Err(_elapsed) => {
            listener.warn("timeouts.tls_handshake", "a client did not finish its TLS handshake in time");
            listener.stats.tls_failed(this_worker(), "timeouts.tls_handshake");
            Err("timeouts.tls_handshake")
        }
    }
}
