//! Pairs whose meaning is a behaviour: the same requests, through nginx with its block and through the gateway with ours.

use support::{Gate, Origin, unused_address};

use super::both::{Asked, Both, Proxy};
use crate::gateway;

const GET: Asked<'_> = Asked { method: "GET", target: "/", fields: &[], body: b"" };

#[tokio::test]
async fn a_prefix_is_forwarded_as_it_is_by_both() {
    let both = Both::start("Forward a prefix as it is").await;
    for target in ["/api/users?x=1&y=%20", "/api/", "/api/a%2Bb", "/api/a+b;c=d?", "/api/%C3%A9"] {
        assert_eq!(both.same_get(target).await.target(), Some(target));
    }
    let post = Asked { method: "POST", target: "/api/users", body: b"hello", ..GET };
    assert_eq!(both.same(&post).await.received.unwrap().body, b"hello");
    for target in ["/apix", "/", "/other"] {
        assert_eq!(both.same_get(target).await.response.status, 404);
    }
    let [theirs, ours] = both.get("/api").await;
    assert_eq!((theirs.response.status, theirs.target()), (301, None));
    assert!(theirs.response.header("location").unwrap().ends_with("/api/"));
    assert_eq!((ours.response.status, ours.target()), (200, Some("/api")));
}

#[tokio::test]
async fn a_prefix_is_removed_by_both() {
    let both = Both::start("Remove a prefix").await;
    for (target, expected) in [
        ("/api/users?x=1", "/users?x=1"),
        ("/api/", "/"),
        ("/api/?x", "/?x"),
        ("/api/a%20b", "/a%20b"),
        ("/api/api/x", "/api/x"),
        ("/api/a/../b", "/b"),
        ("/api/%7Euser", "/~user"),
    ] {
        assert_eq!(both.same_get(target).await.target(), Some(expected), "{target}");
    }
    assert_eq!(both.same_get("/apix").await.response.status, 404);
}

#[tokio::test]
async fn a_prefix_takes_the_place_of_another_in_both() {
    let both = Both::start("Put one prefix in place of another").await;
    for (target, expected) in [
        ("/api/users?x=1", "/v2/users?x=1"),
        ("/api/", "/v2/"),
        ("/api/a%20b/", "/v2/a%20b/"),
        ("/api/api/v2", "/v2/api/v2"),
    ] {
        assert_eq!(both.same_get(target).await.target(), Some(expected), "{target}");
    }
}

#[tokio::test]
async fn an_upstream_is_kept_below_a_path_by_both() {
    let both = Both::start("Keep an upstream below a path").await;
    for (target, expected) in
        [("/", "/v2/"), ("/users?x=1", "/v2/users?x=1"), ("/v2/users/", "/v2/v2/users/")]
    {
        assert_eq!(both.same_get(target).await.target(), Some(expected), "{target}");
    }
}

#[tokio::test]
async fn one_path_is_asked_for_by_both() {
    let both = Both::start("Ask for one path").await;
    for (target, expected) in [("/spike", "/v2/status"), ("/spike?x=1", "/v2/status?x=1")] {
        assert_eq!(both.same_get(target).await.target(), Some(expected));
    }
    for target in ["/spike/x", "/spike/", "/spikes"] {
        assert_eq!(both.same_get(target).await.response.status, 404);
    }
}

#[tokio::test]
async fn a_part_of_the_path_is_moved_by_both() {
    let both = Both::start("Move a part of the path").await;
    for (target, expected) in
        [("/users/7/orders", "/v2/people/7/orders"), ("/users/7/orders?x=1&y", "/v2/people/7/orders?x=1&y")]
    {
        assert_eq!(both.same_get(target).await.target(), Some(expected));
    }
    for target in ["/users/7/orders/", "/users/7/orders/1", "/users/orders", "/users/7/8/orders"] {
        assert_eq!(both.same_get(target).await.response.status, 404);
    }
    let spaced = Asked { target: "/users/a%20b/orders", ..GET };
    let ours = both.through(Proxy::Gateway, &spaced).await;
    assert_eq!(ours.target(), Some("/v2/people/a%20b/orders"));
    // The origin, which reads by the letter, takes the bare space for an error.
    both.through(Proxy::Nginx, &spaced).await;
    let errors = both.origin.wait_for_error().await;
    assert!(errors[0].contains("/v2/people/a b/orders"), "{errors:?}");
}

#[tokio::test]
async fn connections_are_kept_by_both() {
    for (section, theirs) in [("Keep connections", 1), ("Forward a prefix as it is", 3)] {
        let both = Both::start(section).await;
        for (proxy, expected) in [(Proxy::Nginx, theirs), (Proxy::Gateway, 1)] {
            let before = both.origin.accepted();
            // On one connection, and so in one worker: each worker keeps idle connections of its own.
            let mut client = both.client(proxy).await;
            for _ in 0..3 {
                assert_eq!(client.get("/api/").await.status, 200);
            }
            assert_eq!(both.origin.accepted() - before, expected, "{section}: {proxy:?}");
        }
    }
}

#[tokio::test]
async fn a_request_above_the_limit_of_connections_waits_here_and_is_502_in_nginx() {
    let gate = Gate::new();
    let opened = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = gate.clone();
        async move {
            while connection.read_request().await.is_some() {
                gate.pass().await;
                connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        }
    });
    let one = |text: &str| {
        let text = text.replace("max_conns=256", "max_conns=1").replace("tions: 256", "tions: 1");
        text.replace("max_idle: 64", "max_idle: 1")
    };
    let both = Both::start_with("Keep connections", origin, one).await;
    for (proxy, requests) in [(Proxy::Nginx, 1), (Proxy::Gateway, 2)] {
        let (mut first, mut second) = (both.client(proxy).await, both.client(proxy).await);
        first.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        both.origin.wait_for_requests(requests).await;
        second.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        if proxy == Proxy::Nginx {
            assert_eq!(second.read_response().await.status, 502);
            opened.release();
        } else {
            opened.release_all();
            assert_eq!(second.read_response().await.status, 200);
        }
        assert_eq!(first.read_response().await.status, 200, "{proxy:?}");
    }
}

#[tokio::test]
async fn requests_are_shared_by_weight_by_both() {
    let second = Origin::echo();
    let address = second.addr().to_string();
    // The gateway's default weighs response times, too.
    let edit = |text: &str| {
        text.replace("127.0.0.1:3001", &address)
            .replace("      endpoints:\n", "      balance: round_robin\n      endpoints:\n")
    };
    let both = Both::start_with("Share requests by weight", Origin::echo(), edit).await;
    for proxy in [Proxy::Nginx, Proxy::Gateway] {
        let before = [both.origin.requests().len(), second.requests().len()];
        for _ in 0..8 {
            assert_eq!(both.through(proxy, &GET).await.response.status, 200);
        }
        let after = [both.origin.requests().len(), second.requests().len()];
        assert_eq!([after[0] - before[0], after[1] - before[1]], [6, 2], "{proxy:?}");
    }
    let hosts = second.requests().into_iter().map(|request| request.headers.get("host").unwrap().to_owned());
    assert_eq!(hosts.collect::<Vec<_>>(), ["app", "app", &address, &address]);
}

#[tokio::test]
async fn a_refused_connection_is_tried_at_the_next_endpoint_by_both() {
    let nobody = unused_address().to_string();
    // nginx asks each server without a number of tries, and the gateway whatever the number is.
    let edit = |text: &str| text.replace("127.0.0.1:3001", &nobody).replace("attempts: 1", "attempts: 0");
    let both = Both::start_with("Try again", Origin::echo(), edit).await;
    for _ in 0..4 {
        for outcome in both.ask(&Asked { method: "POST", body: b"once", ..GET }).await {
            assert_eq!((outcome.response.status, outcome.target()), (200, Some("/")));
        }
    }
}

#[tokio::test]
async fn an_upstream_that_is_late_is_504_for_both() {
    let origin = Origin::script(|mut connection| async move {
        connection.read_request().await;
        connection.wait_closed().await;
    });
    let edit = |text: &str| text.replace("60s", "300ms");
    let both = Both::start_with("Upstream timeouts", origin, edit).await;
    let outcome = both.same_get("/").await;
    assert_eq!(outcome.response.status, 504);
    assert_eq!(outcome.response.header("x-gateway-error"), Some("timeouts.response_header"));
}

#[tokio::test]
async fn a_client_that_is_late_is_cut_off_by_both() {
    support::with_longer_and_longer(async |limit| {
        let limit = format!("{}ms", limit.as_millis());
        let both =
            Both::start_with("Client timeouts", Origin::echo(), |text| text.replace("10s", &limit)).await;
        let mut client = both.client(Proxy::Nginx).await;
        client.send_raw("GET / HTTP/1.1\r\n").await;
        client.expect_closed().await;
        let mut client = both.client(Proxy::Gateway).await;
        client.send_raw("GET / HTTP/1.1\r\n").await;
        assert_eq!(client.read_response().await.status, 408);
        client.expect_closed().await;
    })
    .await;
}

#[tokio::test]
async fn bodies_are_streamed_by_both() {
    let gate = Gate::new();
    let opened = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = gate.clone();
        async move {
            connection.read_request().await;
            connection.write("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\none").await;
            gate.pass().await;
            connection.write("two").await;
        }
    });
    let both = Both::start_with("Stream bodies", origin, str::to_owned).await;
    for proxy in [Proxy::Nginx, Proxy::Gateway] {
        let mut client = both.client(proxy).await;
        client.send_raw("GET /events HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.read_head().await;
        // The upstream sends the rest only once the client has the beginning.
        assert_eq!(client.read_exact(3).await, b"one", "{proxy:?}");
        opened.release();
        assert_eq!(client.read_exact(3).await, b"two", "{proxy:?}");
    }
}

#[tokio::test]
async fn a_client_with_a_closed_sending_half_is_answered_by_both_where_configured() {
    let section = "Answer clients that have closed their sending half";
    let bare = |text: &str| {
        text.replace("    proxy_ignore_client_abort on;\n", "").replace(", half_close: allow", "")
    };
    for is_allowed in [true, false] {
        let gate = Gate::new();
        let opened = gate.clone();
        let origin = Origin::script(move |mut connection| {
            let gate = gate.clone();
            async move {
                connection.read_request().await;
                gate.pass().await;
                let _left = connection.try_write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        });
        let edit = |text: &str| if is_allowed { text.to_owned() } else { bare(text) };
        let both = Both::start_with(section, origin, edit).await;
        for (number, proxy) in [Proxy::Nginx, Proxy::Gateway].into_iter().enumerate() {
            let mut client = both.client(proxy).await;
            client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            both.origin.wait_for_requests(number + 1).await;
            client.half_close().await;
            if is_allowed {
                opened.release();
                assert_eq!(client.read_response().await.text(), "ok", "{proxy:?}");
            } else {
                client.expect_closed().await;
                opened.release();
            }
        }
    }
}

/// The fields that say who asked.
const IDENTITY: [&str; 4] = ["host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];

#[tokio::test]
async fn the_clients_host_and_address_are_sent_by_both() {
    let both = Both::start("Pass the client's host").await;
    for host in ["shop.example", "shop.example:8080", "192.0.2.7:81"] {
        let fields = [("host", host), ("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")];
        let outcomes = both.ask(&Asked { fields: &fields, ..GET }).await;
        for outcome in outcomes {
            let sent = IDENTITY.map(|name| outcome.sent(name).join("|"));
            assert_eq!(sent, [host, "127.0.0.1", "http", host]);
        }
    }
}

#[tokio::test]
async fn the_upstreams_own_host_is_the_default_of_both_and_a_literal_replaces_it() {
    let both = Both::start("Forward a prefix as it is").await;
    let own = both.origin.addr().to_string();
    let outcome = both.same_get("/api/").await;
    assert_eq!(outcome.sent("host"), [own]);
    let both = Both::start("Send a host of your own").await;
    assert_eq!(both.same_get("/").await.sent("host"), ["api.internal"]);
}

#[tokio::test]
async fn the_address_that_a_trusted_proxy_names_is_passed_on_by_both() {
    let local = |text: &str| text.replace("10.0.0.0/8", "127.0.0.0/8");
    let both = Both::start_with("Stand behind another proxy", Origin::echo(), local).await;
    let fields = [("x-forwarded-for", "203.0.113.9")];
    for outcome in both.ask(&Asked { fields: &fields, ..GET }).await {
        assert_eq!(outcome.sent("x-forwarded-for"), ["203.0.113.9, 127.0.0.1"]);
    }
}

#[tokio::test]
async fn the_address_in_a_proxy_header_is_passed_on_by_both() {
    let local = |text: &str| text.replace("10.0.0.0/8", "127.0.0.0/8");
    let both = Both::start_with("Accept the PROXY protocol", Origin::echo(), local).await;
    for proxy in [Proxy::Nginx, Proxy::Gateway] {
        let mut client = both.client(proxy).await;
        client.send_raw("PROXY TCP4 203.0.113.9 127.0.0.1 1111 8080\r\n").await;
        assert_eq!(client.get("/").await.status, 200, "{proxy:?}");
        let request = both.origin.requests().pop().unwrap();
        assert_eq!(request.headers.all("x-forwarded-for"), ["203.0.113.9"], "{proxy:?}");
    }
}

#[tokio::test]
async fn redirects_of_both_go_to_the_same_place() {
    let both = Both::start("Redirect to another place").await;
    for (method, target) in [("GET", "/old"), ("POST", "/old/x?y=1")] {
        let outcome = both.same(&Asked { method, target, ..GET }).await;
        assert_eq!(outcome.response.status, 308);
        assert_eq!(outcome.response.header("location"), Some("https://www.example.com/new"));
    }
    let both = Both::start("Redirect to a path on the same host").await;
    let outcome = both.same_get("/old").await;
    assert_eq!((outcome.response.status, outcome.response.header("location")), (301, Some("/new")));
}

#[tokio::test]
async fn redirects_of_both_to_https_keep_host_path_and_query() {
    let both = Both::start("Redirect to https").await;
    for (host, target, expected) in [
        ("shop.example", "/", "https://shop.example/"),
        ("shop.example:8080", "/a/b?x=1&y=%20", "https://shop.example/a/b?x=1&y=%20"),
        ("shop.example", "/a%20b", "https://shop.example/a%20b"),
        ("[2001:db8::1]:8080", "/?", "https://[2001:db8::1]/?"),
    ] {
        let fields = [("host", host)];
        let outcome = both.same(&Asked { target, fields: &fields, ..GET }).await;
        assert_eq!((outcome.response.status, outcome.response.header("location")), (301, Some(expected)));
    }
    let [theirs, ours] = both.ask(&Asked { fields: &[("host", "Shop.Example")], ..GET }).await;
    assert_eq!(theirs.response.header("location"), Some("https://shop.example/"));
    assert_eq!(ours.response.header("location"), Some("https://Shop.Example/"), "as the client wrote it");
}

#[tokio::test]
async fn locations_and_cookies_of_the_upstream_are_corrected_by_both() {
    // The client says what the upstream answers.
    let origin = Origin::respond(|request| {
        let said = request.headers.get("x-location").unwrap_or_default();
        let cookie = "id=1; Domain=127.0.0.1; Path=/v2/users; HttpOnly";
        let fields = format!("location: {said}\r\nset-cookie: {cookie}\r\ncontent-length: 0");
        format!("HTTP/1.1 302 Found\r\n{fields}\r\n\r\n").into_bytes()
    });
    let both = Both::start_with("Redirects and cookies of the upstream", origin, str::to_owned).await;
    let own = both.origin.addr();
    for proxy in [Proxy::Nginx, Proxy::Gateway] {
        let host = format!("shop.example:{}", both.addr(proxy).port());
        let moved = if proxy == Proxy::Nginx { "/v2/login" } else { "/api/login" };
        for (said, expected) in [
            (format!("http://{own}/v2/login?next=1"), format!("http://{host}/api/login?next=1")),
            ("https://other.example/v2/login".to_owned(), "https://other.example/v2/login".to_owned()),
            ("/v2/login".to_owned(), moved.to_owned()),
            ("login".to_owned(), "login".to_owned()),
        ] {
            let fields = [("host", host.as_str()), ("x-location", said.as_str())];
            let outcome = both.through(proxy, &Asked { target: "/api/users", fields: &fields, ..GET }).await;
            assert_eq!(outcome.response.header("location"), Some(expected.as_str()), "{proxy:?}: {said}");
            let cookie = outcome.response.header("set-cookie").unwrap();
            let domain = if proxy == Proxy::Nginx { "; Domain=shop.example" } else { "" };
            let cookie = cookie.replace("domain=", "Domain=").replace("path=", "Path=");
            assert_eq!(cookie, format!("id=1{domain}; Path=/api/users; HttpOnly"), "{proxy:?}");
        }
    }
}

#[tokio::test]
async fn fixed_answers_of_both_are_the_same() {
    let both = Both::start("Answer without an upstream").await;
    let [theirs, ours] = both.get("/healthz").await;
    for outcome in [&theirs, &ours] {
        assert_eq!((outcome.response.status, outcome.response.text().as_str()), (200, "fine\n"));
        assert_eq!(outcome.response.header("content-type"), Some("text/plain"));
        assert_eq!(outcome.response.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn fields_are_set_and_removed_by_both() {
    let origin = Origin::answer(
        "HTTP/1.1 200 OK\r\nx-powered-by: secret\r\nserver: app\r\nx-other: 1\r\ncontent-length: 2\r\n\r\nok",
    );
    let both = Both::start_with("Set and remove fields", origin, str::to_owned).await;
    let fields = [("X-Gateway", "forged"), ("x-internal", "1"), ("x-other", "2")];
    let [theirs, ours] = both.ask(&Asked { fields: &fields, ..GET }).await;
    for outcome in [&theirs, &ours] {
        assert_eq!(outcome.sent("x-gateway"), ["spike"]);
        assert_eq!(outcome.sent("x-internal"), [] as [&str; 0]);
        assert_eq!(outcome.sent("x-other"), ["2"]);
        let headers = &outcome.response.headers;
        assert_eq!(headers.all("x-served-by"), ["edge"]);
        assert!(!headers.has("x-powered-by") && headers.has("x-other"), "{headers:?}");
    }
    assert!(theirs.response.header("server").unwrap().starts_with("nginx"));
    assert_eq!(ours.response.header("server"), Some("app"), "the upstream's own");
}

#[tokio::test]
async fn long_bodies_are_refused_by_both_and_a_route_may_have_longer_ones() {
    let both = Both::start("Limit bodies, headers and connections").await;
    let body = vec![b'x'; 1_200_000];
    let accepted = both.same(&Asked { method: "POST", target: "/upload/", body: &body, ..GET }).await;
    assert_eq!((accepted.response.status, accepted.response.body.len()), (200, body.len()));
    for proxy in [Proxy::Nginx, Proxy::Gateway] {
        let mut client = both.client(proxy).await;
        client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1200000\r\n\r\n").await;
        assert_eq!(client.read_response().await.status, 413, "{proxy:?}");
        // A target of 8 KiB does not fit together with the rest of its line.
        let mut client = both.client(proxy).await;
        client.send_raw(format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(8192))).await;
        assert_eq!(client.read_response().await.status, 414, "{proxy:?}");
    }
}

#[tokio::test]
async fn the_letter_case_of_field_names_is_kept_by_both() {
    let answer =
        "HTTP/1.1 200 OK\r\nX-ID: 1\r\nx-lower: 1\r\ncontent-TYPE: text/plain\r\nContent-Length: 2\r\n\r\nok";
    let both =
        Both::start_with("Keep the letter case of field names", Origin::answer(answer), str::to_owned).await;
    let fields = [("X-API-KEY", "1"), ("x-lower", "1"), ("aCCept", "*/*")];
    let [theirs, ours] = both.ask(&Asked { fields: &fields, ..GET }).await;
    for outcome in [theirs, ours] {
        let received = String::from_utf8(outcome.received.unwrap().raw_head).unwrap();
        for line in ["\nX-API-KEY: 1\r", "\nx-lower: 1\r", "\naCCept: */*\r"] {
            assert!(received.contains(line), "{received}");
        }
        let response = String::from_utf8(outcome.response.raw).unwrap();
        for line in ["\nX-ID: 1\r", "\nx-lower: 1\r"] {
            assert!(response.contains(line), "{response}");
        }
    }
}

#[tokio::test]
async fn websockets_are_forwarded_by_both() {
    let origin = Origin::script(|mut connection| async move {
        if connection.read_request().await.is_some() {
            let accept = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
            let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n";
            connection.write(format!("{switch}{accept}\r\n\r\n")).await;
            connection.echo().await;
        }
    });
    let both = Both::start_with("Forward WebSockets", origin, str::to_owned).await;
    for proxy in [Proxy::Nginx, Proxy::Gateway] {
        let mut client = both.client(proxy).await;
        let ask = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        client.send_raw(ask).await;
        assert_eq!(client.read_head().await.first_line, "HTTP/1.1 101 Switching Protocols", "{proxy:?}");
        client.send_raw("hello").await;
        assert_eq!(client.read_exact(5).await, b"hello", "{proxy:?}");
        let request = both.origin.requests().pop().unwrap();
        assert_eq!(request.headers.all("upgrade"), ["websocket"], "{proxy:?}");
    }
}

#[tokio::test]
async fn a_host_without_a_matching_route_falls_back_here_and_is_404_in_nginx() {
    let both = Both::start("The one server of nginx").await;
    let at = |target| Asked { target, fields: &[("host", "a.example")], ..GET };
    assert_eq!(both.same(&at("/api/x")).await.response.text(), "api");
    assert_eq!(both.same_get("/x").await.response.text(), "anywhere");
    let [theirs, ours] = both.ask(&at("/x")).await;
    assert_eq!(theirs.response.status, 404);
    assert_eq!((ours.response.status, ours.response.text().as_str()), (200, "anywhere"));
}

#[tokio::test]
async fn the_most_specific_route_wins_where_envoy_takes_the_first_and_traefik_the_longest_rule() {
    for (section, host, target, expected) in [
        ("The first match of Envoy", "any.example", "/api/x", "api"),
        ("The first match of Envoy", "any.example", "/x", "pages"),
        ("The longest rule of Traefik", "a.example", "/a/rather/long/prefix", "pages"),
        ("The longest rule of Traefik", "b.example", "/a/rather/long/prefix", "api"),
    ] {
        let text = super::page::block(section, "gateway").completed();
        let gateway = gateway(text.replace("127.0.0.1:8080", "127.0.0.1:0")).start().await;
        let response = gateway.client("web").await.request("GET", target, &[("host", host)], b"").await;
        assert_eq!(response.text(), expected, "{section}: {host}{target}");
    }
}
