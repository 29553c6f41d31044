//! Values of a request in header edits, rewrites and redirects.

use support::{Gateway, Http2Client, Origin, Response};

use crate::PROGRAM;
use crate::pooled::OK;

/// The key of the caller `acme`.
const KEY: &str = "key-of-acme";

fn config(origin: &Origin) -> String {
    format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
trusted_proxies: [127.0.0.1]
auth: {{ partners: {{ api_key: {{ header: x-api-key, keys: keys.yaml }} }} }}
upstreams: {{ up: {{ url: '{}' }} }}
defaults: {{ headers: {{ request: {{ set: {{ x-user: '{{identity.sub}}' }} }} }} }}
routes:
  - match: {{ template: '/fields/{{id}}' }}
    upstream: up
    request_id: on
    headers:
      request:
        set:
          x-path: '{{path.id}}'
          x-query: 'v={{query.v}}'
          x-swap: '{{header.x-other}}'
          x-other: '{{header.x-swap}}'
          x-client: '{{client_ip}}'
          x-host: '{{host}}'
          x-id: '{{request_id}}'
          x-braces: '{{{{path.id}} {{id}} {{\"a\":1}}'
        add: {{ x-list: ['always', '{{query.list}}'] }}
      response:
        set: {{ x-echo: '{{header.x-swap}}', x-user: '{{query.user}}' }}
        add: {{ x-id: 'id {{request_id}}' }}
  - {{ match: {{ path: /known }}, upstream: up, auth: [partners], rewrite: {{ template: '/of/{{identity.plan}}/{{identity.sub}}' }} }}
  - {{ match: {{ template: '/users/{{id}}' }}, upstream: up, rewrite: {{ template: '/v2/{{id}}/{{query.tenant}}' }} }}
  - {{ match: {{ template: '/named/{{host}}' }}, upstream: up, rewrite: {{ template: '/{{host}}/{{header.x-tenant}}' }} }}
  - {{ match: {{ template: '/old/{{id}}' }}, redirect: {{ to: 'https://new.example/{{query.area}}/{{id}}?from={{host}}&who={{header.x-who}}', status: 302 }} }}
  - match: {{ path: /local }}
    respond: {{ body: local }}
    headers: {{ response: {{ set: {{ x-echo: '{{query.v}}', x-gone: '{{query.gone}}' }} }} }}",
        origin.url()
    )
}

async fn start(origin: &Origin) -> Gateway {
    let entry = crate::auth_api_key::entry("acme", KEY, "{ plan: gold/1 }");
    Gateway::builder(PROGRAM, config(origin)).file("keys.yaml", entry).start().await
}

async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Response {
    gateway.client("web").await.request("GET", path, headers, b"").await
}

#[tokio::test]
async fn fields_get_values_of_the_request_and_its_response_those_that_it_came_with() {
    let origin = Origin::answer("HTTP/1.1 200 OK\r\nx-user: of-upstream\r\ncontent-length: 0\r\n\r\n");
    let gateway = start(&origin).await;
    let sent = [
        ("host", "Shop.Example:8080"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-swap", "one"),
        ("x-swap", "two"),
        ("x-other", "three"),
        ("x-user", "forged"),
        ("X_User", "forged"),
    ];
    let response = get(&gateway, "/fields/a%20b?v=x%2Fy&list=last", &sent).await;
    let request = origin.requests().pop().unwrap();
    let fields = |name| request.headers.all(name);
    for (name, expected) in [
        ("x-path", &["a%20b"][..]),
        ("x-query", &["v=x/y"]),
        ("x-swap", &["three"]),
        ("x-other", &["one, two"]),
        ("x-client", &["203.0.113.7"]),
        ("x-host", &["shop.example"]),
        ("x-braces", &["{path.id} {id} {\"a\":1}"]),
        ("x-list", &["always", "last"]),
        // No caller is known, and what the client sends does not pass for one.
        ("x-user", &[]),
        ("x_user", &[]),
    ] {
        assert_eq!(fields(name), expected, "{name}");
    }
    let id = response.header("x-request-id").unwrap();
    assert_eq!(fields("x-id"), [id]);
    assert_eq!(response.headers.all("x-id"), [format!("id {id}")]);
    assert_eq!(response.headers.all("x-echo"), ["one, two"], "as it came, not as it went up");
    assert_eq!(response.headers.all("x-user"), [""; 0], "removed, because the request lacks its value");
}

#[tokio::test]
async fn value_that_a_field_cannot_have_is_none() {
    let origin = Origin::answer(OK);
    let gateway = start(&origin).await;
    for query in ["", "?v=", "?v", "?V=1", "?v=a%0d%0aX-Injected:%20b", "?v=%00", "?v=%ff"] {
        get(&gateway, &format!("/fields/7{query}"), &[("x-query", "forged")]).await;
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.headers.all("x-query"), [""; 0], "{query}");
        assert_eq!(request.headers.all("x-list"), ["always"], "{query}");
        assert_eq!(request.headers.get("x-injected"), None);
    }
}

#[tokio::test]
async fn path_gets_values_as_segments_or_the_request_is_refused() {
    let origin = Origin::answer(OK);
    let gateway = start(&origin).await;
    for (path, sent, expected) in [
        ("/users/7?tenant=acme", &[][..], Ok("/v2/7/acme?tenant=acme")),
        ("/users/a%20b?tenant=%C3%A9+%3F", &[], Ok("/v2/a%20b/%C3%A9%2B%3F?tenant=%C3%A9+%3F")),
        ("/named/x", &[("x-tenant", "t:1")], Ok("/x/t%3A1")),
        ("/users/7", &[], Err(400)),
        ("/users/7?tenant=", &[], Err(400)),
        ("/users/7?tenant=..", &[], Err(400)),
        ("/users/7?tenant=%2e%2E", &[], Err(400)),
        ("/users/7?tenant=..;x", &[], Err(400)),
        ("/users/7?tenant=a/../b", &[], Err(400)),
        ("/users/7?tenant=a%2fb", &[], Err(400)),
        ("/users/7?tenant=a%5cb", &[], Err(400)),
        ("/users/7?tenant=a%00b", &[], Err(400)),
        ("/named/x", &[], Err(400)),
        // The plan of this caller is no segment.
        ("/known", &[("x-api-key", KEY)], Err(400)),
    ] {
        let before = origin.requests().len();
        let response = get(&gateway, path, sent).await;
        match expected {
            Ok(target) => {
                assert_eq!((response.status, &*origin.requests()[before].target), (200, target), "{path}");
            }
            Err(status) => {
                let reason = response.header("x-gateway-error");
                assert_eq!((response.status, reason), (status, Some("route.value")), "{path}");
                assert_eq!(origin.requests().len(), before, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn redirect_gets_values_with_escapes_for_all_that_could_end_them() {
    let origin = Origin::answer(OK);
    let gateway = start(&origin).await;
    let location = async |path: &str, who: &str| {
        let response = get(&gateway, path, &[("host", "shop.example"), ("x-who", who)]).await;
        (response.status, response.header("location").unwrap_or_default().to_owned())
    };
    assert_eq!(
        location("/old/7?area=a%20b", "x&y=1#z").await,
        (302, "https://new.example/a%20b/7?from=shop.example&who=x%26y%3D1%23z".to_owned())
    );
    // In the query, a value with a slash leads nowhere else.
    let (status, to) = location("/old/7?area=a", "../..").await;
    assert_eq!((status, to.ends_with("who=..%2F..")), (302, true), "{to}");
    for path in ["/old/7", "/old/7?area=..", "/old/7?area=%2f%2fevil.example", "/old/7?area=%5cevil.example"]
    {
        assert_eq!(location(path, "x").await, (400, String::new()), "{path}");
    }
    assert_eq!(get(&gateway, "/old/7?area=a", &[]).await.status, 400, "without x-who");
}

#[tokio::test]
async fn response_of_the_gateway_and_one_by_http_2_get_values_too() {
    let origin = Origin::answer(OK);
    let gateway = start(&origin).await;
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    let response = http2.get(&format!("http://{}/local?v=1", gateway.addr("web"))).await;
    assert_eq!(response.headers.get("x-echo").unwrap(), "1");
    assert!(response.headers.get("x-gone").is_none());
    http2.get("http://Other.Example/fields/7").await;
    assert_eq!(origin.requests().pop().unwrap().headers.all("x-host"), ["other.example"]);
}

#[tokio::test]
async fn placeholders_that_no_request_has_are_reported_with_advice() {
    let origin = Origin::answer(OK);
    for (written, messages) in [
        ("{path.other}", &["the match has no parameter `{other}`", "`match.template`"][..]),
        ("{path.ids}", &["the match has no parameter `{ids}`", "did you mean `{id}`?"]),
        ("{path.a-b}", &["`{path.a-b}` is not a placeholder", "`match.template`: `{path.id}`"]),
        ("{header.a b}", &["`{header.a b}` is not a placeholder", "a field: `{header.x-tenant}`"]),
        ("{header.host}", &["`{header.host}` is not a placeholder", "write `{host}`"]),
        ("{query.v", &["`{query.v` has no `}`", "write `{{` for a brace itself"]),
        ("{identity.sub}", &["`{identity.sub}` has no value on a route without `auth`", "under `auth`"]),
    ] {
        let edited = config(&origin).replace("x-path: '{path.id}'", &format!("x-path: '{written}'"));
        assert_ne!(edited, config(&origin));
        refused(&edited, messages).await;
    }
    let without = config(&origin).replace("    request_id: on\n", "");
    refused(&without, &["`{request_id}` has no value on a route without `request_id`", "`request_id: on`"])
        .await;
    let in_path = config(&origin).replace("/{query.tenant}'", "/x{query.tenant}'");
    refused(&in_path, &["`{query.tenant}` is not a whole segment", "between slashes: `/{query.tenant}/`"])
        .await;
}

/// Requires that a start refuses a file with these messages.
async fn refused(config: &str, messages: &[&str]) {
    let output = Gateway::builder(PROGRAM, config).file("keys.yaml", "[]").run_to_exit().await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{errors}");
    for message in messages {
        assert!(errors.contains(message), "{message}\n{errors}");
    }
}
