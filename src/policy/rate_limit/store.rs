//! A store that gateways share, as workers see it. Its connections are the control plane's: workers hand charges over, and wait for the
//! decisions no longer than the store's timeout.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::gcra::Gcra;
use super::key::Key;
use crate::config::load::files::FileMark;
use crate::config::{self, StoreFallback};
use crate::net::timer::{self, Timer};
use crate::observe::metrics::StoreReport;

/// The most charges that may wait to be taken over. Further requests do without the store.
const CHARGES_MAX: usize = 16_384;

/// The number of a key's bytes: of 128 bits, no two keys are the same.
const KEY_BYTES: usize = 16;

/// A store of limits.
pub(crate) struct Store {
    name: Box<str>,
    source: StoreSource,
    /// The time limit of a decision.
    timeout: Duration,
    charges: mpsc::Sender<Charge>,
    state: Arc<StoreState>,
}

/// The settings of a store, and the contents of the files that they name. A reload keeps the store of the same source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreSource {
    pub(crate) settings: config::Store,
    pub(crate) files: Vec<FileMark>,
}

/// The state of a store and its counts.
#[derive(Debug, Default)]
pub(crate) struct StoreState {
    is_up: AtomicBool,
    admitted: AtomicU64,
    refused: AtomicU64,
    commands: AtomicU64,
    losses: AtomicU64,
    missed: AtomicU64,
}

/// The end of a store that makes the decisions.
pub(crate) struct StoreBackend {
    pub(crate) charges: mpsc::Receiver<Charge>,
    pub(crate) state: Arc<StoreState>,
}

/// A key in a store: the same on all gateways, and without a part of the request that can be read from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct StoreKey(pub(crate) [u8; KEY_BYTES]);

/// A charge of one request to a key.
#[derive(Debug)]
pub(crate) struct Charge {
    pub(crate) key: StoreKey,
    pub(crate) limit: Gcra,
    /// The receiver of the decision. Without one, a charge is taken back.
    pub(crate) reply: Option<oneshot::Sender<Charged>>,
}

/// The decision about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Charged {
    /// The time by which the state of the key was ahead before this request.
    pub(crate) ahead: u64,
    pub(crate) is_admitted: bool,
}

/// A decision that is under way. Dropping it does not take the charge back.
pub(super) struct Pending<'a> {
    store: &'a Store,
    decision: Option<oneshot::Receiver<Charged>>,
    until: Option<Instant>,
}

impl Store {
    /// Creates a store, which counts as away until its other end connects.
    pub(crate) fn new(name: &str, source: StoreSource) -> (Self, StoreBackend) {
        let timeout = source.settings.timeout.into();
        let (sender, charges) = mpsc::channel(CHARGES_MAX);
        let state = Arc::new(StoreState::default());
        let server = StoreBackend { charges, state: state.clone() };
        (Self { name: name.into(), source, timeout, charges: sender, state }, server)
    }

    pub(crate) fn source(&self) -> &StoreSource {
        &self.source
    }

    /// Begins to charge a request to a key.
    pub(super) fn charge(&self, key: StoreKey, limit: Gcra) -> Pending<'_> {
        let until = timer::deadline(Some(self.timeout));
        let (reply, decision) = oneshot::channel();
        let charge = Charge { key, limit, reply: Some(reply) };
        // While the store is away, no request waits for it.
        let is_sent = self.state.is_up.load(Relaxed) && self.charges.try_send(charge).is_ok();
        Pending { store: self, decision: Some(decision).filter(|_| is_sent), until }
    }

    /// Takes a charge back, some time soon. A store that is away keeps the charge.
    pub(super) fn give_back(&self, key: StoreKey, limit: Gcra) {
        // A full queue means that the store is about to be away.
        drop(self.charges.try_send(Charge { key, limit, reply: None }));
    }

    pub(crate) fn report(&self) -> StoreReport {
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        let state = &self.state;
        StoreReport {
            store: self.name.to_string(),
            is_up: state.is_up.load(Relaxed),
            admitted: count(&state.admitted),
            refused: count(&state.refused),
            commands: count(&state.commands),
            losses: count(&state.losses),
            missed: count(&state.missed),
        }
    }
}

impl Pending<'_> {
    /// Waits for the decision. Returns `None` if the store is away or takes too long.
    pub(super) async fn decision(self, timer: &Timer) -> Option<Charged> {
        let charged = match self.decision {
            Some(decision) => timer.within(self.until, decision).await.ok().and_then(Result::ok),
            None => None,
        };
        let state = &self.store.state;
        let count = match charged {
            Some(Charged { is_admitted: true, .. }) => &state.admitted,
            Some(_) => &state.refused,
            None => &state.missed,
        };
        count.fetch_add(1, Relaxed);
        charged
    }
}

impl StoreState {
    /// Notes that the store responds.
    pub(crate) fn set_up(&self) {
        self.is_up.store(true, Relaxed);
    }

    /// Notes that the store does not respond any more.
    pub(crate) fn set_lost(&self) {
        if self.is_up.swap(false, Relaxed) {
            self.losses.fetch_add(1, Relaxed);
        }
    }

    /// Counts a command.
    pub(crate) fn count_command(&self) {
        self.commands.fetch_add(1, Relaxed);
    }
}

/// The store of a limit.
pub(super) struct Shared {
    pub(super) store: Arc<Store>,
    pub(super) fallback: StoreFallback,
    pub(super) prefix: KeyPrefix,
}

/// The part of the keys of a limit that is the same for all of them.
#[derive(Clone)]
pub(super) struct KeyPrefix(Context);

impl KeyPrefix {
    /// Returns the prefix of the limit `limit` of the route `route`, which counts by `by`.
    pub(super) fn new(route: &str, limit: &str, by: &str) -> Self {
        let mut context = Context::new(&SHA256);
        for part in [route, limit, by] {
            // With its length, so that no two limits have the same bytes.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        Self(context)
    }

    pub(super) fn key(&self, key: &Key<'_>) -> StoreKey {
        let mut context = self.0.clone();
        context.update(&key.bytes());
        let digest = context.finish();
        StoreKey(digest.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(50);

    fn source() -> StoreSource {
        let settings = config::section("{ url: 'redis://a', timeout: 50ms }");
        StoreSource { settings, files: vec![] }
    }

    fn limit() -> Gcra {
        Gcra::new(NonZeroU32::MIN, Duration::from_secs(1), NonZeroU32::MIN, Duration::ZERO)
    }

    fn key(last: &str) -> StoreKey {
        KeyPrefix::new("r", "second", "header:x").key(&Key::Header(last.as_bytes()))
    }

    #[test]
    fn keys_are_the_same_on_all_gateways_and_differ_by_limit_and_request() {
        assert_eq!(key("a"), key("a"));
        assert_ne!(key("a"), key("b"));
        let of = |route, limit, by| KeyPrefix::new(route, limit, by).key(&Key::Route);
        let keys = [of("a", "b", "c"), of("ab", "", "c"), of("a", "bc", ""), of("", "ab", "c")];
        for (index, key) in keys.iter().enumerate() {
            assert!(keys.iter().skip(index + 1).all(|other| other != key));
        }
        // Gateways of other versions must find the keys that this one stores.
        assert_eq!(of("r", "second", "route").0, EXPECTED);
        let way = |way, subject| KeyPrefix::new("", "", "").key(&Key::Identity(way, subject));
        assert_ne!(way("a", "bc"), way("ab", "c"));
    }

    const EXPECTED: [u8; 16] = [151, 86, 192, 13, 119, 242, 36, 100, 54, 112, 72, 54, 88, 225, 124, 64];

    #[tokio::test(start_paused = true)]
    async fn store_that_does_not_decide_costs_its_timeout_and_one_that_is_away_nothing() {
        let (store, mut server) = Store::new("s", source());
        let timer = Timer::default();
        let began = Instant::now();
        assert_eq!(store.charge(key("a"), limit()).decision(&timer).await, None);
        assert_eq!(began.elapsed(), Duration::ZERO);
        server.state.set_up();
        assert_eq!(store.charge(key("a"), limit()).decision(&timer).await, None);
        assert_eq!(began.elapsed().as_millis(), TIMEOUT.as_millis());
        let pending = store.charge(key("a"), limit());
        let _late = server.charges.recv().await;
        let charged = Charged { ahead: 7, is_admitted: true };
        server.charges.recv().await.unwrap().reply.unwrap().send(charged).unwrap();
        assert_eq!(pending.decision(&timer).await, Some(charged));
        server.state.set_lost();
        let report = store.report();
        assert_eq!((report.is_up, report.admitted, report.missed, report.losses), (false, 1, 2, 1));
    }

    #[tokio::test]
    async fn queue_of_charges_is_bounded() {
        let (store, server) = Store::new("s", source());
        server.state.set_up();
        let pending: Vec<_> = (0..CHARGES_MAX).map(|_| store.charge(key("a"), limit())).collect();
        assert_eq!(store.charge(key("a"), limit()).decision(&Timer::default()).await, None);
        drop(pending);
    }
}
