//! A pooled connection that serves one exchange at a time, and the lease of an exchange on a connection of any kind.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::net::clock;
use crate::upstream::close_reason::CloseReason;
use crate::upstream::pool::Slot;
use crate::upstream::pool::concurrency::Permit;
use crate::upstream::pool::shared::LocalLease;
use crate::upstream::transport::{Exclusive, Transport};

/// An open connection that no exchange uses.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) transport: Exclusive,
    pub(super) state: ConnectionState,
}

/// The pool's knowledge of a connection. It goes with the connection into each lease and back.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    /// Its slot in the pool's count. Dropped without a reason, the connection counts as cancelled.
    pub(super) slot: Slot,
    /// The number of requests that it has served.
    pub(super) served: u64,
    /// True if it was kept for a while, so that its peer may have closed it unnoticed.
    pub(super) kept: bool,
    pub(super) age: Age,
}

/// One exchange on a connection. An exclusive connection has one lease at a time and is idle in between; a shared one has several.
#[derive(Debug)]
pub(crate) struct Lease {
    held: Held,
    /// The request's part of `max_concurrent`, if there is such a limit.
    permit: Option<Permit>,
}

#[derive(Debug)]
enum Held {
    Exclusive(ConnectionState),
    Shared(LocalLease),
    /// The lease is with the request, on the worker of the connection.
    Remote,
}

impl Connection {
    /// Leases the connection for an exchange on its transport, which comes first so that its socket is dropped before the
    /// slot.
    pub(super) fn lease(self) -> (Transport, Lease) {
        (Transport::Exclusive(self.transport), Lease::of(Held::Exclusive(self.state)))
    }

    pub(super) fn pool_number(&self) -> u64 {
        self.state.slot.pool().number
    }

    pub(super) fn count_idle(&self, change: i64) {
        self.state.slot.pool().count_idle(change);
    }

    /// Closes the socket, then frees its slot: there are never more sockets than slots.
    pub(super) fn close(self, reason: CloseReason) {
        self.transport.close();
        self.state.slot.close(reason);
    }
}

/// The kind of connection that can serve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A kept one that is alive, or a new one.
    Any,
    /// Like `Any`, but not one that its server may be about to close, because the request could not be sent again.
    Settled,
    /// A new one, or one that is shared.
    Fresh,
    /// A connection that serves no other exchange, for a protocol that takes it over.
    Exclusive,
}

impl Wanted {
    pub(super) fn serves(self, kept: &Connection) -> bool {
        match self {
            Wanted::Any | Wanted::Exclusive => true,
            Wanted::Settled => kept.transport.settles_after().is_none(),
            Wanted::Fresh => false,
        }
    }
}

impl Lease {
    fn of(held: Held) -> Self {
        Self { held, permit: None }
    }

    /// Holds the request's permit until the lease ends.
    pub(in crate::upstream) fn hold(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    /// Returns the first lease of an exclusive connection that was just opened.
    pub(in crate::upstream) fn first(slot: Slot) -> Self {
        let state = ConnectionState { slot, served: 0, kept: false, age: Age::begin() };
        Self::of(Held::Exclusive(state))
    }

    /// Returns a lease of a shared connection of this worker.
    pub(super) fn local(lease: LocalLease) -> Self {
        Self::of(Held::Shared(lease))
    }

    /// Returns the lease of an exchange whose real one is with its request, on another worker.
    pub(in crate::upstream) fn remote() -> Self {
        Self::of(Held::Remote)
    }

    /// Returns true if the connection was kept for a while, so that its peer may have closed it unnoticed.
    pub(in crate::upstream) fn is_kept(&self) -> bool {
        match &self.held {
            Held::Exclusive(state) => state.kept,
            Held::Shared(lease) => lease.is_kept(),
            Held::Remote => true,
        }
    }

    /// Counts the request that is about to be sent.
    pub(in crate::upstream) fn count_request(&mut self) {
        match &mut self.held {
            Held::Exclusive(state) => state.served += 1,
            Held::Shared(lease) => lease.count_request(),
            Held::Remote => {}
        }
    }

    /// Returns a connection that served no exchange.
    pub(crate) fn give_back(self, transport: Transport) {
        match transport {
            Transport::Exclusive(transport) => self.finish(Ok(Some(transport))),
            Transport::Shared(_) | Transport::Remote(_) => {}
        }
    }

    /// Ends the exchange. An exclusive connection returns to the pool, or its slot is freed for this reason. Its socket must
    /// be closed by then.
    pub(crate) fn finish(self, transport: Result<Option<Exclusive>, CloseReason>) {
        let Held::Exclusive(state) = self.held else { return };
        match transport {
            Ok(Some(transport)) => {
                let pool = state.slot.pool().clone();
                pool.release(Connection { transport, state });
            }
            // The gateway asked it to close.
            Err(CloseReason::Peer) if !state.slot.pool().settings().keep_alive => {
                state.slot.close(CloseReason::KeepAliveOff);
            }
            Ok(None) => state.slot.close(CloseReason::Cancelled),
            Err(reason) => state.slot.close(reason),
        }
    }

    /// Frees the slot of an exclusive connection that is closed by now.
    pub(in crate::upstream) fn close(self, reason: CloseReason) {
        if let Held::Exclusive(state) = self.held {
            state.slot.close(reason);
        }
    }
}

/// The time at which a connection was opened, and its share of the lifetime limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Age {
    opened: Instant,
    /// The lifetime in ten-thousandths of the limit. It varies so that connections opened together do not expire
    /// together.
    share: u32,
}

impl Age {
    /// Returns the age of a connection that was just opened. Its lifetime will be the limit, give or take a tenth.
    pub(crate) fn begin() -> Self {
        // Each RandomState has its own keys, so a hash by it is a random number.
        let random = u32::try_from(RandomState::new().hash_one(()) % 2001).unwrap_or(1000);
        Self { opened: clock::now(), share: 9_000 + random }
    }

    /// Returns the time at which it is too old under this limit.
    pub(crate) fn expires(self, max_lifetime: Option<Duration>) -> Option<Instant> {
        let lifetime = max_lifetime?.saturating_mul(self.share) / 10_000;
        // A time beyond what the clock can hold is as good as never.
        self.opened.checked_add(lifetime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_spread_by_a_tenth_under_whichever_limit() {
        for seconds in [10, 100] {
            let lifetime = Duration::from_secs(seconds);
            let lived = |age: Age| age.expires(Some(lifetime)).unwrap() - age.opened;
            let spread: Vec<Duration> = (0..200).map(|_| lived(Age::begin())).collect();
            let tenth = lifetime / 10;
            assert!(
                spread.iter().all(|age| *age >= lifetime - tenth && *age <= lifetime + tenth),
                "{spread:?}"
            );
            assert!(spread.iter().any(|age| *age < lifetime) && spread.iter().any(|age| *age > lifetime));
        }
        assert_eq!(Age::begin().expires(None), None);
    }
}
