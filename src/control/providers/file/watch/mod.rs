//! Detects when files may have changed, however they are replaced. It is for the control plane only.
//!
//! The system reports events per folder. So the watched folders are those of the files, and those with a symbolic link
//! on the way to them. If there are no events (a network file system, no inotify instances left), a slow poll of each
//! file's metadata finds changes as well.

mod background;
mod intervals;
mod pending;
mod places;
mod signature;
mod watcher;

pub(crate) use background::BackgroundWatcher;
