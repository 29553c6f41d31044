//! Cross-origin resource sharing, as a browser sees it.

use support::{Gateway, Headers, Http2Client, Origin, http};

use crate::PROGRAM;

const PAGE: &str = "https://app.example.com";

async fn start(origin: &Origin) -> Gateway {
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
auth: {{ partners: {{ api_key: {{ header: x-api-key, keys: keys.yaml }} }} }}
upstreams: {{ up: {{ url: '{}' }}, gone: {{ url: 'http://127.0.0.1:1' }} }}
defaults:
  cors: {{ origins: [{PAGE}], methods: [GET, PUT], headers: [x-api-key], credentials: true, max_age: 10m, expose: [x-total] }}
routes:
  - {{ match: {{ path: /page, methods: [GET, PUT] }}, upstream: up }}
  - {{ match: {{ path: /guarded }}, upstream: up, auth: [partners] }}
  - {{ match: {{ path: /gone }}, upstream: gone }}
  - {{ match: {{ path: /own }}, upstream: up, cors: off }}
  - {{ match: {{ path: /edited }}, respond: {{ status: 200 }}, headers: {{ response: {{ set: {{ access-control-allow-origin: x }} }} }} }}
  - {{ match: {{ path: /small }}, upstream: up, limits: {{ body: 1B }} }}",
        origin.url()
    );
    Gateway::builder(PROGRAM, config).file("keys.yaml", "[]").start().await
}

fn origin() -> Origin {
    Origin::answer(
        "HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\naccess-control-max-age: 1\r\nvary: accept\r\nx-total: 7\r\n\
         content-length: 0\r\n\r\n",
    )
}

/// Returns the values that decide for a browser.
fn shared(head: &Headers) -> Vec<String> {
    let names =
        ["origin", "credentials", "methods", "headers"].map(|name| format!("access-control-allow-{name}"));
    let others = ["access-control-expose-headers", "access-control-max-age", "vary"].map(str::to_owned);
    let values = names.into_iter().chain(others);
    values.flat_map(|name| head.all(&name).into_iter().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[tokio::test]
async fn page_of_an_allowed_origin_reads_responses_and_errors() {
    let origin = origin();
    let gateway = start(&origin).await;
    let mut client = gateway.client("web").await;
    for (path, status) in [("/page", 200), ("/guarded", 401), ("/gone", 503), ("/edited", 200)] {
        let response = client.request("GET", path, &[("origin", PAGE)], b"").await;
        assert_eq!(response.status, status, "{path}");
        let vary: &[&str] = if path == "/page" { &["accept", "Origin"] } else { &["Origin"] };
        let expected = [&[PAGE, "true", "x-total"], vary].concat();
        assert_eq!(shared(&response.headers), expected, "{path}");
    }
    let response = client.request("POST", "/small", &[("origin", PAGE)], b"xx").await;
    assert_eq!(
        (response.status, shared(&response.headers)),
        (413, [PAGE, "true", "x-total", "Origin"].map(str::to_owned).to_vec())
    );
}

#[tokio::test]
async fn page_of_another_origin_gets_no_permission_from_gateway_or_upstream() {
    let origin = origin();
    let gateway = start(&origin).await;
    let mut client = gateway.client("web").await;
    for page in
        ["https://evil.example.com", "https://app.example.com.evil.test", "http://app.example.com", "null"]
    {
        let response = client.request("GET", "/page", &[("origin", page)], b"").await;
        assert_eq!(shared(&response.headers), ["accept", "Origin"], "{page}");
    }
    let response = client.get("/page").await;
    assert_eq!(shared(&response.headers), ["accept", "Origin"]);
    // Where it is off, the upstream decides.
    let response = client.request("GET", "/own", &[("origin", PAGE)], b"").await;
    assert_eq!(shared(&response.headers), ["*", "1", "accept"]);
}

#[tokio::test]
async fn preflight_request_is_answered_by_the_gateway() {
    let origin = origin();
    let gateway = start(&origin).await;
    let mut client = gateway.client("web").await;
    let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    let asks = |page, method| {
        [
            ("origin", page),
            ("access-control-request-method", method),
            ("access-control-request-headers", "x-api-key"),
        ]
    };
    // The route of /page has no OPTIONS, and no key is sent to /guarded: browsers send none with a preflight request.
    for path in ["/page", "/guarded", "/gone"] {
        let response = client.request("OPTIONS", path, &asks(PAGE, "PUT"), b"").await;
        assert_eq!((response.status, &*response.body), (204, &b""[..]), "{path}");
        let expected = [PAGE, "true", "GET, PUT", "x-api-key", "600", vary];
        assert_eq!(shared(&response.headers), expected, "{path}");
        let response = client.request("OPTIONS", path, &asks("https://evil.test", "PUT"), b"").await;
        assert_eq!((response.status, shared(&response.headers)), (204, vec![vary.to_owned()]), "{path}");
    }
    assert_eq!(origin.requests().len(), 0);
    // A method that no route takes has no route, and OPTIONS without a question is the upstream's.
    assert_eq!(client.request("OPTIONS", "/page", &asks(PAGE, "DELETE"), b"").await.status, 404);
    assert_eq!(client.request("OPTIONS", "/guarded", &[("origin", PAGE)], b"").await.status, 401);
    assert_eq!(client.request("OPTIONS", "/own", &asks(PAGE, "PUT"), b"").await.status, 200);
    assert_eq!(origin.requests().len(), 1);

    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let authority = format!("http://{}/page", gateway.addr("web"));
    let mut request = http::Request::options(&authority);
    for (name, value) in asks(PAGE, "PUT") {
        request = request.header(name, value);
    }
    let response = client.request(request.body("".into()).unwrap()).await;
    assert_eq!(
        (response.status.as_u16(), &response.headers["access-control-allow-origin"]),
        (204, &http::HeaderValue::from_static(PAGE))
    );
}

#[tokio::test]
async fn wildcards_beside_credentials_are_refused_with_the_remedy() {
    let config = "
listeners: [{ address: 127.0.0.1:0 }]
routes:
  - { match: { path: /a }, cors: { origins: ['*'], credentials: true }, respond: {} }
  - { match: { path: /b }, cors: { origins: ['https://a.test'], expose: [x-a, '*'], credentials: true }, respond: {} }
  - { match: { path: /c }, cors: { origins: ['*'], expose: ['*'] }, respond: {} }";
    let output = Gateway::builder(PROGRAM, config).run_to_exit().await;
    let text = String::from_utf8(output.stderr).unwrap();
    for message in [
        "the origin `*` excludes `credentials`: any page could act in its visitor's name",
        "list the origins that may",
        "`*` has no effect beside `credentials`",
        "list the fields that pages may read",
    ] {
        assert_eq!(text.matches(message).count(), 1, "{message}\n{text}");
    }
}
