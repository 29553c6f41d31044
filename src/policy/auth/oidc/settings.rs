//! The settings of a way by OpenID Connect.

use std::sync::Arc;

use super::cookies::CookieNames;
use super::session::Lifetime;
use crate::config;
use crate::policy::auth::jwt::seconds;

/// The settings of a way by OpenID Connect.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OidcSettings {
    /// The name of the way.
    pub(super) way: Arc<str>,
    pub(super) issuer: Box<str>,
    pub(super) client_id: Box<str>,
    pub(super) redirect_path: Box<str>,
    pub(super) logout_path: Box<str>,
    pub(super) post_logout_redirect: Option<Box<str>>,
    /// The parameters of the request for a login that are the same for all.
    pub(super) parameters: Box<[(Box<str>, Box<str>)]>,
    pub(super) cookies: CookieNames,
    pub(super) lifetime: Lifetime,
    /// The claims that a session keeps; `None` for the usual ones.
    pub(super) claims: Option<Box<[Box<str>]>>,
}

impl OidcSettings {
    pub(crate) fn new(way: &Arc<str>, written: &config::Oidc) -> Self {
        let session = &written.session;
        let mut scopes: Vec<&str> = written.scopes.iter().map(String::as_str).collect();
        if !scopes.contains(&"openid") {
            scopes.insert(0, "openid");
        }
        let scope = scopes.join(" ");
        let own = [("response_type", "code"), ("client_id", &written.client_id), ("scope", &scope)];
        let further = written.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let parameters = own.into_iter().chain(further).map(|(name, value)| (name.into(), value.into()));
        let cookies = match &session.cookie {
            Some(name) => CookieNames::new(name.as_str(), name.asks_for_secure()),
            None => CookieNames::new(&format!("session-{way}"), false),
        };
        let claims = |claims: &Vec<String>| claims.iter().map(|claim| claim.as_str().into()).collect();
        let post_logout_redirect = written.post_logout_redirect.as_ref().and_then(|to| to.fixed());
        Self {
            way: way.clone(),
            issuer: written.issuer.as_str().into(),
            client_id: written.client_id.as_str().into(),
            redirect_path: written.redirect_path.normal().into(),
            logout_path: written.logout_path.normal().into(),
            post_logout_redirect: post_logout_redirect.map(Into::into),
            parameters: parameters.collect(),
            cookies,
            lifetime: Lifetime {
                max_age: seconds(session.max_age.into()),
                idle: session.idle_timeout.duration().map(seconds),
            },
            claims: session.claims.as_ref().map(claims),
        }
    }
}
