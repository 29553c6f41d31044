//! OpenID Connect (OpenID Connect Core 1.0, RFC 9700): people log in at a provider, and their sessions are in encrypted cookies.
//!
//! The gateway keeps no state: a cookie has the whole session, or the whole login in progress. Workers verify ID tokens and seal
//! cookies; requests to the provider are the control plane's.

mod callback;
mod cookies;
mod hidden_text;
mod login;
mod logout;
mod metadata;
mod pages;
mod provider;
mod refreshes;
mod seal;
mod session;
mod settings;
mod source;
mod tokens;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode, header};

use self::cookies::Cookies;
pub(crate) use self::hidden_text::HiddenText;
use self::login::{LOGIN_SECONDS, Login};
pub(crate) use self::metadata::{ClientAuthentication, Metadata};
pub(crate) use self::provider::{Grant, Provider, TokenCall};
pub(crate) use self::seal::Sealer;
use self::session::{Session, kept_claims};
pub(crate) use self::settings::OidcSettings;
pub(crate) use self::source::ProviderSource;
pub(crate) use self::tokens::{Outcome, TokenError, Tokens};
use super::credentials::Credentials;
use super::jwt::unix_time;
use super::{Additions, Verdict, WayResponse};
use crate::config::Scheme;
use crate::http::fields::Fields;
use crate::http::forward::ClientOrigin;
use crate::http::message::Response;

/// The logins that a browser may have in progress. The oldest one ends with a further one.
const LOGINS_MAX: usize = 5;

/// The reason for a request that needs the provider when the gateway cannot reach it.
const PROVIDER: &str = "auth.oidc.provider";

/// The reason for a request with a session that is not valid, or over.
const SESSION: &str = "auth.oidc.session";

/// A way to know people who log in at a provider.
pub(crate) struct Oidc {
    settings: OidcSettings,
    sealer: Sealer,
    provider: Arc<Provider>,
}

/// The facts about a request that its cookies and redirects depend on.
struct Visit<'a> {
    origin: ClientOrigin<'a>,
    cookies: Cookies<'a>,
    /// The fields of the request.
    headers: &'a Fields,
    now: u64,
}

impl Oidc {
    pub(crate) fn new(settings: OidcSettings, sealer: Sealer, provider: Arc<Provider>) -> Self {
        Self { settings, sealer, provider }
    }

    /// Returns true if both know the same people and treat them alike.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.settings == other.settings
            && self.sealer == other.sealer
            && Arc::ptr_eq(&self.provider, &other.provider)
    }

    pub(crate) fn provider(&self) -> &Arc<Provider> {
        &self.provider
    }

    /// Judges the session of a request. Responds to the provider's redirects, to logouts, and to a browser that navigates without a
    /// session.
    pub(super) async fn verify(&self, request: &Credentials<'_, '_>, additions: &mut Additions) -> Verdict {
        let scheme = request.scheme();
        let visit = Visit {
            origin: ClientOrigin::new(scheme, request.authority()),
            cookies: self.settings.cookies.on(scheme == Scheme::Https),
            headers: request.headers,
            now: unix_time(),
        };
        let path = request.context.path;
        if path == &*self.settings.redirect_path {
            return self.callback(request.target.query().unwrap_or_default(), &visit).await;
        }
        if path == &*self.settings.logout_path {
            return responds(self.logout(request.context.method, &visit));
        }
        let sealed = visit.cookies.session(request.headers);
        let session = sealed.as_deref().and_then(|sealed| Session::open(sealed, &self.sealer));
        let lives = |session: &Session| self.settings.lifetime.left(session, visit.now).is_some();
        let current = match session.filter(lives) {
            Some(session) => self.current(session, &visit, additions).await,
            None => None,
        };
        match current {
            Some(session) => Verdict::Known(Arc::new(session.into_identity(&self.settings.way))),
            None if is_navigation(request) => self.begin(request, &visit).await,
            None if sealed.is_some() => Verdict::Refused(SESSION),
            None => Verdict::Absent,
        }
    }

    /// Removes the cookies of the way.
    pub(super) fn remove(&self, headers: &mut Fields) {
        self.settings.cookies.remove(headers);
    }

    /// Returns the session as it goes on, refreshed if the provider's word is over; `None` if it does not go on.
    async fn current(
        &self,
        mut session: Session,
        visit: &Visit<'_>,
        additions: &mut Additions,
    ) -> Option<Session> {
        let is_over = visit.now >= session.until;
        if is_over {
            let token = session.refresh_token.as_ref()?;
            match self.provider.refresh(token, visit.now).await {
                Ok(tokens) => session = self.refreshed(session, &tokens).await?,
                Err(TokenError::Refused) => return None,
                // The session goes on: the provider has not said that it must not.
                Err(TokenError::Unavailable) => return Some(session),
            }
        }
        if is_over || self.settings.lifetime.must_renew(&session, visit.now) {
            session.written = visit.now;
            self.set_session(&session, visit, &mut additions.response);
        }
        Some(session)
    }

    /// Returns a session with the tokens of a refresh. An ID token is optional there (OpenID Connect Core 1.0 §12.2).
    async fn refreshed(&self, session: Session, tokens: &Tokens) -> Option<Session> {
        let mut until = tokens.expires_in.map(|seconds| tokens.received.saturating_add(seconds));
        let mut session = session;
        if let Some(id_token) = &tokens.id_token {
            let metadata = self.provider.metadata_or_wait().await?;
            let verified = metadata.verify(&id_token.0, None).await.ok()?;
            if verified.identity.subject != session.subject {
                return None;
            }
            session.claims = kept_claims(&verified.identity.claims, self.settings.claims.as_deref());
            session.id_token = session.id_token.and(Some(id_token.clone()));
            until = until.or(verified.expires);
        }
        session.refresh_token = tokens.refresh_token.clone().or(session.refresh_token);
        // A provider that does not say how long its tokens hold is asked again after as long as before.
        let before = session.until.saturating_sub(session.written);
        session.until = until.unwrap_or_else(|| tokens.received.saturating_add(before));
        Some(session)
    }

    /// Adds the cookies of a session to a response. Returns false if the session is too large for them.
    fn set_session(&self, session: &Session, visit: &Visit<'_>, fields: &mut Fields) -> bool {
        let seconds = self.settings.lifetime.of_cookie(session, visit.now);
        let sealed = session.seal(&self.sealer);
        sealed.is_some_and(|sealed| visit.cookies.set_session(&sealed, seconds, visit.headers, fields))
    }

    /// Sends a browser to the provider.
    async fn begin(&self, request: &Credentials<'_, '_>, visit: &Visit<'_>) -> Verdict {
        if visit.origin.host.authority.is_empty() {
            // Of a client of HTTP/1.0, which could not be sent back.
            return Verdict::Absent;
        }
        let Some(metadata) = self.provider.metadata_or_wait().await else {
            return Verdict::Unavailable(PROVIDER);
        };
        responds(self.to_provider(request, visit, &metadata))
    }

    fn to_provider(
        &self,
        request: &Credentials<'_, '_>,
        visit: &Visit<'_>,
        metadata: &Metadata,
    ) -> Option<Response<Bytes>> {
        let (scheme, authority) = (visit.origin.scheme.as_str(), visit.origin.host.authority);
        let redirect_uri = format!("{scheme}://{authority}{}", self.settings.redirect_path);
        let login = Login::begin(request.target, redirect_uri, visit.now)?;
        let own = login.parameters();
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        let fixed = self.settings.parameters.iter().map(|(name, value)| (&**name, &**value));
        let url = login::with_query(metadata.authorization_endpoint(), &fixed.chain(own).collect::<Vec<_>>());
        let mut response = pages::redirect(StatusCode::FOUND, &url)?;
        let sealed = login.seal(&self.sealer)?;
        self.end_oldest_logins(visit, &mut response.headers);
        let number = login::number(&login.state)?;
        response.headers.extend(visit.cookies.set_login(number, &sealed, LOGIN_SECONDS));
        Some(response)
    }

    /// Expires the cookies of logins that are over, and of the oldest ones if there are many.
    fn end_oldest_logins(&self, visit: &Visit<'_>, fields: &mut Fields) {
        let began = |number: &str| {
            let sealed = visit.cookies.login_value(visit.headers, number)?;
            Login::open(sealed, &self.sealer, visit.now).map(|login| login.began)
        };
        let numbers = visit.cookies.logins(visit.headers);
        // Logins that are over come first.
        let mut logins: Vec<(Option<u64>, &str)> = numbers.map(|number| (began(number), number)).collect();
        logins.sort_unstable();
        let open = logins.iter().filter(|(began, _)| began.is_some()).count();
        let ended = logins.len() - open.min(LOGINS_MAX - 1);
        for (_, number) in logins.into_iter().take(ended) {
            fields.extend(visit.cookies.set_login(number, "", 0));
        }
    }
}

/// Returns the verdict for a response of the way itself. There is none if the system has no randomness, or a URL is no value of a field.
fn responds(own: Option<impl Into<WayResponse>>) -> Verdict {
    own.map_or(Verdict::Unavailable(PROVIDER), |own| Verdict::Responds(Box::new(own.into())))
}

/// Returns true for a request by which a browser shows a page. A script's request must not be redirected: it could not log in, and would
/// take the provider's page for its data.
fn is_navigation(request: &Credentials<'_, '_>) -> bool {
    let text = |name: &'static str| request.headers.get(name).map(http::HeaderValue::as_bytes);
    if *request.context.method != Method::GET || text("sec-purpose").is_some() {
        return false;
    }
    match text("sec-fetch-mode") {
        Some(mode) => mode == b"navigate",
        // An old browser, or one on plain HTTP, which sends no such field.
        None => {
            let is_script = text("x-requested-with").is_some();
            let mut accept = request.headers.get_all(header::ACCEPT);
            !is_script
                && accept.any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("text/html")))
        }
    }
}

#[cfg(test)]
mod tests;

/// Opens a sealed text, and reads the session of a request, as anyone could send them.
#[cfg(fuzzing)]
pub(crate) fn fuzz(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(sealer) = Sealer::new(&["secret"], &["staff"]) else { return };
    assert!(Session::open(text, &sealer).is_none(), "opened, and not sealed");
    assert!(Login::open(text, &sealer, 0).is_none(), "opened, and not sealed");
    let Ok(cookie) = http::HeaderValue::from_bytes(data) else { return };
    let mut headers: Fields = [(header::COOKIE, cookie)].into_iter().collect();
    let names = cookies::CookieNames::new("gw", false);
    let _logins = names.on(false).logins(&headers).count();
    if let Some(session) = names.on(false).session(&headers) {
        assert!(session.len() < data.len());
    }
    names.remove(&mut headers);
    assert!(names.on(false).session(&headers).is_none(), "left over");
}
