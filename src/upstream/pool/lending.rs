//! Idle connections that move to a worker which would have to open one.
//!
//! With little traffic and many workers, each would open a connection that it seldom needs, and that is closed before the worker's next
//! turn. A connection that its worker has not needed for a while serves another one instead. With traffic there is no such connection: each
//! worker soon has those that it needs, opens others seldom, and moving one would cost both workers more than it saves.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::connection::{Connection, Wanted};
use super::{Pool, idle};
use crate::net::timer::{Timer, deadline};
use crate::observe::metrics::this_worker;
use crate::upstream::close_reason::CloseReason;

/// A connection moves once it has been idle for this long.
const IDLE_MIN: Duration = Duration::from_secs(1);

/// The longest wait for the other worker, which may be busy: about as long as opening a connection nearby takes.
const PATIENCE: Duration = Duration::from_millis(2);

/// The most workers that are asked, one after the other.
const ASKED_MAX: usize = 4;

/// A worker's request for a connection of a pool, which goes from worker to worker. Dropping it says that there is none.
pub(super) struct Loan {
    pool: Arc<Pool>,
    borrower: usize,
    asked: usize,
    reply: oneshot::Sender<Lent>,
}

/// A connection that moves, and the time since which it has been idle.
type Lent = Box<(Connection, Instant)>;

/// The wait for a connection. One that arrives as the wait ends is kept by this worker.
struct Borrowing {
    pool: Arc<Pool>,
    reply: oneshot::Receiver<Lent>,
}

impl Pool {
    /// Returns an idle connection that another worker does not need, if there is one.
    pub(super) async fn borrow(self: &Arc<Self>, timer: &Timer, wanted: Wanted) -> Option<Connection> {
        let is_late = self.waiting.load(SeqCst) > 0;
        if is_late || wanted == Wanted::Fresh || self.expects_shared(wanted) || self.idle() == 0 {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        let mut borrowing = Borrowing { pool: self.clone(), reply: receiver };
        Loan { pool: self.clone(), borrower: this_worker(), asked: 0, reply: sender }.ask(this_worker());
        let lent = timer.within(deadline(Some(PATIENCE)), &mut borrowing.reply).await;
        let lent = lent.ok()?.ok()?;
        if !wanted.serves(&lent.0) {
            self.take_back(*lent);
            return None;
        }
        self.count(|counts| counts.borrowed.add(1));
        Some(lent.0)
    }

    /// Keeps a connection that was not needed after all.
    fn take_back(&self, (connection, since): (Connection, Instant)) {
        let settings = self.settings();
        if let Some(reason) = self.no_longer_wanted(&connection, &settings) {
            return connection.close(reason);
        }
        idle::put_back(connection, since, &settings);
        self.give_idle_to_waiters();
    }
}

impl Loan {
    /// Sends it to the next worker after `worker` that has idle connections.
    fn ask(mut self, worker: usize) {
        let workers = self.pool.channels.len();
        if self.asked >= ASKED_MAX {
            return;
        }
        self.asked += 1;
        let others = (1..workers).map(|step| (worker + step) % workers);
        let others = others.take_while(|other| *other != self.borrower);
        let has_idle = |worker: &usize| self.pool.has_idle(*worker);
        if let Some(next) = others.into_iter().find(has_idle)
            && let Some(channel) = self.pool.channels.clone().get(next)
        {
            channel.lend(self);
        }
    }

    /// Lends a connection of this worker, or asks the next one.
    pub(super) fn answer(self) {
        if self.reply.is_closed() {
            return;
        }
        let Some((mut connection, since)) = idle::take_unused(self.pool.number, IDLE_MIN) else {
            return self.ask(this_worker());
        };
        if connection.transport.detach().is_err() {
            return connection.close(CloseReason::Error);
        }
        if let Err(unused) = self.reply.send(Box::new((connection, since))) {
            self.pool.take_back(*unused);
        }
    }
}

impl Drop for Borrowing {
    fn drop(&mut self) {
        self.reply.close();
        if let Ok(unused) = self.reply.try_recv() {
            self.pool.take_back(*unused);
        }
    }
}
