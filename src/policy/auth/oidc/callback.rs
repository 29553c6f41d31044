//! The provider's response to a login, which the browser brings.

use std::borrow::Cow;

use http::StatusCode;

use super::hidden_text::HiddenText;
use super::login::Login;
use super::metadata::{IdToken, Invalid, Metadata};
use super::pages::{Problem, redirect};
use super::provider::Grant;
use super::session::{Session, kept_claims};
use super::tokens::{TokenError, Tokens};
use super::{Oidc, PROVIDER, Visit, login, responds};
use crate::policy::auth::{Verdict, WayResponse};

/// The longest ID token that a session keeps for the logout.
const ID_TOKEN_KEPT_MAX: usize = 4 << 10;

/// The parameters of an authorization response (RFC 6749 §4.1.2, RFC 9207). The first of each name counts.
#[derive(Default)]
struct Parameters<'q> {
    code: Option<Cow<'q, str>>,
    state: Option<Cow<'q, str>>,
    error: Option<Cow<'q, str>>,
    iss: Option<Cow<'q, str>>,
}

/// An outcome of a callback without a session.
enum Failure {
    Problem(Problem),
    /// The provider cannot be reached. The browser may bring the same response again.
    Unavailable,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl<'q> Parameters<'q> {
    fn parse(query: &'q str) -> Self {
        let mut parameters = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "code" => &mut parameters.code,
                "state" => &mut parameters.state,
                "error" => &mut parameters.error,
                "iss" => &mut parameters.iss,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        parameters
    }
}

impl Oidc {
    /// Ends a login with the provider's response: with a session and a redirect to the place where the login began, or with a page that
    /// says why not.
    pub(super) async fn callback(&self, query: &str, visit: &Visit<'_>) -> Verdict {
        let parameters = Parameters::parse(query);
        let state = parameters.state.as_deref().unwrap_or_default();
        let number = login::number(state).unwrap_or_default();
        let sealed = visit.cookies.login_value(visit.headers, number);
        let login = sealed.and_then(|sealed| Login::open(sealed, &self.sealer, visit.now));
        // Without the state of this very browser, the response may be one that an attacker has put into a link.
        let Some(login) = login.filter(|login| login.has_state(state)) else {
            return responds(Some(Problem::State.page("/")));
        };
        let mut own: WayResponse = match self.session(&parameters, &login).await {
            Ok(session) => {
                let Some(mut response) = redirect(StatusCode::FOUND, &login.place) else {
                    return Verdict::Unavailable(PROVIDER);
                };
                if self.set_session(&session, visit, &mut response.headers) {
                    response.into()
                } else {
                    tracing::warn!(
                        auth = &*self.settings.way,
                        "a session does not fit into cookies; list the claims that it needs in `session.claims`"
                    );
                    Problem::TooLarge.page(&login.place)
                }
            }
            Err(Failure::Problem(problem)) => problem.page(&login.place),
            Err(Failure::Unavailable) => return Verdict::Unavailable(PROVIDER),
        };
        own.response.headers.extend(visit.cookies.set_login(number, "", 0));
        responds(Some(own))
    }

    async fn session(&self, parameters: &Parameters<'_>, login: &Login) -> Result<Session, Failure> {
        if parameters.iss.as_deref().is_some_and(|iss| *iss != *self.settings.issuer) {
            return Err(Problem::Issuer.into());
        }
        if let Some(error) = &parameters.error {
            return Err(self.failed(error));
        }
        let code = parameters.code.as_deref().filter(|code| !code.is_empty()).ok_or(Problem::Code)?;
        let metadata = self.provider.metadata_or_wait().await.ok_or(Failure::Unavailable)?;
        if metadata.names_issuer() && parameters.iss.is_none() {
            return Err(Problem::Issuer.into());
        }
        let grant = Grant::Code {
            code: HiddenText(code.into()),
            verifier: HiddenText(login.verifier.as_str().into()),
            redirect_uri: login.redirect_uri.clone(),
        };
        let tokens = self.provider.exchange(grant).await.map_err(|error| match error {
            TokenError::Refused => Problem::Code.into(),
            TokenError::Unavailable => Failure::Unavailable,
        })?;
        let id_token = tokens.id_token.as_ref().ok_or(Problem::IdToken)?;
        let verified = metadata.verify(&id_token.0, Some(&login.nonce)).await;
        let verified = verified.map_err(|invalid| match invalid {
            Invalid::Keys => Failure::Unavailable,
            Invalid::Token(reason) => {
                tracing::warn!(auth = &*self.settings.way, reason, "the ID token of a login is not valid");
                Problem::IdToken.into()
            }
        })?;
        Ok(self.begin_session(&tokens, id_token, &verified, &metadata))
    }

    fn begin_session(
        &self,
        tokens: &Tokens,
        id_token: &HiddenText,
        verified: &IdToken,
        metadata: &Metadata,
    ) -> Session {
        let expires = tokens.expires_in.map(|seconds| tokens.received.saturating_add(seconds));
        let is_kept = metadata.end_session_endpoint().is_some() && id_token.0.len() <= ID_TOKEN_KEPT_MAX;
        Session {
            subject: verified.identity.subject.clone(),
            claims: kept_claims(&verified.identity.claims, self.settings.claims.as_deref()),
            began: tokens.received,
            written: tokens.received,
            until: expires.or(verified.expires).unwrap_or_default(),
            refresh_token: tokens.refresh_token.clone(),
            id_token: is_kept.then(|| id_token.clone()),
        }
    }

    /// Returns the outcome for an error that the provider reports (RFC 6749 §4.1.2.1, OpenID Connect Core 1.0 §3.1.2.6).
    fn failed(&self, error: &str) -> Failure {
        let shown: String = error.chars().filter(|c| c.is_ascii_graphic()).take(64).collect();
        match error {
            "access_denied" => Problem::Denied.into(),
            "server_error" | "temporarily_unavailable" => Failure::Unavailable,
            _ => {
                tracing::warn!(
                    auth = &*self.settings.way,
                    error = shown,
                    "the provider reports an error of a login"
                );
                Problem::Failed.into()
            }
        }
    }
}
