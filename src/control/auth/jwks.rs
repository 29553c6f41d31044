//! The keys of an issuer, fetched before they are old.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::client::Client;
use crate::policy::auth::{KeySet, RemoteKeys, RemoteSource};

/// The shortest time for which keys are kept without another fetch, whatever the issuer's `max-age` says.
const REFRESH_MIN: Duration = Duration::from_secs(60);

/// The part of a pause by which fetches are spread, so that gateways that began together do not ask together.
const SPREAD: f64 = 0.1;

/// The pause after the first failure, and the longest one. Each further failure doubles it.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Fetches the keys of the way `name` for as long as a snapshot has them: at once, then before they are old, and when a worker
/// asks for it.
pub(crate) fn keep_keys(name: String, keys: &Arc<RemoteKeys>, client: Client) {
    let (wanted, keys) = (keys.wanted().clone(), Arc::downgrade(keys));
    tokio::spawn(async move {
        let mut failures = 0;
        while let Some(pause) = fetch(&name, &keys, &client, &mut failures).await {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = wanted.notified() => {}
            }
        }
    });
}

/// Fetches once. Returns the pause until the next fetch, or `None` if nothing has the keys any more.
async fn fetch(name: &str, keys: &Weak<RemoteKeys>, client: &Client, failures: &mut u32) -> Option<Duration> {
    let keys = keys.upgrade()?;
    keys.begin();
    let RemoteSource { url, timeout: limit, refresh, .. } = keys.source();
    let fetched = tokio::time::timeout(*limit, client.fetch()).await;
    let fetched = fetched.unwrap_or_else(|_elapsed| Err(format!("no response within {limit:?}")));
    let parsed = fetched.and_then(|document| Ok((KeySet::parse(&document.body)?, document.max_age)));
    match parsed {
        Ok((set, max_age)) => {
            let (count, skipped) = (set.len(), set.skipped().join("; "));
            if keys.end(Some(set)) {
                tracing::info!(auth = name, %url, keys = count, skipped, "the issuer's keys are fetched");
            }
            *failures = 0;
            Some(pause(max_age, *refresh))
        }
        Err(reason) => {
            let has_keys = keys.current().is_some();
            let pause = retry_pause(failures);
            if has_keys {
                tracing::warn!(auth = name, %url, "the issuer's keys cannot be fetched: {reason}; the last ones stay in use");
            } else {
                tracing::warn!(auth = name, %url, "the issuer's keys cannot be fetched: {reason}; requests get 503 until they can");
            }
            keys.end(None);
            Some(pause)
        }
    }
}

/// Counts a failure. Returns the time until the next attempt.
pub(super) fn retry_pause(failures: &mut u32) -> Duration {
    let pause = RETRY_FIRST.saturating_mul(1 << (*failures).min(6)).min(RETRY_MAX);
    *failures = failures.saturating_add(1);
    pause
}

/// Returns the time from a fetch to the next one.
pub(super) fn pause(max_age: Option<Duration>, refresh: Duration) -> Duration {
    let age = max_age.unwrap_or(refresh).max(REFRESH_MIN).min(refresh);
    age.mul_f64(1.0 - SPREAD * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_is_within_bounds_and_before_the_keys_are_old() {
        let seconds = Duration::from_secs;
        for (max_age, refresh, expected) in [
            (None, 600, 600),
            (Some(300), 600, 300),
            (Some(0), 600, 60),
            (Some(9000), 600, 600),
            (Some(0), 5, 5),
        ] {
            let expected = seconds(expected);
            for _ in 0..100 {
                let pause = pause(max_age.map(seconds), seconds(refresh));
                assert!(pause <= expected && pause >= expected.mul_f64(1.0 - SPREAD), "{pause:?}");
            }
        }
    }
}
