//! Accepting: a loop per listener and worker, and the way of a connection until HTTP begins.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError};

use super::Listener;
use crate::connection;
use crate::downstream::{Current, Downstream};
use crate::forward;
use crate::metrics::this_worker;
use crate::shutdown::{Drain, Seat};
use crate::stream::{Socket, Stream};
use crate::timer::{Timer, deadline};

/// How long accepting pauses when the process or the machine is out of something, as of file descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until `drain` starts, and then those that the kernel has completed already.
pub(crate) async fn accept(socket: TcpListener, listener: Arc<Listener>, current: Rc<Current>, drain: Drain) {
    let waiting = drain.seat_uncounted();
    loop {
        let accepted = std::future::poll_fn(|cx| match socket.poll_accept(cx) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            Poll::Pending => waiting.poll_draining(cx).map(|()| None),
        });
        match accepted.await {
            None => return,
            Some(Err(error)) => pause(&listener, &error).await,
            Some(Ok((socket, peer))) => {
                let Some(permit) = admit(&listener, &drain).await else { return };
                let seat = drain.seat();
                tokio::task::spawn_local(serve(
                    socket,
                    peer,
                    listener.clone(),
                    current.clone(),
                    seat,
                    permit,
                ));
            }
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
    let timer = Timer::default();
    let limit = deadline(listener.tls_handshake);
    let mut early = Bytes::new();
    if listener.proxy_protocol && forward::is_trusted(peer, &current.load().trusted_proxies) {
        match timer.within(limit, super::proxy_protocol::read(&mut socket)).await {
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
    match Box::pin(timer.within(limit, tls.accept(socket))).await {
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
