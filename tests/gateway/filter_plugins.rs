//! The filters in `plugins/`, built from source: each with its own configuration, and what its README says, over sockets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, LazyLock, Mutex};

use async_compression::tokio::write::GzipEncoder;
use support::{
    Client, Gate, Gateway, GatewayBuilder, Origin, Response, run_to_exit, unused_address, wait_until,
};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::OnceCell;

use crate::{PROGRAM, gateway};

/// The folder of the filters.
pub(crate) fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins")
}

/// Runs `gateway filter run`. What it compiles is kept for all tests, and from one run of them to the next.
pub(crate) async fn run_offline(module: &Path, arguments: &[&str]) -> Output {
    let (cache, module) =
        (format!("XDG_CACHE_HOME={}", env!("CARGO_TARGET_TMPDIR")), module.display().to_string());
    run_to_exit("env", &[&[&cache, PROGRAM, "filter", "run", &module], arguments].concat()).await
}

/// A filter that was built from source.
///
/// # Panics
/// When it was not.
pub(crate) fn built(name: &str) -> PathBuf {
    let file = match name {
        "c-header" => "target/c-header.wasm".to_owned(),
        _ => format!("target/wasm32-wasip1/release/{}.wasm", name.replace('-', "_")),
    };
    let path = plugins().join(file);
    assert!(
        path.is_file(),
        "{} is not there: run `bash plugins/build.sh`, as scripts/test.sh does",
        path.display()
    );
    path
}

/// Has a filter compiled once, whichever test comes first: without optimisation, that takes the gateway seconds.
async fn compiled(name: &str) -> PathBuf {
    static COMPILED: LazyLock<Mutex<BTreeMap<String, Arc<OnceCell<()>>>>> = LazyLock::new(Mutex::default);
    let module = built(name);
    let once = COMPILED.lock().unwrap().entry(name.to_owned()).or_default().clone();
    // Some of them do not start like this, once they are compiled.
    once.get_or_init(async || drop(run_offline(&module, &[]).await)).await;
    module
}

/// The configuration in a filter's folder, on ports of this test and with the filter as it was built.
async fn yaml_of(name: &str) -> String {
    let path = plugins().join(name).join(format!("{name}.yaml"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let module = text.split("wasm: ").nth(1).unwrap().split_whitespace().next().unwrap();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gateway/wasm");
    let text = text
        .replace(module, &compiled(name).await.display().to_string())
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("127.0.0.1:9901", "127.0.0.1:0");
    format!("{text}\nwasm: {{ cache: {} }}\n", cache.display())
}

/// The configuration as it is, with the upstreams that the gateway plays itself.
async fn alone(name: &str) -> GatewayBuilder {
    let text = ["127.0.0.1:8081", "127.0.0.1:8082"]
        .iter()
        .fold(yaml_of(name).await, |text, address| text.replace(address, &unused_address().to_string()));
    gateway(text)
}

/// The configuration with other upstreams in place of those.
pub(crate) async fn with_upstreams(name: &str, upstreams: &[&str]) -> GatewayBuilder {
    gateway(text_with_upstreams(name, upstreams).await)
}

pub(crate) async fn text_with_upstreams(name: &str, upstreams: &[&str]) -> String {
    let addresses = ["127.0.0.1:8081", "127.0.0.1:8082"];
    addresses.iter().zip(upstreams).fold(yaml_of(name).await, |text, (address, url)| {
        text.replace(&format!("http://{address}"), url).replace(address, "127.0.0.1:0")
    })
}

pub(crate) async fn get(gateway: &Gateway, path: &str, fields: &[(&str, &str)]) -> Response {
    gateway.client("web").await.request("GET", path, fields, b"").await
}

pub(crate) fn answer(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn chunked(fields: &str, pieces: &[&str]) -> Vec<u8> {
    let pieces: String = pieces.iter().map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect();
    format!("HTTP/1.1 200 OK\r\n{fields}transfer-encoding: chunked\r\n\r\n{pieces}0\r\n\r\n").into_bytes()
}

async fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(text.as_bytes()).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}

#[tokio::test]
async fn each_filter_does_what_its_own_configuration_shows() {
    let page = "<html><body><h1>Hello</h1><script src=\"/banner.js\"></script></body></html>";
    let people = r#"[{"id":12345678901234567890,"name":"Ada","ssn":"***"},"#;
    for (name, path, fields, status, field, body) in [
        ("uppercase", "/", vec![], 200, ("content-type", "text/plain"), "HELLO FROM THE UPSTREAM\n"),
        ("redact", "/people", vec![], 200, ("content-type", "application/json"), people),
        ("inject", "/", vec![], 200, ("content-type", "text/html; charset=utf-8"), page),
        ("events", "/", vec![], 200, ("content-type", "text/event-stream"), "data: the *** word\n\n"),
        ("error-page", "/", vec![], 200, ("content-type", "text/plain"), "all is well\n"),
        (
            "error-page",
            "/broken?q",
            vec![("x-request-id", "42")],
            503,
            ("retry-after", "30"),
            "number: 42</p>",
        ),
        ("auth", "/", vec![], 401, ("www-authenticate", "Bearer"), "show a token\n"),
        (
            "auth",
            "/",
            vec![("authorization", "Bearer secret")],
            200,
            ("content-type", "text/plain"),
            "hello, Ada\n",
        ),
        ("grpc-auth", "/", vec![], 401, ("content-type", "text/plain"), "show a token\n"),
        ("count", "/", vec![], 200, ("x-request-count", "1"), "hello from the upstream\n"),
        ("c-header", "/", vec![], 200, ("x-served-by", "gateway"), "hello from the upstream\n"),
    ] {
        let gateway = alone(name).await.start().await;
        let response = get(&gateway, path, &fields).await;
        assert_eq!(
            (response.status, response.headers.all(field.0)),
            (status, vec![field.1]),
            "{name} {path}"
        );
        assert!(response.text().contains(body), "{name} {path}: {}", response.text());
    }
}

#[tokio::test]
async fn redact_hides_fields_of_json_however_it_comes_and_leaves_all_else() {
    let json = "{\"a\":[{\"ssn\":{\"x\":[1]} ,\"n\":12345678901234567890123}],\"ssn\" : null,\"SSN\":1}";
    let hidden = "{\"a\":[{\"ssn\":\"***\" ,\"n\":12345678901234567890123}],\"ssn\" : \"***\",\"SSN\":1}";
    let coded = gzip(json).await;
    let origin = Origin::respond(move |request| match &*request.target {
        "/people?plain" => answer("200 OK", "content-type: application/json\r\n", json.as_bytes()),
        "/people?problem" => answer("400 Bad", "content-type: application/problem+json\r\n", json.as_bytes()),
        "/people?chunked" => {
            chunked("content-type: application/json\r\n", &[&json[..9], &json[9..20], &json[20..]])
        }
        "/people?gzip" => answer(
            "200 OK",
            "content-type: application/json\r\ncontent-encoding: gzip\r\netag: \"x\"\r\n",
            &coded,
        ),
        "/people?cut" => answer("200 OK", "content-type: application/json\r\n", &json.as_bytes()[..30]),
        "/people?text" => answer("200 OK", "content-type: text/plain\r\n", json.as_bytes()),
        _ => answer("200 OK", "content-type: application/json\r\n", b""),
    });
    let gateway = with_upstreams("redact", &[&origin.url()]).await.start().await;
    for (query, status, body) in [
        ("plain", 200, hidden),
        ("problem", 400, hidden),
        ("chunked", 200, hidden),
        ("gzip", 200, hidden),
        ("cut", 200, &json[..30]),
        ("text", 200, json),
        ("empty", 200, ""),
    ] {
        let path = format!("/people?{query}");
        let response = get(&gateway, &path, &[("range", "bytes=0-9"), ("accept-encoding", "gzip")]).await;
        assert_eq!((response.status, response.text().as_str()), (status, body), "{query}");
        assert_eq!(response.headers.all("content-length"), [body.len().to_string()], "{query}");
        assert_eq!(response.headers.all("content-encoding"), [""; 0], "{query}");
    }
    assert!(origin.requests().iter().all(|request| !request.headers.has("range")));
    // The limit of its configuration, 1 MiB: rather no response than one that was not looked at.
    let large = format!("\"{}\"", "a".repeat(2 << 20));
    let origin = Origin::answer(answer("200 OK", "content-type: application/json\r\n", large.as_bytes()));
    let gateway = with_upstreams("redact", &[&origin.url()]).await.start().await;
    let response = get(&gateway, "/people", &[]).await;
    assert_eq!((response.status, response.header("x-gateway-error")), (500, Some("filter.redact.body")));
}

#[tokio::test]
async fn inject_finds_its_marker_across_chunks_and_holds_back_no_more_than_its_beginning() {
    let gate = Gate::new();
    let closing = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = closing.clone();
        async move {
            if connection.read_request().await.is_none() {
                return;
            }
            connection
                .write("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            for piece in ["<body>one</b", "O", "Dy", ">two</body>"] {
                connection.write(format!("{:x}\r\n{piece}\r\n", piece.len())).await;
                gate.pass().await;
            }
            connection.write("0\r\n\r\n").await;
        }
    });
    let gateway = with_upstreams("inject", &[&origin.url()]).await.start().await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = client.read_head().await;
    assert_eq!(head.headers.all("transfer-encoding"), ["chunked"], "{head:?}");
    // What cannot be the marker's beginning is there before anything else is sent.
    let first = "9\r\n<body>one\r\n";
    assert_eq!(String::from_utf8(client.read_exact(first.len()).await).unwrap(), first);
    gate.release_all();
    let inserted = "<script src=\"/banner.js\"></script></bODy>two</body>";
    let mut rest = Vec::new();
    while !rest.ends_with(b"0\r\n\r\n") {
        rest.extend(client.read_some().await);
    }
    let rest = String::from_utf8(rest).unwrap();
    let body: String = rest.split("\r\n").skip(1).step_by(2).collect();
    assert_eq!(body, inserted, "{rest:?}");
}

#[tokio::test]
async fn events_changes_each_event_of_a_stream_before_the_next_one_comes() {
    let gate = Gate::new();
    let closing = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = closing.clone();
        async move {
            if connection.read_request().await.is_none() {
                return;
            }
            connection
                .write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            for piece in ["data: secret 1\n\ndata: sec", "ret 2\n\n"] {
                connection.write(format!("{:x}\r\n{piece}\r\n", piece.len())).await;
                gate.pass().await;
            }
            connection.write("0\r\n\r\n").await;
        }
    });
    let gateway = with_upstreams("events", &[&origin.url()]).await.start().await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = client.read_head().await;
    assert_eq!(head.headers.all("content-type"), ["text/event-stream"], "{head:?}");
    // The first event is complete, and nothing else was sent.
    let first = "d\r\ndata: *** 1\n\n\r\n";
    assert_eq!(String::from_utf8(client.read_exact(first.len()).await).unwrap(), first);
    gate.release_all();
    let mut rest = Vec::new();
    while !rest.ends_with(b"0\r\n\r\n") {
        rest.extend(client.read_some().await);
    }
    assert_eq!(String::from_utf8(rest).unwrap(), "d\r\ndata: *** 2\n\n\r\n0\r\n\r\n");
}

#[tokio::test]
async fn inject_leaves_alone_what_is_no_page() {
    let page = "<p></body>";
    let origin = Origin::respond(move |request| match &*request.target {
        "/part" => answer(
            "206 Partial",
            "content-type: text/html\r\ncontent-range: bytes 0-9/20\r\n",
            page.as_bytes(),
        ),
        "/text" => answer("200 OK", "content-type: text/plain\r\n", page.as_bytes()),
        "/none" => answer("200 OK", "content-type: text/html\r\n", b"<p>"),
        _ => answer("200 OK", "content-type: text/html\r\n", page.as_bytes()),
    });
    let gateway = with_upstreams("inject", &[&origin.url()]).await.start().await;
    let changed = "<p><script src=\"/banner.js\"></script></body>";
    for (path, body) in [("/", changed), ("/part", page), ("/text", page), ("/none", "<p>")] {
        let response = get(&gateway, path, &[]).await;
        assert_eq!(response.text(), body, "{path}");
        assert_eq!(response.headers.all("content-length"), [body.len().to_string()], "{path}");
    }
}

#[tokio::test]
async fn uppercase_changes_ascii_and_keeps_every_other_byte() {
    let origin = Origin::respond(|request| answer("200 OK", "", &request.body));
    let gateway = with_upstreams("uppercase", &[&origin.url()]).await.start().await;
    let mut client = gateway.client("web").await;
    let bytes: Vec<u8> = (0..=255).collect();
    for body in [b"".to_vec(), bytes.clone(), bytes.repeat(1000)] {
        let response = client.request("POST", "/", &[], &body).await;
        assert!(response.body == body.to_ascii_uppercase(), "{} bytes", body.len());
    }
}

#[tokio::test]
async fn error_page_stands_in_for_errors_of_the_upstream_and_of_the_gateway() {
    let origin = Origin::respond(|request| {
        let (status, fields) = match &*request.target {
            "/a&b?secret" => {
                ("500 Oops", "set-cookie: a=b\r\netag: \"x\"\r\ncontent-language: en\r\nx-request-id: 7\r\n")
            }
            "/missing" => ("404 Not Found", ""),
            _ => ("200 OK", ""),
        };
        answer(status, fields, b"java.lang.NullPointerException")
    });
    let gateway = with_upstreams("error-page", &[&origin.url()]).await.start().await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET /a&b?secret HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let response = client.read_response().await;
    let text = response.text();
    assert_eq!(
        (response.status, response.header("content-type")),
        (500, Some("text/html; charset=utf-8")),
        "{text}"
    );
    assert!(text.contains("<h1>500</h1>") && text.contains("number: 7</p>"), "{text}");
    assert!(text.contains("<p>/a&amp;b does"), "{text}");
    assert!(!text.contains("secret") && !text.contains("java"), "{text}");
    assert_eq!(response.headers.all("set-cookie"), ["a=b"]);
    assert!(!response.headers.has("etag") && !response.headers.has("content-language"), "{response:?}");
    assert_eq!(response.headers.all("content-length"), [response.body.len().to_string()]);
    for path in ["/missing", "/"] {
        assert_eq!(get(&gateway, path, &[]).await.text(), "java.lang.NullPointerException", "{path}");
    }
    let nobody = format!("http://{}", unused_address());
    let gateway = with_upstreams("error-page", &[&nobody]).await.start().await;
    let response = get(&gateway, "/a", &[("x-request-id", "<9>")]).await;
    assert_eq!((response.status, response.header("x-gateway-error")), (503, Some("upstream.connect")));
    assert!(response.text().contains("<p>/a does not work for now. Tell us this number: &lt;9&gt;</p>"));
}

#[tokio::test]
async fn count_counts_over_all_workers_and_as_metrics() {
    const CLIENTS: usize = 16;
    let origin = Origin::respond(|request| match &*request.target {
        "/missing" => answer("404 Not Found", "", b"no"),
        _ => answer("200 OK", "", b"hello"),
    });
    let text = format!("workers: 2\n{}", text_with_upstreams("count", &[&origin.url()]).await);
    let gateway = gateway(text).start().await;
    let mut clients: Vec<Client> = Vec::new();
    let mut counts = Vec::new();
    for index in 0..CLIENTS {
        let mut client = gateway.client("web").await;
        let response = client.get(if index == 0 { "/missing" } else { "/" }).await;
        counts.push(response.header("x-request-count").unwrap().parse::<usize>().unwrap());
        clients.push(client);
    }
    assert_eq!(counts, (1..=CLIENTS).collect::<Vec<_>>(), "each worker goes on where the other one was");
    let instances = gateway.metric("gateway_filter_instances{filter=\"count\"}").await;
    assert_eq!(instances, Some(2.0), "one for each worker");
    let counter =
        |class| format!("gateway_plugin_counter_total{{filter=\"count\",name=\"count_requests_{class}xx\"}}");
    for (class, expected) in [(2, CLIENTS - 1), (4, 1), (5, 0)] {
        let (series, expected) = (counter(class), expected as f64);
        wait_until(&series, async || gateway.metric(&series).await == Some(expected)).await;
    }
    let bytes = "gateway_plugin_histogram_sum{filter=\"count\",name=\"count_response_body_bytes\"}";
    assert_eq!(gateway.metric(bytes).await, Some((5 * (CLIENTS - 1) + 2) as f64));
}

#[tokio::test]
async fn c_header_takes_a_text_and_refuses_what_is_no_field() {
    let written = "config: \"x-served-by: gateway\"";
    let origin = Origin::echo();
    let text = text_with_upstreams("c-header", &[&origin.url()]).await;
    for field in ["", "x y: z", ": z", "x-a", "x-a: b\\nx-b: c"] {
        let output = gateway(text.replace(written, &format!("config: \"{field}\""))).run_to_exit().await;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{field}: {errors}");
        assert!(errors.contains("it said: error: config: expected a field"), "{field}: {errors}");
    }
    let gateway = gateway(text.replace(written, "config: \"X-A:  b c \"")).start().await;
    assert_eq!(get(&gateway, "/", &[]).await.headers.all("x-a"), ["b c"]);
}
