//! The compilation of mirrors.

use std::sync::Arc;

use super::previous::mirror_owner_of;
use super::snapshot::Builder;
use crate::config::{self, MirrorSettings};
use crate::observe::metrics::RouteStats;
use crate::path;
use crate::snapshot::mirror::Mirror;
use crate::upstream::Targets;

impl Builder<'_> {
    /// Builds the mirror of the route that `stats` count, if it has one. Returns `None` if there are errors, which are noted.
    pub(super) fn mirror(
        &mut self,
        route: &config::Route,
        settings: Option<MirrorSettings>,
        stats: &Arc<RouteStats>,
    ) -> Option<Option<Arc<Mirror>>> {
        let Some(settings) = settings else { return Some(None) };
        let upstream = self.config().mirror_upstream_of(route)?;
        let targets = self.mirror_targets(route, upstream, &settings)?;
        let of_upstream = (upstream.hash_on.clone(), upstream.header_case);
        Some(Some(Arc::new(Mirror::new(settings, targets.upstream().clone(), of_upstream, stats.clone()))))
    }

    /// Returns the endpoints of a mirror, which all routes with a mirror to the same upstream share.
    fn mirror_targets(
        &mut self,
        route: &config::Route,
        upstream: &config::Upstream,
        settings: &MirrorSettings,
    ) -> Option<Arc<Targets>> {
        let owner = mirror_owner_of(self.config(), route)?;
        if let Some(known) = self.known(&owner) {
            known.routes.push(route.name());
            return Some(known.targets.clone());
        }
        let (place, connect) = (path!["upstreams", &settings.to], settings.timeouts.connect);
        self.build_targets(&place, owner, upstream, &settings.pool, connect, vec![route.name()])
    }
}
