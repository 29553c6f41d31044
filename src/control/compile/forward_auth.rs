//! Ways of authentication by another server.

use std::sync::Arc;

use super::snapshot::Builder;
use crate::config::ForwardAuth;
use crate::config::load::code::Code;
use crate::path;
use crate::policy::auth::{Forward, ForwardSettings, Kind};
use crate::snapshot::auth_server::AuthUpstream;

impl Builder<'_> {
    /// Builds a way by another server. One that is as before is taken over with the answers that it remembers. Returns `None` if there are
    /// errors, which are noted.
    pub(super) fn forward(&mut self, name: &Arc<str>, written: &ForwardAuth) -> Option<Arc<Forward>> {
        let called = self.called_upstream(&written.to)?;
        let server = AuthUpstream {
            upstream: called.upstream,
            timeouts: called.timeouts,
            keep_alive: called.keep_alive,
            header_case: called.header_case,
        };
        let Some(built) = Forward::new(ForwardSettings::new(name, written), Arc::new(server)) else {
            // A route must not do without the way.
            let path = path!["auth", &**name, "forward", "cache"];
            self.errors.push(self.loaded.source.error(
                Code::System,
                &path,
                "the system has no random numbers",
            ));
            return None;
        };
        let before = self.previous_way(name).and_then(|way| match &way.kind {
            Kind::Forward(forward) => Some(forward.clone()),
            _ => None,
        });
        Some(before.filter(|before| before.is_same(&built)).unwrap_or_else(|| Arc::new(built)))
    }
}
