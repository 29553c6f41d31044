//! People who log in at an OpenID provider: one that others have written, and a scripted one for all that a real one does not do.

mod browser;
mod real;
mod scripted;

use support::serde_json::{Value, json};
use support::{Gate, Gateway, Origin, Request, Response, unused_address, wait_until, within};
use tokio::task::JoinSet;

use self::browser::Browser;
use self::scripted::{SECRET, Scripted, Sign};
use crate::auth_jwt::{SigningKey, now};
use crate::pooled::{self, OK};
use crate::reloading::{file, is_generation, replace};

/// The host of the application.
const HOST: &str = "app.test";

/// The secret of sessions.
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A configuration whose only route needs a session, with these keys of `oidc` and of `session`.
fn config(issuer: &str, origin: &Origin, oidc: &str, session: &str) -> String {
    format!(
        "workers: 2
trusted_proxies: [127.0.0.0/8]
auth:
  staff:
    oidc:
      issuer: '{issuer}'
      client_id: gateway
      client_secret: file:client.secret
      claims_to_headers: {{ sub: x-user, email: x-email, groups: x-groups }}
      session: {{ cookie: gw, secret: file:session.key{session} }}
{oidc}
routes:
  - {{ name: r, match: {{ prefix: / }}, upstream: {{ url: '{}' }}, auth: [staff] }}
",
        origin.url()
    )
}

async fn start(config: &str) -> Gateway {
    // An editor's line break is no part of a secret.
    let builder = pooled::gateway(config).file("client.secret", format!("{SECRET}\n"));
    builder.file("session.key", format!("{KEY}\n")).start().await
}

/// A gateway whose people log in at a scripted provider, and the application behind it.
struct Site {
    provider: Scripted,
    origin: Origin,
    gateway: Gateway,
}

impl Site {
    async fn start(oidc: &str, session: &str) -> Self {
        let (provider, origin) = (Scripted::start(), Origin::answer(OK));
        let gateway = start(&config(&provider.issuer(), &origin, oidc, session)).await;
        Self { provider, origin, gateway }
    }

    fn browser(&self) -> Browser {
        Browser::new(HOST, self.gateway.addr("web"))
    }

    /// Returns a browser with a session.
    async fn logged_in(&self) -> Browser {
        let mut browser = self.browser();
        let response = self.log_in(&mut browser).await;
        assert_eq!((response.status, response.header("location")), (302, Some("/a")), "{response:?}");
        browser
    }

    /// Logs a browser in. Returns the response to what the provider sends it back with.
    async fn log_in(&self, browser: &mut Browser) -> Response {
        let back = self.asked(browser, "/a").await;
        browser.visit(&back).await
    }

    /// Asks for a path without a session. Returns the URL that the provider sends the browser back to.
    async fn asked(&self, browser: &mut Browser, path: &str) -> String {
        let response = browser.visit(&url(path)).await;
        assert_eq!(
            (response.status, response.header("cache-control")),
            (302, Some("no-store")),
            "{response:?}"
        );
        self.provider.confirm(response.header("location").unwrap())
    }

    /// Returns the last request that the application got.
    fn last(&self) -> Request {
        self.origin.requests().pop().unwrap()
    }
}

fn url(path: &str) -> String {
    format!("http://{HOST}{path}")
}

/// The status and the reason of a response.
fn outcome(response: &Response) -> (u16, &str) {
    (response.status, response.header("x-gateway-error").unwrap_or_default())
}

/// Sends a request as a script of a page does.
async fn fetch(browser: &mut Browser, path: &str) -> Response {
    browser.request("GET", &url(path), &[("accept", "*/*"), ("sec-fetch-mode", "cors")], "").await
}

#[tokio::test]
async fn session_lets_a_browser_in_and_its_cookies_stay_here() {
    let site = Site::start("", "").await;
    let mut browser = site.logged_in().await;
    browser.set(HOST, "own", "1");
    browser.set(HOST, "gw-login-forged", "1");
    let fields = [("x-user", "root"), ("X-Groups", "root")];
    let response = browser.request("GET", &url("/a"), &fields, "").await;
    assert_eq!(response.status, 200);
    let headers = site.last().headers;
    assert_eq!(headers.all("x-user"), ["ann"]);
    assert_eq!(headers.all("x-email"), ["ann@example.com"]);
    assert_eq!(headers.all("x-groups"), ["staff,admins"]);
    assert_eq!(headers.all("cookie"), ["own=1"]);
    let asked = &site.provider.script().asked;
    assert_eq!(asked.len(), 1);
    assert!(!asked[0].contains_key("client_secret"), "the field has it");
}

#[tokio::test]
async fn script_without_a_session_gets_401_and_no_redirect() {
    let site = Site::start("", "").await;
    let mut browser = site.browser();
    let response = fetch(&mut browser, "/a").await;
    assert_eq!(outcome(&response), (401, "auth.required"));
    assert_eq!(response.header("www-authenticate"), Some("Cookie realm=\"staff\""));
    let fields = [("accept", "text/html"), ("sec-fetch-mode", "navigate")];
    let response = browser.request("POST", &url("/a"), &fields, "a=b").await;
    assert_eq!(outcome(&response), (401, "auth.required"));
    assert!(browser.names(HOST).is_empty());
}

#[tokio::test]
async fn id_token_that_is_not_for_this_login_is_refused() {
    let site = Site::start("", "").await;
    let cases = [
        (Sign::Normal, json!({ "nonce": "other" })),
        (Sign::Normal, json!({ "nonce": null })),
        (Sign::Normal, json!({ "aud": "other" })),
        (Sign::Normal, json!({ "aud": ["gateway", "other"] })),
        (Sign::Normal, json!({ "aud": ["gateway", "other"], "azp": "other" })),
        (Sign::Normal, json!({ "iss": "https://evil.example" })),
        (Sign::Normal, json!({ "exp": now() - 61 })),
        (Sign::Normal, json!({ "iat": null })),
        (Sign::Normal, json!({ "iat": now() + 300 })),
        (Sign::Normal, json!({ "sub": null })),
        (Sign::None, json!({})),
        (Sign::Hmac, json!({})),
        (Sign::OtherKey, json!({})),
    ];
    let mut browser = site.browser();
    for (sign, claims) in cases {
        let shown = claims.to_string();
        {
            let mut script = site.provider.script();
            (script.sign, script.claims) = (sign, claims);
        }
        let response = site.log_in(&mut browser).await;
        assert_eq!(outcome(&response), (403, "auth.oidc.id_token"), "{shown}");
        assert!(response.text().contains("href=\"/a\""), "{}", response.text());
        assert!(browser.names(HOST).is_empty(), "{shown}");
    }
    site.provider.script().sign = Sign::Normal;
    site.provider.script().claims = json!({ "aud": ["gateway", "other"], "azp": "gateway" });
    assert_eq!(site.log_in(&mut browser).await.status, 302);
}

#[tokio::test]
async fn response_of_the_provider_counts_in_its_own_browser_once() {
    let site = Site::start("", "").await;
    let (mut one, mut other) = (site.browser(), site.browser());
    let back = site.asked(&mut one, "/one").await;
    let of_other = site.asked(&mut other, "/other").await;
    // An attacker who puts the response to a login of their own into a link.
    assert_eq!(outcome(&other.visit(&back).await), (403, "auth.oidc.state"));
    assert_eq!(
        outcome(&one.visit(&url("/oauth2/callback?code=code-1&state=forged-state")).await),
        (403, "auth.oidc.state")
    );
    assert_eq!(outcome(&one.visit(&url("/oauth2/callback?code=code-1")).await), (403, "auth.oidc.state"));
    let (code, state) = (of_other.split_once("code=").unwrap().1, back.split_once("state=").unwrap().1);
    let code = code.split('&').next().unwrap();
    // A code that was injected has another challenge.
    let injected = one.clone().visit(&url(&format!("/oauth2/callback?code={code}&state={state}"))).await;
    assert_eq!(outcome(&injected), (403, "auth.oidc.code"));
    let response = one.visit(&back).await;
    assert_eq!((response.status, response.header("location")), (302, Some("/one")));
    assert_eq!(outcome(&one.visit(&back).await), (403, "auth.oidc.state"), "the login is over");
    assert_eq!(one.visit(&url("/one")).await.status, 200, "and its session is not");
    let failed = "gateway_request_errors_total{route=\"r\",reason=\"auth.oidc.state\"}";
    wait_until("the failed logins to count", async || site.gateway.metric(failed).await == Some(4.0)).await;
}

#[tokio::test]
async fn code_that_was_used_is_refused_by_the_provider() {
    let site = Site::start("", "").await;
    let mut browser = site.browser();
    let back = site.asked(&mut browser, "/a").await;
    let mut copy = browser.clone();
    assert_eq!(browser.visit(&back).await.status, 302);
    let response = copy.visit(&back).await;
    assert_eq!(outcome(&response), (403, "auth.oidc.code"));
    assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
}

#[tokio::test]
async fn logins_in_two_tabs_end_in_any_order() {
    let site = Site::start("", "").await;
    let mut browser = site.browser();
    let first = site.asked(&mut browser, "/first").await;
    let second = site.asked(&mut browser, "/second").await;
    assert_eq!(browser.names(HOST).len(), 2);
    for (back, place) in [(second, "/second"), (first, "/first")] {
        let response = browser.visit(&back).await;
        assert_eq!((response.status, response.header("location")), (302, Some(place)));
    }
    assert_eq!(browser.names(HOST), ["gw"]);
}

#[tokio::test]
async fn browser_returns_to_this_host_only() {
    let site = Site::start("", "").await;
    for (path, place) in [
        ("/a/b?c=d&e=%2F", "/a/b?c=d&e=%2F"),
        ("//evil.example/a", "/"),
        ("/%5C/evil.example", "/%5C/evil.example"),
        ("/?rd=https://evil.example", "/?rd=https://evil.example"),
    ] {
        let mut browser = site.browser();
        let response = browser.visit(&url(path)).await;
        if response.status == 400 {
            continue;
        }
        let back = site.provider.confirm(response.header("location").unwrap());
        assert_eq!(browser.visit(&back).await.header("location"), Some(place), "{path}");
    }
    // One that a browser would take for a host is no path to any route.
    let mut browser = site.browser();
    let response = browser.visit(&url("/\\evil.example")).await;
    assert!(response.header("location").is_none_or(|location| !location.starts_with("/\\")), "{response:?}");
}

#[tokio::test]
async fn error_that_the_provider_reports_is_shown() {
    let site = Site::start("", "").await;
    for (error, expected) in [
        ("access_denied", (403, "auth.oidc.denied")),
        ("invalid_scope", (403, "auth.oidc.failed")),
        ("<script>", (403, "auth.oidc.failed")),
        ("temporarily_unavailable", (503, "auth.oidc.provider")),
    ] {
        let mut browser = site.browser();
        let back = site.asked(&mut browser, "/a").await;
        let state = back.split_once("state=").unwrap().1;
        let response = browser.visit(&url(&format!("/oauth2/callback?error={error}&state={state}"))).await;
        assert_eq!(outcome(&response), expected);
        assert!(!response.text().contains("<script>"));
    }
    let mut browser = site.browser();
    let back = site.asked(&mut browser, "/a").await;
    let response = browser.visit(&format!("{back}&iss=https%3A%2F%2Fevil.example")).await;
    assert_eq!(outcome(&response), (403, "auth.oidc.issuer"));
    assert!(site.provider.script().asked.is_empty());
}

#[tokio::test]
async fn token_endpoint_that_fails_leaves_the_login_to_be_tried_again() {
    let site = Site::start("", "").await;
    let mut browser = site.browser();
    let back = site.asked(&mut browser, "/a").await;
    for (status, body) in [(500, "oops"), (200, "<html>"), (401, "{\"error\":\"invalid_client\"}"), (302, "")]
    {
        site.provider.script().error = Some((status, body));
        assert_eq!(outcome(&browser.visit(&back).await), (503, "auth.oidc.provider"), "{status}");
    }
    site.gateway.wait_for_log("invalid_client: look at `client_id` and `client_secret`").await;
    site.provider.script().error = None;
    assert_eq!(browser.visit(&back).await.header("location"), Some("/a"));
}

#[tokio::test]
async fn token_endpoint_that_is_slow_costs_a_login_its_time_limit() {
    let site = Site::start("      timeout: 300ms", "").await;
    let mut browser = site.browser();
    let back = site.asked(&mut browser, "/a").await;
    let gate = Gate::new();
    site.provider.script().gate = Some(gate.clone());
    assert_eq!(outcome(&browser.visit(&back).await), (503, "auth.oidc.provider"));
    gate.release_all();
}

#[tokio::test]
async fn provider_that_is_down_at_the_start_is_found_later() {
    let (address, origin) = (unused_address(), Origin::answer(OK));
    let gateway = start(&config(&format!("http://{address}"), &origin, "", "")).await;
    let mut browser = Browser::new(HOST, gateway.addr("web"));
    assert_eq!(outcome(&browser.visit(&url("/a")).await), (503, "auth.oidc.provider"));
    assert_eq!(outcome(&fetch(&mut browser, "/a").await), (401, "auth.required"));
    gateway.wait_for_log("the provider's metadata cannot be fetched").await;
    let provider = Scripted::start_at(Some(address));
    let location = within("a redirect to the provider", async {
        loop {
            let response = browser.visit(&url("/a")).await;
            if let Some(location) = response.header("location") {
                return location.to_owned();
            }
        }
    })
    .await;
    assert_eq!(browser.visit(&provider.confirm(&location)).await.status, 302);
}

#[tokio::test]
async fn metadata_of_another_issuer_is_not_used() {
    let (provider, origin) = (Scripted::start(), Origin::answer(OK));
    provider.script().metadata = json!({ "issuer": "http://evil.example" });
    let gateway = start(&config(&provider.issuer(), &origin, "", "")).await;
    gateway.wait_for_log("it is of the issuer \"http://evil.example\", which must be the same text").await;
    let mut browser = Browser::new(HOST, gateway.addr("web"));
    assert_eq!(outcome(&browser.visit(&url("/a")).await), (503, "auth.oidc.provider"));
}

#[tokio::test]
async fn provider_that_changes_its_key_goes_on() {
    let site = Site::start("", "").await;
    drop(site.logged_in().await);
    {
        let mut script = site.provider.script();
        (script.key, script.kid) = (SigningKey::es256(), "two");
    }
    // The keys are fetched again at most each second, so the first login may come too early.
    within("a login with the new key", async {
        while site.log_in(&mut site.browser()).await.status != 302 {}
    })
    .await;
}

#[tokio::test]
async fn session_is_refreshed_once_for_many_requests() {
    let site = Site::start("", "").await;
    site.provider.script().tokens = json!({ "expires_in": 0 });
    let browser = site.logged_in().await;
    let gate = Gate::new();
    {
        let mut script = site.provider.script();
        (script.gate, script.tokens) = (Some(gate.clone()), json!({ "expires_in": 600 }));
        script.claims = json!({ "email": "new@example.com" });
    }
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let mut browser = browser.clone();
        requests.spawn(async move {
            let response = fetch(&mut browser, "/a").await;
            (response.status, response.headers.all("set-cookie").len(), browser)
        });
    }
    gate.arrivals(1).await;
    gate.release_all();
    let mut last = browser.clone();
    while let Some(ended) = requests.join_next().await {
        let (status, cookies, browser) = ended.unwrap();
        assert_eq!((status, cookies), (200, 1));
        last = browser;
    }
    let refreshes = |site: &Site| {
        site.provider.script().asked.iter().filter(|asked| asked["grant_type"] == "refresh_token").count()
    };
    assert_eq!(refreshes(&site), 1);
    assert_eq!(site.last().headers.get("x-email"), Some("new@example.com"));
    // The new cookie needs no refresh, and the old one is that of a request which was sent before.
    let response = fetch(&mut last, "/a").await;
    assert_eq!((response.status, response.header("set-cookie")), (200, None));
    assert_eq!(fetch(&mut browser.clone(), "/a").await.status, 200);
    assert_eq!(refreshes(&site), 1);
}

#[tokio::test]
async fn session_whose_refresh_is_refused_is_over() {
    let site = Site::start("", "").await;
    site.provider.script().tokens = json!({ "expires_in": 0 });
    let mut browser = site.logged_in().await;
    site.provider.script().error = Some((400, "{\"error\":\"invalid_grant\"}"));
    assert_eq!(outcome(&fetch(&mut browser, "/a").await), (401, "auth.oidc.session"));
    assert_eq!(browser.visit(&url("/a")).await.status, 302);
}

#[tokio::test]
async fn session_of_another_person_is_no_refresh() {
    let site = Site::start("", "").await;
    site.provider.script().tokens = json!({ "expires_in": 0 });
    let mut browser = site.logged_in().await;
    site.provider.script().claims = json!({ "sub": "eve" });
    assert_eq!(outcome(&fetch(&mut browser, "/a").await), (401, "auth.oidc.session"));
}

#[tokio::test]
async fn session_without_a_refresh_token_ends_with_its_tokens() {
    let site = Site::start("", "").await;
    site.provider.script().tokens = json!({ "expires_in": 0, "refresh_token": null });
    let mut browser = site.logged_in().await;
    assert_eq!(outcome(&fetch(&mut browser, "/a").await), (401, "auth.oidc.session"));
}

#[tokio::test]
async fn sessions_go_on_while_the_provider_is_down() {
    let site = Site::start("      timeout: 1s", "").await;
    site.provider.script().tokens = json!({ "expires_in": 0 });
    let mut browser = site.logged_in().await;
    site.provider.origin().stop().await;
    for _ in 0..3 {
        let response = fetch(&mut browser, "/a").await;
        assert_eq!((response.status, response.header("set-cookie")), (200, None));
    }
    site.gateway.wait_for_log("the provider gives no tokens").await;
    // Logins that have begun cannot end, and others can begin.
    let mut other = site.browser();
    let back = site.asked(&mut other, "/a").await;
    assert_eq!(outcome(&other.visit(&back).await), (503, "auth.oidc.provider"));
}

#[tokio::test]
async fn session_ends_after_its_age_and_its_idle_time() {
    let site = Site::start("", ", max_age: 1s").await;
    let mut browser = site.logged_in().await;
    within("the end of a session", async { while fetch(&mut browser, "/a").await.status == 200 {} }).await;
    assert_eq!(outcome(&fetch(&mut browser, "/a").await), (401, "auth.oidc.session"));
    let site = Site::start("", ", idle_timeout: 4s").await;
    let mut browser = site.logged_in().await;
    // A session in use gets another cookie.
    within("another cookie", async {
        while fetch(&mut browser, "/a").await.header("set-cookie").is_none() {}
    })
    .await;
}

#[tokio::test]
async fn cookie_that_was_changed_or_is_of_another_secret_is_no_session() {
    let site = Site::start("", "").await;
    let browser = site.logged_in().await;
    let mut changed = browser.clone();
    // The last character may be an `A`.
    changed.change(HOST, |_, value| {
        let (rest, last) = value.split_at(value.len() - 1);
        Some(format!("{rest}{}", if last == "A" { "Q" } else { "A" }))
    });
    assert_eq!(outcome(&fetch(&mut changed, "/a").await), (401, "auth.oidc.session"));
    assert_eq!(changed.visit(&url("/a")).await.status, 302);

    let text = config(&site.provider.issuer(), &site.origin, "", "");
    let builder = pooled::gateway(&text).file("client.secret", SECRET);
    let other = builder.file("session.key", KEY.replace('0', "1")).start().await;
    let mut elsewhere = Browser::new(HOST, other.addr("web"));
    let session = browser.cookies_for("http", HOST, "/");
    elsewhere.set(HOST, "gw", session.split_once('=').unwrap().1);
    assert_eq!(outcome(&fetch(&mut elsewhere, "/a").await), (401, "auth.oidc.session"));
    // The same secret makes gateways one.
    let same = start(&text).await;
    let mut elsewhere = Browser::new(HOST, same.addr("web"));
    elsewhere.set(HOST, "gw", session.split_once('=').unwrap().1);
    assert_eq!(fetch(&mut elsewhere, "/a").await.status, 200);
}

#[tokio::test]
async fn secret_of_sessions_is_changed_without_a_logout() {
    let site = Site::start("", "").await;
    let mut browser = site.logged_in().await;
    let text = config(&site.provider.issuer(), &site.origin, "", "");
    let text = text.replace("secret: file:session.key", "secret: [file:new.key, file:session.key]");
    std::fs::write(site.gateway.folder().join("new.key"), KEY.replace('0', "9")).unwrap();
    replace(&file(&site.gateway), pooled::whole(&text));
    is_generation(&site.gateway, 2).await;
    assert_eq!(fetch(&mut browser, "/a").await.status, 200);
    // The file of a secret is watched, too.
    std::fs::write(site.gateway.folder().join("session.key"), KEY.replace('0', "8")).unwrap();
    is_generation(&site.gateway, 3).await;
    assert_eq!(outcome(&fetch(&mut browser, "/a").await), (401, "auth.oidc.session"));
}

#[tokio::test]
async fn large_session_is_in_several_cookies() {
    let site = Site::start("", "").await;
    let groups: Vec<Value> =
        (0..300).map(|number| format!("group-with-a-long-name-{number}").into()).collect();
    site.provider.script().claims = json!({ "groups": groups });
    let mut browser = site.logged_in().await;
    assert!(browser.names(HOST).len() > 2, "{:?}", browser.names(HOST));
    let response = fetch(&mut browser, "/a").await;
    assert_eq!(response.status, 200);
    let headers = site.last().headers;
    assert_eq!(headers.get("cookie"), None);
    assert_eq!(headers.get("x-groups").unwrap().split(',').count(), 300);
    // A smaller one leaves none of them.
    site.provider.script().claims = json!({});
    let mut smaller = browser.clone();
    smaller.change(HOST, |name, _| (name == "gw").then(|| "1broken".to_owned()));
    assert_eq!(site.log_in(&mut smaller).await.status, 302);
    assert_eq!(smaller.names(HOST), ["gw"]);

    let huge: Vec<Value> =
        (0..3000).map(|number| format!("group-with-a-long-name-{number}").into()).collect();
    site.provider.script().claims = json!({ "groups": huge });
    let response = site.log_in(&mut site.browser()).await;
    assert_eq!(outcome(&response).0, 403, "{response:?}");
}

#[tokio::test]
async fn session_keeps_the_claims_that_are_named() {
    let site = Site::start("", ", claims: [email]").await;
    let mut browser = site.logged_in().await;
    assert_eq!(fetch(&mut browser, "/a").await.status, 200);
    let headers = site.last().headers;
    assert_eq!((headers.get("x-email"), headers.get("x-groups")), (Some("ann@example.com"), None));
}

#[tokio::test]
async fn logout_ends_the_session_here_and_leads_to_the_provider() {
    let site = Site::start("      post_logout_redirect: /bye", "").await;
    let mut browser = site.logged_in().await;
    let cross = [("sec-fetch-site", "cross-site")];
    let response = browser.request("GET", &url("/oauth2/logout"), &cross, "").await;
    assert_eq!(outcome(&response), (403, "auth.oidc.logout"));
    assert_eq!(fetch(&mut browser, "/a").await.status, 200);
    let response =
        browser.request("POST", &url("/oauth2/logout"), &[("sec-fetch-site", "same-origin")], "").await;
    assert_eq!(response.status, 303);
    let location = response.header("location").unwrap().to_owned();
    assert!(
        location.starts_with(&format!("{}/end?client_id=gateway&id_token_hint=ey", site.provider.issuer())),
        "{location}"
    );
    assert!(location.ends_with("&post_logout_redirect_uri=http%3A%2F%2Fapp.test%2Fbye"), "{location}");
    assert!(browser.names(HOST).is_empty());
    assert_eq!(outcome(&fetch(&mut browser, "/a").await), (401, "auth.required"));
}

#[tokio::test]
async fn session_over_https_has_a_cookie_of_this_host_alone() {
    let site = Site::start("", "").await;
    let mut browser = site.browser();
    let secure = format!("https://{HOST}/a");
    let response = browser.visit(&secure).await;
    let location = response.header("location").unwrap();
    assert!(location.contains("redirect_uri=https%3A%2F%2Fapp.test%2Foauth2%2Fcallback"), "{location}");
    let back = site.provider.confirm(location);
    assert_eq!(browser.visit(&back).await.status, 302);
    assert_eq!(browser.names(HOST), ["__Host-gw"]);
    assert_eq!(browser.visit(&secure).await.status, 200);
    assert_eq!(site.last().headers.get("cookie"), None);
    // On plain HTTP, anyone on the way can set a cookie: it is another one.
    let value = browser.cookies_for("https", HOST, "/").split_once('=').unwrap().1.to_owned();
    let mut plain = site.browser();
    plain.set(HOST, "__Host-gw", &value);
    assert_eq!(outcome(&fetch(&mut plain, "/a").await), (401, "auth.required"));
}

#[tokio::test]
async fn other_way_of_a_route_is_tried_before_a_login() {
    let (provider, origin) = (Scripted::start(), Origin::answer(OK));
    let text = config(&provider.issuer(), &origin, "  ops: { basic: { users: users.htpasswd } }", "");
    let text = text.replace("auth: [staff]", "auth: [staff, ops]");
    let users = "ann:$2y$04$NbHAbOP6rn8d9dO8vkm3qusBqrp1TUQwXZhe9/L4gryMVd57pGVGe\n";
    let builder = pooled::gateway(&text).file("client.secret", SECRET).file("session.key", KEY);
    let gateway = builder.file("users.htpasswd", users).start().await;
    let mut browser = Browser::new(HOST, gateway.addr("web"));
    let fields = [("authorization", "Basic YW5uOnNlY3JldA=="), ("accept", "text/html")];
    let response = browser.request("GET", &url("/a"), &fields, "").await;
    assert!(matches!(response.status, 200 | 302), "{response:?}");
    let response = fetch(&mut browser, "/a").await;
    assert_eq!(
        response.headers.all("www-authenticate"),
        ["Cookie realm=\"staff\"", "Basic realm=\"gateway\", charset=\"UTF-8\""]
    );
}

#[tokio::test]
async fn secrets_are_not_shown() {
    let (provider, origin) = (Scripted::start(), Origin::answer(OK));
    let text =
        config(&provider.issuer(), &origin, "", "").replace("file:client.secret", "'${CLIENT_SECRET}'");
    let builder = pooled::gateway(&text).file("session.key", KEY).env("CLIENT_SECRET", SECRET);
    let gateway = builder.start().await;
    let shown = gateway.admin("/config").await.text();
    assert!(shown.contains("${CLIENT_SECRET}") && shown.contains("file:session.key"), "{shown}");
    let mut browser = Browser::new(HOST, gateway.addr("web"));
    let response = browser.visit(&url("/a")).await;
    let back = provider.confirm(response.header("location").unwrap());
    assert_eq!(browser.visit(&back).await.status, 302);
    let logs = gateway.logs().join("\n");
    for secret in [SECRET, KEY, "refresh-1", "code-1"] {
        assert!(!shown.contains(secret) && !logs.contains(secret), "{secret}: {logs}");
    }
}

#[tokio::test]
async fn mistakes_of_the_configuration_are_reported_at_their_places() {
    let origin = Origin::answer(OK);
    for (change, message) in [
        (("file:client.secret", "hunter2"), "`client_secret` is written out, so it is no secret"),
        (("file:client.secret", "file:missing"), "cannot read"),
        (("file:client.secret", "file:empty"), "has no text"),
        (("file:session.key", "file:short"), "the secret has fewer than 32 characters"),
        (("client_id: gateway", "client_id: gateway\n      ca: missing.pem"), "`ca` has no effect"),
        (
            ("client_id: gateway", "client_id: gateway\n      parameters: { state: a }"),
            "the parameter `state` cannot be set",
        ),
        (
            ("client_id: gateway", "client_id: gateway\n      logout_path: /oauth2/callback"),
            "`logout_path` appears twice",
        ),
        (("sub: x-user", "sub: host"), "the header `host` cannot get a claim"),
        (("http://127.0.0.1:1", "id.example.com"), "is not the URL of an issuer"),
    ] {
        let text = config("http://127.0.0.1:1", &origin, "", "").replace(change.0, change.1);
        let builder = pooled::gateway(&text).file("client.secret", SECRET).file("session.key", KEY);
        let output = builder.file("empty", " \n").file("short", "short").run_to_exit().await;
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && shown.contains(message), "{message}: {shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
