//! The way of spans to their receiver: its protocols, its failures, reloads and the end of the gateway.

use std::time::Duration;

use support::{Certificates, Gate, Gateway, PATIENCE, Signal, unused_address, wait_until};

use super::receiver::{Receiver, Reply};
use super::{builder, config, of_kind, start};
use crate::gateway;

const ROUTES: &str = "routes: [{ respond: { body: ok } }]";

/// A response of the receiver that it has refused one span.
const ONE_REFUSED: [u8; 4] = [0x0a, 0x02, 0x08, 0x01];

async fn send(gateway: &Gateway, count: usize) {
    let mut client = gateway.client("web").await;
    for _ in 0..count {
        assert_eq!(client.get("/").await.status, 200);
    }
}

async fn dropped(gateway: &Gateway, reason: &str) -> f64 {
    let name = format!("gateway_traces_dropped_spans_total{{reason=\"{reason}\"}}");
    gateway.metric(&name).await.unwrap()
}

async fn count(gateway: &Gateway, name: &str) -> f64 {
    gateway.metric(&format!("gateway_traces_{name}_total")).await.unwrap()
}

#[tokio::test]
async fn receivers_of_both_protocols_get_the_fields_with_their_secrets() {
    for (receiver, path, kind) in [
        (Receiver::grpc(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export", "application/grpc"),
        (Receiver::http(), "/v1/traces", "application/x-protobuf"),
    ] {
        let headers = "headers: { authorization: 'Bearer ${TOKEN}', x-tenant: file:tenant }";
        let traces = format!("{{ {}, {headers} }}", receiver.settings());
        let gateway = builder(&traces, ROUTES).env("TOKEN", "hunter2").file("tenant", "shop\n").start().await;
        send(&gateway, 3).await;
        receiver.wait_for_requests(3).await;
        let export = &receiver.exports()[0];
        assert_eq!(export.path, path);
        for (name, value) in [
            ("authorization", "Bearer hunter2"),
            ("x-tenant", "shop"),
            ("content-type", kind),
            ("user-agent", concat!("gateway/", env!("CARGO_PKG_VERSION"))),
        ] {
            assert_eq!(export.headers[name], value);
        }
        assert!((1..=2).contains(&receiver.exports().len()), "spans are sent together");
        assert_eq!(receiver.origin().accepted(), 1, "one connection is enough");
        wait_until("the counts", async || count(&gateway, "exported_spans").await == 3.0).await;
        assert_eq!(count(&gateway, "export_failures").await, 0.0);
        let shown = gateway.admin("/config").await.text();
        assert!(!shown.contains("hunter2") && !shown.contains("shop"), "{shown}");
    }
}

#[tokio::test]
async fn path_of_the_url_is_that_of_exports_by_http() {
    let receiver = Receiver::http();
    let url = format!("{}/otlp/traces", receiver.origin().url());
    let gateway = builder(&format!("{{ otlp: '{url}', protocol: http }}"), ROUTES).start().await;
    send(&gateway, 1).await;
    receiver.wait_for_requests(1).await;
    assert_eq!(receiver.exports()[0].path, "/otlp/traces");
}

#[tokio::test]
async fn receivers_with_tls_are_verified_and_see_the_gateways_certificate() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let (identity, client) = (certificates.server(&["localhost"]), certificates.client("gateway"));
    for protocol in ["grpc", "http"] {
        let receiver = Receiver::tls(protocol, certificates.server_config_with_client_auth(&identity));
        let settings = |ca: &Certificates| {
            format!(
                "{{ {}, tls: {{ ca: '{}', client: {{ cert: cert.pem, key: key.pem }} }} }}",
                receiver.settings(),
                ca.ca().display()
            )
        };
        let files = |builder: support::GatewayBuilder| {
            builder
                .file("cert.pem", std::fs::read(&client.cert).unwrap())
                .file("key.pem", std::fs::read(&client.key).unwrap())
        };
        let gateway = files(builder(&settings(&others), ROUTES)).start().await;
        send(&gateway, 1).await;
        let warning = gateway.wait_for_log("the receiver does not take spans").await;
        assert!(warning.contains("certificate"), "{warning}");
        // A receiver that is trusted gets what the other one did not.
        gateway.reload(&config(&settings(&certificates), ROUTES)).await;
        send(&gateway, 1).await;
        receiver.wait_for_requests(1).await;
    }
}

#[tokio::test]
async fn receiver_that_comes_back_gets_all_spans() {
    for protocol in ["grpc", "http"] {
        let address = unused_address();
        let traces = format!("{{ otlp: 'http://{address}', protocol: {protocol} }}");
        let gateway = builder(&traces, ROUTES).start().await;
        send(&gateway, 20).await;
        let warning = gateway.wait_for_log("the receiver does not take spans").await;
        assert!(warning.contains("sent again later"), "{warning}");
        send(&gateway, 20).await;
        let receiver = Receiver::at(protocol, address);
        receiver.wait_for_requests(40).await;
        gateway.wait_for_log("takes spans again").await;
        assert!(count(&gateway, "export_failures").await >= 1.0);
        assert_eq!(dropped(&gateway, "unavailable").await, 0.0);
    }
}

#[tokio::test]
async fn refusals_for_now_are_followed_by_another_try_and_final_ones_are_counted() {
    let grpc = Receiver::grpc();
    grpc.reply([Reply::Grpc("14"), Reply::Grpc("4")]);
    let http = Receiver::http();
    http.reply([Reply::Http("429 Too Many Requests", "retry-after: 0\r\n"), Reply::Http("503 Busy", "")]);
    for (receiver, last) in [(grpc, Reply::Grpc("3")), (http, Reply::Http("400 Bad Request", ""))] {
        let gateway = start(&receiver, "", ROUTES).await;
        send(&gateway, 1).await;
        receiver.wait_for_requests(1).await;
        let exports = receiver.exports();
        assert_eq!(exports.iter().map(|export| export.is_taken).collect::<Vec<_>>(), [false, false, true]);
        assert!(exports.iter().all(|export| export.spans == exports[0].spans));
        receiver.reply([last, Reply::Message(ONE_REFUSED.to_vec())]);
        send(&gateway, 1).await;
        wait_until("the refused span", async || dropped(&gateway, "rejected").await == 1.0).await;
        gateway.wait_for_log("they are dropped").await;
        send(&gateway, 1).await;
        wait_until("the span refused alone", async || dropped(&gateway, "rejected").await == 2.0).await;
        assert_eq!(count(&gateway, "exported_spans").await, 1.0);
    }
}

#[tokio::test]
async fn slow_receiver_costs_requests_nothing_and_what_finds_no_room_is_counted() {
    let (receiver, gate) = (Receiver::grpc(), Gate::new());
    receiver.reply([Reply::Late(gate.clone())]);
    let gateway = start(&receiver, "timeout: 60s", ROUTES).await;
    send(&gateway, 1).await;
    gate.arrivals(1).await;
    // The queue has room for 4096.
    send(&gateway, 4200).await;
    wait_until("spans without room", async || dropped(&gateway, "queue_full").await == 104.0).await;
    gate.release_all();
    receiver.wait_for_requests(4097).await;
    let per_export: Vec<usize> = receiver.exports().iter().map(|export| export.spans.len()).collect();
    assert!(per_export.iter().all(|spans| *spans <= 512), "{per_export:?}");
}

#[tokio::test]
async fn receiver_that_does_not_respond_in_time_is_asked_again() {
    let (receiver, gate) = (Receiver::grpc(), Gate::new());
    receiver.reply([Reply::Late(gate.clone())]);
    let gateway = start(&receiver, "timeout: 200ms", ROUTES).await;
    send(&gateway, 1).await;
    let warning = gateway.wait_for_log("no response within 200ms").await;
    assert!(warning.contains("sent again later"), "{warning}");
    wait_until("the second export", async || receiver.exports().len() == 2).await;
    gate.release_all();
}

#[tokio::test]
async fn gateway_that_stops_sends_what_it_has() {
    for receiver in [Receiver::grpc(), Receiver::http()] {
        let mut gateway = start(&receiver, "", ROUTES).await;
        send(&gateway, 30).await;
        gateway.signal(Signal::TERM);
        assert!(gateway.wait_exit(PATIENCE).await.success());
        assert_eq!(receiver.wait_for_requests(30).await.len(), 30);
    }
}

#[tokio::test]
async fn gateway_stops_in_time_though_its_receiver_is_away() {
    let traces = format!("{{ otlp: 'http://{}' }}", unused_address());
    let mut gateway = builder(&traces, ROUTES).start().await;
    send(&gateway, 1).await;
    gateway.wait_for_log("the receiver does not take spans").await;
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(Duration::from_secs(15)).await.success());
}

#[tokio::test]
async fn reload_changes_the_receiver_without_loss_and_keeps_the_counts() {
    let (first, second) = (Receiver::grpc(), Receiver::http());
    let settings =
        |receiver: &Receiver, more: &str| config(&format!("{{ {}, {more} }}", receiver.settings()), ROUTES);
    let gateway = gateway(settings(&first, "")).start().await;
    send(&gateway, 10).await;
    gateway.reload(&settings(&second, "")).await;
    send(&gateway, 10).await;
    first.wait_for_requests(10).await;
    second.wait_for_requests(10).await;
    wait_until("the counts", async || count(&gateway, "exported_spans").await == 20.0).await;
    // Each of the other keys, too.
    for (more, is_recorded) in [
        ("sample: 0", false),
        ("sample: 0, errors: always", false),
        ("sample: 1, parents: none, timeout: 3s", true),
        ("service: other, resource: { a: b }", true),
    ] {
        gateway.reload(&settings(&second, more)).await;
        let before = second.spans().len();
        send(&gateway, 1).await;
        if is_recorded {
            second.wait_for_requests(before + 1).await;
        }
    }
    let last = second.spans().pop().unwrap();
    assert_eq!((&*last.resource["service.name"], &*last.resource["a"]), ("other", "b"));
    assert_eq!(of_kind(&second.spans(), 2).len(), 12);
    gateway.reload(&config("off", ROUTES)).await;
    send(&gateway, 1).await;
    assert_eq!(second.spans().len(), 12);
}

#[tokio::test]
async fn secret_in_a_file_is_read_again_when_it_changes() {
    let receiver = Receiver::http();
    let traces = format!("{{ {}, headers: {{ authorization: file:token }} }}", receiver.settings());
    let gateway = builder(&traces, ROUTES).file("token", "first").start().await;
    send(&gateway, 1).await;
    receiver.wait_for_requests(1).await;
    let before = gateway.generation().await;
    std::fs::write(gateway.folder().join("token"), "second").unwrap();
    gateway.signal(Signal::HUP);
    wait_until("the reload", async || gateway.generation().await > before).await;
    send(&gateway, 1).await;
    receiver.wait_for_requests(2).await;
    let sent: Vec<String> =
        receiver.exports().into_iter().map(|export| export.headers["authorization"].clone()).collect();
    assert_eq!(sent, ["first", "second"]);
}

#[tokio::test]
async fn settings_that_make_no_sense_are_errors() {
    for (traces, message) in [
        ("{ otlp: 'http://127.0.0.1:4317/v1/traces' }", "the path of `otlp` has no effect by gRPC"),
        ("{ otlp: 'http://a:4317', headers: { a: b } }", "write `file:PATH`"),
        ("{ otlp: 'http://a:4317', headers: { te: '${HOME}' } }", "the field `te` cannot be set"),
        ("{ otlp: 'http://a:4317', tls: { ca: a.pem } }", "`ca` has no effect without an `https` URL"),
        ("{ otlp: 'https://a:4317', tls: { ca: a.pem } }", "a.pem"),
        ("{ otlp: '127.0.0.1:4317' }", "is not the URL of a receiver"),
        ("{ otlp: 'http://a:4317', sample: 2 }", "must be a number from 0 to 1"),
        ("{ otlp: 'http://a:4317', headers: { a: file:none } }", "cannot read"),
    ] {
        let output = builder(traces, ROUTES).run_to_exit().await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && errors.contains(message), "{traces}: {errors}");
    }
}
