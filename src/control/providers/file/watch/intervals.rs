use std::time::Duration;

/// The intervals of a watcher.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Intervals {
    /// The time without a further change after which changes have settled. Default: 50 ms.
    pub(crate) quiet: Duration,
    /// The maximum time from the first change to its notification while further changes arrive. It does not apply while
    /// a file is being written. Default: 500 ms.
    pub(crate) settled_at_most: Duration,
    /// The interval between two polls of the files' metadata. Default: 2 s.
    pub(crate) poll: Duration,
    /// The time after which a warning is logged for a file that is still being written. Default: 10 s.
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
