//! Field names that CGI, PHP and WSGI programs take for others: what a client cannot say as `X-Real-IP`, it cannot say as
//! `X_Real_IP`.

use support::bytes::Bytes;
use support::{Gateway, Http2Client, Origin, Request, http};

use crate::PROGRAM;
use crate::filtering::filtered;
use crate::scripted::scripted;

/// Spellings of what the gateway itself sets or removes.
const DISGUISED: [&str; 14] = [
    "X_Forwarded_For",
    "X-Forwarded_For",
    "X_Forwarded-Proto",
    "X.Forwarded.Host",
    "X_Forwarded_Prefix",
    "X_Real_IP",
    "X-Real_IP",
    "Content_Length",
    "Transfer_Encoding",
    "Keep_Alive",
    "Proxy_Connection",
    "Proxy_Authorization",
    "HTTP2_Settings",
    "Proxy",
];

/// Names with underscores that mean nothing to the gateway.
const HARMLESS: [&str; 3] = ["api_key", "x_request_id", "content_type"];

/// A gateway with these keys of its listener and its route, and at the top.
async fn start(origin: &Origin, listener: &str, route: &str, top: &str) -> Gateway {
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0{listener} }}]
admin: {{ address: 127.0.0.1:0 }}
{top}
routes: [{{ name: all, upstream: {{ url: '{}' }}{route} }}]",
        origin.url()
    );
    Gateway::builder(PROGRAM, config).start().await
}

/// Sends a request with these fields over both versions. Returns what the origin got.
async fn forwarded(gateway: &Gateway, origin: &Origin, names: &[&str]) -> [Request; 2] {
    let mut client = gateway.client("web").await;
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (*name, "client")).collect();
    assert_eq!(client.request("GET", "/", &fields, b"").await.status, 200);
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    let mut request = http::Request::get("http://a/");
    for name in names {
        // HTTP/2 has names of the connection in no other spelling than the disguised one.
        request = request.header(name.to_lowercase(), "client");
    }
    assert_eq!(http2.request(request.body(Bytes::new()).unwrap()).await.status, 200);
    let requests = origin.requests();
    let [.., one, other] = &requests[..] else { panic!("{requests:?}") };
    [one.clone(), other.clone()]
}

/// The names that came from the client, as the origin got them.
fn from_client(request: &Request) -> Vec<String> {
    let lines = request.raw_head.split(|byte| *byte == b'\n').map(String::from_utf8_lossy);
    lines.filter_map(|line| Some(line.trim_end().strip_suffix(": client")?.to_owned())).collect()
}

#[tokio::test]
async fn another_spelling_of_an_identity_field_does_not_reach_an_upstream() {
    let origin = Origin::echo();
    for trusted in ["", "trusted_proxies: [127.0.0.1]"] {
        let gateway = start(&origin, "", "", trusted).await;
        for request in forwarded(&gateway, &origin, &[&DISGUISED[..], &HARMLESS].concat()).await {
            assert_eq!(from_client(&request), HARMLESS, "{trusted}");
            assert_eq!(request.headers.all("x-forwarded-for"), ["127.0.0.1"], "{trusted}");
        }
    }
}

#[tokio::test]
async fn another_spelling_of_a_field_that_a_route_sets_or_removes_does_not_reach_an_upstream() {
    let origin = Origin::echo();
    let edits =
        ", headers: { request: { set: { x-user: gateway, the_tenant: gateway }, remove: [x-internal] } }";
    let gateway = start(&origin, "", edits, "").await;
    let names = ["X_User", "x.user", "The-Tenant", "X_Internal", "X-Internal", "x_users", "x_other"];
    for request in forwarded(&gateway, &origin, &names).await {
        assert_eq!(from_client(&request), ["x_users", "x_other"]);
        assert_eq!(
            (request.headers.all("x-user"), request.headers.all("the_tenant")),
            (vec!["gateway"], vec!["gateway"])
        );
    }
}

#[tokio::test]
async fn another_spelling_of_a_field_that_a_filter_writes_does_not_reach_an_upstream() {
    let module = scripted(&[(
        "proxy_on_request_headers",
        "set_field 0 x-user filter\nadd_field 0 x-role filter\nremove_field 0 x-internal",
    )]);
    let origin = Origin::echo();
    let gateway = filtered(&origin, &module, "").await;
    let names = ["X_User", "X_Role", "X_Internal", "X-Internal", "x_other"];
    for request in forwarded(&gateway, &origin, &names).await {
        assert_eq!(from_client(&request), ["x_other"]);
        assert_eq!(
            (request.headers.all("x-user"), request.headers.all("x-role")),
            (vec!["filter"], vec!["filter"])
        );
    }
}

#[tokio::test]
async fn a_listener_drops_names_with_underscores_where_it_says_so() {
    let origin = Origin::echo();
    let gateway =
        start(&origin, ", headers: { underscores: drop }", ", match: { headers: { plain: present } }", "")
            .await;
    let names = [&HARMLESS[..], &["x.y", "plain"]].concat();
    for request in forwarded(&gateway, &origin, &names).await {
        assert_eq!(from_client(&request), ["plain"]);
    }
    // What is dropped decides about no route either.
    let hidden =
        start(&origin, ", headers: { underscores: drop }", ", match: { headers: { api_key: present } }", "")
            .await;
    let response = hidden.client("web").await.request("GET", "/", &[("api_key", "1")], b"").await;
    assert_eq!(response.status, 404);
}

#[tokio::test]
async fn trailers_follow_the_rules_of_header_fields() {
    let sent = [("x_forwarded_for", "client"), ("api_key", "client"), ("x-sum", "client")];
    for (listener, expected) in
        [("", vec!["api_key", "x-sum"]), (", headers: { underscores: drop }", vec!["x-sum"])]
    {
        let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        let gateway = start(&origin, listener, "", "").await;
        let mut client = gateway.client("web").await;
        let trailers: String = sent.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        client
            .send_raw(format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{trailers}\r\n"
            ))
            .await;
        assert_eq!(client.read_response().await.status, 200);

        let mut http2 = Http2Client::connect(gateway.addr("web")).await;
        let request = http::Request::post("http://a/").body(()).unwrap();
        let (response, mut stream) = http2.open(request, false).await.unwrap();
        stream.send_data(Bytes::from_static(b"ok"), false).unwrap();
        let fields = sent.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        stream.send_trailers(fields.collect()).unwrap();
        assert_eq!(Http2Client::read(response).await.unwrap().status, 200);
        for request in origin.requests() {
            let got: Vec<&str> = ["x_forwarded_for", "api_key", "x-sum"]
                .into_iter()
                .filter(|name| request.trailers.has(name))
                .collect();
            assert_eq!(got, expected, "{listener}");
        }
        assert_eq!(origin.requests().len(), 2);
    }
}
