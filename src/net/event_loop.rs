//! The event loop of a worker.

use std::io;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

use crate::net::{clock, end_of_turn};

/// Returns the runtime of a worker, whose tasks stay on the thread that runs it.
pub(crate) fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .on_thread_park(end_of_turn::sleeps)
        .on_thread_unpark(clock::wake)
        .build_local(LocalOptions::default())
}
