//! Logins and logouts as far as they need no token of the provider.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, Uri, header};
use serde_json::{Map, json};

use super::*;
use crate::config::section;
use crate::policy::auth::credentials::RequestContext;

const YAML: &str = "
issuer: https://id.example.com
client_id: gateway
scopes: [email]
parameters: { prompt: consent }
session: { cookie: gw, secret: '${X:-0123456789abcdef0123456789abcdef}', max_age: 1h }
post_logout_redirect: /bye
";

fn oidc() -> Oidc {
    let written: crate::config::Oidc = section(YAML);
    let source = ProviderSource {
        issuer: written.issuer.clone(),
        client_id: written.client_id.clone(),
        client_secret: None,
        ca: None,
        timeout: std::time::Duration::from_millis(1),
        refresh: std::time::Duration::from_secs(60),
        leeway: std::time::Duration::ZERO,
    };
    let provider = Arc::new(Provider::new(source));
    let metadata = json!({
        "issuer": "https://id.example.com",
        "authorization_endpoint": "https://id.example.com/auth?tenant=1",
        "token_endpoint": "https://id.example.com/token",
        "jwks_uri": "https://id.example.com/jwks",
        "end_session_endpoint": "https://id.example.com/logout",
    });
    let way = "staff".into();
    let parsed = Metadata::parse(metadata.to_string().as_bytes(), &way, provider.source(), None);
    provider.end(Some(parsed.unwrap()));
    Oidc::new(OidcSettings::new(&way, &written), Sealer::new(&["secret"], &["staff"]).unwrap(), provider)
}

/// Judges a request on plain HTTP.
async fn verify(oidc: &Oidc, path: &str, fields: &[(&str, &str)]) -> (Verdict, Fields) {
    let fields = fields.iter().chain(&[("host", "app.example:8080")]);
    let field = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
    };
    let mut headers: Fields = fields.map(field).collect();
    let mut target: Cow<'_, Uri> = Cow::Owned(path.parse::<Uri>().unwrap());
    let normal = target.path().to_owned();
    let context = RequestContext { path: &normal, ..RequestContext::plain() };
    let request = Credentials { headers: &mut headers, target: &mut target, certificate: None, context };
    let mut additions = Additions::default();
    let verdict = oidc.verify(&request, &mut additions).await;
    (verdict, additions.response)
}

async fn response(oidc: &Oidc, path: &str, fields: &[(&str, &str)]) -> Response<Bytes> {
    match verify(oidc, path, fields).await.0 {
        Verdict::Responds(own) => own.response,
        other => panic!("{other:?}"),
    }
}

fn session(oidc: &Oidc, change: impl FnOnce(&mut Session)) -> String {
    let mut session = Session {
        subject: "ann".into(),
        claims: Map::new(),
        began: unix_time(),
        written: unix_time(),
        until: unix_time() + 100,
        refresh_token: None,
        id_token: Some(HiddenText("a.b.c".into())),
    };
    change(&mut session);
    format!("gw=1{}", session.seal(&oidc.sealer).unwrap())
}

fn text<'r>(response: &'r Response<Bytes>, name: &'static str) -> &'r str {
    response.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn browser_that_navigates_is_sent_to_the_provider() {
    let oidc = oidc();
    let sent = response(&oidc, "/a?b=c", &[("accept", "text/html")]).await;
    assert_eq!((sent.status, text(&sent, "cache-control")), (StatusCode::FOUND, "no-store"));
    let location = text(&sent, "location");
    let (place, query) = location.split_once("?tenant=1&").unwrap();
    assert_eq!(place, "https://id.example.com/auth");
    let query: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let of = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(of("scope"), Some("openid email"));
    assert_eq!(of("prompt"), Some("consent"));
    assert_eq!((of("response_type"), of("client_id")), (Some("code"), Some("gateway")));
    assert_eq!(of("redirect_uri"), Some("http://app.example:8080/oauth2/callback"));
    assert_eq!(of("code_challenge_method"), Some("S256"));
    assert!(of("state").unwrap().len() == 43 && of("nonce").unwrap().len() == 43);
    let cookie = text(&sent, "set-cookie");
    assert!(cookie.starts_with(&format!("gw-login-{}=", &of("state").unwrap()[..12])), "{cookie}");
    assert!(cookie.ends_with("; Path=/; Max-Age=900; HttpOnly; SameSite=Lax"), "{cookie}");
}

#[tokio::test]
async fn script_without_a_session_is_not_redirected() {
    let oidc = oidc();
    for (fields, is_sent) in [
        (&[][..], false),
        (&[("accept", "*/*")], false),
        (&[("accept", "application/xhtml+xml, text/html;q=0.9")], true),
        (&[("accept", "text/html"), ("x-requested-with", "XMLHttpRequest")], false),
        (&[("accept", "text/html"), ("sec-fetch-mode", "cors")], false),
        (&[("sec-fetch-mode", "navigate")], true),
        (&[("sec-fetch-mode", "navigate"), ("sec-purpose", "prefetch")], false),
    ] {
        let (verdict, _) = verify(&oidc, "/a", fields).await;
        assert_eq!(matches!(verdict, Verdict::Responds(_)), is_sent, "{fields:?}");
        assert!(is_sent || verdict == Verdict::Absent, "{fields:?}");
    }
    let (verdict, _) = verify(&oidc, "/a", &[("cookie", "gw=1AAAA")]).await;
    assert_eq!(verdict, Verdict::Refused(SESSION));
}

#[tokio::test]
async fn session_is_known_until_it_is_over() {
    let oidc = oidc();
    let now = unix_time();
    let cookie = |change: fn(&mut Session, u64)| session(&oidc, |session| change(session, now));
    let (verdict, added) = verify(&oidc, "/", &[("cookie", &cookie(|_, _| {}))]).await;
    let Verdict::Known(identity) = verdict else { panic!("{verdict:?}") };
    assert_eq!((&*identity.way, &*identity.subject, added.len()), ("staff", "ann", 0));
    for over in
        [cookie(|session, now| session.until = now - 1), cookie(|session, now| session.began = now - 3600)]
    {
        let (verdict, _) = verify(&oidc, "/", &[("cookie", &over)]).await;
        assert_eq!(verdict, Verdict::Refused(SESSION));
    }
    // The plain name is that of no session over HTTPS, and the other way about.
    let secure = cookie(|_, _| {}).replace("gw=", "__Host-gw=");
    assert_eq!(verify(&oidc, "/", &[("cookie", &secure)]).await.0, Verdict::Absent);
}

#[tokio::test]
async fn session_goes_on_while_the_provider_does_not_respond() {
    let oidc = oidc();
    let cookie = session(&oidc, |session| {
        session.until = unix_time() - 1;
        session.refresh_token = Some(HiddenText("refresh".into()));
    });
    for _ in 0..2 {
        let (verdict, added) = verify(&oidc, "/", &[("cookie", &cookie)]).await;
        assert!(matches!(verdict, Verdict::Known(_)), "{verdict:?}");
        assert_eq!(added.len(), 0);
    }
}

#[tokio::test]
async fn logins_of_a_browser_are_bounded() {
    let oidc = oidc();
    let mut jar: Vec<String> = vec!["gw-login-old=x".to_owned(), "a=b".to_owned()];
    for _ in 0..2 * LOGINS_MAX {
        let fields = [("accept", "text/html"), ("cookie", &*jar.join("; "))];
        let sent = response(&oidc, "/", &fields).await;
        for line in sent.headers.get_all(header::SET_COOKIE) {
            let pair = line.to_str().unwrap().split(';').next().unwrap();
            let name = pair.split('=').next().unwrap();
            jar.retain(|known| known.split('=').next() != Some(name));
            if !pair.ends_with('=') {
                jar.push(pair.to_owned());
            }
        }
        assert!(jar.len() <= 1 + LOGINS_MAX, "{}", jar.len());
    }
    assert_eq!(jar.len(), 1 + LOGINS_MAX);
    assert!(jar.iter().all(|cookie| cookie != "gw-login-old=x"));
}

#[tokio::test]
async fn callback_needs_the_state_of_its_browser() {
    let oidc = oidc();
    let sent = response(&oidc, "/a", &[("accept", "text/html")]).await;
    let cookie = text(&sent, "set-cookie").split(';').next().unwrap().to_owned();
    let state = text(&sent, "location").split_once("state=").unwrap().1.split('&').next().unwrap().to_owned();
    let other = response(&oidc, "/a", &[("accept", "text/html")]).await;
    let other = text(&other, "set-cookie").split(';').next().unwrap().to_owned();
    let renamed = format!("gw-login-{}={}", &state[..12], other.split_once('=').unwrap().1);
    for (query, cookie, reason) in [
        (format!("state={state}&error=access_denied"), &cookie, "auth.oidc.denied"),
        (format!("state={state}&error=invalid_scope"), &cookie, "auth.oidc.failed"),
        (format!("state={state}"), &cookie, "auth.oidc.code"),
        (format!("state={state}&code=a&iss=https://evil.example"), &cookie, "auth.oidc.issuer"),
        (format!("state={state}&code=a"), &other, "auth.oidc.state"),
        (format!("state={state}&code=a"), &renamed, "auth.oidc.state"),
        (format!("state={}&code=a", &state[..12]), &cookie, "auth.oidc.state"),
        ("code=a".to_owned(), &cookie, "auth.oidc.state"),
        ("state=é&code=a".replace('é', "%C3%A9"), &cookie, "auth.oidc.state"),
        (String::new(), &String::new(), "auth.oidc.state"),
    ] {
        let page = response(&oidc, &format!("/oauth2/callback?{query}"), &[("cookie", cookie)]).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN);
        assert_eq!(text(&page, "x-gateway-error"), reason, "{query}");
    }
    // The provider does not respond, so the same response may come again.
    let path = format!("/oauth2/callback?state={state}&code=a");
    assert_eq!(verify(&oidc, &path, &[("cookie", &cookie)]).await.0, Verdict::Unavailable(PROVIDER));
}

#[tokio::test]
async fn logout_ends_the_session_here_and_at_the_provider() {
    let oidc = oidc();
    let cookie = session(&oidc, |_| {});
    let cross = [("cookie", &*cookie), ("sec-fetch-site", "cross-site")];
    let page = response(&oidc, "/oauth2/logout", &cross).await;
    assert_eq!((page.status, text(&page, "set-cookie")), (StatusCode::FORBIDDEN, ""));
    let sent = response(&oidc, "/oauth2/logout", &[("cookie", &cookie)]).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER);
    assert_eq!(
        text(&sent, "location"),
        "https://id.example.com/logout?client_id=gateway&id_token_hint=a.b.c\
         &post_logout_redirect_uri=http%3A%2F%2Fapp.example%3A8080%2Fbye"
    );
    assert_eq!(text(&sent, "set-cookie"), "gw=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    let sent = response(&oidc, "/oauth2/logout", &[]).await;
    assert_eq!((text(&sent, "location"), text(&sent, "set-cookie")), ("/bye", ""));
}
