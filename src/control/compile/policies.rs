//! The policies of a route.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{AuthUse, RouteSettings};
use crate::policy::auth::{self, Auth, Way};
use crate::policy::{Addresses, Concurrent, Cors, RateLimits, RequestId, Stores};
use crate::snapshot::stage::Stage;

/// The ways of a snapshot, by their names.
pub(crate) type Ways = BTreeMap<String, Arc<Way>>;

/// Returns the stages that admit the requests of the route of this name.
pub(super) fn policies(
    name: &str,
    settings: &RouteSettings,
    ways: &Ways,
    stores: &Stores,
) -> impl Iterator<Item = Stage> + use<> {
    let (allow, deny) = (settings.allow.as_deref(), settings.deny.as_deref());
    let has_addresses = allow.is_some() || deny.is_some();
    let stages = [
        settings.request_id.then_some(Stage::RequestId(RequestId)),
        has_addresses.then(|| Stage::Addresses(Addresses::new(allow, deny))),
        auth_of(settings, ways).map(Stage::Auth),
        settings.cors.as_ref().map(|cors| Stage::Cors(Cors::new(cors))),
        RateLimits::new(name, &settings.rate_limits, stores).map(Stage::RateLimits),
        settings.concurrent.as_ref().map(|limit| Stage::Concurrent(Concurrent::new(name, limit))),
    ];
    stages.into_iter().flatten()
}

/// Returns the authentication of a route; `None` for none, and if one of its ways has errors.
fn auth_of(settings: &RouteSettings, ways: &Ways) -> Option<Auth> {
    let written: &AuthUse = settings.auth.as_ref()?;
    let used = written.names().iter().map(|name| ways.get(name).cloned());
    let require = settings.require.clone().unwrap_or_default();
    Some(Auth {
        ways: used.collect::<Option<_>>()?,
        needs_all: written.needs_all(),
        require: auth::Require::new(require),
    })
}
