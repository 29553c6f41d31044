//! Programs that others have written as upstreams of HTTP/2: Node, Go, nghttpd and nginx. `scripts/clients.sh` and `scripts/peers.sh` install
//! those that are missing.

mod nghttpd;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use support::bytes::Bytes;
use support::http::{HeaderMap, Request};
use support::{
    Certificates, Gate, Gateway, Http2Client, Http2Response, Origin, Signal, unused_address, wait_until,
    within,
};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::migrating::nginx;
use crate::pooled::{self, ROUTE, number};
use crate::programs::{Server, build_go, program, script};

/// More than any window that the programs have by default.
const LARGE: usize = 1 << 20;

/// Servers that others have written, and what their certificates need.
struct Site {
    certificates: Certificates,
    folder: TempDir,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Node,
    NodeTls,
    /// Go's library has HTTP/2 with TLS only.
    Go,
}

impl Site {
    async fn new(kind: Kind) -> Self {
        let site = Self { certificates: Certificates::new(), folder: TempDir::new().unwrap(), kind };
        if kind == Kind::Go {
            build_go("upstream_http2_programs/server.go", &site.go()).await;
        }
        site
    }

    fn go(&self) -> String {
        self.folder.path().join("server").display().to_string()
    }

    /// Starts a server that responds with its name.
    async fn server(&self, name: &str) -> Server {
        let identity = self.certificates.server(&["127.0.0.1"]);
        let (cert, key) = (identity.cert.display().to_string(), identity.key.display().to_string());
        let node = script("upstream_http2_programs/server.mjs");
        match self.kind {
            Kind::Node => Server::start(&program("node"), &[&node, name]).await,
            Kind::NodeTls => Server::start(&program("node"), &[&node, name, &cert, &key]).await,
            Kind::Go => Server::start(Path::new(&self.go()), &[name, &cert, &key]).await,
        }
    }

    async fn gateway(&self, servers: &[SocketAddr]) -> Gateway {
        gateway(servers, (self.kind != Kind::Node).then_some(&self.certificates)).await
    }
}

/// Starts a gateway with one worker before servers, with TLS if there are certificates.
async fn gateway(servers: &[SocketAddr], tls: Option<&Certificates>) -> Gateway {
    let (scheme, more) = match tls {
        Some(certificates) => ("https", format!("auto, tls: {{ ca: '{}' }}", certificates.ca().display())),
        None => ("http", "h2".to_owned()),
    };
    let urls: Vec<String> = servers.iter().map(|server| format!("'{scheme}://{server}'")).collect();
    let upstream = format!("{{ endpoints: [{}], balance: round_robin, protocol: {more} }}", urls.join(", "));
    pooled::builder(1, &upstream, "").start().await
}

fn post(body: Vec<u8>) -> Request<Bytes> {
    Request::post("http://a/echo").body(body.into()).unwrap()
}

fn field<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

fn bytes(length: usize) -> Vec<u8> {
    (0..251).cycle().take(length).collect()
}

/// Requests a path, which must succeed.
async fn get(client: &mut Http2Client, path: &str) -> Http2Response {
    let response = client.get(&format!("http://a{path}")).await;
    assert_eq!(response.status, 200, "{response:?}");
    response
}

/// Requests a path again and again, until the server of this name has responded twenty times in a row. All requests must succeed.
async fn get_until(client: &mut Http2Client, name: &str) {
    let mut times = 0;
    within("the other server to respond", async {
        while times < 20 {
            let is_its = get(client, "/").await.body == name.as_bytes();
            times = if is_its { times + 1 } else { 0 };
        }
    })
    .await;
}

async fn bodies_pass(kind: Kind) {
    let site = Site::new(kind).await;
    let server = site.server("one").await;
    let gateway = site.gateway(&[server.address()]).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    assert_eq!(get(&mut client, "/").await.body, b"one");
    for length in [0, 11, LARGE, 3 * LARGE] {
        let response = client.request(post(bytes(length))).await;
        assert_eq!(response.status, 200, "{response:?}");
        assert!(response.body == bytes(length), "{length} bytes");
        assert_eq!(field(&response.trailers, "x-end"), "none");
    }
    // HTTP/1 has the same server.
    let response = gateway.client("web").await.request("POST", "/echo", &[], &bytes(LARGE)).await;
    assert!(response.body == bytes(LARGE));

    let mut request = post(Vec::new()).map(drop);
    // Go takes no others than those that are announced.
    request.headers_mut().insert("trailer", "x-end".parse().unwrap());
    let (response, mut stream) = client.open(request, false).await.unwrap();
    stream.send_data("hello".into(), false).unwrap();
    let trailers = HeaderMap::from_iter([("x-end".parse().unwrap(), "mine".parse().unwrap())]);
    stream.send_trailers(trailers).unwrap();
    let response = Http2Client::read(response).await.unwrap();
    assert_eq!((&*response.body, field(&response.trailers, "x-end")), (&b"hello"[..], "mine"));

    let mut responses = Vec::new();
    for _ in 0..100 {
        let request = Request::get("http://a/").body(()).unwrap();
        responses.push(client.open(request, true).await.unwrap().0);
    }
    for response in responses {
        assert_eq!(Http2Client::read(response).await.unwrap().body, b"one");
    }
    let pool = gateway.pool(ROUTE).await;
    assert_eq!(number(&pool, "opened"), 1, "{pool:#}");
}

#[tokio::test]
async fn bodies_and_trailers_pass_to_node_and_back() {
    bodies_pass(Kind::Node).await;
    bodies_pass(Kind::NodeTls).await;
}

#[tokio::test]
async fn bodies_and_trailers_pass_to_go_and_back() {
    bodies_pass(Kind::Go).await;
}

/// Two servers, of which one is stopped while it echoes a body: that one finishes, and no request fails.
async fn graceful_stop(kind: Kind) {
    let site = Site::new(kind).await;
    let (one, two) = (site.server("one").await, site.server("two").await);
    let gateway = site.gateway(&[one.address(), two.address()]).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let (response, mut stream) = client.open(post(Vec::new()).map(drop), false).await.unwrap();
    let response = within("the head of a response", response).await.unwrap();
    let (mut stopped, other) = match field(response.headers(), "x-server") {
        "one" => (one, "two"),
        _ => (two, "one"),
    };
    let mut body = response.into_body();
    stream.send_data("before".into(), false).unwrap();
    assert_eq!(within("an echo", body.data()).await.unwrap().unwrap(), "before");

    stopped.signal(Signal::TERM);
    get_until(&mut client, other).await;
    stream.send_data("after".into(), true).unwrap();
    assert_eq!(within("an echo", body.data()).await.unwrap().unwrap(), "after");
    while let Some(data) = within("the end", body.data()).await {
        assert_eq!(data.unwrap(), Bytes::new());
    }
    assert_eq!(field(&body.trailers().await.unwrap().unwrap(), "x-end"), "none");
    assert!(stopped.wait_exit().await.success());
}

#[tokio::test]
async fn node_finishes_what_it_has_after_goaway() {
    graceful_stop(Kind::Node).await;
    graceful_stop(Kind::NodeTls).await;
}

#[tokio::test]
async fn go_finishes_what_it_has_after_goaway() {
    graceful_stop(Kind::Go).await;
}

/// nginx as a server of HTTP/2, before an origin of HTTP/1: its own response at `/`, the origin's elsewhere.
struct Nginx {
    server: Server,
    folder: TempDir,
    address: SocketAddr,
    tls: bool,
}

impl Nginx {
    async fn start(origin: &Origin, certificates: Option<&Certificates>, name: &str) -> Self {
        let address = unused_address();
        let folder = TempDir::new().unwrap();
        if let Some(certificates) = certificates {
            let identity = certificates.server(&[&address.ip().to_string()]);
            fs::copy(identity.cert, folder.path().join("cert")).unwrap();
            fs::copy(identity.key, folder.path().join("key")).unwrap();
        }
        let text = configuration(folder.path(), address, origin.addr(), certificates.is_some(), name);
        fs::write(folder.path().join("nginx.conf"), text).unwrap();
        fs::write(folder.path().join("file"), bytes(LARGE)).unwrap();
        let arguments = ["-p".into(), folder.path().display().to_string(), "-c".into(), "nginx.conf".into()];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["-e", "stderr"]).collect();
        let server = Server::spawn(&nginx::program(), &arguments, address.port());
        wait_until("nginx to accept", async || TcpStream::connect(address).await.is_ok()).await;
        Self { server, folder, address, tls: certificates.is_some() }
    }

    /// Has another process of it respond, with another name. The old one finishes what it has.
    fn reload(&self, origin: &Origin, name: &str) {
        let text = configuration(self.folder.path(), self.address, origin.addr(), self.tls, name);
        fs::write(self.folder.path().join("nginx.conf"), text).unwrap();
        self.server.signal(Signal::HUP);
    }
}

fn configuration(folder: &Path, address: SocketAddr, origin: SocketAddr, tls: bool, name: &str) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .concat();
    let tls = if tls {
        format!("ssl_certificate {folder}/cert; ssl_certificate_key {folder}/key;")
    } else {
        String::new()
    };
    let listen = if tls.is_empty() { "http2" } else { "ssl http2" };
    format!(
        "daemon off; pid {folder}/pid; error_log stderr; worker_processes 1; events {{}}
http {{
    access_log off; {temporary}
    server {{
        listen {address} {listen}; {tls}
        client_max_body_size 4m; keepalive_requests 50;
        location = / {{ return 200 {name}; }}
        location = /file {{ root {folder}; }}
        location / {{ proxy_pass http://{origin}; proxy_http_version 1.1; proxy_buffering off; }}
    }}
}}"
    )
}

/// Echoes bodies; a GET has the first half of its response at once, and the other behind the gate.
fn behind_nginx(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::script(move |mut connection| {
        let gate = gate.clone();
        async move {
            while let Some(request) = connection.read_request().await {
                if request.method == "GET" {
                    connection.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst").await;
                    gate.pass().await;
                    connection.write("later").await;
                    continue;
                }
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.len());
                connection.write([head.as_bytes(), &request.body].concat()).await;
            }
        }
    })
}

/// Runs a test with nginx in the clear and with TLS.
async fn with_nginx(test: impl AsyncFn(&Nginx, &mut Http2Client, &Gateway, &Origin, &Gate)) {
    for tls in [false, true] {
        let certificates = Certificates::new();
        let certificates = tls.then_some(&certificates);
        let gate = Gate::new();
        let origin = behind_nginx(&gate);
        let nginx = Nginx::start(&origin, certificates, "one").await;
        let gateway = gateway(&[nginx.address], certificates).await;
        let mut client = Http2Client::connect(gateway.addr("web")).await;
        test(&nginx, &mut client, &gateway, &origin, &gate).await;
    }
}

#[tokio::test]
async fn bodies_pass_to_nginx_and_back() {
    with_nginx(async |_, client, gateway, _, _| {
        assert_eq!(get(client, "/").await.body, b"one");
        assert!(get(client, "/file").await.body == bytes(LARGE));
        for length in [0, 11, LARGE] {
            let response = client.request(post(bytes(length))).await;
            assert_eq!(response.status, 200, "{response:?}");
            assert!(response.body == bytes(length), "{length} bytes");
        }
        let pool = gateway.pool(ROUTE).await;
        assert_eq!(number(&pool, "opened"), 1, "{pool:#}");
    })
    .await;
}

/// `keepalive_requests` ends a connection with GOAWAY.
#[tokio::test]
async fn requests_outlive_the_connections_that_nginx_ends_after_50() {
    with_nginx(async |_, client, gateway, _, _| {
        // Twenty at once: one that the end of a connection refuses goes again once, to a connection that is not near its own. As
        // a POST, it goes again for no other reason.
        for _ in 0..25 {
            let mut responses = Vec::new();
            for _ in 0..20 {
                let request = Request::post("http://a/").body(()).unwrap();
                responses.push(client.open(request, true).await.unwrap().0);
            }
            for response in responses {
                let response = Http2Client::read(response).await.unwrap();
                assert_eq!((response.status.as_u16(), &*response.body), (200, &b"one"[..]), "{response:?}");
            }
        }
        let pool = gateway.pool(ROUTE).await;
        assert!(number(&pool, "opened") >= 10, "{pool:#}");
    })
    .await;
}

#[tokio::test]
async fn requests_outlive_a_reload_of_nginx() {
    with_nginx(async |nginx, client, _, origin, gate| {
        let request = Request::get("http://a/held").body(()).unwrap();
        let (response, _) = client.open(request, true).await.unwrap();
        gate.arrivals(1).await;
        for name in ["two", "three"] {
            nginx.reload(origin, name);
            get_until(client, name).await;
        }
        gate.release();
        assert_eq!(Http2Client::read(response).await.unwrap().body, b"firstlater");
    })
    .await;
}

#[tokio::test]
async fn requests_outlive_the_quit_of_nginx() {
    for tls in [false, true] {
        let certificates = Certificates::new();
        let certificates = tls.then_some(&certificates);
        let gate = Gate::new();
        let origin = behind_nginx(&gate);
        let one = Nginx::start(&origin, certificates, "one").await;
        let gateway = gateway(&[one.address], certificates).await;
        let mut client = Http2Client::connect(gateway.addr("web")).await;
        let request = Request::get("http://a/held").body(()).unwrap();
        let (response, _) = client.open(request, true).await.unwrap();
        gate.arrivals(1).await;
        let Nginx { mut server, .. } = one;
        server.signal(Signal::QUIT);
        wait_until("the end of its listener", async || TcpStream::connect(one.address).await.is_err()).await;
        gate.release();
        assert_eq!(Http2Client::read(response).await.unwrap().body, b"firstlater");
        assert!(server.wait_exit().await.success());
    }
}
