//! Bounded waiting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// How long anything is waited for before the test fails: far longer than it takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The time between two looks of [`wait_until`].
const POLL: Duration = Duration::from_millis(2);

/// Waits until `predicate` holds. For states that nothing announces; where there is an event, await the event.
///
/// # Panics
/// When it does not hold within [`PATIENCE`], saying `what` was waited for.
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

/// Looks until there is a value, and returns it. A second look would find another one.
///
/// # Panics
/// When there is none within [`PATIENCE`], saying `what` was waited for.
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

/// Runs a test with longer and longer limits, until it passes with one of them.
///
/// For limits of the gateway that a test must not reach: each is reached where the machine stands still for long enough. The
/// first is short, so the test is quick where nothing stands still, and a fault fails with all of them.
///
/// # Panics
/// When the test fails with the longest limit, as it does.
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

/// The future's output.
///
/// # Panics
/// When it is not there within [`PATIENCE`], saying `what` was waited for.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}
