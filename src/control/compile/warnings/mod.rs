//! The warnings of a configuration.

mod certificates;
mod readable_secrets;
mod redirect_loops;
mod unreachable_routes;

use crate::config::load::files::Files;
use crate::config::{self, ConfigWarnings, Loaded};
use crate::snapshot::Snapshot;

/// Returns the warnings in the order of the file: all of them with the snapshot, and those that need none of a configuration that could
/// not be built.
pub(crate) fn warnings(loaded: &Loaded, snapshot: Option<&Snapshot>, files: &Files) -> ConfigWarnings {
    let mut all = config::warnings(loaded);
    all.extend(snapshot.into_iter().flat_map(|snapshot| redirect_loops::warnings(loaded, snapshot)));
    all.extend(unreachable_routes::warnings(loaded));
    all.extend(certificates::warnings(loaded, files));
    all.extend(readable_secrets::warnings(loaded));
    ConfigWarnings::new(all)
}
