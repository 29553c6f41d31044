//! The policies of a route.

use super::auth::{Ways, auth_of};
use crate::config::RouteSettings;
use crate::policy::{Addresses, Concurrent, Cors, RateLimits, RequestId};
use crate::snapshot::stage::Stage;

/// Returns the stages that admit the requests of the route of this name.
pub(super) fn policies(
    name: &str,
    settings: &RouteSettings,
    ways: &Ways,
) -> impl Iterator<Item = Stage> + use<> {
    let (allow, deny) = (settings.allow.as_deref(), settings.deny.as_deref());
    let has_addresses = allow.is_some() || deny.is_some();
    let stages = [
        settings.request_id.then_some(Stage::RequestId(RequestId)),
        has_addresses.then(|| Stage::Addresses(Addresses::new(allow, deny))),
        auth_of(settings, ways).map(Stage::Auth),
        settings.cors.as_ref().map(|cors| Stage::Cors(Cors::new(cors))),
        RateLimits::new(name, &settings.rate_limits).map(Stage::RateLimits),
        settings.concurrent.as_ref().map(|limit| Stage::Concurrent(Concurrent::new(name, limit))),
    ];
    stages.into_iter().flatten()
}
