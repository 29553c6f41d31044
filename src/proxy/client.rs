//! A client connection as its requests see it: its listener, its peer, and the current snapshot.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::uri::Scheme;
use http::{Method, Version};
use tokio::time::Instant;

use crate::config::SocketAddress;
use crate::filter::RequestInfo;
use crate::http::fields::Fields;
use crate::http::forward::Forwarding;
use crate::net::peer::Peer;
use crate::net::tls::ClientCertificate;
use crate::snapshot::listener::{ConnectionLimits, ListenerSettings};
use crate::snapshot::{Route, Snapshot, Telemetry};

/// A worker's reference to a snapshot. Requests share its count, instead of one that all workers share.
pub(crate) struct LocalSnapshot {
    snapshot: Arc<Snapshot>,
    /// Held separately, so that a long stream keeps no routes alive but its own.
    telemetry: Rc<Telemetry>,
    /// The number of snapshots that this worker had before.
    number: u64,
}

impl LocalSnapshot {
    fn new(snapshot: Arc<Snapshot>, number: u64) -> Rc<Self> {
        let telemetry = Rc::new(snapshot.telemetry.clone());
        Rc::new(Self { snapshot, telemetry, number })
    }

    /// Returns the part of the snapshot that a request needs until its end.
    pub(crate) fn telemetry(&self) -> &Rc<Telemetry> {
        &self.telemetry
    }
}

impl Deref for LocalSnapshot {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

/// A worker's cache of the current snapshot. A request costs a pointer comparison and a count that no other thread
/// touches.
pub(crate) struct CurrentSnapshot {
    shared: Arc<ArcSwap<Snapshot>>,
    cached: RefCell<Rc<LocalSnapshot>>,
}

impl CurrentSnapshot {
    pub(crate) fn new(shared: Arc<ArcSwap<Snapshot>>) -> Rc<Self> {
        let cached = RefCell::new(LocalSnapshot::new(shared.load_full(), 0));
        Rc::new(Self { shared, cached })
    }

    /// Returns the snapshot for a request that begins now.
    pub(crate) fn load(&self) -> Rc<LocalSnapshot> {
        let newest = self.shared.load();
        let mut cached = self.cached.borrow_mut();
        if !Arc::ptr_eq(&newest, &cached.snapshot) {
            *cached = LocalSnapshot::new(newest.clone(), cached.number + 1);
        }
        cached.clone()
    }
}

thread_local! {
    /// The number of connections that this worker has had.
    static CONNECTIONS: Cell<u64> = const { Cell::new(0) };
}

pub(crate) struct Client {
    current: Rc<CurrentSnapshot>,
    peer: Peer,
    /// The listener's own address.
    local: SocketAddress,
    /// A number that is unique among the connections of this worker.
    number: u64,
    scheme: Scheme,
    /// The certificate that the client has shown, if the listener asks for one.
    certificate: Option<Rc<ClientCertificate>>,
    settings: RefCell<Rc<ConnectionSettings>>,
    /// The start of the next request, from [`Client::refresh`] to [`Client::begin`].
    next: Cell<Option<RequestStart>>,
}

/// The settings of one connection under one snapshot, made again when the snapshot changes. An idle connection holds
/// these, but not the snapshot itself.
pub(crate) struct ConnectionSettings {
    /// The settings of its listener, or the last ones if the listener has been removed.
    pub(crate) listener_settings: Arc<ListenerSettings>,
    pub(crate) forwarding: Forwarding,
    /// The number of the snapshot that they were made from.
    number: u64,
}

/// The snapshot and the settings that hold for a request from its beginning to its end.
pub(crate) struct RequestStart {
    pub(crate) snapshot: Rc<LocalSnapshot>,
    /// The snapshot's settings for the connection.
    pub(crate) settings: Rc<ConnectionSettings>,
}

impl RequestStart {
    /// Returns the address of the client that sends a request with these fields, as it was received; `None` on a Unix socket.
    pub(crate) fn client_ip(&self, received: &Fields) -> Option<IpAddr> {
        self.settings.forwarding.client_ip(received, &self.snapshot.trusted_proxies)
    }
}

impl Client {
    /// Returns a client connection accepted on the listener of `listener_settings`. `peer` is the client, or the
    /// address that a PROXY header named; `local` is the listener's address. `certificate` is the one that the client has shown.
    pub(crate) fn new(
        listener_settings: &Arc<ListenerSettings>,
        current: Rc<CurrentSnapshot>,
        peer: Peer,
        local: SocketAddress,
        tls: bool,
        certificate: Option<ClientCertificate>,
    ) -> Rc<Self> {
        let scheme = if tls { Scheme::HTTPS } else { Scheme::HTTP };
        let settings = ConnectionSettings::new(listener_settings, &current.load(), peer, &scheme);
        let number = CONNECTIONS.get();
        CONNECTIONS.set(number + 1);
        Rc::new(Self {
            current,
            number,
            local,
            peer,
            scheme,
            certificate: certificate.map(Rc::new),
            settings: RefCell::new(Rc::new(settings)),
            next: Cell::default(),
        })
    }

    /// Returns the start of a request: that of the first byte of its head, or the current one.
    pub(crate) fn begin(&self) -> RequestStart {
        self.next.take().unwrap_or_else(|| self.latest())
    }

    /// Returns the current snapshot and its settings for this connection.
    fn latest(&self) -> RequestStart {
        let snapshot = self.current.load();
        let mut settings = self.settings.borrow_mut();
        if settings.number != snapshot.number {
            *settings = Rc::new(ConnectionSettings::new(
                &settings.listener_settings,
                &snapshot,
                self.peer,
                &self.scheme,
            ));
        }
        let settings = settings.clone();
        RequestStart { snapshot, settings }
    }

    /// Returns the current limits and timeouts.
    pub(crate) fn options(&self) -> Arc<ConnectionLimits> {
        self.latest().settings.listener_settings.options.clone()
    }

    /// Brings limits and timeouts up to date. Called when a request begins to arrive; they hold until the next one
    /// does.
    pub(crate) fn refresh(&self, options: &mut Arc<ConnectionLimits>) {
        let start = self.latest();
        let newest = &start.settings.listener_settings.options;
        if !Arc::ptr_eq(options, newest) {
            options.clone_from(newest);
        }
        self.next.set(Some(start));
    }

    /// Returns the address of the client, or the one that a PROXY header named.
    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }

    /// Returns the verified certificate of the client, if it has shown one.
    pub(crate) fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.as_deref()
    }

    /// Returns the facts about a request that its filters can read, but for those that policies have found out. They do not change while it
    /// is served.
    pub(crate) fn request_info(
        &self,
        method: Method,
        version: Version,
        settings: &ConnectionSettings,
        route: &Route,
        began: Instant,
    ) -> RequestInfo {
        RequestInfo {
            client: self.peer,
            local: self.local.clone(),
            connection: self.number,
            tls: self.scheme == Scheme::HTTPS,
            certificate: self.certificate.clone(),
            identity: None,
            request_id: None,
            trace: None,
            method,
            version,
            listener: settings.listener_settings.name.clone(),
            route: route.name.clone(),
            request_bytes_max: route.body_bytes_max.unwrap_or(settings.listener_settings.body_bytes_max),
            began,
        }
    }

    /// Returns the scheme that the client used.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.scheme == Scheme::HTTPS { "https" } else { "http" }
    }
}

impl ConnectionSettings {
    fn new(last: &Arc<ListenerSettings>, snapshot: &LocalSnapshot, peer: Peer, scheme: &Scheme) -> Self {
        let listener_settings = snapshot.listener_settings(last).unwrap_or(last).clone();
        let trusted = snapshot.trusted_proxies.has(peer.ip());
        Self {
            listener_settings,
            forwarding: Forwarding::new(peer.ip(), scheme, trusted),
            number: snapshot.number,
        }
    }
}
