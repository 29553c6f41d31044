//! The page's table of defaults that differ: what nginx does without a setting, and what the gateway does.

use support::{Origin, SilentListener, unused_address};

use super::both::{Asked, Both, Proxy};

const GET: Asked<'_> = Asked { method: "GET", target: "/api/", fields: &[], body: b"" };

/// The pair with no setting at all.
async fn bare() -> Both {
    Both::start("Forward a prefix as it is").await
}

#[tokio::test]
async fn upstreams_are_asked_with_http_1_0_and_close_by_nginx_and_with_1_1_here() {
    let both = bare().await;
    let [theirs, ours] = both.ask(&GET).await;
    let line = |outcome: &super::both::Outcome| {
        let head = outcome.received.as_ref().unwrap().raw_head.clone();
        String::from_utf8(head).unwrap().lines().next().unwrap().to_owned()
    };
    assert_eq!((line(&theirs).as_str(), theirs.sent("connection")), ("GET /api/ HTTP/1.0", vec!["close"]));
    assert_eq!((line(&ours).as_str(), ours.sent("connection")), ("GET /api/ HTTP/1.1", vec![]));
}

#[tokio::test]
async fn fields_with_underscores_are_dropped_by_nginx_and_passed_here() {
    let both = bare().await;
    let [theirs, ours] = both.ask(&Asked { fields: &[("x_trace", "1")], ..GET }).await;
    assert_eq!((theirs.sent("x_trace"), ours.sent("x_trace")), (vec![], vec!["1"]));
}

#[tokio::test]
async fn forwarded_fields_of_a_client_pass_nginx_and_are_replaced_here() {
    let both = bare().await;
    let fields = [("x-forwarded-for", "192.0.2.1"), ("x-real-ip", "192.0.2.1")];
    let [theirs, ours] = both.ask(&Asked { fields: &fields, ..GET }).await;
    assert_eq!(
        (theirs.sent("x-forwarded-for"), theirs.sent("x-real-ip")),
        (vec!["192.0.2.1"], vec!["192.0.2.1"])
    );
    assert_eq!((ours.sent("x-forwarded-for"), ours.sent("x-real-ip")), (vec!["127.0.0.1"], vec![]));
}

#[tokio::test]
async fn via_is_left_alone_by_nginx_and_added_here() {
    let both = bare().await;
    let [theirs, ours] = both.ask(&Asked { fields: &[("via", "1.1 other")], ..GET }).await;
    assert_eq!((theirs.sent("via"), theirs.response.header("via")), (vec!["1.1 other"], None));
    assert_eq!(
        (ours.sent("via"), ours.response.header("via")),
        (vec!["1.1 other", "1.1 gateway"], Some("1.1 gateway"))
    );
}

#[tokio::test]
async fn paths_are_matched_and_forwarded_in_different_forms() {
    let both = bare().await;
    for (target, theirs, ours) in [
        // Slashes are merged for matching only, and what came is forwarded.
        ("//api/x", (200, Some("//api/x")), (404, None)),
        ("/api/./%7Euser", (200, Some("/api/./%7Euser")), (200, Some("/api/~user"))),
        ("/api%2Fx", (200, Some("/api%2Fx")), (400, None)),
    ] {
        let [there, here] = both.get(target).await;
        assert_eq!((there.response.status, there.target()), theirs, "nginx: {target}");
        assert_eq!((here.response.status, here.target()), ours, "gateway: {target}");
    }
}

#[tokio::test]
async fn bodies_above_1_mib_are_refused_by_nginx_and_forwarded_here() {
    let both = bare().await;
    let mut client = both.client(Proxy::Nginx).await;
    client.send_raw("POST /api/ HTTP/1.1\r\nhost: a\r\ncontent-length: 1048577\r\n\r\n").await;
    assert_eq!(client.read_response().await.status, 413);
    let body = vec![b'x'; 1_048_577];
    let ours = both.through(Proxy::Gateway, &Asked { method: "POST", body: &body, ..GET }).await;
    assert_eq!((ours.response.status, ours.response.body.len()), (200, body.len()));
}

#[tokio::test]
async fn upstreams_that_cannot_be_connected_to_have_different_statuses() {
    let refusing = unused_address().to_string();
    let silent = SilentListener::start().await;
    for (address, there) in [(refusing, 502), (silent.addr().to_string(), 504)] {
        let edit = |text: &str| text.replace("127.0.0.1:3000", &address).replace("5s", "300ms");
        let both = Both::start_with("Upstream timeouts", Origin::echo(), edit).await;
        let [theirs, ours] = both.get("/").await;
        assert_eq!((theirs.response.status, ours.response.status), (there, 503), "{address}");
    }
}
