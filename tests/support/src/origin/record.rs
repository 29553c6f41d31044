//! The record of an origin's connections.

use std::sync::{Arc, Mutex};

use rustls::server::ServerConnection;
use rustls::{HandshakeKind, ProtocolVersion};
use tokio::sync::watch;

use crate::message::Request;
use crate::within;

/// The record that an origin shares with its connections. A change wakes the tasks that [wait](Self::wait).
#[derive(Debug, Default)]
pub(super) struct Record {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) accepted: usize,
    pub(super) open: usize,
    pub(super) requests: Vec<Request>,
    pub(super) handshakes: Vec<Handshake>,
    pub(super) errors: Vec<String>,
    pub(super) stopped: bool,
}

/// A completed TLS handshake, from the origin's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// True if it resumed an earlier session instead of showing a certificate.
    pub resumed: bool,
    /// The server name that the client requested.
    pub sni: Option<String>,
    /// The protocol that ALPN agreed on.
    pub alpn: Option<String>,
    /// The client's certificate as DER.
    pub client_certificate: Option<Vec<u8>>,
    /// True for TLS 1.3, false for 1.2.
    pub tls13: bool,
}

impl Handshake {
    pub(super) fn of(tls: &ServerConnection) -> Self {
        Self {
            resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
            sni: tls.server_name().map(str::to_owned),
            alpn: tls.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
            client_certificate: tls
                .peer_certificates()
                .and_then(|chain| chain.first())
                .map(|cert| cert.to_vec()),
            tls13: tls.protocol_version() == Some(ProtocolVersion::TLSv1_3),
        }
    }
}

impl Record {
    pub(super) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.lock().unwrap())
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let answer = change(&mut self.state.lock().unwrap());
        self.changed.send_replace(());
        answer
    }

    pub(super) fn accepted(self: &Arc<Self>) -> Opened {
        let number = self.change(|state| {
            state.accepted += 1;
            state.open += 1;
            state.accepted - 1
        });
        Opened { record: Arc::clone(self), number }
    }

    pub(super) fn request(&self, request: Request) {
        self.change(|state| state.requests.push(request));
    }

    pub(super) fn handshake(&self, handshake: Handshake) {
        self.change(|state| state.handshakes.push(handshake));
    }

    pub(super) fn error(&self, error: String) {
        self.change(|state| state.errors.push(error));
    }

    pub(super) fn stops_at_drop(self: &Arc<Self>) -> impl Drop + Send + use<> {
        Stopped(Arc::clone(self))
    }

    pub(super) async fn wait(&self, what: &str, reached: impl Fn(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        let reached = async {
            while !self.read(&reached) {
                changed.changed().await.expect("the record holds the sender");
            }
        };
        within(what, reached).await;
    }
}

/// An accepted connection, recorded as closed when dropped.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) record: Arc<Record>,
    pub(super) number: usize,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.record.change(|state| state.open -= 1);
    }
}

struct Stopped(Arc<Record>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.change(|state| state.stopped = true);
    }
}
