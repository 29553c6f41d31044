//! Tells when files may have changed, however they are replaced. For the control side only.
//!
//! The system's events are about folders, so the folders are watched in which the files are, and those in which a
//! symbolic link on the way to them is. Where events don't come (a network's file system, no inotify instances left) a
//! slow look at each file's metadata finds changes as well.

mod background;
mod intervals;
mod pending;
mod places;
mod signature;
mod watcher;

pub(crate) use background::BackgroundWatcher;
