//! The event loop of a worker.

use std::io;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

use crate::net::{clock, end_of_turn};

/// Makes this thread a worker's. Returns its runtime, whose tasks stay on the thread.
pub(crate) fn runtime() -> io::Result<LocalRuntime> {
    clock::start();
    Builder::new_current_thread()
        .enable_all()
        .on_thread_park(end_of_turn::sleeps)
        .on_thread_unpark(clock::advance)
        .build_local(LocalOptions::default())
}
