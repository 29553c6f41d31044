//! Bounded waiting.

use std::time::Duration;

/// How long anything is waited for before the test fails: far longer than it takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

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
    within(what, async {
        while !predicate().await {
            tokio::time::sleep(POLL).await;
        }
    })
    .await;
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
