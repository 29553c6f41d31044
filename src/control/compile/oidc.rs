//! Ways of authentication by OpenID Connect, and their providers.

use std::sync::Arc;

use super::secrets::read_secret;
use super::snapshot::Builder;
use crate::config::load::code::Code;
use crate::config::{Oidc, Secret, Segment};
use crate::control::auth::Web;
use crate::control::compile::problems::code_of;
use crate::control::connector::Tls;
use crate::net::tls::ClientTls;
use crate::path;
use crate::policy::auth::{self, HiddenText, Kind, OidcSettings, Provider, ProviderSource, Sealer};

/// The least characters of a secret that encrypts sessions: those of 24 random bytes in base64.
const SESSION_SECRET_MIN: usize = 32;

impl Builder<'_> {
    /// Builds a way by OpenID Connect. One that is as before is taken over, and so is a provider that is, with its refreshes in progress.
    pub(super) fn oidc(&mut self, name: &Arc<str>, written: &Oidc) -> Option<Arc<auth::Oidc>> {
        let base = path!["auth", &**name, "oidc"];
        let before = self.previous_way(name).and_then(|way| match &way.kind {
            Kind::Oidc(oidc) => Some(oidc.clone()),
            _ => None,
        });
        // All errors are reported, so nothing ends early.
        let sealer = self.sealer(name, written, &base);
        let client_secret = written.client_secret.as_ref().map(|secret| {
            self.secret(secret, &[&base[..], &path!["client_secret"]].concat())
                .map(|text| HiddenText(text.into()))
        });
        let files = self.files();
        let tls = Tls::new(ClientTls { ca: written.ca.clone(), ..ClientTls::default() }, files);
        let web = tls.and_then(|tls| Web::new(written.issuer.url(), tls, self.resolver()));
        let web = web.map_err(|error| {
            let place = if written.ca.is_some() { path!["ca"] } else { path!["issuer"] };
            let place = [&base[..], &place].concat();
            self.errors.push(self.loaded.source.error(code_of(&error), &place, error.to_string()));
        });
        let (sealer, web) = (sealer?, web.ok()?);
        let client_secret = match client_secret {
            Some(secret) => Some(secret?),
            None => None,
        };
        let source = ProviderSource {
            issuer: written.issuer.clone(),
            client_id: written.client_id.clone(),
            client_secret,
            ca: written.ca.as_ref().map(|path| (path.clone(), files.mark(path))),
            timeout: written.timeout.into(),
            refresh: written.refresh.into(),
            leeway: written.leeway.duration().unwrap_or_default(),
        };
        let known = before.as_ref().map(|before| before.provider()).filter(|known| *known.source() == source);
        let provider = known.cloned().unwrap_or_else(|| {
            let provider = Arc::new(Provider::new(source));
            self.commit_plan_mut().serve(name, &provider, web);
            provider
        });
        let built = auth::Oidc::new(OidcSettings::new(name, written), sealer, provider);
        Some(before.filter(|before| before.is_same(&built)).unwrap_or_else(|| Arc::new(built)))
    }

    /// Reads the secrets that encrypt sessions.
    fn sealer(&mut self, name: &Arc<str>, written: &Oidc, base: &[Segment]) -> Option<Sealer> {
        let written_secrets = written.session.secret.as_slice();
        let mut secrets = Vec::new();
        for (index, secret) in written_secrets.iter().enumerate() {
            let place = match &written.session.secret {
                crate::config::Secrets::One(_) => path!["session", "secret"].to_vec(),
                crate::config::Secrets::Several(_) => path!["session", "secret", index].to_vec(),
            };
            let place = [base, &place].concat();
            let Some(text) = self.secret(secret, &place) else { continue };
            if text.len() < SESSION_SECRET_MIN {
                let message = format!("the secret has fewer than {SESSION_SECRET_MIN} characters");
                let error = self.loaded.source.error(Code::FileInvalid, &place, message);
                self.errors.push(error.help("make one: `openssl rand -base64 32`"));
                continue;
            }
            secrets.push(text);
        }
        if secrets.len() < written_secrets.len() {
            return None;
        }
        Sealer::new(&secrets, &[&**name, written.issuer.as_str(), &written.client_id])
    }

    /// Returns the text of a secret at `place`: of a file, without the white space around it.
    pub(super) fn secret(&mut self, secret: &Secret, place: &[Segment]) -> Option<String> {
        let text = read_secret(secret, place, self.loaded, self.files());
        text.map_err(|error| self.errors.push(error)).ok()
    }
}
