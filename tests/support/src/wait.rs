//! Bounded waiting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// The longest wait before the test fails. It is far longer than anything takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The interval at which [`wait_until`] checks.
const POLL: Duration = Duration::from_millis(2);

/// Waits until `predicate` holds. For states without an event; if there is an event, await it instead.
///
/// # Panics
/// Panics with `what` if it does not hold within [`PATIENCE`].
pub async fn wait_until<F, Fut>(what: &str, mut predicate: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    wait_for(what, || {
        let holds = predicate();
        async { holds.await.then_some(()) }
    })
    .await;
}

/// Calls `look` until it returns a value, and returns that one. A second call might return another.
///
/// # Panics
/// Panics with `what` if there is none within [`PATIENCE`].
pub async fn wait_for<F, Fut, T>(what: &str, mut look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    within(what, async {
        loop {
            match look().await {
                Some(value) => return value,
                None => tokio::time::sleep(POLL).await,
            }
        }
    })
    .await
}

/// Runs a test with longer and longer limits until it passes with one of them.
///
/// This is for limits of the gateway that a test must not reach: each is reached if the machine stalls for long enough.
/// The first limit is short, so the test is quick if nothing stalls. A real fault fails with all of them.
///
/// # Panics
/// Panics like the test if it fails with the longest limit.
pub async fn with_longer_and_longer(test: impl AsyncFn(Duration)) {
    for limit in [Duration::from_millis(300), Duration::from_secs(3)] {
        let mut running = pin!(test(limit));
        let passes = std::future::poll_fn(|context| {
            let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context)));
            polled.map_or(Poll::Ready(false), |poll| poll.map(|()| true))
        });
        if passes.await {
            return;
        }
        eprintln!("failed with a limit of {limit:?}; trying a longer one");
    }
    test(Duration::from_secs(10)).await;
}

/// Awaits a future and returns its output.
///
/// # Panics
/// Panics with `what` if it is not ready within [`PATIENCE`].
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}
