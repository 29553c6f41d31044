//! The filter `auth`, which asks another service whether a request may pass.

use support::{Gate, Origin, unused_address};

use crate::filter_plugins::{answer, get, text_with_upstreams, with_upstreams};
use crate::gateway;

#[tokio::test]
async fn auth_lets_through_what_the_authorizer_does_and_passes_on_its_refusals() {
    let origin = Origin::echo();
    let authorizer = Origin::respond(|request| match request.headers.get("authorization") {
        Some("ada") => answer("204 Fine", "x-user: ada\r\nx-user: admin\r\nx-other: y\r\n", b""),
        Some("nobody") => answer("200 OK", "", b""),
        Some("known") => answer("403 Forbidden", "content-type: text/x\r\nset-cookie: a=b\r\n", b"not you"),
        Some("moved") => answer("302 Found", "location: /login\r\n", b""),
        _ => answer("401 Unauthorized", "www-authenticate: Basic\r\n", b"who?"),
    });
    let gateway = with_upstreams("auth", &[&origin.url(), &authorizer.url()]).await.start().await;
    let mut client = gateway.client("web").await;
    for (credential, status, body) in [
        ("ada", 200, "a body"),
        ("nobody", 200, "a body"),
        ("known", 403, "not you"),
        ("moved", 503, "authorization is not available\n"),
        ("", 401, "who?"),
    ] {
        let fields = [("authorization", credential), ("X-User", "root"), ("cookie", "c=d")];
        let response = client.request("POST", "/a?b", &fields, b"a body").await;
        assert_eq!((response.status, response.text().as_str()), (status, body), "{credential}");
        assert!(!response.headers.has("set-cookie"), "{credential}: {response:?}");
        let challenge = if status == 401 { Some("Basic") } else { None };
        assert_eq!(response.header("www-authenticate"), challenge, "{credential}");
    }
    let seen: Vec<_> =
        origin.requests().iter().map(|request| request.headers.all("x-user").join("+")).collect();
    assert_eq!(seen, ["ada+admin", ""], "what the client says of itself is gone");
    for question in authorizer.requests() {
        let field = |name: &str| question.headers.get(name).unwrap_or_default().to_owned();
        assert_eq!((question.method.as_str(), question.target.as_str()), ("GET", "/check"));
        assert_eq!((field("x-original-method"), field("x-original-path")), ("POST".into(), "/a?b".into()));
        assert_eq!((field("cookie"), question.body), ("c=d".into(), vec![]));
    }
}

#[tokio::test]
async fn auth_lets_nothing_of_a_request_through_before_the_answer() {
    let gate = Gate::new();
    let open = gate.clone();
    let authorizer = Origin::script(move |mut connection| {
        let gate = open.clone();
        async move {
            if connection.read_request().await.is_some() {
                gate.pass().await;
                connection.write(answer("200 OK", "", b"")).await;
                connection.wait_closed().await;
            }
        }
    });
    let origin = Origin::echo();
    let text = text_with_upstreams("auth", &[&origin.url(), &authorizer.url()]).await;
    let gateway = gateway(format!("workers: 1\n{text}")).start().await;
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").await;
    gate.arrivals(1).await;
    // The one worker has served another client meanwhile: exchanges that could continue have continued.
    assert_eq!(gateway.client("authorizer").await.get("/check").await.status, 401);
    assert_eq!(origin.accepted(), 0);
    gate.release();
    assert_eq!(client.read_response().await.text(), "hello");
}

#[tokio::test]
async fn auth_refuses_while_the_authorizer_is_down_or_slow() {
    let origin = Origin::echo();
    let silent = Origin::script(|mut connection| async move {
        connection.wait_closed().await;
    });
    let nobody = format!("http://{}", unused_address());
    for authorizer in [nobody, silent.url()] {
        let text = text_with_upstreams("auth", &[&origin.url(), &authorizer]).await;
        let gateway = gateway(text.replace("timeout_ms: 500", "timeout_ms: 50")).start().await;
        let response = get(&gateway, "/", &[("authorization", "Bearer secret")]).await;
        assert_eq!((response.status, response.text().as_str()), (503, "authorization is not available\n"));
    }
    assert_eq!(silent.accepted(), 1, "it was asked");
    assert_eq!(origin.accepted(), 0);
}
