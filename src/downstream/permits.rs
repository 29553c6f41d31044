//! `limits.connections`: the number of connections that a listener has open at once. The limit may change meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The permits for connections. A raised limit admits waiting connections at once. A lowered limit cuts none off: the
/// open connections above it are a debt, which is paid by the connections that end next.
#[derive(Clone)]
pub(crate) struct Permits(Arc<State>);

struct State {
    semaphore: Arc<Semaphore>,
    account: Mutex<Account>,
}

struct Account {
    limit: usize,
    /// The number of permits in use that will be forgotten when they are returned.
    debt: usize,
}

/// A connection's permit. The connection counts until this is dropped.
pub(crate) struct Permit {
    permits: Permits,
    permit: Option<OwnedSemaphorePermit>,
}

impl Permits {
    /// Creates `limit` permits. Without a limit they are counted all the same, because a later limit has to know how
    /// many connections are open.
    pub(crate) fn new(limit: Option<u32>) -> Self {
        let limit = count(limit);
        let account = Mutex::new(Account { limit, debt: 0 });
        Self(Arc::new(State { semaphore: Arc::new(Semaphore::new(limit)), account }))
    }

    /// Changes the limit; `None` means no limit.
    pub(crate) fn set_limit(&self, limit: Option<u32>) {
        let limit = count(limit);
        let State { semaphore, account } = &*self.0;
        let mut account = account.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fewer) = account.limit.checked_sub(limit) {
            account.debt += fewer - semaphore.forget_permits(fewer);
        } else {
            let more = limit - account.limit;
            let remitted = account.debt.min(more);
            account.debt -= remitted;
            semaphore.add_permits(more - remitted);
        }
        account.limit = limit;
    }

    /// Returns a permit if one is free.
    pub(crate) fn try_acquire(&self) -> Option<Permit> {
        let permit = self.0.semaphore.clone().try_acquire_owned().ok()?;
        Some(Permit { permits: self.clone(), permit: Some(permit) })
    }

    /// Waits for a permit, first come, first served. It never returns `None`, because the semaphore is never closed.
    pub(crate) async fn acquire(&self) -> Option<Permit> {
        let permit = self.0.semaphore.clone().acquire_owned().await.ok()?;
        Some(Permit { permits: self.clone(), permit: Some(permit) })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // The permit is returned under the lock, so that a change of the limit counts it on one side only.
        let mut account = self.permits.0.account.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(permit) = self.permit.take() else { return };
        match account.debt.checked_sub(1) {
            Some(debt) => {
                account.debt = debt;
                permit.forget();
            }
            None => drop(permit),
        }
    }
}

fn count(limit: Option<u32>) -> usize {
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    limit.min(Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all free permits, at most ten.
    fn take_all(permits: &Permits) -> Vec<Permit> {
        std::iter::from_fn(|| permits.try_acquire()).take(10).collect()
    }

    #[test]
    fn a_changed_limit_counts_the_connections_that_are_open() {
        for (before, open, after, free) in [
            (Some(2), 0, Some(5), 5),
            (Some(2), 2, Some(5), 3),
            (Some(5), 2, Some(3), 1),
            (Some(5), 3, Some(3), 0),
            (Some(5), 5, Some(3), 0),
            (None, 3, Some(4), 1),
            (None, 4, Some(2), 0),
            (Some(2), 2, None, 10),
        ] {
            let permits = Permits::new(before);
            let mut out: Vec<_> = (0..open).filter_map(|_| permits.try_acquire()).collect();
            permits.set_limit(after);
            let taken = take_all(&permits);
            assert_eq!(taken.len(), free, "{before:?} to {after:?} with {open} open");
            drop(taken);
            // However many connections end, there are never more permits than the limit.
            while out.pop().is_some() {
                let free = take_all(&permits).len();
                let all = free + out.len();
                assert!(all <= count(after).max(out.len()), "{all} of {after:?}, {before:?} before");
            }
            assert_eq!(take_all(&permits).len(), count(after).min(10), "{before:?} to {after:?}, all ended");
        }
    }

    #[test]
    fn a_debt_is_remitted_before_there_are_permits_again() {
        let permits = Permits::new(Some(4));
        let open = take_all(&permits);
        permits.set_limit(Some(1));
        permits.set_limit(Some(3));
        assert!(permits.try_acquire().is_none(), "four are open");
        permits.set_limit(Some(5));
        assert_eq!(take_all(&permits).len(), 1);
        drop(open);
        assert_eq!(take_all(&permits).len(), 5);
    }

    #[tokio::test]
    async fn a_connection_that_waits_is_let_in_when_the_limit_is_raised_and_not_while_there_is_a_debt() {
        let permits = Permits::new(Some(2));
        let mut open = take_all(&permits);
        permits.set_limit(Some(1));
        let waiting = permits.acquire();
        let mut waiting = std::pin::pin!(waiting);
        assert!(futures_poll(waiting.as_mut()).await.is_none());
        open.pop();
        assert!(futures_poll(waiting.as_mut()).await.is_none(), "one is open, and one may be");
        permits.set_limit(Some(2));
        assert!(waiting.await.is_some());
    }

    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }
}
