//! Dials that several requests wait for, because the connection will carry all of them.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::connection::Lease;
use super::{Pool, shared};
use crate::http::error::Error;
use crate::upstream::transport::Transport;

thread_local! {
    /// The dials under way on this worker, by the number of their pool.
    static DIALS: RefCell<HashMap<u64, Vec<Rc<Dial>>>> = RefCell::default();
}

/// The outcome of a dial for a request that waits for it: a lease, or `None` if the connection carries fewer requests than waited.
type Seated = Result<Option<(Transport, Lease)>, Error>;

/// A place in a dial.
pub(crate) struct Seat(oneshot::Receiver<Seated>);

struct Dial {
    /// The requests that it is expected to serve.
    seats_max: usize,
    seats: RefCell<VecDeque<oneshot::Sender<Seated>>>,
    /// The seats ever taken, by requests that have left, too.
    taken: Cell<usize>,
}

impl Dial {
    fn seat(&self) -> Option<Seat> {
        if self.taken.get() >= self.seats_max {
            return None;
        }
        self.taken.set(self.taken.get() + 1);
        let (sender, receiver) = oneshot::channel();
        self.seats.borrow_mut().push_back(sender);
        Some(Seat(receiver))
    }
}

impl Seat {
    /// Waits for the end of the dial.
    ///
    /// # Errors
    /// Returns the error that no connection could be opened.
    pub(in crate::upstream) async fn wait(self) -> Seated {
        self.0.await.unwrap_or(Err(Error::Internal))
    }
}

/// Returns a seat in a dial that is under way on this worker and expected to have room.
pub(super) fn join(pool: &Pool) -> Option<Seat> {
    DIALS.with_borrow(|dials| dials.get(&pool.number)?.iter().find_map(|dial| dial.seat()))
}

/// A dial under way. It must be ended; if it is dropped, its requests fail.
pub(in crate::upstream) struct SharedDial {
    pool: Arc<Pool>,
    dial: Rc<Dial>,
}

/// Begins a dial of this worker, and returns the first seat in it.
pub(in crate::upstream) fn begin(pool: &Arc<Pool>) -> (SharedDial, Option<Seat>) {
    let seats_max = pool.seats_max();
    let dial = Rc::new(Dial { seats_max, seats: RefCell::default(), taken: Cell::new(0) });
    let seat = dial.seat();
    DIALS.with_borrow_mut(|dials| dials.entry(pool.number).or_default().push(dial.clone()));
    (SharedDial { pool: pool.clone(), dial }, seat)
}

impl SharedDial {
    /// Hands the connection, or the error, to the requests that wait.
    pub(in crate::upstream) fn end(self, opened: Result<(Transport, Lease), Error>) {
        // No further request joins from here on.
        self.leave();
        let (mut first, error) = match opened {
            Ok(leased) => (Some(leased), None),
            Err(error) => (None, Some(error)),
        };
        let mut is_counted = true; // the first seat was, when it got the permit to dial
        loop {
            let Some(seat) = self.dial.seats.borrow_mut().pop_front() else { break };
            let leased = first.take().or_else(|| shared::lease(&self.pool));
            let seated = match (leased, error) {
                (None, Some(error)) => Err(error),
                (leased, _) => Ok(leased),
            };
            if !std::mem::replace(&mut is_counted, false) && matches!(seated, Ok(Some(_))) {
                self.pool.count(|counts| counts.acquired.add(1));
            }
            if let Err(Ok(Some(unused))) = seat.send(seated) {
                first = Some(unused);
            }
        }
        if let Some((transport, lease)) = first {
            lease.give_back(transport);
        }
        self.pool.grant_streams();
    }

    fn leave(&self) {
        DIALS.with_borrow_mut(|dials| {
            let Some(of_pool) = dials.get_mut(&self.pool.number) else { return };
            of_pool.retain(|dial| !Rc::ptr_eq(dial, &self.dial));
            if of_pool.is_empty() {
                dials.remove(&self.pool.number);
            }
        });
    }
}

impl Drop for SharedDial {
    fn drop(&mut self) {
        self.leave();
    }
}
