//! The access log: the line that each request leaves.

use support::serde_json::{Value, from_str};
use support::{Gate, Gateway, Origin, unused_address, wait_until};

use crate::gateway;

async fn start(access_log: &str, upstream: &str) -> Gateway {
    gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
telemetry: { access_log: {access_log} }
routes:
  - { name: local, match: { path: /local }, respond: { status: 201, body: hello } }
  - { name: up, match: { prefix: /up }, upstream: { url: '{upstream}' } }",
    )
    .set("access_log", access_log)
    .set("upstream", upstream)
    .start()
    .await
}

/// The line of the access log that contains `text`, as JSON.
async fn line(gateway: &Gateway, text: &str) -> Value {
    from_str(&gateway.wait_for_stdout(text).await).unwrap()
}

/// The line of the access log for the target that begins with `target`. A command of the start shows targets, too.
async fn line_of(gateway: &Gateway, target: &str) -> Value {
    line(gateway, &format!(r#""target":"{target}"#)).await
}

#[tokio::test]
async fn a_json_line_has_route_endpoint_reuse_and_times() {
    let origin = Origin::echo();
    let gateway = start("{ format: json }", &origin.url()).await;
    let mut client = gateway.client("web").await;
    let fields = [("user-agent", "test/1"), ("referer", "http://b/"), ("host", "a.test")];
    client.request("POST", "/up/first?q=1", &fields, b"body").await;
    client.get("/up/second").await;
    client.get("/local").await;
    client.get("/nowhere").await;

    let first = line_of(&gateway, "/up/first").await;
    for (key, value) in [
        ("client", "127.0.0.1"),
        ("listener", "web"),
        ("method", "POST"),
        ("target", "/up/first?q=1"),
        ("version", "HTTP/1.1"),
        ("host", "a.test"),
        ("route", "up"),
        ("endpoint", &origin.url()),
        ("user_agent", "test/1"),
        ("referer", "http://b/"),
    ] {
        assert_eq!(first[key], value, "{key} in {first}");
    }
    assert_eq!(
        (&first["status"], &first["attempts"], &first["reused"]),
        (&200.into(), &1.into(), &false.into())
    );
    assert_eq!((&first["request_bytes"], &first["response_bytes"]), (&4.into(), &4.into()));
    let times =
        ["acquire_ms", "connect_ms", "first_byte_ms", "total_ms"].map(|key| first[key].as_f64().unwrap());
    let [acquire, connect, first_byte, total] = times;
    assert!(acquire >= 0.0 && connect > 0.0 && first_byte > connect && total >= first_byte, "{first}");
    let time = first["time"].as_str().unwrap();
    assert!(time.len() == 27 && time.starts_with("20") && time.ends_with('Z'), "{time}");

    let second = line_of(&gateway, "/up/second").await;
    assert_eq!((&second["reused"], &second["connect_ms"]), (&true.into(), &Value::Null));
    let local = line_of(&gateway, "/local").await;
    assert_eq!(
        (&local["status"], &local["route"], &local["attempts"]),
        (&201.into(), &"local".into(), &0.into())
    );
    assert_eq!((&local["endpoint"], &local["reused"]), (&Value::Null, &Value::Null));
    let nowhere = line_of(&gateway, "/nowhere").await;
    assert_eq!((&nowhere["status"], &nowhere["error"]), (&404.into(), &"route.none".into()));
    assert_eq!(nowhere["route"], Value::Null);
}

#[tokio::test]
async fn a_common_line_has_the_same_fields() {
    let origin = Origin::echo();
    let gateway = start("{ format: common }", &origin.url()).await;
    let mut client = gateway.client("web").await;
    client.request("POST", "/up/first", &[("user-agent", "test/1")], b"body").await;
    client.get("/up/second").await;
    let first = gateway.wait_for_stdout("/up/first").await;
    assert!(first.starts_with("127.0.0.1 - - ["), "{first}");
    for part in [
        "] \"POST /up/first HTTP/1.1\" 200 4 \"-\" \"test/1\" ",
        "route=\"up\"",
        &format!("endpoint=\"{}\"", origin.url()),
        "reused=false",
        " acquire_ms=",
        " total_ms=",
        "error=-",
    ] {
        assert!(first.contains(part), "`{part}` in {first}");
    }
    let (_, connect) = first.split_once(" connect_ms=").unwrap();
    assert!(connect.split(' ').next().unwrap().parse::<f64>().unwrap() > 0.0, "{first}");
    let second = gateway.wait_for_stdout("/up/second").await;
    assert!(second.contains("reused=true") && second.contains("connect_ms=-"), "{second}");
}

#[tokio::test]
async fn a_client_cannot_forge_a_line_or_a_field() {
    // Quotes and backslashes are what a field may hold; control bytes do not get past the parser, bytes above ASCII do.
    let forged = b"GET /local?{'a':1} HTTP/1.1\r\nhost: a\r\nuser-agent: \" 200 \\\" \xff\xc3\xa9 \t{\r\nreferer: \"route=\"x\r\n\r\n";
    for (format, quote) in [("json", "\\\""), ("common", "\\x22")] {
        let gateway = start(&format!("{{ format: {format} }}"), "http://127.0.0.1:1").await;
        let mut client = gateway.client("web").await;
        client.send_raw(forged).await;
        assert_eq!(client.read_response().await.status, 201);
        client.get("/local?after").await;
        gateway.wait_for_stdout("after").await;
        let lines = gateway.stdout_lines();
        let lines = lines.iter().filter(|line| line.contains("/local?")).collect::<Vec<_>>();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains(quote) && lines[0].is_ascii() == (format == "common"), "{}", lines[0]);
        if format == "json" {
            let line: Value = from_str(lines[0]).unwrap();
            assert_eq!(line["user_agent"], "\" 200 \\\" \u{fffd}é \t{");
            assert_eq!(line["target"], "/local?{'a':1}");
        } else {
            assert_eq!(lines[0].matches('"').count() % 2, 0, "{}", lines[0]);
            assert!(!lines[0].contains("route=\"x"), "{}", lines[0]);
        }
    }
}

#[tokio::test]
async fn failures_and_clients_that_leave_are_logged_with_their_reason() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            connection.read_request().await;
            gate.pass().await;
        }
    });
    let gateway = start("{ format: json }", &origin.url()).await;
    let mut leaving = gateway.client("web").await;
    leaving.send_raw("GET /up/leaving HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.arrivals(1).await;
    drop(leaving);
    let left = line_of(&gateway, "/up/leaving").await;
    assert_eq!((&left["status"], &left["error"]), (&499.into(), &"client.closed".into()));
    assert_eq!(left["route"], "up");
    let none = "gateway_requests_total{route=\"up\",code=\"none\"}";
    wait_until("it counts as unanswered", async || gateway.metric(none).await == Some(1.0)).await;

    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost : a\r\n\r\n").await;
    assert_eq!(client.read_response().await.status, 400);
    let unreadable = line(&gateway, "request.malformed").await;
    assert_eq!((&unreadable["status"], &unreadable["method"]), (&400.into(), &"-".into()));

    let gateway = start("{ format: json }", &format!("http://{}", unused_address())).await;
    gateway.client("web").await.get("/up").await;
    let refused = line(&gateway, "upstream.connect").await;
    assert_eq!((&refused["status"], &refused["attempts"]), (&503.into(), &2.into()));
}

#[tokio::test]
async fn the_log_goes_where_it_is_sent_or_nowhere() {
    for (access_log, file) in
        [("off", ""), ("{ output: stderr }", ""), ("{ output: access.log }", "access.log")]
    {
        let mut gateway = start(access_log, "http://127.0.0.1:1").await;
        let before = gateway.stdout_lines().len();
        gateway.client("web").await.get("/local").await;
        gateway.signal(support::Signal::TERM);
        assert!(gateway.wait_exit(support::PATIENCE).await.success());
        assert_eq!(gateway.stdout_lines().len(), before, "{access_log}");
        let logged = |lines: &[String]| lines.iter().filter(|line| line.contains("\"/local\"")).count();
        assert_eq!(logged(&gateway.logs()), usize::from(access_log.contains("stderr")), "{access_log}");
        if !file.is_empty() {
            let text = std::fs::read_to_string(gateway.folder().join(file)).unwrap();
            assert_eq!(logged(&text.lines().map(str::to_owned).collect::<Vec<_>>()), 1, "{text}");
        }
    }
}

#[tokio::test]
async fn the_client_of_a_trusted_proxy_is_the_one_that_it_names() {
    let gateway = gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0 }]
trusted_proxies: [127.0.0.0/8]
routes: [{ match: { prefix: / }, respond: { body: hello } }]",
    )
    .start()
    .await;
    let mut client = gateway.client("web").await;
    client.request("GET", "/", &[("x-forwarded-for", "203.0.113.9, 192.0.2.1")], b"").await;
    gateway.wait_for_stdout("\"client\":\"192.0.2.1\"").await;
}
