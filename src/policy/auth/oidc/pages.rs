//! The responses of the gateway itself: redirects, and pages for people whose login has failed.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use crate::http::error_page::X_GATEWAY_ERROR;
use crate::http::fields::Fields;
use crate::http::message::Response;
use crate::policy::auth::WayResponse;

/// A reason for which a login fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// The browser has no cookie of a login with this state: it is over, too old, of another browser, or forged.
    State,
    /// The response comes from another provider (RFC 9207).
    Issuer,
    /// The provider, or the person, has denied the login.
    Denied,
    /// The provider has reported another error.
    Failed,
    /// The provider does not take the code: it has been used, or is too old.
    Code,
    /// The ID token is not valid.
    IdToken,
    /// The session is larger than cookies can be.
    TooLarge,
    /// Another site has caused the logout.
    Logout,
}

impl Problem {
    /// Returns the stable reason, and the sentence for people.
    pub(super) fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::State => (
                "auth.oidc.state",
                "This sign-in is over, has taken too long, or was begun in another browser.",
            ),
            Self::Issuer => ("auth.oidc.issuer", "The answer came from another sign-in service."),
            Self::Denied => ("auth.oidc.denied", "The sign-in service has denied access."),
            Self::Failed => ("auth.oidc.failed", "The sign-in service has reported an error."),
            Self::Code => ("auth.oidc.code", "The sign-in service has not confirmed the sign-in."),
            Self::IdToken => ("auth.oidc.id_token", "The answer of the sign-in service is not valid."),
            Self::TooLarge => {
                ("auth.oidc.session", "The sign-in service sends more about you than a session can hold.")
            }
            Self::Logout => ("auth.oidc.logout", "Another site has asked for you to be signed out."),
        }
    }

    /// Returns the page that reports it, with a link to `again`.
    pub(super) fn page(self, again: &str) -> WayResponse {
        let (reason, text) = self.parts();
        let title = if self == Self::Logout { "Not signed out" } else { "Sign-in failed" };
        let link = if self == Self::Logout { "Back" } else { "Try again" };
        let mut page = page(StatusCode::FORBIDDEN, title, text, Some((again, link)), Some(reason));
        page.headers.append(X_GATEWAY_ERROR, HeaderValue::from_static(reason));
        WayResponse { response: page, reason: Some(reason) }
    }
}

/// Returns the page after a logout that leads nowhere else.
pub(super) fn signed_out() -> Response<Bytes> {
    page(StatusCode::OK, "Signed out", "You are signed out.", None, None)
}

/// Returns a redirect. Nothing may keep it: the next one has another state.
pub(super) fn redirect(status: StatusCode, location: &str) -> Option<Response<Bytes>> {
    let mut headers = Fields::with_capacity(6);
    headers.append(header::LOCATION, HeaderValue::from_str(location).ok()?);
    headers.append(header::CACHE_CONTROL, NO_STORE);
    Some(Response { status, headers, body: Bytes::new() })
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

fn page(
    status: StatusCode,
    title: &str,
    text: &str,
    link: Option<(&str, &str)>,
    reason: Option<&str>,
) -> Response<Bytes> {
    let link = link.map(|(to, text)| format!("<p><a href=\"{}\">{text}</a></p>\n", escape(to)));
    let reason = reason.map(|reason| format!("<p><small>{reason}</small></p>\n"));
    let body = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<h1>{title}</h1>\n<p>{text}</p>\n{}{}</html>\n",
        link.unwrap_or_default(),
        reason.unwrap_or_default()
    );
    let mut headers = Fields::with_capacity(6);
    headers.append(header::CONTENT_TYPE, const { HeaderValue::from_static("text/html; charset=utf-8") });
    headers.append(header::CACHE_CONTROL, NO_STORE);
    let policy = const { HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'") };
    headers.append(header::CONTENT_SECURITY_POLICY, policy);
    // The page's own URL may have a code.
    headers.append(header::REFERRER_POLICY, const { HeaderValue::from_static("no-referrer") });
    Response { status, headers, body: body.into() }
}

/// Escapes the text of an attribute.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_escapes_the_place_that_it_leads_to() {
        let page = Problem::State.page("/a\"><script>&b").response;
        let body = String::from_utf8(page.body.to_vec()).unwrap();
        assert!(body.contains("href=\"/a&quot;&gt;&lt;script&gt;&amp;b\""), "{body}");
        assert_eq!(page.headers.get("x-gateway-error").unwrap(), "auth.oidc.state");
        assert_eq!(page.status, StatusCode::FORBIDDEN);
    }

    #[test]
    fn redirect_needs_a_location_that_is_one() {
        assert!(redirect(StatusCode::FOUND, "/a\r\nb: c").is_none());
        let redirect = redirect(StatusCode::FOUND, "/a").unwrap();
        assert_eq!(redirect.headers.get(header::CACHE_CONTROL).unwrap(), "no-store");
    }
}
