//! A receiver of OTLP, by gRPC or by HTTP, that a test scripts.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use support::http::{HeaderMap, Response};
use support::rustls::ServerConfig;
use support::{Gate, Http2Exchange, Origin, OriginBuilder, h2, wait_until};

use super::wire::{self, Span};

/// A response to an export.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// By HTTP: a status with fields.
    Http(&'static str, &'static str),
    /// By gRPC: a status.
    Grpc(&'static str),
    /// This message in the response.
    Message(Vec<u8>),
    /// None until the gate opens, then success.
    Late(Gate),
}

/// The exports that have come.
#[derive(Default)]
struct Seen {
    replies: Mutex<VecDeque<Reply>>,
    exports: Mutex<Vec<Export>>,
}

/// An export: its path, its fields and its spans.
#[derive(Debug, Clone)]
pub(crate) struct Export {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) spans: Vec<Span>,
    /// True if it was taken.
    pub(crate) is_taken: bool,
}

pub(crate) struct Receiver {
    origin: Origin,
    seen: Arc<Seen>,
    protocol: &'static str,
}

impl Receiver {
    pub(crate) fn grpc() -> Self {
        Self::build("grpc", Origin::builder())
    }

    pub(crate) fn http() -> Self {
        Self::build("http", Origin::builder())
    }

    pub(crate) fn tls(protocol: &'static str, mut config: ServerConfig) -> Self {
        let alpn: &[u8] = if protocol == "grpc" { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![alpn.to_vec()];
        Self::build(protocol, Origin::builder().tls(config))
    }

    pub(crate) fn at(protocol: &'static str, address: SocketAddr) -> Self {
        Self::build(protocol, Origin::builder().address(address))
    }

    fn build(protocol: &'static str, builder: OriginBuilder) -> Self {
        let seen = Arc::new(Seen::default());
        let of_origin = seen.clone();
        let origin = if protocol == "grpc" {
            builder.http2(h2::server::Builder::new(), move |exchange| serve(of_origin.clone(), exchange))
        } else {
            builder.respond(move |request| {
                let headers = request.headers.0.iter().cloned().collect();
                let reply = of_origin.take(&request.target, headers, &request.body);
                let (status, fields, body) = match reply {
                    Some(Reply::Http(status, fields)) => (status, fields, vec![]),
                    Some(Reply::Message(message)) => ("200 OK", "", message),
                    _ => ("200 OK", "", vec![]),
                };
                let head = format!("HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n", body.len());
                [head.into_bytes(), body].concat()
            })
        };
        Self { origin, seen, protocol }
    }

    /// The settings of traces that go here, without the braces.
    pub(crate) fn settings(&self) -> String {
        format!("otlp: '{}', protocol: {}", self.origin.url(), self.protocol)
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Responds to the next exports like this, and takes those that follow.
    pub(crate) fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        self.seen.replies.lock().unwrap().extend(replies);
    }

    pub(crate) fn exports(&self) -> Vec<Export> {
        self.seen.exports.lock().unwrap().clone()
    }

    /// The spans that were taken.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.exports().into_iter().filter(|export| export.is_taken).flat_map(|export| export.spans).collect()
    }

    /// Waits until the spans of so many requests have been taken.
    pub(crate) async fn wait_for_requests(&self, count: usize) -> Vec<Span> {
        let requests = || self.spans().iter().filter(|span| span.kind == 2).count();
        wait_until(&format!("the spans of {count} requests"), async || requests() >= count).await;
        assert_eq!(requests(), count);
        self.spans()
    }
}

impl Seen {
    fn take(&self, path: &str, headers: BTreeMap<String, String>, message: &[u8]) -> Option<Reply> {
        let reply = self.replies.lock().unwrap().pop_front();
        let is_taken = !matches!(reply, Some(Reply::Http(..) | Reply::Grpc(_)));
        let export = Export { path: path.to_owned(), headers, spans: wire::spans(message), is_taken };
        self.exports.lock().unwrap().push(export);
        reply
    }
}

async fn serve(seen: Arc<Seen>, mut exchange: Http2Exchange) {
    let body = exchange.read_body().await.unwrap();
    let (head, _) = exchange.request.into_parts();
    assert_eq!(head.headers["content-type"], "application/grpc");
    assert_eq!(head.headers["te"], "trailers");
    let length = u32::from_be_bytes(body[1..5].try_into().unwrap());
    assert_eq!((body[0], length as usize), (0, body.len() - 5));
    let headers = head.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let reply = seen.take(head.uri.path(), headers.collect(), &body[5..]);
    let response = Response::builder().header("content-type", "application/grpc");
    let message = match reply {
        Some(Reply::Grpc(status)) => {
            let response = response.header("grpc-status", status).body(()).unwrap();
            drop(exchange.responder.send_response(response, true));
            return;
        }
        Some(Reply::Message(message)) => message,
        Some(Reply::Late(gate)) => {
            gate.pass().await;
            vec![]
        }
        _ => vec![],
    };
    let Ok(mut body) = exchange.responder.send_response(response.body(()).unwrap(), false) else { return };
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    drop(body.send_data([&[0][..], &length, &message].concat().into(), false));
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    drop(body.send_trailers(trailers));
}
