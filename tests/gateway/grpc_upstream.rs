//! gRPC calls of the four kinds from an HTTP/2 client to an HTTP/2 upstream.

use support::bytes::Bytes;
use support::h2::{Reason, SendStream};
use support::http::{HeaderMap, Request, Response};
use support::{Gate, Gateway, Http2Client, Http2Exchange, Origin};

use crate::gateway;
use crate::grpc::message;

async fn start(origin: &Origin) -> Gateway {
    gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes: [{ name: all, upstream: { url: '{origin}', protocol: h2 }, grpc_web: on }]",
    )
    .set("origin", origin.url())
    .start()
    .await
}

fn call(path: &str) -> Request<()> {
    let call = Request::post(format!("http://a{path}"));
    call.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap()
}

/// A server of calls. Its replies begin before the requests end.
async fn serve(mut exchange: Http2Exchange) {
    let (head, mut requests) = exchange.request.into_parts();
    assert_eq!(head.headers["content-type"], "application/grpc");
    assert_eq!(head.headers["te"], "trailers");
    let reply = Response::builder().header("content-type", "application/grpc");
    if head.uri.path() == "/Fails" {
        let reply = reply.header("grpc-status", "5").body(()).unwrap();
        return drop(exchange.responder.send_response(reply, true).unwrap());
    }
    let mut replies = exchange.responder.send_response(reply.body(()).unwrap(), false).unwrap();
    let send =
        |replies: &mut SendStream<Bytes>, data: &str| replies.send_data(message(data).into(), false).unwrap();
    let mut received = Vec::new();
    while let Some(data) = requests.data().await {
        let data = data.unwrap();
        requests.flow_control().release_capacity(data.len()).unwrap();
        received.extend_from_slice(&data);
        if head.uri.path() == "/Chat" && !data.is_empty() {
            send(&mut replies, &format!("{} bytes", data.len()));
        }
    }
    match head.uri.path() {
        "/Unary" | "/Upload" => send(&mut replies, &format!("{} bytes", received.len())),
        "/Download" => ["one", "two", "three"].into_iter().for_each(|data| send(&mut replies, data)),
        _ => {}
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers.insert("x-late-bin", "AP8".parse().unwrap());
    replies.send_trailers(trailers).unwrap();
}

#[tokio::test]
async fn calls_of_each_kind_pass() {
    let origin = Origin::http2(serve);
    let gateway = start(&origin).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    for (path, requests, replies) in [
        ("/Unary", &["hello"][..], &["10 bytes"][..]),
        ("/Upload", &["a", "b", "c"], &["18 bytes"]),
        ("/Download", &["hello"], &["one", "two", "three"]),
    ] {
        let (response, mut stream) = client.open(call(path), false).await.unwrap();
        for data in requests {
            stream.send_data(message(data).into(), false).unwrap();
        }
        stream.send_data(Bytes::new(), true).unwrap();
        let response = Http2Client::read(response).await.unwrap();
        let expected: Vec<u8> = replies.iter().flat_map(|data| message(data)).collect();
        assert_eq!((response.status.as_u16(), response.body), (200, expected), "{path}");
        assert_eq!(
            (&response.trailers["grpc-status"], &response.trailers["x-late-bin"]),
            (&"0".parse().unwrap(), &"AP8".parse().unwrap())
        );
    }

    let (response, mut stream) = client.open(call("/Chat"), false).await.unwrap();
    let mut body = response.await.unwrap().into_body();
    for data in ["a", "bb", "ccc"] {
        stream.send_data(message(data).into(), false).unwrap();
        let reply = body.data().await.unwrap().unwrap();
        assert_eq!(&reply[..], message(&format!("{} bytes", 5 + data.len())));
    }
    stream.send_data(Bytes::new(), true).unwrap();
    assert!(body.data().await.is_none());
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");

    let (response, _stream) = client.open(call("/Fails"), true).await.unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "5");
    assert!(response.body().is_end_stream(), "END_STREAM is on the head");
    assert!(!response.headers().contains_key("content-length"));
    assert_eq!(origin.errors(), <[String; 0]>::default());
}

#[tokio::test]
async fn deadline_of_the_client_resets_the_stream_of_the_upstream() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::http2(move |mut exchange: Http2Exchange| {
        let gate = at_gate.clone();
        async move {
            assert_eq!(exchange.wait_reset().await, Some(Reason::CANCEL));
            gate.pass().await;
        }
    });
    let gateway = start(&origin).await;
    let mut request = call("/Slow").map(|()| Bytes::from(message("hello")));
    request.headers_mut().insert("grpc-timeout", "200m".parse().unwrap());
    let response = Http2Client::connect(gateway.addr("web")).await.request(request).await;
    assert_eq!((response.status.as_u16(), &response.headers["grpc-status"]), (200, &"4".parse().unwrap()));
    assert_eq!(response.headers["x-gateway-error"], "grpc.timeout");
    gate.arrivals(1).await;
    gate.release();
}

#[tokio::test]
async fn call_by_grpc_web_reaches_an_http2_upstream() {
    let origin = Origin::http2(serve);
    let gateway = start(&origin).await;
    let fields = [("content-type", "application/grpc-web")];
    let response = gateway.client("web").await.request("POST", "/Unary", &fields, &message("hello")).await;
    let mut expected = message("grpc-status: 0\r\nx-late-bin: AP8\r\n");
    expected[0] = 0x80;
    assert_eq!((response.status, response.body), (200, [message("10 bytes"), expected].concat()));
}
