//! The provider, as workers see it. The control plane fetches its metadata, and calls its token endpoint.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use tokio::sync::{Notify, mpsc, watch};

use super::hidden_text::HiddenText;
use super::metadata::Metadata;
use super::refreshes::Refreshes;
use super::source::ProviderSource;
use super::tokens::{Outcome, TokenError};

/// The calls that may wait for the control plane.
const CALLS_MAX: usize = 256;

/// The time by which the wait of a worker is longer than the call.
const WAIT_MARGIN: Duration = Duration::from_millis(500);

/// The seconds without calls for a refresh after one to which the provider did not respond.
const PAUSE_SECONDS: u64 = 5;

/// The provider of a way. A reload keeps one of the same source.
#[derive(Debug)]
pub(crate) struct Provider {
    source: ProviderSource,
    metadata: ArcSwapOption<Metadata>,
    /// The number of fetches of the metadata that have ended.
    fetches: watch::Sender<u64>,
    /// The signal that a login waits for the metadata.
    wanted: Arc<Notify>,
    calls: mpsc::Sender<TokenCall>,
    /// Taken once, by the task that serves it. It ends when the provider is dropped.
    queue: Mutex<Option<mpsc::Receiver<TokenCall>>>,
    refreshes: Refreshes,
    /// The time, in Unix seconds, before which no refresh is tried.
    paused_until: AtomicU64,
}

/// A request to the token endpoint, with the place for its outcome.
#[derive(Debug)]
pub(crate) struct TokenCall {
    pub(crate) grant: Grant,
    pub(crate) outcome: watch::Sender<Option<Outcome>>,
}

/// The grant of a request to the token endpoint (RFC 6749 §4.1.3 and §6).
#[derive(Debug, Clone)]
pub(crate) enum Grant {
    Code { code: HiddenText, verifier: HiddenText, redirect_uri: String },
    Refresh(HiddenText),
}

impl Provider {
    /// Creates a provider whose metadata is not known yet.
    pub(crate) fn new(source: ProviderSource) -> Self {
        let (calls, queue) = mpsc::channel(CALLS_MAX);
        Self {
            source,
            metadata: ArcSwapOption::empty(),
            fetches: watch::Sender::new(0),
            wanted: Arc::default(),
            calls,
            queue: Mutex::new(Some(queue)),
            refreshes: Refreshes::default(),
            paused_until: AtomicU64::new(0),
        }
    }

    pub(crate) fn source(&self) -> &ProviderSource {
        &self.source
    }

    /// Returns the metadata, unless it is not known yet.
    pub(crate) fn metadata(&self) -> Guard<Option<Arc<Metadata>>> {
        self.metadata.load()
    }

    /// Returns the metadata. If it is not known yet, asks for it and waits for the end of one fetch.
    pub(super) async fn metadata_or_wait(&self) -> Option<Arc<Metadata>> {
        let mut fetches = self.fetches.subscribe();
        if let Some(metadata) = &*self.metadata.load() {
            return Some(metadata.clone());
        }
        self.wanted.notify_one();
        // A fetch may begin late, because there is a pause between two.
        let limit = self.source.timeout.saturating_mul(2).saturating_add(WAIT_MARGIN);
        let ended = tokio::time::timeout(limit, fetches.changed()).await;
        drop(ended);
        self.metadata.load_full()
    }

    /// Exchanges a code for tokens.
    pub(super) async fn exchange(&self, grant: Grant) -> Outcome {
        let (outcome, seen) = watch::channel(None);
        self.call(TokenCall { grant, outcome })?;
        self.wait(seen).await
    }

    /// Refreshes a session. Many requests of one session, and those that follow with the cookie before it, are one call.
    pub(super) async fn refresh(&self, token: &HiddenText, now: u64) -> Outcome {
        let seen = self.refreshes.join(token, now, |outcome| {
            if now < self.paused_until.load(Ordering::Relaxed) {
                return Err(TokenError::Unavailable);
            }
            self.call(TokenCall { grant: Grant::Refresh(token.clone()), outcome })
        });
        let outcome = match seen {
            Ok(seen) => self.wait(seen).await,
            Err(error) => return Err(error),
        };
        if outcome.as_ref().err() == Some(&TokenError::Unavailable) {
            self.paused_until.fetch_max(now + PAUSE_SECONDS, Ordering::Relaxed);
            self.refreshes.forget_unanswered(token);
        }
        outcome
    }

    fn call(&self, call: TokenCall) -> Result<(), TokenError> {
        self.calls.try_send(call).map_err(|_| TokenError::Unavailable)
    }

    async fn wait(&self, mut seen: watch::Receiver<Option<Outcome>>) -> Outcome {
        let limit = self.source.timeout.saturating_add(WAIT_MARGIN);
        match tokio::time::timeout(limit, seen.wait_for(Option::is_some)).await {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or(Err(TokenError::Unavailable)),
            Ok(Err(_)) | Err(_) => Err(TokenError::Unavailable),
        }
    }

    /// Returns the calls of workers, once.
    pub(crate) fn take_calls(&self) -> Option<mpsc::Receiver<TokenCall>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns the signal that a login waits for the metadata.
    pub(crate) fn wanted(&self) -> &Arc<Notify> {
        &self.wanted
    }

    /// Notes the end of a fetch, with the metadata that it has brought. Without any, the last one stays.
    pub(crate) fn end(&self, metadata: Option<Metadata>) {
        if let Some(metadata) = metadata {
            self.metadata.store(Some(Arc::new(metadata)));
        }
        self.fetches.send_modify(|ended| *ended += 1);
    }
}
