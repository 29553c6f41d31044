//! The grants of shared connections: which request gets a place, on the connection of which worker.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::{Acquired, Grant, Pool, Queue, StreamLease};
use crate::observe::metrics::this_worker;
use crate::upstream::pool::commands::RemoteJob;

impl Pool {
    /// Gives free places on shared connections to the requests that have waited longest.
    pub(super) fn grant_streams(self: &Arc<Self>) {
        while self.waiting.load(SeqCst) > 0 {
            let (waiter, lease) = {
                let mut queue = self.lock();
                let Some(worker) = queue.next_worker() else { return };
                let Some(lease) = self.free_stream(&queue, worker) else { return };
                let waiter = queue.pop_for_connection();
                self.publish(&mut queue);
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
