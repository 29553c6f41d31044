//! Work that may block, on a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::config::ConfigError;
use crate::config::load::code::Code;

/// The time limit for reading the files and building from them. Ten thousand routes take a fifth of a second. A module
/// of 25 MiB takes some twenty seconds of CPU time to compile, and competes with the workers for it.
const READING_LIMIT: Duration = Duration::from_secs(120);

/// The permit to read files and to build from them. All clones share it, so that a file system that does not respond
/// holds one thread at most.
#[derive(Clone)]
pub(crate) struct BlockingThread(Arc<Semaphore>);

impl BlockingThread {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Runs work on a thread of its own, so that the admin listener and DNS continue meanwhile, and a file system that
    /// does not respond delays nothing else.
    ///
    /// # Errors
    /// Returns an error while earlier work is still running, if there is no thread, and after
    /// [`READING_LIMIT`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ConfigError> {
        let cannot = |why: &str| ConfigError::new(Code::System, format!("cannot reload: {why}"));
        let Ok(permit) = self.0.clone().try_acquire_owned() else {
            return Err(cannot("reading the files for an earlier reload has not ended yet"));
        };
        let (done, working) = oneshot::channel();
        let work = move || {
            let result = work();
            drop(permit);
            // The receiver may be gone.
            drop(done.send(result));
        };
        let started = std::thread::Builder::new().name("reload".to_owned()).spawn(work);
        started.map_err(|error| cannot(&format!("no thread is available: {error}")))?;
        match timeout(READING_LIMIT, working).await {
            Ok(result) => {
                result.map_err(|_panicked| cannot("internal error: the thread that reads the files panicked"))
            }
            Err(_elapsed) => {
                let limit = READING_LIMIT.as_secs();
                Err(cannot(&format!("the files that it names could not be read within {limit} s")))
            }
        }
    }
}
