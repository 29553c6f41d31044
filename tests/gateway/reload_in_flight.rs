//! Requests that are under way while the configuration changes: each ends under the one that it began with.

use support::{Certificates, Gate, Origin, unused_address, wait_until};

use crate::reload_clients::{ADMIN, builder, clients, config, gated, named, refusal, reload};

/// A route `up` to the origin, which says which version of it answers.
const UP: &str = "
routes:
  - name: up
    upstream: { url: '{origin}' }
    headers: { response: { set: { x-version: old } } }";

#[tokio::test]
async fn a_request_that_awaits_its_answer_gets_it_from_where_it_was_sent() {
    let certificates = Certificates::new();
    let other = Origin::answer(named("other"));
    let other_up = UP.replace("{origin}", &other.url());
    let gone = "\nroutes: [{ name: gone, match: { path: /gone }, respond: { body: gone } }]";
    let no_time =
        format!("{UP}\n    timeouts: {{ response_header: 50ms, request: 50ms }}").replace("old", "new");
    let renamed = UP.replace("name: up", "name: top").replace("old", "new");
    let strict =
        format!("{UP}\n    retry: {{ attempts: 0 }}\n    pool: {{ max_connections: 1, keep_alive: false }}");
    for (what, next, of_new) in [
        ("the route is removed", config(gone), Some((404, ""))),
        ("the upstream is another", config(&other_up), Some((200, "other"))),
        ("there is less time", config(&no_time), Some((504, ""))),
        ("the route is another", config(&renamed), None),
        ("the pool is smaller", config(&strict), None),
        (
            "there are no listeners of theirs",
            format!("{ADMIN}listeners: [{{ name: n, address: 127.0.0.1:0 }}]{gone}"),
            None,
        ),
    ] {
        let gate = Gate::new();
        let origin = gated(&gate, "first");
        let gateway = builder(config(UP), &certificates, &origin).start().await;
        let mut waiting = clients(&gateway, &certificates).await;
        for client in &mut waiting {
            client.ask("/").await;
        }
        gate.arrivals(waiting.len()).await;
        reload(&gateway, &next).await;
        if let Some((status, body)) = of_new {
            for mut client in clients(&gateway, &certificates).await {
                let (new_status, new_body) = client.get("/").await;
                assert_eq!(new_status, status, "{what}, {}", client.kind);
                assert!(new_body.contains(body), "{what}, {}: {new_body}", client.kind);
            }
        }
        gate.release_all();
        for client in &mut waiting {
            let answer = client.answer("x-version").await;
            assert_eq!(answer, (200, Some("old".to_owned()), "first".to_owned()), "{what}, {}", client.kind);
        }
    }
}

#[tokio::test]
async fn a_body_on_its_way_goes_where_it_began_to_go() {
    let certificates = Certificates::new();
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            while let Some(head) = connection.read_head().await {
                gate.pass().await;
                let Some(request) = connection.read_body(&head).await else { return };
                connection.write(named(&String::from_utf8(request.body).unwrap())).await;
            }
        }
    });
    gate.release_all();
    let strict = "\nroutes: [{ name: up, upstream: { url: 'http://127.0.0.1:1' }, limits: { body: 3B } }]";
    let gone = "\nroutes: [{ name: gone, match: { path: /gone }, respond: { body: gone } }]";
    for next in [strict, gone] {
        for (framing, first, second) in [
            (("content-length", "10"), "abcde", "fghij"),
            (("transfer-encoding", "chunked"), "5\r\nabcde\r\n", "5\r\nfghij\r\n0\r\n\r\n"),
        ] {
            let before = origin.requests().len();
            let gateway = builder(config(UP), &certificates, &origin).start().await;
            let mut uploading = clients(&gateway, &certificates).await;
            let is_chunked = framing.0 == "transfer-encoding";
            for client in &mut uploading {
                let part = if is_chunked && client.kind.contains("/2") { "abcde" } else { first };
                client.begin("POST", "/", &[framing], false).await;
                client.send(part, false).await;
            }
            gate.arrivals(before + uploading.len()).await;
            reload(&gateway, &config(next)).await;
            for client in &mut uploading {
                let part = if is_chunked && client.kind.contains("/2") { "fghij" } else { second };
                client.send(part, true).await;
                let (status, version, body) = client.answer("x-version").await;
                assert_eq!(
                    (status, version.as_deref(), &*body),
                    (200, Some("old"), "abcdefghij"),
                    "{}",
                    client.kind
                );
            }
            // The next one is another's.
            let mut client = gateway.client("web").await;
            let post = client.request("POST", "/", &[], b"abcdef").await;
            assert_eq!(post.status, if next == strict { 413 } else { 404 });
        }
    }
}

#[tokio::test]
async fn a_retried_request_keeps_the_upstream_that_it_began_with() {
    let certificates = Certificates::new();
    let address = unused_address();
    let nobody = Origin::answer(named("nobody"));
    let first = format!(
        "\nroutes: [{{ name: up, upstream: {{ url: 'http://{address}' }}, retry: {{ attempts: 99, backoff: 100ms }} }}]"
    );
    let gateway = builder(config(&first), &certificates, &nobody).start().await;
    let mut waiting = clients(&gateway, &certificates).await;
    for client in &mut waiting {
        client.ask("/").await;
    }
    // The count of failures would not do: a request may have failed several times before another one begins.
    let all = Some(waiting.len() as f64);
    wait_until("all have begun", async || {
        gateway.metric("gateway_requests_in_flight{route=\"up\"}").await == all
    })
    .await;
    reload(&gateway, &config("\nroutes: [{ name: now, respond: { body: now } }]")).await;
    let late = Origin::builder().address(address).answer(named("late"));
    for client in &mut waiting {
        let (status, _, body) = client.answer("-").await;
        assert_eq!((status, &*body), (200, "late"), "{}", client.kind);
        assert_eq!(client.get("/").await, (200, "now".to_owned()), "{}", client.kind);
    }
    late.wait_for_open(0).await;
}

/// A route whose pool has room for one connection, for which requests wait as long as the test takes.
fn narrow(keys: &str) -> String {
    let patient = if keys.contains("acquire_timeout") { "" } else { ", acquire_timeout: 10m" };
    config(&format!(
        "\nroutes:\n  - {{ name: up, match: {{ prefix: /up }}, upstream: {{ url: '{{origin}}' }}, pool: {{ max_connections: 1{patient}{keys} }} }}"
    ))
}

#[tokio::test]
async fn a_request_waiting_for_a_connection_is_answered_though_its_pool_changes() {
    const WAITING: u64 = 8;
    let certificates = Certificates::new();
    let other = Origin::answer(named("other"));
    let gone = config("\nroutes: [{ match: { path: /gone }, respond: { body: gone } }]");
    for (what, next, of_new) in [
        ("the route is removed", gone, (404, Some("route.none"))),
        ("the endpoint is another", narrow("").replace("{origin}", &other.url()), (200, None)),
        ("nobody may wait", narrow(", max_pending: 0"), (503, Some("pool.max_pending"))),
        ("nobody may wait for long", narrow(", acquire_timeout: 20ms"), (503, Some("pool.acquire_timeout"))),
    ] {
        let gate = Gate::new();
        let origin = gated(&gate, "first");
        let gateway = builder(narrow(""), &certificates, &origin).start().await;
        // Many enough for both workers to have some.
        let mut asking = Vec::new();
        for _ in 0..=WAITING {
            let mut client = gateway.client("web").await;
            client.send_raw("GET /up HTTP/1.1\r\nhost: a\r\n\r\n").await;
            asking.push(client);
        }
        gateway.wait_for_pool("up", "the others wait", |pool| pool["pending"] == WAITING).await;
        gate.arrivals(1).await;
        reload(&gateway, &next).await;
        let mut client = gateway.client("web").await;
        assert_eq!(refusal(&client.get("/up").await), of_new, "{what}");
        gate.release_all();
        for client in &mut asking {
            let response = client.read_response().await;
            assert_eq!((response.status, &*response.text()), (200, "first"), "{what}");
        }
        if of_new.0 == 404 || of_new.0 == 200 {
            origin.wait_for_open(0).await;
        }
    }
}

#[tokio::test]
async fn waiting_requests_proceed_at_once_when_a_limit_is_raised() {
    let certificates = Certificates::new();
    let gate = Gate::new();
    let origin = gated(&gate, "first");
    let gateway = builder(narrow(""), &certificates, &origin).start().await;
    let mut asking = clients(&gateway, &certificates).await;
    for client in &mut asking {
        client.ask("/up").await;
    }
    gateway.wait_for_pool("up", "the others wait", |pool| pool["pending"] == 3).await;
    reload(&gateway, &narrow("").replace("max_connections: 1", "max_connections: 3")).await;
    gate.arrivals(3).await;
    let pool = gateway.pool("up").await;
    assert_eq!((&pool["active"], &pool["pending"]), (&3.into(), &1.into()), "{pool:#}");
    gate.release_all();
    for client in &mut asking {
        assert_eq!(client.answer("-").await.2, "first", "{}", client.kind);
    }
}

#[tokio::test]
async fn the_next_request_of_an_open_connection_has_all_that_is_new() {
    let certificates = Certificates::new();
    let origin = Origin::echo();
    let route =
        |keys: &str| format!("\nroutes:\n  - {{ name: up, upstream: {{ url: '{{origin}}' }}{keys} }}");
    let gateway = builder(config(&route("")), &certificates, &origin).start().await;
    let mut clients = clients(&gateway, &certificates).await;
    let trusted = format!("\ntrusted_proxies: [127.0.0.0/8]{}", route(""));
    for (next, field, expected) in [
        (trusted, "x-forwarded-for", "9.9.9.9, 127.0.0.1"),
        (route(", headers: { request: { set: { x-new: yes } } }"), "x-new", "yes"),
        (route(", host: new.test"), "host", "new.test"),
        (route(", rewrite: { path: /new }"), "(target)", "/new"),
        (route(""), "x-forwarded-for", "127.0.0.1"),
        // Last, because it closes the connections of HTTP/1.
        (route(", limits: { body: 1B }"), "(status)", "413"),
    ] {
        reload(&gateway, &config(&next)).await;
        for client in &mut clients {
            let fields = [("content-length", "3"), ("x-forwarded-for", "9.9.9.9")];
            client.begin("POST", "/", &fields, false).await;
            client.send("abc", true).await;
            let (status, _, _) = client.answer("-").await;
            let request = origin.requests().pop();
            let got = match (field, &request) {
                ("(status)", _) => status.to_string(),
                ("(target)", Some(request)) => request.target.clone(),
                (_, Some(request)) => request.headers.get(field).unwrap_or("-").to_owned(),
                (_, None) => String::new(),
            };
            assert_eq!(got, expected, "{field}, {}", client.kind);
        }
    }
}
