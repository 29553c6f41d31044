//! The warnings of a configuration that was built.

mod certificates;
mod readable_secrets;
mod redirect_loops;
mod unreachable_routes;

use crate::config::load::files::Files;
use crate::config::{self, ConfigWarnings, Loaded};
use crate::snapshot::Snapshot;

/// Returns all warnings, in the order of the file.
pub(crate) fn warnings(loaded: &Loaded, snapshot: &Snapshot, files: &Files) -> ConfigWarnings {
    let mut all = config::warnings(loaded);
    all.extend(redirect_loops::warnings(loaded, snapshot));
    all.extend(unreachable_routes::warnings(loaded));
    all.extend(certificates::warnings(loaded, files));
    all.extend(readable_secrets::warnings(loaded));
    ConfigWarnings::new(all)
}
