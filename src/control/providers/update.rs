//! An update of the configuration, and the requests that bring one about.

use std::path::PathBuf;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc;

use crate::config::ConfigErrors;
use crate::config::load::files::{Files, Fingerprint};
use crate::control::admin::ReloadRequest;

/// A configuration that may differ from the active one. It has not been read yet, because reading may block.
pub(crate) struct Update {
    pub(crate) reason: Reason,
    /// The operator's request that is waiting for the outcome.
    pub(crate) request: Option<ReloadRequest>,
    /// The name under which `files` has the configuration. Errors show it, and other files are relative to its folder.
    pub(crate) name: PathBuf,
    /// The contents. Those that the provider has not set are read from the disk.
    pub(crate) files: Files,
}

/// The errors of an update.
pub(crate) struct Refused {
    pub(crate) errors: ConfigErrors,
    /// The files that have them, as far as they were read; `None` if they could not be read.
    pub(crate) files: Option<Fingerprint>,
}

impl Refused {
    /// Creates a refusal for a reason outside of the files, such as an address that is taken.
    pub(crate) fn transient(errors: impl Into<ConfigErrors>, files: Option<Fingerprint>) -> Self {
        Self { errors: errors.into().transient(), files }
    }
}

/// The reason for an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The source has changed.
    Changed,
    /// An operator requests it.
    Asked,
    /// The obstacle of an earlier try may be gone.
    Retry,
}

/// The requests of operators to read the configuration again.
pub(crate) struct Requests {
    hangup: Signal,
    admin: mpsc::Receiver<ReloadRequest>,
}

impl Requests {
    pub(crate) fn new(hangup: Signal, admin: mpsc::Receiver<ReloadRequest>) -> Self {
        Self { hangup, admin }
    }

    /// Waits for a request. One by a signal has no channel for the outcome. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<ReloadRequest> {
        tokio::select! {
            Some(()) = self.hangup.recv() => {
                tracing::info!("SIGHUP: reading the configuration again");
                None
            }
            Some(request) = self.admin.recv() => Some(request),
            else => std::future::pending().await,
        }
    }
}
