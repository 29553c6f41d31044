//! Places in the queue, each of a request, and the grants that end their wait. Dropping one passes it to the next request.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::shared::StreamLease;
use super::{Pool, Slot};
use crate::observe::metrics::this_worker;
use crate::upstream::pool::connection::Connection;
use crate::upstream::pool::queue::Waiter;

/// The grant that ends a request's wait.
pub(crate) enum Grant {
    /// An exclusive connection that became free.
    Connection(Box<Connection>),
    /// A place on a shared connection.
    Stream(StreamLease),
    /// A permit to open a connection.
    Dial(Slot),
}

/// A place in the queue. A grant that arrives just as the request leaves passes to the next one.
pub(super) struct Place {
    pub(super) pool: Arc<Pool>,
    pub(super) number: u64,
    pub(super) granted: oneshot::Receiver<Grant>,
}

impl Place {
    /// Re-enqueues the request at its old place because it cannot use the granted connection. It now waits for a permit
    /// to dial. The caller must close that connection next.
    pub(super) fn wait_to_dial(&mut self, granted: &mut Connection) {
        let mut queue = self.pool.lock();
        granted.state.slot.leave(&mut queue);
        let (grant, granted) = oneshot::channel();
        queue.put_back_to_dial(Waiter { number: self.number, worker: this_worker(), grant });
        self.granted = granted;
    }

    /// Re-enqueues the request at its old place because it cannot share a connection. It now waits for a permit to dial. As its
    /// dial is promised, one connection may be too many, which is then closed to make room.
    pub(super) fn wait_for_room(&mut self) {
        let (grant, granted) = oneshot::channel();
        {
            let mut queue = self.pool.lock();
            queue.put_back_to_dial(Waiter { number: self.number, worker: this_worker(), grant });
            self.pool.publish(&mut queue);
        }
        self.granted = granted;
        self.pool.limits_changed();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.granted.close();
        match self.granted.try_recv() {
            Ok(Grant::Connection(connection)) => self.pool.release(*connection),
            Ok(Grant::Stream(lease)) => drop(lease),
            Ok(Grant::Dial(slot)) => drop(slot),
            Err(_nothing_granted) => {
                let mut queue = self.pool.lock();
                queue.remove(self.number);
                self.pool.publish(&mut queue);
            }
        }
    }
}
