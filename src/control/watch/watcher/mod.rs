//! Watches a set of files, by the system's events and by looking.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use crate::control::watch::intervals::Intervals;
use crate::control::watch::pending::PendingChanges;
use crate::control::watch::places::places;
use crate::control::watch::signature::{FolderId, Signature};

/// How often the way to the files is followed anew when folders come and go meanwhile; the rest is the poll's.
const LOOKS_MAX: usize = 4;

/// Watches a set of files, which may be missing for the time being.
pub(crate) struct Watcher {
    intervals: Intervals,
    /// Absolute, as they were given: they are followed anew whenever something changes on the way.
    paths: BTreeSet<PathBuf>,
    /// What has the system's events. None: there are none to be had.
    system: Option<RecommendedWatcher>,
    /// The folders that the system watches, and which folder each was at that time.
    folders: BTreeMap<PathBuf, FolderId>,
    shared: Arc<Shared>,
    /// The files' metadata when a change was last told.
    known: Signatures,
    /// What the last look saw instead, if no event came with it.
    differing: Option<Signatures>,
    poll_at: Instant,
    warned: bool,
}

type Signatures = BTreeMap<PathBuf, Option<Signature>>;

/// Tells whether somebody is writing one of a watcher's files, as far as the system has told.
pub(crate) struct Writers(Arc<Shared>);

impl Writers {
    /// Whether one of the files is open for writing and has been changed since it was opened.
    #[must_use]
    pub(crate) fn are_at_work(&self) -> bool {
        self.0.lock().is_anything_written()
    }
}

/// What the thread of the system's events and the watcher share.
struct Shared {
    changes: Mutex<PendingChanges>,
    wake: Notify,
}

impl Default for Watcher {
    fn default() -> Self {
        Self::new()
    }
}

impl Watcher {
    /// A watcher of nothing yet, with the default intervals. Where the system has no events to give, it says so in the log
    /// and lives by looking at the files now and then.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::with(Intervals::default())
    }

    /// As [`Watcher::new`], with other intervals.
    #[must_use]
    pub(crate) fn with(intervals: Intervals) -> Self {
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

    /// Who writes the files that it watches at the time.
    #[must_use]
    pub(crate) fn writers(&self) -> Writers {
        Writers(Arc::clone(&self.shared))
    }

    /// Watches these paths and no others. Relative ones are meant from the working folder.
    ///
    /// A path that was not watched before counts as changed once: nobody saw what became of it since it was read.
    pub(crate) fn watch(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
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

    /// Waits until a file may have changed, and the changes have settled: nobody is in the middle of writing one of the
    /// files. Whether a content is another, the caller finds by reading them anew.
    ///
    /// Cancel safe: a change that was not told is told by the next call. Looks at the files' metadata on the calling
    /// thread.
    pub(crate) async fn changed(&mut self) {
        loop {
            if self.shared.lock().take_moved() {
                self.follow();
            }
            let now = Instant::now();
            let polled = now >= self.poll_at && self.poll(now);
            let (told, due, warning) = {
                let mut changes = self.shared.lock();
                changes.warn_of_writing(now);
                (changes.take_due(now), changes.due(), changes.next_warning())
            };
            if polled || told {
                self.remember();
                return;
            }
            let until = [due, warning].into_iter().flatten().fold(self.poll_at, Instant::min);
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    /// Looks at the files; answers whether there is a change that no event has told. A file that grows without events may
    /// be half written, so the change has to look the same twice.
    fn poll(&mut self, now: Instant) -> bool {
        self.poll_at = now + self.intervals.poll;
        self.follow();
        let seen = self.signatures();
        let by_event = self.shared.lock().is_pending();
        let settled = self.differing.as_ref() == Some(&seen);
        self.differing = (seen != self.known && !by_event).then_some(seen);
        settled && self.differing.is_some()
    }

    /// From here on, only what is not as it is now is a change.
    fn remember(&mut self) {
        self.known = self.signatures();
        self.differing = None;
    }

    fn signatures(&self) -> Signatures {
        self.paths.iter().map(|path| (path.clone(), Signature::of(path))).collect()
    }

    /// Follows each path to where it leads now, and has the folders on the way watched.
    fn follow(&mut self) {
        for _ in 0..LOOKS_MAX {
            let mut wanted: BTreeMap<PathBuf, BTreeSet<_>> = BTreeMap::new();
            for (folder, name) in self.paths.iter().flat_map(|path| places(path)) {
                wanted.entry(folder).or_default().insert(name);
            }
            let folders: Vec<_> = wanted.keys().cloned().collect();
            // First what matters, then the events: none of them is taken for somebody else's.
            let stale = self.shared.lock().set_places(wanted);
            // What came before a folder was watched left no event: look again at where the paths lead.
            if !self.watch_folders(&folders, &stale) {
                return;
            }
        }
    }

    /// Has these folders watched and no others; answers whether one is watched that was not before.
    fn watch_folders(&mut self, wanted: &[PathBuf], stale: &BTreeSet<PathBuf>) -> bool {
        let Some(system) = &mut self.system else { return false };
        self.folders.retain(|folder, id| {
            let right = wanted.contains(folder) && !stale.contains(folder);
            let right = right && FolderId::of(folder) == Some(*id);
            if !right {
                // Fails where the folder is gone, and the watch with it.
                drop(system.unwatch(folder));
                self.shared.lock().forget_writers(folder);
            }
            right
        });
        let mut added = false;
        for folder in wanted {
            // A folder that is gone meanwhile is found missing by the next look.
            let Some(id) = FolderId::of(folder).filter(|_| !self.folders.contains_key(folder)) else {
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

/// Returns why the operating system sends no notifications.
fn reason(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => "fs.inotify.max_user_watches is used up".to_owned(),
        notify::ErrorKind::Io(error) => error.to_string(),
        notify::ErrorKind::PathNotFound => "it is gone".to_owned(),
        _ => "the operating system has none to give".to_owned(),
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, PendingChanges> {
        // Every step leaves something that may be told too often, never too rarely.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by the thread of the system's events.
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
