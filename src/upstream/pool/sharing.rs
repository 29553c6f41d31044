//! The protocol that a pool expects of its connections: one request at a time, or many.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize};

use super::{Acquired, Grant, Pool, Queue, StreamLease, Wanted};
use crate::config::UpstreamProtocol;
use crate::observe::metrics::this_worker;
use crate::upstream::pool::commands::RemoteJob;

/// The expectation, and where it comes from.
#[derive(Debug)]
pub(super) struct Sharing {
    protocol: UpstreamProtocol,
    /// The protocol of the last connection, if the endpoint has a choice.
    known: AtomicU8,
    /// The most requests at once on the last shared connection; 0 before the first one.
    streams: AtomicUsize,
    /// True if the last shared connection takes upgrades (RFC 8441).
    takes_upgrades: AtomicBool,
}

const UNKNOWN: u8 = 0;
const EXCLUSIVE: u8 = 1;
const SHARED: u8 = 2;

impl Sharing {
    pub(super) fn new(protocol: UpstreamProtocol) -> Self {
        Self {
            protocol,
            known: AtomicU8::new(UNKNOWN),
            streams: AtomicUsize::new(0),
            takes_upgrades: AtomicBool::new(false),
        }
    }
}

impl Pool {
    /// Records that the last connection that was opened is shared, or is not.
    pub(in crate::upstream) fn learn(&self, is_shared: bool) {
        self.sharing.known.store(if is_shared { SHARED } else { EXCLUSIVE }, SeqCst);
    }

    /// Records how many requests at once a shared connection takes.
    pub(super) fn learn_streams(&self, max: usize) {
        self.sharing.streams.store(max, SeqCst);
    }

    /// Records that the last shared connection takes upgrades, or does not.
    pub(super) fn learn_upgrades(&self, takes: bool) {
        self.sharing.takes_upgrades.store(takes, SeqCst);
    }

    /// Returns true if an upgrade goes on a shared connection: the endpoint takes it there, or speaks nothing else.
    pub(in crate::upstream) fn upgrades_shared(&self) -> bool {
        match self.sharing.protocol {
            UpstreamProtocol::H1 => false,
            UpstreamProtocol::H2 => true,
            UpstreamProtocol::Auto => {
                self.sharing.known.load(SeqCst) == SHARED && self.sharing.takes_upgrades.load(SeqCst)
            }
        }
    }

    /// Returns true if such a request may share a connection.
    pub(super) fn may_share(&self, wanted: Wanted) -> bool {
        self.sharing.protocol != UpstreamProtocol::H1 && wanted != Wanted::Exclusive
    }

    /// Returns true if the next connection is expected to be shared, so that a dial may serve several such requests.
    pub(in crate::upstream) fn expects_shared(&self, wanted: Wanted) -> bool {
        let is_expected = match self.sharing.protocol {
            UpstreamProtocol::H1 => false,
            UpstreamProtocol::H2 => true,
            UpstreamProtocol::Auto => self.sharing.known.load(SeqCst) != EXCLUSIVE,
        };
        is_expected && wanted != Wanted::Exclusive
    }

    /// Returns the number of requests that a connection is expected to serve. Until the protocol is known, one dial of a worker is
    /// enough.
    pub(super) fn seats_max(&self) -> usize {
        let settings = self.settings();
        let requests_max =
            settings.max_requests.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        let requests_max = if settings.keep_alive { requests_max } else { 1 };
        let is_unknown = self.sharing.known.load(SeqCst) == UNKNOWN;
        if is_unknown && self.sharing.protocol == UpstreamProtocol::Auto {
            // As many as may wait for a connection, and the one that dials.
            return settings.max_pending.saturating_add(1);
        }
        let streams = match self.sharing.streams.load(SeqCst) {
            0 => settings.max_streams,
            streams => streams.min(settings.max_streams),
        };
        streams.min(requests_max)
    }

    /// Gives free places on shared connections to the requests that have waited longest.
    pub(super) fn grant_streams(self: &Arc<Self>) {
        while self.waiting.load(SeqCst) > 0 {
            let (waiter, lease) = {
                let mut queue = self.lock();
                let Some(worker) = queue.next_worker() else { return };
                let Some(lease) = self.free_stream(&queue, worker) else { return };
                let waiter = queue.pop_for_connection();
                self.publish(&queue);
                (waiter, lease)
            };
            // A receiver that no longer waits drops the lease, which goes to the next one.
            drop(waiter.map(|waiter| waiter.grant.send(Grant::Stream(lease))));
        }
    }

    /// Takes a lease of a shared connection, of one of `worker` if possible.
    pub(super) fn free_stream(self: &Arc<Self>, queue: &Queue<Grant>, worker: usize) -> Option<StreamLease> {
        let leases = queue.take_lease(worker, self.requests_max())?;
        Some(StreamLease::taken(self.clone(), leases))
    }

    /// Returns the most requests on one connection.
    pub(super) fn requests_max(&self) -> u64 {
        self.settings().max_requests.unwrap_or(u64::MAX)
    }

    /// Returns a place on a shared connection as its request uses it.
    pub(super) fn shared_grant(&self, lease: StreamLease) -> Acquired {
        self.count(|counts| {
            counts.acquired.add(1);
            counts.reused.add(1);
        });
        if lease.worker() != this_worker() {
            return Acquired::Elsewhere(lease);
        }
        match lease.here() {
            Ok(leased) => Acquired::Reused(leased),
            Err(lease) => Acquired::Elsewhere(lease),
        }
    }

    /// Has a worker review its connections of this pool.
    pub(super) fn review_on(self: &Arc<Self>, worker: usize) {
        if let Some(channel) = self.channels.get(worker) {
            channel.limits_changed(self);
        }
    }

    /// Runs a request on a shared connection of another worker. Returns false if that worker takes no more.
    pub(in crate::upstream) fn run_on(&self, worker: usize, job: RemoteJob) -> bool {
        self.channels.get(worker).is_some_and(|channel| channel.run(job))
    }
}
