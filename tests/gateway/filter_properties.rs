//! Properties: what a filter may ask of an exchange besides its fields, and what filters tell each other.

use std::sync::Arc;

use support::bytes::Bytes;
use support::http::Request;
use support::rustls::ClientConfig;
use support::{Certificates, Client, Http2Client, Origin, wait_until};

use crate::filtering::{configured, filtered, reported};
use crate::grpc::answer as call_answer;
use crate::pooled::OK;
use crate::scripted::{scripted, scripted_with};

/// A script that asks for these properties, and shows numbers and flags as such.
fn ask(paths: &[&str]) -> String {
    let lines = paths.iter().map(|path| {
        let numeric = [
            "port",
            "id",
            "size",
            "total_size",
            "code",
            "tls",
            "mtls",
            "flags",
            "time",
            "duration",
            "grpc_status",
        ];
        let last = path.rsplit("\\0").next().unwrap();
        if numeric.contains(&last) && *path != "request\\0id" {
            // Where it is found, and the number there, of as many bytes as it has.
            format!(
                "get_property '{path}' -> u32 u32
                (if (i32.eq (i32.load (i32.const 0x8008)) (i32.const 8))
                  (then (call $show_number (i64.load (i32.load (i32.const 0x8000))))))
                (if (i32.eq (i32.load (i32.const 0x8008)) (i32.const 1))
                  (then (call $show_number (i64.load8_u (i32.load (i32.const 0x8000))))))
                (call $line)\n"
            )
        } else {
            format!("get_property '{path}' -> bytes\n")
        }
    });
    lines.collect()
}

#[tokio::test]
async fn a_root_context_knows_what_it_is_and_nothing_of_exchanges() {
    let names = [
        "plugin_name",
        "plugin_root_id",
        "plugin_vm_id",
        "plugin_name\\0",
        "request\\0path",
        "source\\0address",
        "route_name",
        "unknown",
        "",
    ];
    let script = format!("{}set_property own value\nget_property own -> bytes\nsay", ask(&names));
    let config = "
workers: 1
filters: { test: { wasm: test.wasm, vm_id: common, root_id: own } }
routes: [{ name: all, respond: { body: own }, filters: [test] }]";
    let module = scripted(&[("proxy_on_context_create", &script)]);
    let gateway = configured(config, &[("test", &module)]).start().await;
    gateway.wait_for_log("0 test|0 own|0 common|0 test|1 |1 |1 |1 |1 |1|1 |").await;
}

/// A module that registers its root context as `auth`, and aborts where the gateway names another one.
fn named_root() -> Vec<u8> {
    let check = "get_property plugin_root_id -> u32 u32
        (if (i32.ne (i32.load (i32.const 0x8008)) (i32.const 4)) (then (unreachable)))
        (if (i32.ne (i32.load (i32.load (i32.const 0x8000))) (i32.const 0x68747561)) (then (unreachable)))
        (global.set $end (i32.const 0x10000))";
    scripted(&[("proxy_on_context_create", check), ("proxy_on_request_headers", "text started\nanswer")])
}

#[tokio::test]
async fn plugin_with_a_named_root_starts_by_its_root_id() {
    let config = "
filters: { test: { wasm: test.wasm{keys} } }
routes: [{ name: all, respond: { body: own }, filters: [test] }]";
    let with = |keys: &str| configured(config, &[("test", &named_root())]).set("keys", keys);
    let gateway = with(", root_id: auth").start().await;
    assert_eq!(gateway.client("web").await.get("/").await.text(), "started\n");
    for keys in ["", ", root_id: Auth", ", root_id: author"] {
        let output = with(keys).run_to_exit().await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("`root_id` must be that name"), "{keys}: {said}");
    }
}

#[tokio::test]
async fn a_requests_properties_are_what_came() {
    let paths = [
        "request\\0path",
        "request\\0url_path",
        "request\\0query",
        "request\\0host",
        "request\\0scheme",
        "request\\0method",
        "request\\0protocol",
        "request\\0referer",
        "request\\0useragent",
        "request\\0id",
        "request\\0headers\\0x-own",
        "request\\0headers\\0X-OWN",
        "request\\0headers\\0x-none",
        "request\\0nothing",
        "response\\0code",
        "response\\0headers\\0x",
        "upstream\\0address",
        "request\\0duration",
        "route_name",
        "xds\\0route_name",
        "listener_name",
    ];
    let script = format!("{}answer", ask(&paths));
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &scripted(&[("proxy_on_request_headers", &script)]), "").await;
    let fields = [
        ("host", "a.test:81"),
        ("referer", "http://b/"),
        ("user-agent", "test/1"),
        ("x-request-id", "id-1"),
        ("x-own", "1"),
    ];
    let answer = gateway.client("web").await.request("PUT", "/p/a?q=1&r", &fields, b"").await.text();
    let expected = "0 /p/a?q=1&r\n0 /p/a\n0 q=1&r\n0 a.test:81\n0 http\n0 PUT\n0 HTTP/1.1\n0 http://b/\n0 test/1\n0 id-1\n\
        0 1\n0 1\n1 \n1 \n1 0 0\n\n1 \n1 \n1 0 0\n\n0 all\n0 all\n0 web\n";
    assert_eq!(answer, expected);
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let request = Request::get("http://c.test/other").body(support::bytes::Bytes::new()).unwrap();
    let answer = String::from_utf8(client.request(request).await.body).unwrap();
    assert!(
        answer.starts_with("0 /other\n0 /other\n0 \n0 c.test\n0 http\n0 GET\n0 HTTP/2\n1 \n"),
        "{answer}"
    );
}

/// The head has the fields that `proxy_get_header_map_value` finds, and a length before its body has arrived.
#[tokio::test]
async fn properties_of_heads_have_pseudo_headers_lengths_and_lines_as_lists() {
    let request = ask(&[
        "request\\0size",
        "request\\0headers\\0content-length",
        "request\\0headers\\0:authority",
        "request\\0headers\\0x-own",
    ]);
    let response = ask(&["response\\0headers\\0:status", "response\\0headers\\0content-length"]);
    let module = scripted(&[
        ("proxy_on_request_headers", &format!("{request}text request\nsay")),
        ("proxy_on_response_headers", &format!("{response}text response\nsay")),
    ]);
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &module, "").await;
    let fields = [("host", "a.test"), ("x-own", "1"), ("x-own", "2")];
    gateway.client("web").await.request("POST", "/", &fields, b"four").await;
    gateway.wait_for_log("8|4|0 4|0 a.test|0 1, 2|request|").await;
    gateway.wait_for_log(" 0 200|0 2|response|").await;
}

#[tokio::test]
async fn a_connections_properties_are_its_addresses() {
    let numbers = ask(&[
        "source\\0port",
        "destination\\0port",
        "connection\\0tls",
        "connection\\0mtls",
        "request\\0time",
    ]);
    let script = format!(
        "get_property source\\0address -> bytes\nget_property destination\\0address -> bytes\n{numbers}answer"
    );
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &scripted(&[("proxy_on_request_headers", &script)]), "").await;
    let mut client = gateway.client("web").await;
    let (source, destination) = (client.local_addr(), gateway.addr("web"));
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let answer = client.get("/").await.text();
    // A number's line has its status and where it is before it.
    let value = |line: &str| line.rsplit(' ').next().unwrap().to_owned();
    let lines: Vec<String> = answer.lines().map(str::to_owned).collect();
    assert_eq!(lines[..2], [format!("0 {source}"), format!("0 {destination}")]);
    let numbers: Vec<String> = lines[2..].iter().skip(1).step_by(2).map(|line| value(line)).collect();
    assert_eq!(
        numbers[..4],
        [source.port().to_string(), destination.port().to_string(), "0".to_owned(), "0".to_owned()]
    );
    let time: u128 = numbers[4].parse().unwrap();
    assert!(time.abs_diff(before) < 10_000_000_000, "{time}");
}

/// HTTP/2 and a resumed session make no difference; a connection without a certificate has none of them.
#[tokio::test]
async fn names_in_a_clients_certificate_are_properties_of_its_connection() {
    let names = ["subject", "dns_san", "uri_san"].map(|name| format!("connection\\0{name}_peer_certificate"));
    let more = [
        "connection\\0sha256_peer_certificate_digest",
        "connection\\0other_peer_certificate",
        "connection\\0mtls",
    ];
    let paths: Vec<&str> = names.iter().map(String::as_str).chain(more).collect();
    let module = scripted(&[("proxy_on_request_headers", &format!("{}answer", ask(&paths)))]);
    let certificates = Certificates::new();
    let server = certificates.server(&["a.test"]);
    let config = "
listeners:
  - name: web
    address: 127.0.0.1:0
    tls: { certificates: [{ cert: '{cert}', key: '{key}' }], client_auth: { ca: '{ca}', required: false } }
admin: { address: 127.0.0.1:0 }
filters: { test: { wasm: test.wasm } }
routes: [{ name: all, respond: { body: own }, filters: [test] }]";
    let gateway = crate::gateway(config)
        .set("cert", server.cert.display())
        .set("key", server.key.display())
        .set("ca", certificates.ca().display())
        .file("test.wasm", &module)
        .start()
        .await;
    let get = async |config: &Arc<ClientConfig>, is_resumed| {
        let mut client = Client::connect_tls(gateway.addr("web"), config, "a.test").await;
        assert_eq!(client.is_resumed(), is_resumed);
        client.get("/").await.text()
    };
    let without = get(&certificates.client_config(&[]), false).await;
    assert!(without.starts_with("1 \n1 \n1 \n1 \n1 \n0 ") && without.ends_with(" 1\n0\n"), "{without}");

    let names = ["A.internal", "spiffe://x/a", "b.internal", "spiffe://x/b", "c@d.test"];
    let identity = certificates.client_with_names("worker", &names);
    let config = certificates.client_config_with(&identity);
    let first = get(&config, false).await;
    let lines: Vec<&str> = first.lines().collect();
    let expected = ["0 CN=worker,O=Example\\, Inc", "0 a.internal", "0 spiffe://x/a"];
    assert_eq!(lines[..3], expected);
    assert_eq!((lines[3].len(), lines[4], lines[6..].concat().as_str()), (66, "1 ", "1"), "{first}");
    // The number's line has its place in the guest, which differs.
    let texts = |answer: &str| answer.lines().take(5).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(texts(&get(&config, true).await), lines[..5], "a resumed session");
    let mut of_h2 = ClientConfig::clone(&config);
    of_h2.alpn_protocols = vec![b"h2".to_vec()];
    let mut client = Http2Client::connect_tls(gateway.addr("web"), &Arc::new(of_h2), "a.test").await;
    let response = client.get("https://a.test/").await;
    assert_eq!(texts(&String::from_utf8(response.body).unwrap()), lines[..5], "HTTP/2");
}

/// No filter can set them for another one, also where there is no caller.
#[tokio::test]
async fn caller_and_identifier_of_a_request_are_properties_of_the_gateway() {
    let paths = [
        "gateway\\0identity\\0way",
        "gateway\\0identity\\0subject",
        "gateway\\0identity\\0claims\\0plan",
        "gateway\\0identity\\0claims\\0groups",
        "gateway\\0identity\\0claims\\0deep.level",
        "gateway\\0identity\\0claims\\0sub",
        "gateway\\0identity\\0claims\\0none",
        "gateway\\0identity\\0other",
        "gateway\\0identity",
        "gateway\\0request_id",
    ];
    let forge = "set_property gateway\\0identity\\0subject root\nset_property gateway\\0request_id forged\n";
    let module = scripted(&[("proxy_on_request_headers", &format!("{forge}{}answer", ask(&paths)))]);
    let config = "
filters: { test: { wasm: test.wasm } }
auth:
  partners: { api_key: { header: x-api-key, keys: keys.yaml } }
  others: { api_key: { header: x-other, keys: keys.yaml } }
routes:
  - { match: { path: /known }, respond: { body: own }, filters: [test], auth: { all: [partners, others] }, request_id: on }
  - { match: { path: /unknown }, respond: { body: own }, filters: [test] }";
    // The digest of `secret`.
    let keys = "
- id: kim
  key: sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b
  metadata: { plan: gold, groups: [a, b], deep: { level: 7 } }";
    let gateway = configured(config, &[("test", &module)]).file("keys.yaml", keys).start().await;
    let mut client = gateway.client("web").await;
    let fields = [("x-api-key", "secret"), ("x-other", "secret"), ("x-request-id", "sent")];
    let known = client.request("GET", "/known", &fields, b"").await;
    let id = known.header("x-request-id").unwrap().to_owned();
    let expected = format!("2\n2\n0 partners\n0 kim\n0 gold\n0 a,b\n0 7\n0 kim\n1 \n1 \n1 \n0 {id}\n");
    assert_eq!(known.text(), expected);
    assert_eq!(
        client.request("GET", "/unknown", &fields, b"").await.text(),
        format!("2\n2\n{}", "1 \n".repeat(paths.len()))
    );
}

#[tokio::test]
async fn a_responses_properties_are_there_with_it_and_the_outcome_after_the_end() {
    let at_head = [
        "response\\0headers\\0x-own",
        "upstream\\0address",
        "upstream\\0url",
        "cluster_name",
        "response\\0code",
    ];
    let at_end = [
        "response\\0code",
        "response\\0size",
        "request\\0size",
        "request\\0duration",
        "response\\0code_details",
    ];
    let module = scripted(&[
        ("proxy_on_response_headers", &format!("{}say", ask(&at_head))),
        ("proxy_on_log", &format!("{}text end\nsay", ask(&at_end))),
    ]);
    let origin = Origin::answer("HTTP/1.1 201 Created\r\ncontent-length: 7\r\nx-own: 1\r\n\r\nseventy");
    let gateway = filtered(&origin, &module, "").await;
    gateway.client("web").await.request("POST", "/", &[], b"four").await;
    let (address, url) = (origin.addr(), origin.url());
    gateway.wait_for_log(&format!("0 1|0 {address}|0 {url}|0 {url}|0 ")).await;
    let line = gateway.wait_for_log("end|").await;
    let (report, _) = line.split_once("end|").unwrap();
    let report = report.rsplit_once("INFO ").unwrap().1;
    let lines: Vec<&str> = report.split('|').collect();
    assert_eq!((lines[1], lines[3], lines[5]), ("201", "7", "4"), "{line}");
    let duration: u64 = lines[7].parse().unwrap();
    assert!(duration > 0 && duration < 10_000_000_000, "{line}");
    assert_eq!(lines[8], "0 via_upstream", "{line}");
    let head = gateway.wait_for_log(&format!("0 {url}|0 {url}|")).await;
    assert!(head.contains("|201|"), "{head}");
}

/// A number, as in other hosts.
#[tokio::test]
async fn status_of_a_call_is_a_property_in_its_head_in_its_trailers_and_after_its_end() {
    let report = |mark: &str| format!("{}text {mark}\nsay", ask(&["response\\0grpc_status"]));
    let heads = [("proxy_on_response_headers", report("head")), ("proxy_on_log", report("end"))];
    let with_trailers = [&heads[..], &[("proxy_on_response_trailers", report("trailers"))]].concat();
    let in_head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\ncontent-length: 0\r\n\r\n";
    for (callbacks, answer, expected) in [
        (&heads[..], in_head.into(), &["8|5|head|", "8|5|end|"][..]),
        (&heads, call_answer(&["world"], 9), &["1 0 0||head|", "8|9|end|"]),
        (&with_trailers, call_answer(&["world"], 9), &["1 0 0||head|", "8|9|trailers|", "8|9|end|"]),
        (&with_trailers, OK.into(), &["1 0 0||head|", "1 0 0||end|"]),
    ] {
        let callbacks: Vec<_> = callbacks.iter().map(|(name, script)| (*name, script.as_str())).collect();
        let origin = Origin::answer(answer);
        let gateway = filtered(&origin, &scripted(&callbacks), "").await;
        let call = Request::post("http://a/").header("content-type", "application/grpc");
        Http2Client::connect(gateway.addr("web")).await.request(call.body(Bytes::new()).unwrap()).await;
        for line in expected {
            gateway.wait_for_log(line).await;
        }
    }
}

#[tokio::test]
async fn the_outcome_of_a_failed_request_has_its_reason() {
    let module = scripted(&[(
        "proxy_on_log",
        &format!("{}say", ask(&["response\\0code_details", "response\\0code"])),
    )]);
    let origin = Origin::script(|_connection| async {});
    let gateway = filtered(&origin, &module, "").await;
    let status = gateway.client("web").await.get("/").await.status;
    let line = gateway.wait_for_log("0 upstream.closed|").await;
    assert!(line.contains(&format!("|{status}|")), "{line}");
}

#[tokio::test]
async fn a_filter_reads_the_properties_that_another_one_of_its_route_set() {
    let config = "
workers: 1
filters: { first: { wasm: first.wasm }, second: { wasm: second.wasm } }
routes: [{ name: all, upstream: { url: '{origin}' }, filters: [first, second] }]";
    let first = scripted(&[
        (
            "proxy_on_request_headers",
            "get_property user -> bytes\nset_property user ann\nset_property deep\\0path 'b c'\nsay",
        ),
        ("proxy_on_response_headers", "get_property user -> bytes\nfield x-user"),
    ]);
    let second = scripted(&[(
        "proxy_on_request_headers",
        "get_property user -> bytes
        get_property deep\\0path -> bytes
        set_property user bob
        set_property user ''
        get_property user -> bytes
        set_property user eve
        say",
    )]);
    let origin = Origin::answer(OK);
    let gateway = configured(config, &[("first", &first), ("second", &second)])
        .set("origin", origin.url())
        .start()
        .await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        // The next request begins without.
        assert_eq!(client.get("/").await.header("x-user"), Some("0 eve|"));
    }
    gateway.wait_for_log("0 ann|0 b c|0|0|0 |0|").await;
    // The log comes by a pipe, behind the answers.
    let begun = || gateway.logs().iter().filter(|line| line.contains("1 |0|0|")).count();
    wait_until("both requests began without", async || begun() == 2).await;
}

/// Envoy keeps filters' properties in its filter state, under their names behind `wasm.`; the module of Kuadrant reads them there.
#[tokio::test]
async fn property_of_a_filter_is_part_of_the_filter_state_too() {
    let answer = reported(
        "set_property kuadrant.auth.user ann
        get_property kuadrant.auth.user -> bytes
        get_property filter_state\\0wasm.kuadrant.auth.user -> bytes
        get_property filter_state\\0kuadrant.auth.user -> bytes
        get_property filter_state\\0wasm.other -> bytes
        get_property filter_state -> bytes
        set_property filter_state\\0wasm.kuadrant.auth.user bob
        get_property kuadrant.auth.user -> bytes",
    )
    .await;
    assert_eq!(answer, "0\n0 ann\n0 ann\n1 \n1 \n1 \n2\n0 ann\n");
}

#[tokio::test]
async fn properties_of_the_gateway_are_read_only_and_those_of_filters_are_limited() {
    let answer = reported(
        "set_property request\\0path /other
        set_property plugin_name other
        set_property route_name other
        get_property request\\0path -> bytes
        set_property own value",
    )
    .await;
    assert_eq!(answer, "2\n2\n2\n0 /\n0\n");
    let script = "
        (local.set 0 (call $set_property (i32.const 0) (i32.const 3) (i32.const 0x10000) (i32.const 65533)))
        (local.set 1 (call $set_property (i32.const 0) (i32.const 3) (i32.const 0x10000) (i32.const 65534)))
        (local.set 2 (call $set_property (i32.const 0) (i32.const 1025) (i32.const 0x10000) (i32.const 1)))
        number $0
        number $1
        number $2
        set_property other one
        set_property key small
        set_property other one
        answer";
    let module = scripted_with(
        "",
        r#"(data (i32.const 0) "key")"#,
        &[("proxy_on_request_headers", &script.replace("property key", "property 0 3"))],
    );
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &module, "").await;
    assert_eq!(gateway.client("web").await.get("/").await.text(), "0\n10\n2\n10\n0\n0\n");
    wait_until("the gateway goes on", async || gateway.client("web").await.get("/").await.status == 200)
        .await;
}
