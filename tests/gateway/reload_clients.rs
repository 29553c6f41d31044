//! Gateways that are reloaded while clients of every kind are connected.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use support::bytes::Bytes;
use support::h2::client::ResponseFuture;
use support::h2::{RecvStream, SendStream};
use support::http::Request;
use support::{
    Certificates, Client, Connection, Gate, Gateway, GatewayBuilder, Http2Client, Origin, Response, within,
};

use crate::PROGRAM;

/// The fields of a request for a tunnel.
const UPGRADE: &str = "host: gateway.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

/// The response of a tunnel's origin.
pub(crate) const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

/// A configuration with the admin listener, the listeners `web` and, with TLS, `secure`, and whatever else.
pub(crate) fn config(rest: &str) -> String {
    format!("{ADMIN}listeners:\n  - {WEB}\n  - {SECURE}\n{rest}")
}

pub(crate) const ADMIN: &str = "admin: { address: 127.0.0.1:0 }\nworkers: 2\n";
pub(crate) const WEB: &str = "{ name: web, address: 127.0.0.1:0 }";
pub(crate) const SECURE: &str =
    "{ name: secure, address: 127.0.0.1:0, tls: { certificates: [{ cert: '{cert}', key: '{key}' }] } }";

/// A gateway with this configuration, in which `{cert}`, `{key}` and `{origin}` are filled in.
pub(crate) fn builder(
    config: impl Into<String>,
    certificates: &Certificates,
    origin: &Origin,
) -> GatewayBuilder {
    let identity = certificates.server(&["a.test"]);
    let path = |path: &Path| path.display().to_string();
    Gateway::builder(PROGRAM, config)
        .set("cert", path(&identity.cert))
        .set("key", path(&identity.key))
        .set("origin", origin.url())
}

/// Makes the gateway serve another configuration by `POST /reload`, which is faster than it notices by itself.
pub(crate) async fn reload(gateway: &Gateway, config: &str) {
    gateway.rewrite_config(config);
    let mut admin = Client::connect(gateway.admin_addr()).await;
    let answer = admin.request("POST", "/reload", &[("host", "localhost")], b"").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// An origin that holds each request at the gate, and then answers with its name.
pub(crate) fn gated(gate: &Gate, name: &'static str) -> Origin {
    let gate = gate.clone();
    Origin::script(move |connection| answer_at_gate(connection, gate.clone(), name))
}

pub(crate) async fn answer_at_gate(mut connection: Connection, gate: Gate, name: &'static str) {
    while connection.read_request().await.is_some() {
        gate.pass().await;
        connection.write(named(name)).await;
    }
}

/// An answer that keeps its connection.
pub(crate) fn named(name: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len()).into_bytes()
}

/// A client of HTTP/1 or HTTP/2, with TLS or without.
pub(crate) struct AnyClient {
    pub(crate) kind: &'static str,
    speaks: Speaks,
}

enum Speaks {
    Http1(Client),
    Http2 { client: Http2Client, sent: Option<(ResponseFuture, SendStream<Bytes>)>, body: Option<RecvStream> },
}

/// One of each kind, connected to `web` and `secure`.
pub(crate) async fn clients(gateway: &Gateway, certificates: &Certificates) -> [AnyClient; 4] {
    let (web, secure) = (gateway.addr("web"), gateway.addr("secure"));
    let http1 = certificates.client_config(&["http/1.1"]);
    let http2 = certificates.client_config(&["h2"]);
    let speaking = |client| Speaks::Http2 { client, sent: None, body: None };
    [
        ("HTTP/1", Speaks::Http1(Client::connect(web).await)),
        ("HTTP/1 over TLS", Speaks::Http1(Client::connect_tls(secure, &http1, "a.test").await)),
        ("HTTP/2", speaking(Http2Client::connect(web).await)),
        ("HTTP/2 over TLS", speaking(Http2Client::connect_tls(secure, &http2, "a.test").await)),
    ]
    .map(|(kind, speaks)| AnyClient { kind, speaks })
}

impl AnyClient {
    /// Sends `GET path`.
    pub(crate) async fn ask(&mut self, path: &str) {
        self.begin("GET", path, &[], true).await;
    }

    /// Sends the head of a request, and that there is no body if this is the `end`.
    pub(crate) async fn begin(&mut self, method: &str, path: &str, fields: &[(&str, &str)], end: bool) {
        match &mut self.speaks {
            Speaks::Http1(client) => {
                let fields: String =
                    fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                client.send_raw(format!("{method} {path} HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n")).await;
            }
            Speaks::Http2 { client, sent, .. } => {
                let mut head = Request::builder().method(method).uri(format!("http://a.test{path}"));
                for (name, value) in fields.iter().filter(|(name, _)| *name != "transfer-encoding") {
                    head = head.header(*name, *value);
                }
                *sent = Some(client.open(head.body(()).unwrap(), end).await.unwrap());
            }
        }
    }

    /// Sends a part of a body, in HTTP/1 as it is.
    pub(crate) async fn send(&mut self, part: &str, end: bool) {
        match &mut self.speaks {
            Speaks::Http1(client) => client.send_raw(part).await,
            Speaks::Http2 { sent, .. } => {
                let (_, stream) = sent.as_mut().unwrap();
                stream.send_data(part.to_owned().into(), end).unwrap();
            }
        }
    }

    /// Reads the head of the answer: its status, and a field of it.
    pub(crate) async fn head(&mut self, field: &str) -> (u16, Option<String>) {
        match &mut self.speaks {
            Speaks::Http1(client) => {
                let head = client.read_head().await;
                let status = head.first_line.split(' ').nth(1).unwrap().parse().unwrap();
                (status, head.headers.get(field).map(str::to_owned))
            }
            Speaks::Http2 { sent, body, .. } => {
                let (response, _) = sent.take().unwrap();
                let (head, rest) = within("an HTTP/2 head", response).await.unwrap().into_parts();
                *body = Some(rest);
                let field = head.headers.get(field).map(|value| value.to_str().unwrap().to_owned());
                (head.status.as_u16(), field)
            }
        }
    }

    /// Reads exactly so many bytes of the answer's body, as they are on the wire of HTTP/1; `None` where it breaks off.
    pub(crate) async fn read(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut read = Vec::new();
        while read.len() < length {
            match &mut self.speaks {
                Speaks::Http1(client) => {
                    return Some(client.read_exact(length).await);
                }
                Speaks::Http2 { body, .. } => {
                    let body = body.as_mut().unwrap();
                    let data = within("HTTP/2 data", body.data()).await?.ok()?;
                    body.flow_control().release_capacity(data.len()).unwrap();
                    read.extend_from_slice(&data);
                }
            }
        }
        Some(read)
    }

    /// Reads the end of the answer's body, of which all bytes have been read: whether it is a good one.
    pub(crate) async fn ends_well(&mut self, is_chunked: bool) -> bool {
        match &mut self.speaks {
            Speaks::Http1(_) if !is_chunked => true,
            Speaks::Http1(client) => client.read_exact(5).await == b"0\r\n\r\n",
            Speaks::Http2 { body, .. } => loop {
                match within("the end of a stream", body.as_mut().unwrap().data()).await {
                    None => return true,
                    Some(Err(_)) => return false,
                    Some(Ok(data)) => assert!(data.is_empty(), "{data:?}"),
                }
            },
        }
    }

    /// Waits until the answer's body breaks off. Nothing may come before.
    pub(crate) async fn is_cut(&mut self) {
        let kind = self.kind;
        match &mut self.speaks {
            Speaks::Http1(client) => {
                // A reset, on TLS a missing close_notify.
                let end = client.try_read_some().await;
                assert!(end.is_err() || end.is_ok_and(|end| end.is_empty()), "{kind}");
            }
            Speaks::Http2 { .. } => assert!(!self.ends_well(true).await, "{kind}"),
        }
    }

    /// Reads the answer: its status, a field of it, and its body.
    pub(crate) async fn answer(&mut self, field: &str) -> (u16, Option<String>, String) {
        match &mut self.speaks {
            Speaks::Http1(client) => {
                let response = client.read_response().await;
                (response.status, response.header(field).map(str::to_owned), response.text())
            }
            Speaks::Http2 { sent, .. } => {
                let response = Http2Client::read(sent.take().unwrap().0).await.unwrap();
                let field = response.headers.get(field).map(|value| value.to_str().unwrap().to_owned());
                (response.status.as_u16(), field, String::from_utf8(response.body).unwrap())
            }
        }
    }

    /// Asks, and reads the answer.
    pub(crate) async fn get(&mut self, path: &str) -> (u16, String) {
        self.ask(path).await;
        let (status, _, body) = self.answer("-").await;
        (status, body)
    }

    /// Waits until the gateway has closed the connection in good order.
    pub(crate) async fn closed(self) {
        match self.speaks {
            Speaks::Http1(mut client) => {
                assert_eq!(client.read_to_end().await.unwrap(), b"", "{}", self.kind)
            }
            Speaks::Http2 { client, .. } => client.closed().await.unwrap(),
        }
    }
}

/// Returns true if a socket listens on exactly this address.
pub(crate) fn listens(address: SocketAddr) -> bool {
    let IpAddr::V4(ip) = address.ip() else { panic!("not in this table: {address}") };
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    // The kernel's table has the bytes of an address in the machine's order.
    let wanted = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port());
    table.lines().any(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        // LISTEN in include/net/tcp_states.h.
        columns.get(1) == Some(&&*wanted) && columns.get(3) == Some(&"0A")
    })
}

/// A tunnel to the origin of `path`, once the upstream has agreed.
pub(crate) async fn tunnel(mut client: Client, path: &str) -> Client {
    client.send_raw(format!("GET {path} HTTP/1.1\r\n{UPGRADE}")).await;
    assert_eq!(client.read_head().await.first_line, "HTTP/1.1 101 Switching Protocols");
    client
}

/// The status of an answer, and the limit or failure that it names.
pub(crate) fn refusal(response: &Response) -> (u16, Option<&str>) {
    (response.status, response.header("x-gateway-error"))
}
