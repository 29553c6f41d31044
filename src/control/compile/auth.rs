//! The ways of authentication.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::policies::Ways;
use super::snapshot::Builder;
use crate::config::load::code::Code;
use crate::config::{AuthWay, BasicAuth};
use crate::observe::metrics::AuthStats;
use crate::path;
use crate::policy::auth::{self, ClaimsToHeaders, InvalidLine, Kind, Way};

impl Builder<'_> {
    /// Builds all ways, whether or not a route uses them: their files must be valid in any case.
    pub(super) fn ways(&mut self) -> Ways {
        let ways = self.config().auth.iter();
        ways.filter_map(|(name, written)| Some((name.clone(), Arc::new(self.way(name, written)?)))).collect()
    }

    fn way(&mut self, name: &str, written: &AuthWay) -> Option<Way> {
        let (shared, no_claims): (Arc<str>, _) = (name.into(), BTreeMap::new());
        let (kind, claims) = if let Some(api_key) = &written.api_key {
            let place = api_key.place()?;
            let path = path!["auth", name, "api_key", "keys"];
            let file = self.auth_file(&path, &api_key.keys)?;
            let keys = auth::ApiKey::new(&shared, place, &file);
            let keys = keys.map_err(|error| {
                let message = format!("{}: {error}", api_key.keys.display());
                self.errors
                    .push(self.loaded.source.error(Code::FileInvalid, &path, message).help(error.advice()));
            });
            (Kind::ApiKey(keys.ok()?), &api_key.claims_to_headers)
        } else if let Some(jwt) = &written.jwt {
            (Kind::Jwt(self.jwt(&shared, jwt)?), &jwt.claims_to_headers)
        } else if let Some(forward) = &written.forward {
            (Kind::Forward(self.forward(&shared, forward)?), &no_claims)
        } else if let Some(basic) = &written.basic {
            (Kind::Basic(self.basic(&shared, basic)?), &basic.claims_to_headers)
        } else if let Some(mtls) = &written.mtls {
            (Kind::Mtls(auth::Mtls::new(mtls)), &mtls.claims_to_headers)
        } else if let Some(oidc) = &written.oidc {
            (Kind::Oidc(self.oidc(&shared, oidc)?), &oidc.claims_to_headers)
        } else {
            return None;
        };
        let stats = match self.previous_way(name) {
            Some(before) => before.stats.clone(),
            None => Arc::new(AuthStats::new(self.workers())),
        };
        let claims_to_headers = ClaimsToHeaders::new(claims);
        Some(Way {
            name: shared,
            kind,
            claims_to_headers,
            stats,
            counts_identities: written.identity_metrics,
        })
    }

    fn basic(&mut self, name: &Arc<str>, written: &BasicAuth) -> Option<auth::Basic> {
        let path = path!["auth", name.as_ref(), "basic", "users"];
        let file = self.auth_file(&path, &written.users)?;
        let users = auth::Users::parse(name, &file).map_err(|lines| {
            for InvalidLine { line, reason, advice } in lines {
                let message = format!("{}, line {line}: {reason}", written.users.display());
                self.errors.push(self.loaded.source.error(Code::FileInvalid, &path, message).help(advice));
            }
        });
        auth::Basic::new(users.ok()?, written.realm.as_str(), written.cache.duration().unwrap_or_default())
    }

    /// Reads a file that a way names at `path`.
    pub(super) fn auth_file(&mut self, path: &[crate::config::Segment], file: &Path) -> Option<Arc<[u8]>> {
        let content = self.files().read(file);
        let content = content.map_err(|error| {
            let message = format!("cannot read {}: {error}", file.display());
            let error = self.loaded.source.error(Code::FileUnreadable, path, message);
            self.errors.push(error.help("correct the path, or let the gateway's user read it"));
        });
        content.ok()
    }
}
