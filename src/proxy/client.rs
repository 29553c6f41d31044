//! A client connection as its requests see it: where it came in, from whom, and which snapshot is current.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::Version;
use http::uri::Scheme;
use tokio::time::Instant;

use crate::filter::RequestInfo;
use crate::http::forward;
use crate::http::forward::Forwarding;
use crate::snapshot::listener::{ConnectionLimits, ListenerSettings};
use crate::snapshot::{Route, Snapshot, Telemetry};

/// A worker's hold on a snapshot: requests count on this, and not on what all workers share.
pub(crate) struct LocalSnapshot {
    snapshot: Arc<Snapshot>,
    /// By itself, so that a long stream holds no routes but its own.
    telemetry: Rc<Telemetry>,
    /// How many this worker had before.
    number: u64,
}

impl LocalSnapshot {
    fn new(snapshot: Arc<Snapshot>, number: u64) -> Rc<Self> {
        let telemetry = Rc::new(snapshot.telemetry.clone());
        Rc::new(Self { snapshot, telemetry, number })
    }

    /// What a request needs until its end.
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

/// The current snapshot as one worker knows it: a request costs a pointer comparison and a count that no other
/// thread touches.
pub(crate) struct CurrentSnapshot {
    shared: Arc<ArcSwap<Snapshot>>,
    seen: RefCell<Rc<LocalSnapshot>>,
}

impl CurrentSnapshot {
    pub(crate) fn new(shared: Arc<ArcSwap<Snapshot>>) -> Rc<Self> {
        let seen = RefCell::new(LocalSnapshot::new(shared.load_full(), 0));
        Rc::new(Self { shared, seen })
    }

    /// The snapshot for a request that begins now.
    pub(crate) fn load(&self) -> Rc<LocalSnapshot> {
        let newest = self.shared.load();
        let mut seen = self.seen.borrow_mut();
        if !Arc::ptr_eq(&newest, &seen.snapshot) {
            *seen = LocalSnapshot::new(newest.clone(), seen.number + 1);
        }
        seen.clone()
    }
}

thread_local! {
    /// How many connections this worker has had.
    static CONNECTIONS: Cell<u64> = const { Cell::new(0) };
}

/// One client connection.
pub(crate) struct Client {
    current: Rc<CurrentSnapshot>,
    peer: SocketAddr,
    /// The listener's own address.
    local: SocketAddr,
    /// No other one's of this worker.
    number: u64,
    scheme: Scheme,
    settings: RefCell<Rc<ConnectionSettings>>,
    /// What the request begins with whose head is coming in, on HTTP/1.
    next: Cell<Option<RequestStart>>,
}

/// What a snapshot says of one connection. Made anew when the snapshot is another one; an idle connection keeps this,
/// but not the snapshot itself.
pub(crate) struct ConnectionSettings {
    /// Of its listener; the last one of a listener that was removed.
    pub(crate) listener_settings: Arc<ListenerSettings>,
    pub(crate) forwarding: Forwarding,
    /// The number of the snapshot.
    number: u64,
}

/// What a request begins with, and ends with.
pub(crate) struct RequestStart {
    pub(crate) snapshot: Rc<LocalSnapshot>,
    /// What the snapshot says of the connection.
    pub(crate) settings: Rc<ConnectionSettings>,
}

impl Client {
    /// A connection that came in by `listener_settings`, from `peer`, or from whom a PROXY header told of, to the listener's address.
    pub(crate) fn new(
        listener_settings: &Arc<ListenerSettings>,
        current: Rc<CurrentSnapshot>,
        peer: SocketAddr,
        local: SocketAddr,
        tls: bool,
    ) -> Rc<Self> {
        let scheme = if tls { Scheme::HTTPS } else { Scheme::HTTP };
        let settings = ConnectionSettings::new(listener_settings, &current.load(), peer.ip(), &scheme);
        let number = CONNECTIONS.get();
        CONNECTIONS.set(number + 1);
        Rc::new(Self {
            current,
            number,
            local,
            peer,
            scheme,
            settings: RefCell::new(Rc::new(settings)),
            next: Cell::default(),
        })
    }

    /// What a request begins with: as of now, or as of the first byte of its head.
    pub(crate) fn begin(&self) -> RequestStart {
        self.next.take().unwrap_or_else(|| self.latest())
    }

    /// The present snapshot, and what it says of this connection.
    fn latest(&self) -> RequestStart {
        let snapshot = self.current.load();
        let mut settings = self.settings.borrow_mut();
        if settings.number != snapshot.number {
            *settings = Rc::new(ConnectionSettings::new(
                &settings.listener_settings,
                &snapshot,
                self.peer.ip(),
                &self.scheme,
            ));
        }
        let settings = settings.clone();
        RequestStart { snapshot, settings }
    }

    /// Limits and timeouts as of now.
    pub(crate) fn options(&self) -> Arc<ConnectionLimits> {
        self.latest().settings.listener_settings.options.clone()
    }

    /// Brings limits and timeouts up to date. Called when a request begins to arrive; they hold until the next one does.
    pub(crate) fn refresh(&self, options: &mut Arc<ConnectionLimits>) {
        let start = self.latest();
        let newest = &start.settings.listener_settings.options;
        if !Arc::ptr_eq(options, newest) {
            options.clone_from(newest);
        }
        self.next.set(Some(start));
    }

    /// The address at the other end, or the one that a PROXY header told of.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// What does not change while a request is served, for its filters.
    pub(crate) fn request_info(
        &self,
        version: Version,
        settings: &ConnectionSettings,
        route: &Route,
        began: Instant,
    ) -> RequestInfo {
        RequestInfo {
            client: self.peer,
            local: self.local,
            connection: self.number,
            tls: self.scheme == Scheme::HTTPS,
            version,
            listener: settings.listener_settings.name.clone(),
            route: route.name.clone(),
            request_bytes_max: route.body_bytes_max.unwrap_or(settings.listener_settings.body_bytes_max),
            began,
        }
    }

    /// How the client came in.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.scheme == Scheme::HTTPS { "https" } else { "http" }
    }
}

impl ConnectionSettings {
    fn new(last: &Arc<ListenerSettings>, snapshot: &LocalSnapshot, peer: IpAddr, scheme: &Scheme) -> Self {
        let listener_settings = snapshot.listener_settings(last).unwrap_or(last).clone();
        let trusted = forward::is_trusted(peer, &snapshot.trusted_proxies);
        Self {
            listener_settings,
            forwarding: Forwarding::new(peer, scheme, trusted),
            number: snapshot.number,
        }
    }
}
