//! The configuration in a file, and in the files that it names.

mod watch;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::config::load::files::{FileMark, Files, Fingerprint};
use crate::control::blocking::BlockingThread;
use crate::control::providers::file::watch::BackgroundWatcher;
use crate::control::providers::update::{Reason, Refused, Requests, Update};

/// The delay before retrying a reload that failed for a reason outside of the files.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The time for which files may be missing or inconsistent before an error is logged: a renewal of a certificate writes it
/// and its key one after the other, or removes both first, and some programs move a file away before they write its successor.
const RENEWAL: Duration = Duration::from_secs(2);

/// The maximum time of a renewal while files keep changing.
const RENEWAL_MAX: Duration = Duration::from_secs(10);

/// A provider that watches a file and all files that it names.
pub(crate) struct FileProvider {
    file: PathBuf,
    requests: Requests,
    watcher: BackgroundWatcher,
    thread: BlockingThread,
    /// The files of the active configuration.
    active: Fingerprint,
    /// The files as they were last read, with or without errors.
    seen: Fingerprint,
    /// The time of the next try after a failure for a reason outside of the files.
    retry_at: Option<Instant>,
    /// The time of the first change of a possible renewal of named files.
    renewing_since: Option<Instant>,
}

impl FileProvider {
    /// Creates a provider of `file`. `active` are the files of the active configuration.
    pub(crate) fn new(
        file: PathBuf,
        active: Fingerprint,
        requests: Requests,
        thread: BlockingThread,
    ) -> io::Result<Self> {
        let watcher = BackgroundWatcher::start(active.paths().map(Path::to_owned).collect())?;
        let seen = active.clone();
        Ok(Self { file, requests, watcher, thread, active, seen, retry_at: None, renewing_since: None })
    }

    /// Waits until a content has changed, an operator asks, or it is time for another try.
    pub(super) async fn next(&mut self) -> Update {
        let (reason, request) = loop {
            let retry_at = self.retry_at;
            let retry = async {
                match retry_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.watcher.changed() => {
                    let seen = self.seen.clone();
                    // Files that cannot be read now count as changed: the reload reports why.
                    if self.thread.run(move || seen.again() != seen).await.unwrap_or(true) {
                        break (Reason::Changed, None);
                    }
                }
                request = self.requests.next() => break (Reason::Asked, request),
                () = retry => break (Reason::Retry, None),
            }
        };
        Update { reason, request, name: self.file.clone(), files: Files::new() }
    }

    /// Returns true if one of the files is being written: it may have been read half written. The end of the writing
    /// brings another update, unless the files are then as they were last seen.
    pub(super) fn is_changing(&self) -> bool {
        self.watcher.is_writing()
    }

    /// Takes note of an outcome. A refusal is not final while files may be half renewed.
    pub(super) fn report(&mut self, reason: Reason, outcome: Result<&Fingerprint, &Refused>) -> bool {
        let mut is_final = true;
        self.retry_at = match outcome {
            Ok(_) => None,
            Err(refused) if refused.errors.is_transient() => Some(Instant::now() + RETRY_AFTER),
            Err(refused) if self.may_be_renewal(reason, refused) => {
                tracing::debug!(
                    "files of the configuration may be about to be renewed: waiting for the rest"
                );
                is_final = false;
                Some(Instant::now() + RENEWAL)
            }
            Err(_) => None,
        };
        if is_final {
            self.renewing_since = None;
        }
        match outcome {
            Ok(files) => (self.active, self.seen) = (files.clone(), files.clone()),
            Err(Refused { files: Some(files), .. }) => self.seen = files.clone(),
            Err(Refused { files: None, .. }) => {}
        }
        // Also watch the active configuration's files, so that reverting an edit is noticed.
        self.watcher.watch(self.seen.paths().chain(self.active.paths()).map(Path::to_owned).collect());
        is_final
    }

    /// Returns true if only files that the configuration names have changed, or its own file is gone, and only recently: the error may be
    /// that they are half renewed.
    fn may_be_renewal(&mut self, reason: Reason, refused: &Refused) -> bool {
        let mark = refused.files.as_ref().and_then(|files| files.mark(&self.file));
        let may_come_back = mark == self.active.mark(&self.file) || mark.is_some_and(FileMark::is_missing);
        if reason != Reason::Changed || !may_come_back {
            return false;
        }
        self.renewing_since.get_or_insert_with(Instant::now).elapsed() < RENEWAL_MAX
    }
}
