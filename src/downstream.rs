//! A client connection as its requests see it: where it came in, from whom, and which snapshot is current.

use std::cell::RefCell;
use std::future::Future;
use std::net::IpAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::uri::Scheme;

use crate::body::Body;
use crate::error::Error;
use crate::forward::{self, Forwarding};
use crate::http1::{Call, Reply, Service};
use crate::proxy;
use crate::record::Record;
use crate::snapshot::{Snapshot, Telemetry};

/// A worker's hold on a snapshot: requests count on this, and not on what all workers share.
pub(crate) struct LocalSnapshot {
    snapshot: Arc<Snapshot>,
    /// By itself, so that a long stream holds no routes but its own.
    telemetry: Rc<Telemetry>,
}

impl LocalSnapshot {
    fn new(snapshot: Arc<Snapshot>) -> Rc<Self> {
        let telemetry = Rc::new(snapshot.telemetry.clone());
        Rc::new(Self { snapshot, telemetry })
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
pub(crate) struct Current {
    shared: Arc<ArcSwap<Snapshot>>,
    seen: RefCell<Rc<LocalSnapshot>>,
}

impl Current {
    pub(crate) fn new(shared: Arc<ArcSwap<Snapshot>>) -> Rc<Self> {
        let seen = RefCell::new(LocalSnapshot::new(shared.load_full()));
        Rc::new(Self { shared, seen })
    }

    /// The snapshot for a request that begins now.
    pub(crate) fn load(&self) -> Rc<LocalSnapshot> {
        let newest = self.shared.load();
        let mut seen = self.seen.borrow_mut();
        if !Arc::ptr_eq(&newest, &seen.snapshot) {
            *seen = LocalSnapshot::new(newest.clone());
        }
        seen.clone()
    }
}

/// What requests have to know of the listener that they came in through.
pub(crate) struct Entrance {
    /// Its position in the configuration.
    pub(crate) index: usize,
    pub(crate) name: Arc<str>,
    /// `limits.body`, where a route has none of its own.
    pub(crate) body_bytes_max: Option<u64>,
}

/// One client connection.
pub(crate) struct Downstream {
    entrance: Arc<Entrance>,
    current: Rc<Current>,
    peer: IpAddr,
    forwarding: Forwarding,
}

impl Downstream {
    pub(crate) fn new(entrance: Arc<Entrance>, current: Rc<Current>, peer: IpAddr, tls: bool) -> Rc<Self> {
        let scheme = if tls { Scheme::HTTPS } else { Scheme::HTTP };
        let trusted = forward::is_trusted(peer, &current.load().trusted_proxies);
        Rc::new(Self { entrance, current, peer, forwarding: Forwarding::new(peer, &scheme, trusted) })
    }

    /// The snapshot for a request that begins now.
    pub(crate) fn snapshot(&self) -> Rc<LocalSnapshot> {
        self.current.load()
    }

    /// The listener that it came in through.
    pub(crate) fn entrance(&self) -> &Entrance {
        &self.entrance
    }

    /// The address at the other end, or the one that a PROXY header told of.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }

    pub(crate) fn forwarding(&self) -> &Forwarding {
        &self.forwarding
    }
}

impl Service for Downstream {
    type Record = Record;

    fn call(&self, request: http::Request<Body>, call: Call) -> impl Future<Output = Reply<Record>> {
        proxy::serve(self, request, call)
    }

    fn refuse(&self, error: Error) -> Reply<Record> {
        proxy::refuse(error, Record::unreadable(self, &self.snapshot()))
    }
}
