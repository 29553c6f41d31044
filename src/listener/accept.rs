//! Accepting: a loop per listener and worker, and the way of a connection until HTTP begins.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError};
use tokio::time::Instant;

use super::Listener;
use super::bind::BACKLOG;
use crate::connection;
use crate::downstream::{Current, Downstream};
use crate::forward;
use crate::metrics::this_worker;
use crate::shutdown::{Drain, Seat};
use crate::stream::{Socket, Stream};
use crate::timer::{Elapsed, Timer, deadline, earlier};

/// How long accepting pauses when the process or the machine is out of something, as of file descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What a client that is in its handshake when draining begins may still take: a few round trips.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

/// Accepts connections until `drain` starts, and then those that the kernel has completed already.
pub(crate) async fn accept(socket: TcpListener, listener: Arc<Listener>, current: Rc<Current>, drain: Drain) {
    let waiting = drain.seat_uncounted();
    let take_in = async |(socket, peer): (TcpStream, SocketAddr)| {
        let Some(permit) = admit(&listener, &drain).await else { return };
        let seat = drain.seat();
        tokio::task::spawn_local(serve(socket, peer, listener.clone(), current.clone(), seat, permit));
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

async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    listener: Arc<Listener>,
    current: Rc<Current>,
    seat: Seat,
    _permit: Option<OwnedSemaphorePermit>,
) {
    listener.stats.accepted(this_worker());
    let ended = open(socket, peer.ip().to_canonical(), &listener, current, &seat).await;
    listener.stats.closed(this_worker(), ended);
}

/// What has to be done before HTTP begins, within `timeouts.tls_handshake`; once draining has begun, not for long.
struct Opening<'a> {
    timer: Timer,
    limit: Option<Instant>,
    seat: &'a Seat,
}

impl Opening<'_> {
    async fn within<F: Future>(&mut self, step: F) -> Result<F::Output, Elapsed> {
        let mut step = pin!(step);
        let mut drains = false;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = step.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if !drains && self.seat.poll_draining(cx).is_ready() {
                drains = true;
                self.limit = earlier(self.limit, deadline(Some(DRAIN_PATIENCE)));
            }
            self.timer.poll_elapsed(cx, self.limit).map(|()| Err(Elapsed))
        })
        .await
    }
}

/// PROXY header, limits and TLS; then HTTP. Answers why the connection ended.
async fn open(
    mut socket: TcpStream,
    mut peer: IpAddr,
    listener: &Arc<Listener>,
    current: Rc<Current>,
    seat: &Seat,
) -> &'static str {
    // Without it the last part of a response can wait for the client's delayed acknowledgement.
    drop(socket.set_nodelay(true));
    let mut opening = Opening { timer: Timer::default(), limit: deadline(listener.tls_handshake), seat };
    let mut early = Bytes::new();
    if listener.proxy_protocol && forward::is_trusted(peer, &current.load().trusted_proxies) {
        match opening.within(super::proxy_protocol::read(&mut socket)).await {
            Ok(Ok((client, rest))) => {
                early = rest;
                peer = client.map_or(peer, |client| client.to_canonical());
            }
            Ok(Err(_)) | Err(_) => {
                listener
                    .warn("proxy_protocol", "a trusted proxy sent no valid PROXY header: connection closed");
                return "proxy_protocol";
            }
        }
    }
    let _counted = match &listener.per_client {
        None => None,
        Some(clients) => match clients.admit(peer) {
            Some(counted) => Some(counted),
            None => {
                listener.warn("limits.connections_per_client", "a client has as many connections as it may");
                return "limits.connections_per_client";
            }
        },
    };
    let downstream = Downstream::new(listener.entrance.clone(), current, peer, listener.tls.is_some());
    let mut socket = Socket::new(socket);
    socket.unread(early);
    let Some(tls) = &listener.tls else {
        return connection::serve_plain(Stream::Plain(socket), downstream, listener, seat).await;
    };
    // Boxed, because a handshake's state is larger than all that comes after it.
    match Box::pin(opening.within(tls.accept(socket))).await {
        Ok(Ok(stream)) => {
            let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let stream = Stream::Tls(Box::new(stream.into()));
            connection::serve_negotiated(stream, is_h2, downstream, listener, seat).await
        }
        Ok(Err(error)) => {
            tracing::debug!(listener = listener.name(), %peer, "TLS handshake failed: {error}");
            listener.stats.tls_failed(this_worker(), "handshake");
            "tls"
        }
        Err(_elapsed) => {
            listener.stats.tls_failed(this_worker(), "timeouts.tls_handshake");
            "timeouts.tls_handshake"
        }
    }
}
