//! The end of a session by its owner.

use bytes::Bytes;
use http::{Method, StatusCode};

use super::login::with_query;
use super::pages::{Problem, redirect, signed_out};
use super::session::Session;
use super::{Oidc, Visit};
use crate::http::message::Response;
use crate::policy::auth::WayResponse;

impl Oidc {
    /// Ends the session of a request, and sends the browser to the provider, whose own session ends, too (OpenID Connect RP-Initiated
    /// Logout 1.0).
    ///
    /// A link is enough to log out, so another site could have its visitors logged out: a nuisance and no more. Browsers say in
    /// `Sec-Fetch-Site` where a request comes from, and one from another site is refused. Other clients have no session here that
    /// another site could end, because the cookie is `SameSite=Lax`, but by a link that someone follows.
    pub(super) fn logout(&self, method: &Method, visit: &Visit<'_>) -> Option<WayResponse> {
        let site = visit.headers.get("sec-fetch-site");
        if site.is_some_and(|site| site == "cross-site") || !matches!(*method, Method::GET | Method::POST) {
            return Some(Problem::Logout.page("/"));
        }
        let sealed = visit.cookies.session(visit.headers);
        let session = sealed.and_then(|sealed| Session::open(&sealed, &self.sealer));
        let mut response = self.after_logout(session.as_ref(), visit)?;
        visit.cookies.expire_session(visit.headers, &mut response.headers);
        Some(response.into())
    }

    fn after_logout(&self, session: Option<&Session>, visit: &Visit<'_>) -> Option<Response<Bytes>> {
        let metadata = self.provider.metadata();
        let back = self.settings.post_logout_redirect.as_deref();
        let end_session = metadata.as_ref().and_then(|metadata| metadata.end_session_endpoint());
        // Without a session here there is nothing to end there.
        let (Some(end_session), Some(session)) = (end_session, session) else {
            return match back {
                Some(back) => redirect(StatusCode::SEE_OTHER, back),
                None => Some(signed_out()),
            };
        };
        let absolute = back.map(|back| match back.starts_with('/') {
            true => format!("{}://{}{back}", visit.origin.scheme.as_str(), visit.origin.host.authority),
            false => back.to_owned(),
        });
        let mut parameters = vec![("client_id", &*self.settings.client_id)];
        parameters.extend(session.id_token.as_ref().map(|token| ("id_token_hint", &*token.0)));
        parameters.extend(absolute.as_deref().map(|back| ("post_logout_redirect_uri", back)));
        redirect(StatusCode::SEE_OTHER, &with_query(end_session, &parameters))
    }
}
