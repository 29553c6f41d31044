//! The steps of an accepted connection before HTTP begins: the limit of its client, the PROXY header, TLS.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use crate::downstream::listener::Listener;
use crate::downstream::per_client::Counted;
use crate::downstream::permits::Permit;
use crate::downstream::{connection, proxy_protocol};
use crate::net::clock;
use crate::net::drain::{DRAIN_PATIENCE, DrainGuard};
use crate::net::peer::Peer;
use crate::net::socket::ConnectedSocket;
use crate::net::stream::{Socket, Stream};
use crate::net::timer::{Elapsed, Timer, deadline, earlier};
use crate::net::tls::{self, ClientCertificate};
use crate::observe::metrics::this_worker;
use crate::proxy::client::{Client, CurrentSnapshot};
use crate::snapshot::listener::ListenerSettings;

/// The time limit of a PROXY header if neither timeout is on. A trusted proxy sends the header at once.
const PROXY_HEADER_PATIENCE: Duration = Duration::from_secs(10);

/// An accepted connection, with the resources that it holds while it is open.
pub(super) struct AcceptedConnection {
    listener: Arc<Listener>,
    /// The settings under which it was accepted.
    listener_settings: Arc<ListenerSettings>,
    guard: DrainGuard,
    /// Its permit of `limits.connections`; `None` once it has ended.
    permit: Option<Permit>,
    /// Its share of `limits.connections_per_client`.
    counted: Option<Counted>,
    /// The reason for its end.
    ended: &'static str,
}

impl AcceptedConnection {
    pub(super) fn new(
        listener: Arc<Listener>,
        listener_settings: Arc<ListenerSettings>,
        guard: DrainGuard,
        permit: Permit,
    ) -> Self {
        listener.stats.accepted(this_worker());
        // Every end of a connection sets its reason, except when the task is dropped with its runtime.
        Self { listener, listener_settings, guard, permit: Some(permit), counted: None, ended: "drain" }
    }

    /// Counts the connection to its client, if that has an address. Returns false if the client has reached its limit.
    fn count(&mut self, peer: Peer) -> bool {
        let limit = self.listener_settings.connections_per_client;
        let (Some(limit), Some(client)) = (limit, peer.ip()) else { return true };
        self.counted = self.listener.per_client.admit(client, limit);
        if self.counted.is_none() {
            self.warn("limits.connections_per_client", "a client has reached its connection limit");
            self.ended = "limits.connections_per_client";
        }
        self.counted.is_some()
    }

    fn warn(&self, limit: &'static str, what: &str) {
        self.listener.warn(&self.listener_settings.name, limit, what);
    }
}

impl Drop for AcceptedConnection {
    fn drop(&mut self) {
        // This precedes the metrics: once they report the end of a connection, its permit is free.
        drop((self.permit.take(), self.counted.take()));
        self.listener.stats.closed(this_worker(), self.ended);
        tracing::debug!(
            listener = &*self.listener_settings.name,
            reason = self.ended,
            "client connection closed"
        );
    }
}

/// Starts the task of a connection. A connection with a PROXY header or TLS gets a task for that, and another one for
/// HTTP: a task is as large as the largest thing it does, and a handshake is larger than an idle connection.
pub(super) fn start(
    socket: ConnectedSocket,
    peer: Peer,
    current: Rc<CurrentSnapshot>,
    mut accepted_connection: AcceptedConnection,
) {
    // Its first deadlines begin here.
    clock::advance();
    let accepted = clock::now();
    let listener_settings = accepted_connection.listener_settings.clone();
    tracing::debug!(listener = &*listener_settings.name, %peer, "client connection accepted");
    let peer = peer.canonical();
    if listener_settings.tls.is_some() || listener_settings.proxy_protocol {
        tokio::task::spawn_local(settle(socket, peer, accepted, current, accepted_connection));
    } else if accepted_connection.count(peer) {
        let local = accepted_connection.listener.address.clone();
        let client = Client::new(&listener_settings, current, peer, local, false, None);
        tokio::task::spawn_local(speak(Stream::plain(socket), None, accepted, client, accepted_connection));
    }
}

/// Serves HTTP until the connection ends. The first request's header has been awaited since `began`.
async fn speak(
    stream: Stream,
    is_h2: Option<bool>,
    began: Instant,
    client: Rc<Client>,
    mut accepted_connection: AcceptedConnection,
) {
    let protocols = accepted_connection.listener_settings.protocols;
    let ended = connection::serve(stream, is_h2, protocols, began, client, &accepted_connection.guard).await;
    accepted_connection.ended = ended;
    if ended.starts_with("http2.") {
        accepted_connection.warn(ended, "an HTTP/2 client sent too many frames that cost only the gateway");
    }
}

/// Reads the PROXY header, performs the TLS handshake, and then starts HTTP. With TLS, `timeouts.tls_handshake` covers
/// both, and the request's header has its time from then on. Without TLS, `timeouts.request_header` covers the PROXY
/// header, too. A PROXY header is never awaited forever: if its limit is off the other one applies, and if both are off
/// [`PROXY_HEADER_PATIENCE`] does.
async fn settle(
    socket: ConnectedSocket,
    peer: Peer,
    accepted: Instant,
    current: Rc<CurrentSnapshot>,
    mut accepted_connection: AcceptedConnection,
) {
    let listener_settings = accepted_connection.listener_settings.clone();
    let has_tls = listener_settings.tls.is_some();
    let limit = if has_tls { listener_settings.tls_handshake } else { None };
    let header_limit = limit.or(listener_settings.options.request_header).unwrap_or(PROXY_HEADER_PATIENCE);
    let mut opening = Opening { timer: Timer::default(), limit: accepted.checked_add(header_limit) };
    match proxied(socket, peer, &current, &accepted_connection, &mut opening).await {
        Err(ended) => accepted_connection.ended = ended,
        Ok((mut socket, peer)) if accepted_connection.count(peer) => {
            opening.limit = limit.and_then(|limit| accepted.checked_add(limit));
            if has_tls && let Err(ended) = spoken_to(&mut socket, &accepted_connection, &mut opening).await {
                accepted_connection.ended = ended;
                return;
            }
            match secured(socket, peer, &accepted_connection, opening).await {
                Err(ended) => accepted_connection.ended = ended,
                Ok(Secured { stream, is_h2, certificate }) => {
                    let began = if has_tls { clock::now() } else { accepted };
                    let local = accepted_connection.listener.address.clone();
                    let client = Client::new(&listener_settings, current, peer, local, has_tls, certificate);
                    tokio::task::spawn_local(speak(stream, is_h2, began, client, accepted_connection));
                }
            }
        }
        Ok(_too_many) => {}
    }
}

/// The time limit until HTTP begins: `limit`, but no longer than [`DRAIN_PATIENCE`] once draining has begun.
struct Opening {
    timer: Timer,
    limit: Option<Instant>,
}

impl Opening {
    async fn within<F: Future>(&mut self, guard: &DrainGuard, step: F) -> Result<F::Output, Elapsed> {
        let mut step = pin!(step);
        let mut drains = false;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = step.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if !drains && guard.poll_draining(cx).is_ready() {
                drains = true;
                self.limit = earlier(self.limit, deadline(Some(DRAIN_PATIENCE)));
            }
            self.timer.poll_elapsed(cx, self.limit).map(|()| Err(Elapsed))
        })
        .await
    }
}

/// Reads the PROXY header if a trusted proxy sends one. Returns the client that it names in place of the peer.
async fn proxied(
    mut socket: ConnectedSocket,
    peer: Peer,
    current: &CurrentSnapshot,
    accepted_connection: &AcceptedConnection,
    opening: &mut Opening,
) -> Result<(Socket, Peer), &'static str> {
    if !accepted_connection.listener_settings.proxy_protocol || !current.load().trusted_proxies.has(peer.ip())
    {
        return Ok((Socket::new(socket), peer));
    }
    let mut bytes = BytesMut::with_capacity(256);
    let header =
        opening.within(&accepted_connection.guard, proxy_protocol::read(&mut socket, &mut bytes)).await;
    let (client, early) = match header {
        Ok(Ok(header)) => header,
        // This is a probe, which opens a connection to see that it can. Load balancers do that all day.
        Ok(Err(_)) if bytes.is_empty() => return Err("client"),
        Err(_elapsed) if accepted_connection.guard.is_draining() => return Err("drain"),
        Err(_elapsed) if bytes.is_empty() => return Err("proxy_protocol"),
        Ok(Err(_)) | Err(_) => {
            accepted_connection.warn(
                "proxy_protocol",
                "a trusted proxy sent no valid PROXY header, and its connection was closed; configure it to send one, or \
                 remove its address from `trusted_proxies`",
            );
            return Err("proxy_protocol");
        }
    };
    let mut socket = Socket::new(socket);
    socket.unread(early);
    Ok((socket, client.map_or(peer, |client| Peer::Inet(client).canonical())))
}

/// Waits for the first byte of a TLS handshake. A probe opens a connection and sends nothing, which is not a failed handshake.
async fn spoken_to(
    socket: &mut Socket,
    accepted_connection: &AcceptedConnection,
    opening: &mut Opening,
) -> Result<(), &'static str> {
    match opening.within(&accepted_connection.guard, socket.has_first_byte()).await {
        Ok(true) => Ok(()),
        Ok(false) => Err("client"),
        Err(_elapsed) if accepted_connection.guard.is_draining() => Err("drain"),
        Err(_elapsed) => Err("timeouts.tls_handshake"),
    }
}

/// A connection on which HTTP begins.
struct Secured {
    stream: Stream,
    /// True if HTTP/2 was negotiated; `None` without TLS.
    is_h2: Option<bool>,
    /// The certificate that the client has shown.
    certificate: Option<ClientCertificate>,
}

/// Performs the TLS handshake if the listener has TLS.
async fn secured(
    socket: Socket,
    peer: Peer,
    accepted_connection: &AcceptedConnection,
    mut opening: Opening,
) -> Result<Secured, &'static str> {
    let stats = &accepted_connection.listener.stats;
    let Some(settings) = &accepted_connection.listener_settings.tls else {
        return Ok(Secured { stream: Stream::Plain(socket), is_h2: None, certificate: None });
    };
    match opening.within(&accepted_connection.guard, settings.acceptor.accept(socket)).await {
        Ok(Ok(stream)) => {
            let session = stream.get_ref().1;
            let is_h2 = Some(session.alpn_protocol() == Some(tls::ALPN_H2));
            let certificate = ClientCertificate::of(session);
            Ok(Secured { stream: Stream::Tls(Box::new(stream.into())), is_h2, certificate })
        }
        Ok(Err(error)) => {
            let why = tls::client_failure(&error);
            if tls::is_about_revocation_lists(&error) {
                accepted_connection.warn("client_auth.crl", &format!("a client is refused: {why}"));
            }
            tracing::debug!(listener = &*accepted_connection.listener_settings.name, %peer, "TLS handshake failed: {why}");
            stats.tls_failed(this_worker(), "handshake");
            Err("tls")
        }
        Err(_elapsed) if accepted_connection.guard.is_draining() => Err("drain"),
        Err(_elapsed) => {
            accepted_connection
                .warn("timeouts.tls_handshake", "a client did not finish its TLS handshake in time");
            stats.tls_failed(this_worker(), "timeouts.tls_handshake");
            Err("timeouts.tls_handshake")
        }
    }
}
