//! The access log: the line that each request leaves.

use regex_lite::Regex;
use support::serde_json::{Value, from_str, json};
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
async fn lines_of_the_other_formats_are_what_their_names_promise() {
    let origin = Origin::echo();
    let combined = r#"^127\.0\.0\.1 - - \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d \+0000\] "POST /up/first\?q=\*\*\*&q HTTP/1\.1" 200 4 "-" "test/1 \(a\)"$"#;
    let common = combined.replace(r#" "-" "test/1 \(a\)""#, "");
    let text = concat!(
        r"^time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z client=127\.0\.0\.1 listener=web method=POST ",
        r#"target="/up/first\?q=\*\*\*&q" version=HTTP/1\.1 host=\S+ status=200 route=up endpoint=http://\S+ reused=false "#,
        r"attempts=1 request_bytes=4 response_bytes=4 acquire_ms=\d+\.\d{3} connect_ms=\d+\.\d{3} ",
        r#"first_byte_ms=\d+\.\d{3} total_ms=\d+\.\d{3} user_agent="test/1 \(a\)"$"#,
    );
    for (format, pattern) in [("combined", combined), ("common", &common), ("text", text)] {
        let gateway = start(&format!("{{ format: {format}, mask: {{ query: [q] }} }}"), &origin.url()).await;
        let mut client = gateway.client("web").await;
        client.request("POST", "/up/first?q=1&q", &[("user-agent", "test/1 (a)")], b"body").await;
        let line = gateway.wait_for_stdout("/up/first").await;
        assert!(Regex::new(pattern).unwrap().is_match(&line), "{line}");
    }
}

#[tokio::test]
async fn a_client_cannot_forge_a_line_or_a_field() {
    // Quotes and backslashes are what a field may hold; control bytes do not get past the parser, bytes above ASCII do.
    let forged = b"GET /local?{'a':1} HTTP/1.1\r\nhost: a\r\nuser-agent: \" 200 \\\" \xff\xc3\xa9 \t{\r\nreferer: \"route=\"x\r\n\r\n";
    for (format, quote) in [("json", "\\\""), ("text", "\\\""), ("combined", "\\x22")] {
        let gateway = start(&format!("{{ format: {format} }}"), "http://127.0.0.1:1").await;
        let mut client = gateway.client("web").await;
        client.send_raw(forged).await;
        assert_eq!(client.read_response().await.status, 201);
        client.get("/local?after").await;
        gateway.wait_for_stdout("after").await;
        let lines = gateway.stdout_lines();
        let lines = lines.iter().filter(|line| line.contains("/local?")).collect::<Vec<_>>();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains(quote) && lines[0].is_ascii() == (format == "combined"), "{}", lines[0]);
        if format == "json" {
            let line: Value = from_str(lines[0]).unwrap();
            assert_eq!(line["user_agent"], "\" 200 \\\" \u{fffd}é \t{");
            assert_eq!(line["target"], "/local?{'a':1}");
        } else {
            assert_eq!(lines[0].replace("\\\"", "").matches('"').count() % 2, 0, "{}", lines[0]);
            assert!(!lines[0].contains(" route=\"x"), "{}", lines[0]);
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
    assert_eq!(unreadable["status"], 400);
    assert_eq!((&unreadable["method"], &unreadable["target"]), (&"-".into(), &"-".into()));

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

#[tokio::test]
async fn chosen_fields_are_those_of_the_request_as_received_and_of_the_response_as_sent() {
    let origin = Origin::respond(|_| {
        b"HTTP/1.1 200 OK\r\nx-own: origin\r\nset-cookie: a=SECRET\r\ncontent-length: 0\r\n\r\n".to_vec()
    });
    let gateway = gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0 }]
telemetry:
  access_log:
    fields: [target, header.x-a, header.Authorization, header.cookie, header.x-none, response.header.x-own, response.header.x-added,
      response.header.set-cookie, response.header.content-type, query.page]
routes:
  - name: up
    match: { prefix: / }
    upstream: { url: '{upstream}' }
    headers:
      request: { set: { x-a: changed } }
      response: { set: { x-own: gateway, x-added: 'yes' } }",
    )
    .set("upstream", origin.url())
    .start()
    .await;
    let mut client = gateway.client("web").await;
    let fields = [("x-a", "one"), ("x-a", "two"), ("authorization", "Bearer SECRET"), ("cookie", "SECRET")];
    client.request("GET", "/first?page=7&password=SECRET", &fields, b"").await;
    let line = line_of(&gateway, "/first").await;
    let expected = json!({
        "target": "/first?page=7&password=***",
        "header.x-a": "one, two",
        "header.authorization": "***",
        "header.cookie": "***",
        "response.header.x-own": "gateway",
        "response.header.x-added": "yes",
        "response.header.set-cookie": "***",
        "query.page": "7",
    });
    assert_eq!(line, expected);
}

#[tokio::test]
async fn fields_of_errors_of_the_gateway_are_those_of_its_response() {
    let gateway = gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0 }]
telemetry: { access_log: { fields: [target, error, response.header.x-gateway-error, response.header.content-type] } }
routes: [{ match: { path: /up }, upstream: { url: '{upstream}' } }]",
    )
    .set("upstream", format!("http://{}", unused_address()))
    .start()
    .await;
    let mut client = gateway.client("web").await;
    for (target, reason) in [("/up", "upstream.connect"), ("/none", "route.none")] {
        client.get(target).await;
        let line = line_of(&gateway, target).await;
        assert_eq!(
            (&line["error"], &line["response.header.x-gateway-error"]),
            (&json!(reason), &json!(reason))
        );
        assert!(line["response.header.content-type"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn keys_of_authentication_are_masked_without_being_listed() {
    let gateway = gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0 }]
telemetry: { access_log: { fields: [target, referer, auth, identity, identity.team, header.x-key, status], mask: { query: [] } } }
auth:
  query: { api_key: { query: pass, keys: keys.yaml } }
  field: { api_key: { header: x-key, keys: keys.yaml } }
routes: [{ match: { prefix: / }, auth: [query, field], respond: { body: hello } }]",
    )
    .file("keys.yaml", crate::auth_api_key::entry("jane", "SECRET", "{ team: blue }"))
    .start()
    .await;
    let mut client = gateway.client("web").await;
    let fields = [("referer", "http://a/?PASS=SECRET"), ("x-key", "SECRET")];
    client.request("GET", "/first?%70ass=SECRET&token=shown", &fields, b"").await;
    let line = line_of(&gateway, "/first").await;
    assert_eq!(line["target"], "/first?%70ass=***&token=shown");
    assert_eq!((&line["referer"], &line["header.x-key"]), (&json!("http://a/?PASS=***"), &json!("***")));
    assert_eq!(
        (&line["identity"], &line["identity.team"], &line["status"]),
        (&json!("jane"), &json!("blue"), &json!(200))
    );
}

#[tokio::test]
async fn only_errors_and_slow_requests_have_a_line_and_each_key_can_be_reloaded() {
    let config = |access_log: &str| {
        format!(
            "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
telemetry: {{ access_log: {access_log} }}
routes:
  - {{ match: {{ path: /ok }}, respond: {{ body: hello }} }}
  - {{ match: {{ path: /failed }}, respond: {{ status: 503 }} }}
  - {{ match: {{ path: /slow }}, respond: {{ delay: 30ms }} }}"
        )
    };
    let gateway = crate::gateway(config("{ only: [errors, slow>20ms] }")).start().await;
    let mut client = gateway.client("web").await;
    let mut number = 0;
    for (access_log, expected) in [
        ("{ only: [errors, slow>20ms] }", &["failed", "slow"][..]),
        ("{ only: 'status>=503', format: text, fields: [target] }", &["failed"]),
        ("{ sample: 0 }", &["failed"]),
        ("{ fields: [target, status] }", &["ok", "failed", "slow"]),
    ] {
        if number > 0 {
            gateway.reload(&config(access_log)).await;
        }
        number += 1;
        for path in ["ok", "failed", "slow"] {
            client.get(&format!("/{path}?{number}")).await;
        }
        // The last one has a line in any case, after the others.
        client.get(&format!("/failed?end-{number}")).await;
        gateway.wait_for_stdout(&format!("end-{number}")).await;
        let lines = gateway.stdout_lines();
        let found = ["ok", "failed", "slow"]
            .into_iter()
            .filter(|path| lines.iter().any(|line| line.contains(&format!("/{path}?{number}"))));
        assert_eq!(found.collect::<Vec<_>>(), expected, "{access_log}: {lines:#?}");
    }
}

#[tokio::test]
async fn file_is_rotated_under_load_without_losing_a_line() {
    let gateway = start(
        "{ output: access.log, fields: [target], rotate: { size: 1KiB, keep: 1000 } }",
        "http://127.0.0.1:1",
    )
    .await;
    let mut client = gateway.client("web").await;
    for number in 0..300 {
        client.get(&format!("/local?{number}")).await;
    }
    // Reloads and signals open nothing again.
    gateway.signal(support::Signal::USR1);
    gateway.wait_for_log("the access log's file was not moved").await;
    let files = || {
        let earlier = (1..).map(|number| gateway.folder().join(format!("access.log.{number}")));
        let mut files: Vec<_> = earlier.take_while(|path| path.exists()).collect();
        files.reverse();
        files.push(gateway.folder().join("access.log"));
        files
    };
    let targets =
        || files().iter().map(|file| std::fs::read_to_string(file).unwrap_or_default()).collect::<String>();
    let expected: String = (0..300).map(|number| format!("{{\"target\":\"/local?{number}\"}}\n")).collect();
    wait_until("all lines", async || targets() == expected).await;
    assert!(files().len() > 5 && files().iter().all(|file| file.metadata().unwrap().len() <= 1024));
}

#[tokio::test]
async fn receiver_of_syslog_may_come_late_and_gets_every_line() {
    let address = unused_address();
    let gateway =
        start(&format!("{{ output: 'syslog+tcp://{address}', format: combined }}"), "http://127.0.0.1:1")
            .await;
    let mut client = gateway.client("web").await;
    for number in 0..3 {
        client.get(&format!("/local?{number}")).await;
    }
    gateway.wait_for_log("the receiver of the access log takes no lines").await;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let (mut stream, _) = support::within("a connection", listener.accept()).await.unwrap();
    gateway.wait_for_log("the receiver of the access log takes lines again").await;
    let mut received = Vec::new();
    while received.windows(4).filter(|bytes| *bytes == b" 201").count() < 3 {
        let read =
            support::within("a message", tokio::io::AsyncReadExt::read_buf(&mut stream, &mut received)).await;
        assert!(read.unwrap() > 0, "it has closed");
    }
    let text = String::from_utf8(received).unwrap();
    let mut rest = text.as_str();
    for number in 0..3 {
        let (length, after) = rest.split_once(' ').unwrap();
        let (message, after) = after.split_at(length.parse().unwrap());
        assert!(
            message.starts_with("<134>1 20")
                && message.contains(&format!("\"GET /local?{number} HTTP/1.1\" 201 ")),
            "{message}"
        );
        rest = after;
    }
    assert_eq!(rest, "");
}
