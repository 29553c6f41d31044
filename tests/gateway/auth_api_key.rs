//! Callers known by API keys, and what is required of them.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use support::serde_json::{Value, from_str};
use support::{Gateway, Http2Client, Origin, Response, http, wait_until};

use crate::PROGRAM;

/// Returns the entry that the program makes for a key.
pub(crate) fn entry(id: &str, key: &str, metadata: &str) -> String {
    let mut child = Command::new(PROGRAM)
        .args(["hash-key", "--stdin", "--id", id])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{key}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let entry = String::from_utf8(output.stdout).unwrap();
    assert!(!entry.contains(key), "{entry}");
    format!("{entry}  metadata: {metadata}\n")
}

fn config(origin: &Origin) -> String {
    format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
auth:
  partners: {{ api_key: {{ header: x-api-key, keys: keys.yaml, claims_to_headers: {{ sub: x-user, plan: x-plan }} }} }}
  bearer: {{ api_key: {{ header: authorization, keys: others.yaml }} }}
  inquiry: {{ api_key: {{ query: key, keys: keys.yaml }} }}
  crumbs: {{ api_key: {{ cookie: key, keys: keys.yaml }} }}
upstreams: {{ up: {{ url: '{}' }} }}
defaults: {{ auth: [partners] }}
routes:
  - {{ name: guarded, match: {{ path: /guarded }}, upstream: up }}
  - {{ match: {{ path: /public }}, upstream: up, auth: off }}
  - {{ match: {{ path: /either }}, upstream: up, auth: [partners, bearer] }}
  - {{ match: {{ path: /both }}, upstream: up, auth: {{ all: [partners, bearer] }} }}
  - {{ match: {{ path: /inquiry }}, upstream: up, auth: [inquiry] }}
  - {{ match: {{ path: /crumbs }}, upstream: up, auth: [crumbs] }}
  - {{ match: {{ path: /scope }}, upstream: up, require: {{ scope: ['orders:read'] }} }}
  - {{ match: {{ path: /group }}, upstream: up, require: {{ group: [admins, staff] }} }}
  - {{ match: {{ path: /claims }}, upstream: up, require: {{ claims: {{ plan: [gold] }} }} }}",
        origin.url()
    )
}

fn keys() -> String {
    [
        entry("acme", "key-of-acme", "{ plan: gold, scope: 'orders:read orders:write', groups: [staff] }"),
        entry("beta", "key-of-beta", "{ plan: free }"),
    ]
    .concat()
}

async fn start(origin: &Origin) -> Gateway {
    let others = entry("gamma", "key-of-gamma", "{}");
    let builder = Gateway::builder(PROGRAM, config(origin));
    builder.file("keys.yaml", keys()).file("others.yaml", others).start().await
}

fn reason(response: &Response) -> (u16, &str) {
    (response.status, response.header("x-gateway-error").unwrap_or_default())
}

#[tokio::test]
async fn only_known_keys_pass_and_no_key_goes_on() {
    let origin = Origin::echo();
    let gateway = start(&origin).await;
    let mut client = gateway.client("web").await;
    for (path, fields, expected) in [
        ("/guarded", &[][..], (401, "auth.required")),
        ("/guarded", &[("x-api-key", "")], (401, "auth.required")),
        ("/guarded", &[("x-api-key", "wrong")], (401, "auth.api_key.unknown")),
        ("/guarded", &[("x-api-key", "key-of-acme2")], (401, "auth.api_key.unknown")),
        (
            "/guarded",
            &[("x-api-key", "key-of-acme"), ("x-api-key", "wrong")],
            (401, "auth.api_key.malformed"),
        ),
        ("/guarded", &[("x-api-key", "key-of-gamma")], (401, "auth.api_key.unknown")),
        ("/guarded", &[("authorization", "Bearer key-of-gamma")], (401, "auth.required")),
        ("/guarded?x-api-key=key-of-acme", &[], (401, "auth.required")),
        ("/guarded", &[("x-api-key", "key-of-acme")], (200, "")),
        ("/public", &[], (200, "")),
        ("/either", &[("authorization", "Bearer key-of-gamma")], (200, "")),
        ("/either", &[("authorization", "Bearer key-of-gamma"), ("x-api-key", "wrong")], (200, "")),
        ("/either", &[("authorization", "Bearer wrong")], (401, "auth.api_key.unknown")),
        ("/both", &[("authorization", "Bearer key-of-gamma")], (401, "auth.required")),
        ("/both", &[("x-api-key", "key-of-acme")], (401, "auth.required")),
        ("/both", &[("authorization", "Bearer key-of-gamma"), ("x-api-key", "key-of-beta")], (200, "")),
        ("/inquiry?a=1&key=key-of-acme&b", &[], (200, "")),
        ("/inquiry?a=1", &[], (401, "auth.required")),
        ("/crumbs", &[("cookie", "a=1; key=key-of-beta; b=2")], (200, "")),
        ("/crumbs", &[("cookie", "a=1; key=x")], (401, "auth.api_key.unknown")),
    ] {
        let before = origin.requests().len();
        let response = client.request("GET", path, fields, b"").await;
        assert_eq!(reason(&response), expected, "{path} {fields:?}");
        let requests = origin.requests();
        assert_eq!(requests.len() - before, usize::from(response.status == 200), "{path}");
        if response.status == 200 && path != "/public" {
            let sent = requests.last().unwrap();
            assert!(!format!("{sent:?}").contains("key-of"), "{sent:?}");
            match path.split_once('?') {
                Some((path, _)) => assert_eq!(sent.target, format!("{path}?a=1&b")),
                None => assert_eq!(sent.headers.get("cookie"), (path == "/crumbs").then_some("a=1; b=2")),
            }
        }
    }
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let target = format!("http://{}/guarded", gateway.addr("web"));
    for (key, status) in [("key-of-beta", 200), ("key-of-gamma", 401)] {
        assert_eq!(
            client
                .request(http::Request::get(&target).header("x-api-key", key).body("".into()).unwrap())
                .await
                .status,
            status
        );
    }
}

#[tokio::test]
async fn refusal_has_a_challenge_for_each_way() {
    let origin = Origin::echo();
    let gateway = start(&origin).await;
    let mut client = gateway.client("web").await;
    let response = client.get("/either").await;
    let expected = ["ApiKey realm=\"partners\"", "ApiKey realm=\"bearer\""];
    assert_eq!(response.headers.all("www-authenticate"), expected);
    let response = client.request("GET", "/scope", &[("x-api-key", "key-of-beta")], b"").await;
    let expected = ["Bearer error=\"insufficient_scope\", scope=\"orders:read\""];
    assert_eq!((response.status, response.headers.all("www-authenticate")), (403, expected.to_vec()));
}

#[tokio::test]
async fn known_caller_needs_what_the_route_requires() {
    let origin = Origin::echo();
    let gateway = start(&origin).await;
    let mut client = gateway.client("web").await;
    for path in ["/scope", "/group", "/claims"] {
        let acme = client.request("GET", path, &[("x-api-key", "key-of-acme")], b"").await;
        assert_eq!(acme.status, 200, "{path}");
        let beta = client.request("GET", path, &[("x-api-key", "key-of-beta")], b"").await;
        assert_eq!(reason(&beta), (403, &*format!("require.{}", &path[1..])));
        assert_eq!(reason(&client.get(path).await), (401, "auth.required"));
    }
}

#[tokio::test]
async fn upstream_learns_who_calls_from_the_gateway_alone() {
    let origin = Origin::echo();
    let gateway = start(&origin).await;
    let mut client = gateway.client("web").await;
    let forged = [("X-User", "root"), ("x_user", "root"), ("x-plan", "gold"), ("x-plan", "gold")];
    for (path, key, user, plan) in [
        ("/guarded", ("x-api-key", "key-of-acme"), Some("acme"), Some("gold")),
        ("/guarded", ("x-api-key", "key-of-beta"), Some("beta"), Some("free")),
        // The other way has no claims in fields. Those of the way that was not used are removed nevertheless.
        ("/either", ("authorization", "Bearer key-of-gamma"), None, None),
    ] {
        let fields = [&forged[..], &[key]].concat();
        assert_eq!(client.request("GET", path, &fields, b"").await.status, 200);
        let sent = origin.requests().pop().unwrap().headers;
        let all = |value: Option<&'static str>| value.into_iter().collect::<Vec<_>>();
        assert_eq!((sent.all("x-user"), sent.all("x-plan")), (all(user), all(plan)), "{path}");
        assert_eq!(sent.all("x_user"), [""; 0], "{path}");
    }
}

#[tokio::test]
async fn access_log_names_the_caller_and_no_key_appears_anywhere() {
    let origin = Origin::echo();
    let gateway = start(&origin).await;
    let mut client = gateway.client("web").await;
    client.request("GET", "/guarded", &[("x-api-key", "key-of-acme")], b"").await;
    let line: Value = from_str(&gateway.wait_for_stdout("\"identity\":\"acme\"").await).unwrap();
    assert_eq!((&line["auth"], &line["identity"]), (&Value::from("partners"), &Value::from("acme")));
    client.get("/public").await;
    let line: Value = from_str(&gateway.wait_for_stdout("\"target\":\"/public\"").await).unwrap();
    assert_eq!((line.get("auth"), line.get("identity")), (None, None));
    let config = gateway.admin("/config").await.text();
    assert!(config.contains("keys.yaml") && !config.contains("sha256"), "{config}");
    assert!(!gateway.output().contains("key-of"), "{}", gateway.output());
}

#[tokio::test]
async fn keys_come_and_go_with_their_file() {
    let origin = Origin::echo();
    let gateway = start(&origin).await;
    let mut client = gateway.client("web").await;
    let file = gateway.folder().join("keys.yaml");
    let key = [("x-api-key", "key-of-delta")];
    assert_eq!(client.request("GET", "/guarded", &key, b"").await.status, 401);
    let generation = gateway.generation().await;
    fs::write(&file, entry("delta", "key-of-delta", "{}")).unwrap();
    wait_until("the new keys", async || gateway.generation().await > generation).await;
    assert_eq!(client.request("GET", "/guarded", &key, b"").await.status, 200);
    assert_eq!(client.request("GET", "/guarded", &[("x-api-key", "key-of-acme")], b"").await.status, 401);
    // A broken file changes nothing, and the log does not show what may be a key.
    fs::write(&file, "- { id: delta, key: key-in-plain }").unwrap();
    gateway.wait_for_log("the key of `delta` is not hashed").await;
    assert_eq!(client.request("GET", "/guarded", &key, b"").await.status, 200);
    assert!(!gateway.output().contains("key-in-plain"));
}

#[tokio::test]
async fn mistakes_are_reported_with_their_remedy() {
    for (auth, route, message, help) in [
        ("{}", "auth: [partner]", "unknown way `partner`", "did you mean `partners`?"),
        ("{}", "auth: [partners, partners]", "the way `partners` appears twice", "take one out"),
        (
            "{}",
            "require: { scope: [a] }",
            "`require` has no effect on a route without `auth`",
            "write the ways",
        ),
        (
            "{ 'a b': { api_key: { header: x, keys: keys.yaml } } }",
            "",
            "`a b` is not a valid name of a way",
            "64 letters",
        ),
        ("{ b: { api_key: { header: x, keys: none.yaml } } }", "", "cannot read", "none.yaml"),
        ("{ b: { api_key: { header: x, query: y, keys: keys.yaml } } }", "", "`header`", "`query`"),
        ("{ b: { api_key: { keys: keys.yaml } } }", "", "`header`", "`cookie`"),
        ("{ b: {} }", "", "`api_key`", "b"),
    ] {
        let auth = auth.trim_start_matches('{').trim_end_matches('}');
        let auth = format!("partners: {{ api_key: {{ header: x, keys: keys.yaml }} }},{auth}");
        let config = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\nauth: {{ {auth} }}\nroutes: [{{ {route}{} respond: {{}} }}]",
            if route.is_empty() { "" } else { "," }
        );
        let output = Gateway::builder(PROGRAM, config).file("keys.yaml", keys()).run_to_exit().await;
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(message) && text.contains(help), "{message}\n{text}");
    }
}

#[tokio::test]
async fn new_key_is_shown_once_beside_its_entry() {
    let output = support::run_to_exit(PROGRAM, &["hash-key", "--id", "a: b"]).await;
    let (entry, shown) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let key = shown.trim().strip_prefix("The key, which is not shown again: ").unwrap();
    assert!(key.len() == 64 && !entry.contains(key), "{entry}{shown}");
    let origin = Origin::echo();
    let builder = Gateway::builder(PROGRAM, config(&origin)).file("keys.yaml", entry).file("others.yaml", "");
    let gateway = builder.start().await;
    let mut client = gateway.client("web").await;
    assert_eq!(client.request("GET", "/guarded", &[("x-api-key", key)], b"").await.status, 200);
    assert_eq!(origin.requests().pop().unwrap().headers.get("x-user"), Some("a: b"));
}
