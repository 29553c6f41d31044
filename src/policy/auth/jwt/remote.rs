//! Keys that the control plane fetches from their issuer.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::keys::KeySet;
use crate::config::KeyUrl;
use crate::config::load::files::FileMark;
use crate::net::clock;

/// The time by which a wait for a fetch is longer than the fetch may be.
const WAIT_MARGIN: Duration = Duration::from_millis(500);

/// The keys of an issuer, as workers use them and the control plane fetches them.
///
/// A worker never fetches. It asks for a fetch and waits for the end of the one in progress; all waits of all workers are for the
/// same one. Between the end of a fetch and the next one that is asked for lies `cooldown`, so that tokens with invented keys
/// cause no more fetches than that.
#[derive(Debug)]
pub(crate) struct RemoteKeys {
    source: RemoteSource,
    keys: ArcSwapOption<KeySet>,
    progress: watch::Sender<Progress>,
    /// Shared with the task that fetches, which ends when the keys are dropped.
    wanted: Arc<Notify>,
    fetched: AtomicU64,
    failed: AtomicU64,
}

/// The place of the keys, and the times of their fetches. A reload keeps the keys of the same source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteSource {
    pub(crate) url: KeyUrl,
    /// The file of the certificates that are trusted, with its content.
    pub(crate) ca: Option<(PathBuf, FileMark)>,
    /// The time limit of a fetch.
    pub(crate) timeout: Duration,
    /// The time between the end of a fetch and one that is asked for.
    pub(crate) cooldown: Duration,
    /// The longest time until the keys are fetched again.
    pub(crate) refresh: Duration,
}

/// The state of the fetches.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// True from the time at which a fetch is asked for until its end.
    is_running: bool,
    /// The fetches that have ended.
    ended: u64,
    /// The time before which no further one is asked for.
    earliest: Instant,
}

impl RemoteKeys {
    /// Creates keys that are not known yet. Their first fetch counts as asked for.
    pub(crate) fn new(source: RemoteSource) -> Self {
        let progress = Progress { is_running: true, ended: 0, earliest: Instant::now() };
        Self {
            source,
            keys: ArcSwapOption::empty(),
            progress: watch::Sender::new(progress),
            wanted: Arc::new(Notify::new()),
            fetched: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Returns the keys, unless they are not known yet.
    pub(crate) fn current(&self) -> Guard<Option<Arc<KeySet>>> {
        self.keys.load()
    }

    /// Returns the number of fetches that have brought keys, and of those that have not.
    pub(crate) fn fetches(&self) -> (u64, u64) {
        (self.fetched.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// Returns the number of fetches that have ended: the current keys are at least as new.
    pub(super) fn ended(&self) -> u64 {
        self.progress.borrow().ended
    }

    /// Waits for the end of a fetch beyond the first `seen`: the one in progress, or one that it asks for if it is time. Returns false if
    /// there is none to wait for, or if it takes too long.
    pub(super) async fn fetch(&self, seen: u64) -> bool {
        let mut progress = self.progress.subscribe();
        let Progress { is_running, ended, .. } = *progress.borrow();
        // One may have ended since the caller looked at the keys.
        if ended == seen && !is_running && !self.ask(seen) {
            return false;
        }
        let is_over = progress.wait_for(|progress| progress.ended != seen);
        tokio::time::timeout(self.source.timeout + WAIT_MARGIN, is_over).await.is_ok_and(|over| over.is_ok())
    }

    /// Asks for a fetch. Returns false if the last one was a moment ago.
    fn ask(&self, seen: u64) -> bool {
        let mut is_late = false;
        let asked = self.progress.send_if_modified(|progress| {
            // Another worker may have asked, and its fetch may even have ended: that is as good.
            let is_wanted = !progress.is_running && progress.ended == seen;
            let may_ask = is_wanted && clock::now() >= progress.earliest;
            is_late = is_wanted && !may_ask;
            progress.is_running |= may_ask;
            may_ask
        });
        if asked {
            self.wanted.notify_one();
        }
        !is_late
    }

    pub(crate) fn source(&self) -> &RemoteSource {
        &self.source
    }

    /// Returns the signal that a worker asks for a fetch, or that the keys are dropped.
    pub(crate) fn wanted(&self) -> &Arc<Notify> {
        &self.wanted
    }

    /// Notes that a fetch begins.
    pub(crate) fn begin(&self) {
        self.progress.send_if_modified(|progress| !std::mem::replace(&mut progress.is_running, true));
    }

    /// Notes the end of a fetch, with the keys that it has brought. Without any, the last ones stay. Returns true if the keys are
    /// others than before.
    pub(crate) fn end(&self, keys: Option<KeySet>) -> bool {
        let count = if keys.is_some() { &self.fetched } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
        // Equal keys keep their number, and with it the tokens that were verified with them.
        let is_same = |keys: &KeySet| self.keys.load().as_ref().is_some_and(|known| known.is_same(keys));
        let changed = keys.filter(|keys| !is_same(keys)).map(Arc::new);
        let is_changed = changed.is_some();
        if is_changed {
            self.keys.store(changed);
        }
        self.progress.send_modify(|progress| {
            let earliest = Instant::now() + self.source.cooldown;
            *progress = Progress { is_running: false, ended: progress.ended + 1, earliest };
        });
        is_changed
    }
}

impl Drop for RemoteKeys {
    fn drop(&mut self) {
        self.wanted.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KeySource;

    const SECOND: Duration = Duration::from_secs(1);

    fn keys() -> RemoteKeys {
        let Ok(KeySource::Url(url)) = "https://a".parse() else { panic!() };
        RemoteKeys::new(RemoteSource {
            url,
            ca: None,
            timeout: 5 * SECOND,
            cooldown: 10 * SECOND,
            refresh: 60 * SECOND,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn many_waits_are_for_one_fetch() {
        let keys = Arc::new(keys());
        keys.end(None);
        let seen = keys.ended();
        tokio::time::advance(10 * SECOND).await;
        let waits: Vec<_> = (0..100)
            .map(|_| {
                let keys = keys.clone();
                tokio::spawn(async move { keys.fetch(seen).await })
            })
            .collect();
        keys.wanted().notified().await;
        // All of them wait before the fetch ends.
        tokio::task::yield_now().await;
        keys.begin();
        keys.end(None);
        for wait in waits {
            assert!(wait.await.unwrap());
        }
        assert_eq!(keys.fetches(), (0, 2));
        assert!(!keys.fetch(keys.ended()).await, "within the cooldown");
        assert!(
            tokio::time::timeout(SECOND, keys.wanted().notified()).await.is_err(),
            "asked for a second fetch"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn fetch_that_ends_between_a_look_and_a_wait_needs_no_other() {
        let keys = keys();
        let seen = keys.ended();
        keys.end(None);
        assert!(keys.fetch(seen).await, "although another is too early");
        tokio::time::advance(10 * SECOND).await;
        assert!(keys.fetch(seen).await);
        assert!(
            tokio::time::timeout(SECOND, keys.wanted().notified()).await.is_err(),
            "asked for a fetch that it does not need"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn wait_for_a_fetch_ends_after_its_time_limit() {
        let keys = keys();
        let began = Instant::now();
        assert!(!keys.fetch(keys.ended()).await);
        assert_eq!(began.elapsed(), 5 * SECOND + WAIT_MARGIN);
    }
}
