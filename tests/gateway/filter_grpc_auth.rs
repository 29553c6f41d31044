//! The filter `grpc-auth`, which asks a gRPC service whether a request may pass. It is built with the SDK for Rust.

use support::{Gate, Http2Exchange, Origin, unused_address};

use crate::filter_grpc_calls::{end, reply};
use crate::filter_plugins::{get, text_with_upstreams, with_upstreams};
use crate::gateway;
use crate::grpc::message;

/// Decides by `authorization`, which is the number of a status.
async fn authorize(mut exchange: Http2Exchange) {
    assert_eq!(exchange.read_body().await, Some(message("")));
    let head = &exchange.request;
    assert_eq!(head.uri().path(), "/shop.Authorizer/Check");
    assert_eq!(head.headers()["x-original-method"], "POST");
    assert_eq!(head.headers()["x-original-path"], "/a?b");
    let Some(status) = head.headers().get("authorization").cloned() else {
        let refusal = reply().header("grpc-status", "16").body(()).unwrap();
        return drop(exchange.responder.send_response(refusal, true).unwrap());
    };
    let status = status.to_str().unwrap().to_owned();
    let messages = if status == "0" { message("any") } else { vec![] };
    end(exchange, &messages, &[("grpc-status", &status), ("grpc-message", "caf%C3%A9")]);
}

#[tokio::test]
async fn grpc_auth_passes_requests_by_the_status_of_its_call() {
    let (origin, authorizer) = (Origin::echo(), Origin::http2(authorize));
    let gateway = with_upstreams("grpc-auth", &[&origin.url(), &authorizer.url()]).await.start().await;
    let mut client = gateway.client("web").await;
    for (credential, status, body) in [
        (Some("0"), 200, "a body"),
        (Some("7"), 403, "not permitted\n"),
        (Some("0"), 200, "a body"),
        (Some("5"), 503, "authorization is not available\n"),
        (None, 401, "show a token\n"),
    ] {
        let fields: Vec<_> = credential.map(|credential| ("authorization", credential)).into_iter().collect();
        let response = client.request("POST", "/a?b", &fields, b"a body").await;
        assert_eq!((response.status, response.text().as_str()), (status, body), "{credential:?}");
    }
    gateway.wait_for_log("status 7: caf\u{e9}").await;
    assert_eq!((origin.requests().len(), authorizer.errors()), (2, vec![]));
}

#[tokio::test]
async fn grpc_auth_refuses_while_the_authorizer_is_down_or_slow() {
    let (origin, gate) = (Origin::echo(), Gate::new());
    let at_gate = gate.clone();
    let silent = Origin::http2(move |mut exchange: Http2Exchange| {
        let gate = at_gate.clone();
        async move {
            exchange.wait_reset().await;
            gate.pass().await;
        }
    });
    for (authorizer, calls) in [(format!("http://{}", unused_address()), 0), (silent.url(), 1)] {
        let text = text_with_upstreams("grpc-auth", &[&origin.url(), &authorizer]).await;
        let gateway = gateway(text).start().await;
        let response = get(&gateway, "/", &[]).await;
        assert_eq!((response.status, response.text().as_str()), (503, "authorization is not available\n"));
        gate.arrivals(calls).await;
    }
    assert_eq!(origin.accepted(), 0);
}

#[tokio::test]
async fn grpc_auth_survives_an_upstream_that_it_cannot_call() {
    let (origin, authorizer) = (Origin::echo(), Origin::http2(authorize));
    let text = text_with_upstreams("grpc-auth", &[&origin.url(), &authorizer.url()]).await;
    for (from, to, warning) in [
        ("upstream: authorizer", "upstream: nobody", "add it to `upstreams`"),
        ("protocol: h2", "protocol: h1", "set `protocol: h2`"),
    ] {
        assert!(text.contains(from));
        let gateway = gateway(text.replace(from, to)).start().await;
        assert_eq!(get(&gateway, "/", &[]).await.status, 503);
        gateway.wait_for_log(warning).await;
        let logs = gateway.logs();
        assert!(!logs.iter().any(|line| line.contains("failed in")), "no panic of the SDK: {logs:#?}");
    }
}
