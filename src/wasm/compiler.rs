//! Where modules are compiled: on all cores, but only with what the workers leave of them.

use std::sync::LazyLock;

use rayon_core::{ThreadPool, ThreadPoolBuilder};

/// Ten steps below what serves requests: a tenth of its share where both want the same core.
const NICENESS: i32 = 10;

static THREADS: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
    let give_way = |_| {
        // On Linux a thread has a priority of its own. Without it, all is as it would be anyway.
        let _unchanged = rustix::process::nice(NICENESS);
    };
    let name = |number| format!("filter-compiler-{number}");
    ThreadPoolBuilder::new().thread_name(name).start_handler(give_way).build().ok()
});

/// Runs work, and all that it does in parallel, on the compiler's threads.
pub(super) fn in_background<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match &*THREADS {
        Some(threads) => threads.install(work),
        None => work(),
    }
}
