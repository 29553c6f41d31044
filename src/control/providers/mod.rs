//! The providers of configurations: each notices changes at one kind of source.

pub(crate) mod file;
pub(crate) mod update;

use crate::config::load::files::Fingerprint;
use crate::control::providers::file::FileProvider;
use crate::control::providers::update::{Reason, Refused, Update};

/// The source of configurations. Each variant is one kind of source.
pub(crate) enum Provider {
    /// A file, and the files that it names.
    File(FileProvider),
}

impl Provider {
    /// Waits for the next update. Report its outcome before the next call.
    pub(crate) async fn next(&mut self) -> Update {
        match self {
            Self::File(file) => file.next().await,
        }
    }

    /// Returns true if the source is changing now, and the last update may be a part of the next one.
    pub(crate) fn is_changing(&self) -> bool {
        match self {
            Self::File(file) => file.is_changing(),
        }
    }

    /// Takes note of an update's outcome: the fingerprint of the configuration that serves now, or the refusal. Returns
    /// false if the refusal is not final, because another update will follow soon.
    pub(crate) fn report(&mut self, reason: Reason, outcome: Result<&Fingerprint, &Refused>) -> bool {
        match self {
            Self::File(file) => file.report(reason, outcome),
        }
    }
}
