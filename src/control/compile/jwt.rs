//! Ways of authentication by tokens, and their keys.

use std::sync::Arc;

use super::snapshot::Builder;
use crate::config::load::code::Code;
use crate::config::{Jwt, KeySource, KeyUrl};
use crate::control::auth::Client;
use crate::control::compile::problems::code_of;
use crate::control::connector::Tls;
use crate::net::tls::ClientTls;
use crate::path;
use crate::policy::auth::{self, KeySet, Keys, Kind, RemoteKeys, RemoteSource, Settings};

impl Builder<'_> {
    /// Builds a way by tokens. One that is as before is taken over with the tokens that it knows.
    pub(super) fn jwt(&mut self, name: &Arc<str>, written: &Jwt) -> Option<Arc<auth::Jwt>> {
        let before = self.previous_way(name).and_then(|way| match &way.kind {
            Kind::Jwt(jwt) => Some(jwt.clone()),
            _ => None,
        });
        let keys = match &written.jwks {
            KeySource::File(file) => {
                let path = path!["auth", &**name, "jwt", "jwks"];
                let content = self.auth_file(&path, file)?;
                let keys = KeySet::parse(&content).map_err(|error| {
                    let message = format!("`{}` has no keys: {error}", file.display());
                    self.errors.push(self.loaded.source.error(Code::FileInvalid, &path, message));
                });
                Keys::File(Arc::new(keys.ok()?))
            }
            KeySource::Url(url) => Keys::Remote(self.remote_keys(name, written, url, before.as_deref())?),
        };
        let built = auth::Jwt::new(Settings::new(name, written), keys, self.workers());
        Some(before.filter(|before| before.is_same(&built)).unwrap_or_else(|| Arc::new(built)))
    }

    /// Returns the keys of a URL: those of `before` if they are of the same source, so that a reload does without a fetch.
    fn remote_keys(
        &mut self,
        name: &Arc<str>,
        written: &Jwt,
        url: &KeyUrl,
        before: Option<&auth::Jwt>,
    ) -> Option<Arc<RemoteKeys>> {
        let path = path!["auth", &**name, "jwt", "jwks_ca"];
        let files = self.files();
        let settings = ClientTls { ca: written.jwks_ca.clone(), ..ClientTls::default() };
        let tls = Tls::new(settings, files);
        let client = tls.and_then(|tls| Client::new(url.clone(), &tls, self.resolver()));
        let client = client.map_err(|error| {
            self.errors.push(self.loaded.source.error(code_of(&error), &path, error.to_string()));
        });
        let client = client.ok()?;
        let source = RemoteSource {
            url: url.clone(),
            ca: written.jwks_ca.as_ref().map(|path| (path.clone(), files.mark(path))),
            timeout: written.jwks_timeout.into(),
            cooldown: written.jwks_cooldown.into(),
            refresh: written.jwks_refresh.into(),
        };
        if let Some(keys) = before.and_then(auth::Jwt::remote).filter(|keys| *keys.source() == source) {
            return Some(keys.clone());
        }
        let keys = Arc::new(RemoteKeys::new(source));
        self.commit_plan_mut().fetch(name, &keys, client);
        Some(keys)
    }
}
