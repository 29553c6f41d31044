//! The same with oidc-provider, a certified implementation in JavaScript, which `scripts/clients.sh` puts in `target/peers`.

use std::io::Write;
use std::path::Path;

use support::serde_json::json;
use support::{Gateway, Origin, within};

use super::browser::{Browser, Page};
use super::{HOST, config, fetch, outcome, start, url};
use crate::pooled::OK;
use crate::programs::{Server, peer, program, script};

/// The secret of the gateway at that provider: characters that forms and fields write in different ways.
const SECRET: &str = "secret of the gateway: 100% & more";

/// Starts the provider, with access tokens that last for so many seconds; `None` if it could not be installed.
async fn provider(access_token: u32, authentication: &str) -> Option<Server> {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/oidc-provider");
    if packages.join("unavailable").exists() {
        // The harness would capture a macro's output.
        let skipped =
            b"SKIPPED: oidc-provider could not be installed, so no login at a real provider is tested\n";
        std::io::stderr().write_all(skipped).unwrap();
        return None;
    }
    let packages = peer("oidc-provider/node_modules");
    let settings = json!({
        "redirect_uris": [format!("http://{HOST}/oauth2/callback")],
        "post_logout_redirect_uris": [format!("http://{HOST}/bye")],
        "authentication": authentication,
        "access_token": access_token,
    });
    let arguments =
        [&*script("auth_oidc/provider/provider.mjs"), packages.to_str().unwrap(), &settings.to_string()];
    Some(Server::start(&program("node"), &arguments).await)
}

async fn gateway(provider: &Server, origin: &Origin, oidc: &str) -> Gateway {
    let issuer = format!("http://{}", provider.address());
    let oidc = format!("      scopes: [email, groups]\n{oidc}");
    let text = config(&issuer, origin, &oidc, "").replace("file:client.secret", "'${CLIENT_SECRET}'");
    let builder = crate::pooled::gateway(&text).file("session.key", super::KEY);
    builder.env("CLIENT_SECRET", SECRET).start().await
}

/// Logs in and consents on the provider's pages.
async fn log_in(browser: &mut Browser, page: &Page) -> Page {
    let page = browser.submit(page, &[("login", "ann"), ("password", "any")]).await;
    browser.submit(&page, &[]).await
}

#[tokio::test]
async fn person_logs_in_stays_and_logs_out() {
    // Each second, the session needs a refresh.
    let Some(provider) = provider(1, "client_secret_basic").await else { return };
    let origin = Origin::answer(OK);
    let gateway = gateway(&provider, &origin, "      post_logout_redirect: /bye").await;
    let mut browser = Browser::new(HOST, gateway.addr("web"));
    let page = browser.go(&url("/a?b=c")).await;
    assert!(page.url.starts_with(&format!("http://{}/interaction/", provider.address())), "{}", page.url);
    let page = log_in(&mut browser, &page).await;
    assert_eq!((page.url, page.response.status), (url("/a?b=c"), 200));
    let headers = &origin.requests()[0].headers;
    assert_eq!(headers.get("x-user"), Some("ann"));
    assert_eq!(headers.get("x-email"), Some("ann@example.com"));
    assert_eq!(headers.get("x-groups"), Some("staff,admins"));
    assert_eq!(headers.get("cookie"), None);

    // The provider changes the refresh token each time, and takes a second use of one for a theft.
    for _ in 0..2 {
        within("a refresh", async {
            loop {
                let response = fetch(&mut browser, "/a").await;
                assert_eq!(response.status, 200);
                if response.headers.has("set-cookie") {
                    return;
                }
            }
        })
        .await;
    }

    let page = browser.go(&url("/oauth2/logout")).await;
    assert!(page.url.starts_with(&format!("http://{}/session/end", provider.address())), "{}", page.url);
    let page = browser.submit(&page, &[("logout", "yes")]).await;
    // The application's own page needs a login again: nothing is left of the old one, neither here nor there.
    assert!(page.url.starts_with(&format!("http://{}/interaction/", provider.address())), "{}", page.url);
    assert_eq!(outcome(&fetch(&mut browser, "/a").await), (401, "auth.required"));
}

#[tokio::test]
async fn person_who_is_known_to_the_provider_logs_in_without_a_page() {
    let Some(provider) = provider(600, "client_secret_post").await else { return };
    let origin = Origin::answer(OK);
    let first = gateway(&provider, &origin, "").await;
    let mut browser = Browser::new(HOST, first.addr("web"));
    let page = browser.go(&url("/a")).await;
    assert_eq!(log_in(&mut browser, &page).await.response.status, 200);
    browser.change(HOST, |name, _| (name == "gw").then(|| "1broken".to_owned()));
    let page = browser.go(&url("/b")).await;
    assert_eq!((page.url, page.response.status), (url("/b"), 200));
}

#[tokio::test]
async fn person_who_cancels_is_told_so() {
    let Some(provider) = provider(600, "client_secret_basic").await else { return };
    let origin = Origin::answer(OK);
    let gateway = gateway(&provider, &origin, "").await;
    let mut browser = Browser::new(HOST, gateway.addr("web"));
    let page = browser.go(&url("/a")).await;
    let cancel = format!("{}/abort", page.url);
    let page = browser.go(&cancel).await;
    assert_eq!(outcome(&page.response), (403, "auth.oidc.denied"));
    assert!(page.url.starts_with(&url("/oauth2/callback?error=access_denied")), "{}", page.url);
}

#[tokio::test]
async fn wrong_secret_of_the_gateway_is_told_to_the_operator() {
    let Some(provider) = provider(600, "client_secret_basic").await else { return };
    let origin = Origin::answer(OK);
    let gateway = start(&config(&format!("http://{}", provider.address()), &origin, "", "")).await;
    let mut browser = Browser::new(HOST, gateway.addr("web"));
    let page = browser.go(&url("/a")).await;
    let page = log_in(&mut browser, &page).await;
    assert_eq!(outcome(&page.response), (503, "auth.oidc.provider"));
    gateway.wait_for_log("invalid_client: look at `client_id` and `client_secret`").await;
}
