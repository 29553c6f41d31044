//! The servers of stores: connections to Redis, and the decisions that workers wait for.
//!
//! A store has a thread of its own. The thread of the control plane may be busy for longer than a decision may take, and connections of
//! each worker would not let their requests share a round trip.

#[cfg(not(feature = "redis"))]
mod absent;
mod batches;
mod command;
#[cfg(feature = "redis")]
mod redis;
mod serve;
mod settings;

use std::io;

pub(crate) use settings::StoreSettings;
use tokio::sync::oneshot;

use crate::policy::StoreBackend;

/// True if this program was built with its stores.
pub(crate) const IS_BUILT: bool = cfg!(feature = "redis");

/// A store that is not connected yet.
pub(crate) struct NewStore {
    pub(crate) settings: StoreSettings,
    pub(crate) backend: StoreBackend,
}

/// Connects the stores, each on a thread of its own, which ends when nothing has the store any more. Waits until each first attempt has
/// ended, so that no request finds a store that is only beginning.
pub(crate) async fn connect(stores: Vec<NewStore>) {
    let mut attempts = Vec::with_capacity(stores.len());
    for store in stores {
        let name = store.settings.name.clone();
        let (ended, attempt) = oneshot::channel();
        match start(store, ended) {
            Ok(()) => attempts.push(attempt),
            Err(error) => tracing::error!(store = name, "the store has no thread and is not used: {error}"),
        }
    }
    for attempt in attempts {
        // A thread that panicked counts as an attempt, too.
        drop(attempt.await);
    }
}

fn start(store: NewStore, ended: oneshot::Sender<()>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = move || {
        runtime.block_on(serve::serve(store.settings, store.backend, ended));
        // A lookup that hangs must not keep the thread.
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name("store".to_owned()).spawn(work).map(drop)
}
