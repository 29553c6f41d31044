//! Detects when files may have changed, however they are replaced. It is for the control plane only.
//!
//! The system reports events per folder. So the watched folders are those of the files, and those with a symbolic link
//! on the way to them. If there are no events (a network file system, no inotify instances left), a slow poll of each
//! file's metadata finds changes as well.

mod pending;
mod places;
mod signature;
mod watcher;

use std::path::PathBuf;
use std::sync::Arc;
use std::{io, thread};

use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};

use crate::control::providers::file::watch::pending::Intervals;
use crate::control::providers::file::watch::watcher::{Shared, Watcher};

/// A [`Watcher`] on a thread of its own: it reads metadata, and a file system that does not respond blocks the thread
/// that does so.
pub(crate) struct BackgroundWatcher {
    paths: watch::Sender<Vec<PathBuf>>,
    changes: mpsc::Receiver<()>,
    shared: Arc<Shared>,
}

impl BackgroundWatcher {
    /// Watches these paths.
    pub(crate) fn start(paths: Vec<PathBuf>) -> io::Result<Self> {
        // One pending notification stands for all that follow.
        let (notify, changes) = mpsc::channel(1);
        let (sender, watched) = watch::channel(paths);
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let watcher = Watcher::with(Intervals::default());
        let shared = watcher.shared.clone();
        let run = move || runtime.block_on(watch(watcher, watched, notify));
        thread::Builder::new().name("watch".to_owned()).spawn(run)?;
        Ok(Self { paths: sender, changes, shared })
    }

    /// Watches these paths and no others.
    pub(crate) fn watch(&self, paths: Vec<PathBuf>) {
        self.paths.send_if_modified(|watched| {
            let differs = *watched != paths;
            *watched = paths;
            differs
        });
    }

    /// Returns true if one of the files is open for writing and has been changed since it was opened, as far as events
    /// show: it may have been read half written.
    pub(crate) fn is_writing(&self) -> bool {
        self.shared.lock().is_anything_written()
    }

    /// Waits like [`Watcher::changed`].
    pub(crate) async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            // The thread has panicked; its message is in the log.
            std::future::pending().await
        }
    }
}

/// Runs until the [`BackgroundWatcher`] is dropped.
async fn watch(mut watcher: Watcher, mut watched: watch::Receiver<Vec<PathBuf>>, notify: mpsc::Sender<()>) {
    watcher.watch(watched.borrow_and_update().clone());
    loop {
        tokio::select! {
            () = watcher.changed() => drop(notify.try_send(())),
            more = watched.changed() => match more {
                Ok(()) => watcher.watch(watched.borrow_and_update().clone()),
                Err(_) => return,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn changes_of_paths_added_later_are_reported_from_the_other_thread() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        let mut watcher = BackgroundWatcher::start(vec![first.clone()]).unwrap();
        // A path that is new counts as changed once.
        watcher.changed().await;
        fs::write(&first, "changed").unwrap();
        watcher.changed().await;
        watcher.watch(vec![first, second.clone()]);
        watcher.changed().await;
        fs::write(&second, "changed").unwrap();
        watcher.changed().await;
    }
}
