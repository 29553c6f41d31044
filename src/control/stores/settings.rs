//! The settings of a store.

use std::time::Duration;

use crate::config;

/// The time limit for connecting to a store, and so the time by which one that is away delays a reload.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(1);

/// The settings of a store, with the contents of the files that it names.
pub(crate) struct StoreSettings {
    pub(crate) name: String,
    pub(crate) written: config::Store,
    /// The certificates of authorities, PEM.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "this program has no stores"))]
    pub(crate) ca: Option<Vec<u8>>,
    /// The certificate to present and its key, PEM.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "this program has no stores"))]
    pub(crate) client: Option<(Vec<u8>, Vec<u8>)>,
}
