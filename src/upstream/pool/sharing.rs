//! The protocol that a pool expects of its connections: one request at a time, or many.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize};

use super::{Pool, Wanted};
use crate::config::UpstreamProtocol;

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

    /// Returns the number of requests that one connection carries at once, as far as it is known.
    pub(super) fn requests_per_connection(&self) -> usize {
        let is_shared = self.sharing.streams.load(SeqCst) > 0 && self.expects_shared(Wanted::Any);
        if is_shared { self.seats_max() } else { 1 }
    }

    /// Returns the most requests on one connection.
    pub(super) fn requests_max(&self) -> u64 {
        self.settings().max_requests.unwrap_or(u64::MAX)
    }
}
