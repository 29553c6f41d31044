//! The times of a watcher.

use std::time::Duration;

/// How long the watcher waits for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Intervals {
    /// Changes have settled when there was no further one for this long. Default: 50 ms.
    pub(crate) quiet: Duration,
    /// From the first change until it is told, even while further ones come. Does not hold while a file is being written.
    /// Default: 500 ms.
    pub(crate) settled_at_most: Duration,
    /// From one look at the files' metadata to the next. Default: 2 s.
    pub(crate) poll: Duration,
    /// After how long the log warns of a file that is still being written. Default: 10 s.
    pub(crate) writing_warned: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(50),
            settled_at_most: Duration::from_millis(500),
            poll: Duration::from_secs(2),
            writing_warned: Duration::from_secs(10),
        }
    }
}
