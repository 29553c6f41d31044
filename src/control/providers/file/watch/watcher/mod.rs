//! The watcher of a set of files, by the system's events and by polling.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use crate::control::providers::file::watch::pending::{Intervals, PendingChanges};
use crate::control::providers::file::watch::places::places;
use crate::control::providers::file::watch::signature::{FileId, Signature, folder_id};

/// The maximum number of times that the paths are followed again when folders come and go meanwhile. The next poll does
/// the rest.
const LOOKS_MAX: usize = 4;

/// A watcher of a set of files, some of which may be missing.
pub(super) struct Watcher {
    intervals: Intervals,
    /// The absolute paths as they were given. They are followed again whenever something on the way changes.
    paths: BTreeSet<PathBuf>,
    /// The source of the system's events; `None` if they are unavailable.
    system: Option<RecommendedWatcher>,
    /// The folders that the system watches, and their identities at that time.
    folders: BTreeMap<PathBuf, FileId>,
    pub(super) shared: Arc<Shared>,
    /// The files' metadata at the last report of a change.
    known: Signatures,
    /// The different metadata that the last poll found without an event.
    differing: Option<Signatures>,
    poll_at: Instant,
    warned: bool,
}

type Signatures = BTreeMap<PathBuf, Option<Signature>>;

/// The state that the thread of the system's events shares with the watcher.
pub(super) struct Shared {
    changes: Mutex<PendingChanges>,
    wake: Notify,
}

impl Watcher {
    /// Creates a watcher of no files. If the system's events are unavailable, it logs that and polls the files instead.
    pub(super) fn with(intervals: Intervals) -> Self {
        let mut watcher = Self::without_events(intervals);
        let shared = Arc::clone(&watcher.shared);
        match notify::recommended_watcher(move |event| shared.note(event)) {
            Ok(system) => watcher.system = Some(system),
            Err(error) => tracing::warn!(
                "file change notifications are unavailable ({}); polling every {:?} instead",
                reason(&error),
                intervals.poll
            ),
        }
        watcher
    }

    fn without_events(intervals: Intervals) -> Self {
        let shared = Shared { changes: Mutex::new(PendingChanges::new(intervals)), wake: Notify::new() };
        Self {
            intervals,
            paths: BTreeSet::new(),
            system: None,
            folders: BTreeMap::new(),
            shared: Arc::new(shared),
            known: Signatures::new(),
            differing: None,
            poll_at: Instant::now() + intervals.poll,
            warned: false,
        }
    }

    /// Watches these paths and no others. Relative paths start at the working folder.
    ///
    /// A path that was not watched before counts as changed once: it may have changed since it was read.
    pub(super) fn watch(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        let paths: BTreeSet<_> =
            paths.into_iter().filter_map(|path| std::path::absolute(path).ok()).collect();
        if paths == self.paths {
            return;
        }
        let more = !paths.is_subset(&self.paths);
        self.paths = paths;
        self.follow();
        self.remember();
        if more {
            self.shared.lock().note_new(Instant::now());
        }
    }

    /// Waits until a file may have changed and the changes have settled: none of the files is being written. The caller
    /// reads the files again to see whether a content differs.
    ///
    /// Cancel safe: the next call returns a change that this one did not report. Reads the files' metadata on the
    /// calling thread.
    pub(super) async fn changed(&mut self) {
        loop {
            if self.shared.lock().take_moved() {
                self.follow();
            }
            let now = Instant::now();
            let polled = now >= self.poll_at && self.poll(now);
            let (is_due, next_due, warning) = {
                let mut changes = self.shared.lock();
                changes.warn_of_writing(now);
                (changes.take_due(now), changes.due(), changes.next_warning())
            };
            if polled || is_due {
                self.remember();
                return;
            }
            let until = [next_due, warning].into_iter().flatten().fold(self.poll_at, Instant::min);
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    /// Polls the files. Returns true if there is a change without an event. A file that grows without events may be
    /// half written, so two polls must find the same.
    fn poll(&mut self, now: Instant) -> bool {
        self.poll_at = now + self.intervals.poll;
        self.follow();
        let seen = self.signatures();
        let by_event = self.shared.lock().is_pending();
        let settled = self.differing.as_ref() == Some(&seen);
        self.differing = (seen != self.known && !by_event).then_some(seen);
        settled && self.differing.is_some()
    }

    /// Stores the present state. Only differences from it are changes from now on.
    fn remember(&mut self) {
        self.known = self.signatures();
        self.differing = None;
    }

    fn signatures(&self) -> Signatures {
        self.paths.iter().map(|path| (path.clone(), Signature::of(path))).collect()
    }

    /// Follows each path to where it leads now, and watches the folders on the way.
    fn follow(&mut self) {
        for _ in 0..LOOKS_MAX {
            let mut wanted: BTreeMap<PathBuf, BTreeSet<_>> = BTreeMap::new();
            for (folder, name) in self.paths.iter().flat_map(|path| places(path)) {
                wanted.entry(folder).or_default().insert(name);
            }
            let folders: Vec<_> = wanted.keys().cloned().collect();
            // The names are set before the events begin, so that no event is mistaken for an unrelated one.
            let stale = self.shared.lock().set_places(wanted);
            // Changes before a folder was watched left no event: follow the paths again.
            if !self.watch_folders(&folders, &stale) {
                return;
            }
        }
    }

    /// Watches these folders and no others. Returns true if one of them was not watched before.
    fn watch_folders(&mut self, wanted: &[PathBuf], stale: &BTreeSet<PathBuf>) -> bool {
        let Some(system) = &mut self.system else { return false };
        self.folders.retain(|folder, id| {
            let right = wanted.contains(folder) && !stale.contains(folder);
            let right = right && folder_id(folder) == Some(*id);
            if !right {
                // This fails if the folder is gone, and the watch with it.
                drop(system.unwatch(folder));
                self.shared.lock().forget_writers(folder);
            }
            right
        });
        let mut added = false;
        for folder in wanted {
            // A folder that has gone meanwhile is found missing by the next look.
            let Some(id) = folder_id(folder).filter(|_| !self.folders.contains_key(folder)) else {
                continue;
            };
            match system.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.folders.insert(folder.clone(), id);
                    added = true;
                }
                Err(error) if !self.warned && folder.is_dir() => {
                    self.warned = true;
                    warn_of_unwatched(folder, &error, self.intervals.poll);
                }
                Err(_) => {}
            }
        }
        added
    }
}

fn warn_of_unwatched(folder: &Path, error: &notify::Error, poll: Duration) {
    tracing::warn!(
        folder = %folder.display(),
        "file change notifications are unavailable for a folder ({}); polling it every {poll:?} instead",
        reason(error)
    );
}

/// Returns the reason why the operating system sends no notifications.
fn reason(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => "fs.inotify.max_user_watches is used up".to_owned(),
        notify::ErrorKind::Io(error) => error.to_string(),
        notify::ErrorKind::PathNotFound => "it is gone".to_owned(),
        _ => "the operating system provides none".to_owned(),
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, PendingChanges> {
        // After every step, a change may be reported too often, but never too rarely.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles an event on the thread of the system's events.
    fn note(&self, event: notify::Result<notify::Event>) {
        let now = Instant::now();
        let wakes = match event {
            Ok(event) => self.lock().note(&event, now),
            Err(_) => self.lock().note_loss(now),
        };
        if wakes {
            self.wake.notify_one();
        }
    }
}
