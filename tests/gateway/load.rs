//! Clients that ask without pause while the configuration changes, and what they were answered.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

use support::bytes::Bytes;
use support::rustls::ClientConfig;
use support::serde_json::{self, Value};
use support::{Client, Gateway, Http2Client, Request, Response, http, within};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A connection that is to live as long as the load does.
pub(crate) enum Connection {
    Http1(Client),
    Http2(Http2Client, &'static str),
}

/// A response on one path: its status, the fields that show what was done, and its body.
type Answer = String;

/// The clients of a test. Each has one connection, and asks for every path in turn, again and again: whatever
/// goes wrong with a request or with the connection is a panic at the next [`Load::settle`].
pub(crate) struct Load {
    paths: Vec<String>,
    clients: Vec<Running>,
    /// Grows with each settling: an answer knows under which it was asked for.
    epoch: Arc<AtomicU64>,
}

struct Running {
    name: &'static str,
    /// The answers since they were last taken, by path.
    answers: Arc<Mutex<Vec<Vec<Answer>>>>,
    /// The epoch in which its last complete round began.
    round: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Connection {
    /// HTTP/1 without TLS.
    pub(crate) async fn http1(address: SocketAddr) -> Self {
        Self::Http1(Client::connect(address).await)
    }

    /// HTTP/2 without TLS.
    pub(crate) async fn http2(address: SocketAddr) -> Self {
        Self::Http2(Http2Client::connect(address).await, "http")
    }

    /// HTTP/2 with TLS, which `tls` offers.
    pub(crate) async fn http2_tls(address: SocketAddr, tls: &Arc<ClientConfig>) -> Self {
        Self::Http2(Http2Client::connect_tls(address, tls, "gateway.test").await, "https")
    }

    async fn ask(&mut self, path: &str) -> Answer {
        const FIELDS: [(&str, &str); 2] = [("x-test", "1"), ("x-forwarded-for", "192.0.2.9")];
        let shown = |name: &str| name.starts_with("x-") || name == "location";
        let (status, fields, body): (u16, Vec<(String, String)>, Vec<u8>) = match self {
            Self::Http1(client) => {
                let response = client.request("GET", path, &FIELDS, b"").await;
                assert!(!response.headers.lists("connection", "close"), "{path}: {response:?}");
                (response.status, response.headers.0, response.body)
            }
            Self::Http2(client, scheme) => {
                let mut request = http::Request::get(format!("{scheme}://gateway.test{path}"));
                for (name, value) in FIELDS {
                    request = request.header(name, value);
                }
                let response = client.request(request.body(Bytes::new()).unwrap()).await;
                let fields = response.headers.iter();
                let fields =
                    fields.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
                (response.status.as_u16(), fields.collect(), response.body)
            }
        };
        let mut fields: Vec<String> = fields
            .into_iter()
            .filter(|(name, _)| shown(name))
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        fields.sort_unstable();
        format!("{status} {fields:?} {}", String::from_utf8(body).unwrap())
    }
}

impl Load {
    /// Clients that ask for `paths`, with their names for failures.
    pub(crate) fn start(
        paths: &[&str],
        clients: impl IntoIterator<Item = (&'static str, Connection)>,
    ) -> Self {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let epoch = Arc::new(AtomicU64::new(0));
        let clients = clients.into_iter().map(|(name, mut connection)| {
            let answers = Arc::new(Mutex::new(vec![Vec::new(); paths.len()]));
            let (done, round) = watch::channel(0);
            let (paths, epoch, log) = (paths.clone(), epoch.clone(), answers.clone());
            let task = tokio::spawn(async move {
                loop {
                    let began = epoch.load(SeqCst);
                    for (index, path) in paths.iter().enumerate() {
                        let answer = connection.ask(path).await;
                        log.lock().unwrap()[index].push(answer);
                    }
                    done.send_replace(began);
                }
            });
            Running { name, answers, round, task }
        });
        let clients = clients.collect();
        Self { paths, clients, epoch }
    }

    /// Waits until every client has asked for every path once more. Of each client and path: what it was answered
    /// since the settling before, without repetitions; the last is the answer as of now.
    pub(crate) async fn settle(&mut self) -> Vec<Vec<Answer>> {
        let epoch = self.epoch.fetch_add(1, SeqCst) + 1;
        let mut all = Vec::new();
        for client in &mut self.clients {
            let settled = within(client.name, client.round.wait_for(|began| *began >= epoch)).await.is_ok();
            if !settled {
                let ended = (&mut client.task).await;
                panic!("the client {} failed: {ended:?}", client.name);
            }
            for answers in client.answers.lock().unwrap().iter_mut() {
                let mut seen = std::mem::take(answers);
                seen.dedup();
                all.push(seen);
            }
        }
        all
    }

    /// Reloads, and settles. Every request was answered as before or as after, and none that came after the reload as
    /// before. `now` has the answers of before, and of after in the end. Which clients were answered otherwise on any
    /// path.
    pub(crate) async fn across(
        &mut self,
        now: &mut [Answer],
        reload: impl Future<Output = ()>,
    ) -> BTreeSet<&'static str> {
        reload.await;
        let (mut changed, paths) = (BTreeSet::new(), self.paths.len());
        for (index, seen) in self.settle().await.into_iter().enumerate() {
            let (client, path) = (self.clients[index / paths].name, &self.paths[index % paths]);
            let before = &mut now[index];
            let after = seen.last().unwrap().clone();
            let expected: &[&Answer] = if *before == after { &[&after] } else { &[before, &after] };
            let is_expected = seen.iter().eq(expected.iter().copied()) || seen.iter().eq([&after]);
            assert!(is_expected, "{client} got, on {path}, after {before}: {seen:#?}");
            if *before != after {
                changed.insert(client);
            }
            *before = after;
        }
        changed
    }

    /// The names of all clients.
    pub(crate) fn everybody(&self) -> BTreeSet<&'static str> {
        self.clients.iter().map(|client| client.name).collect()
    }

    /// The answers as of now.
    pub(crate) async fn answers(&mut self) -> Vec<Answer> {
        self.settle().await.into_iter().map(|mut seen| seen.pop().unwrap()).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.clients.iter().for_each(|client| client.task.abort());
    }
}

/// Writes a configuration and asks for the reload; it has to be the next generation. What the gateway says of it.
pub(crate) async fn reload(gateway: &Gateway, config: &Value, generation: u64) -> Value {
    gateway.rewrite_config(&config.to_string());
    let report = post_reload(gateway).await;
    assert_eq!(report["generation"], generation, "{report:#}");
    report
}

/// Asks for a reload, which must not be refused.
pub(crate) async fn post_reload(gateway: &Gateway) -> Value {
    let response = ask_for_reload(gateway).await;
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_slice(&response.body).unwrap()
}

/// Asks for a reload, whatever comes of it.
pub(crate) async fn ask_for_reload(gateway: &Gateway) -> Response {
    let mut client = Client::connect(gateway.admin_addr()).await;
    client.request("POST", "/reload", &[("host", "localhost")], b"").await
}

/// Returns a response that names its origin and the request. It omits ports, which differ between any two origins.
pub(crate) fn told(origin: &str, request: &Request) -> Vec<u8> {
    let shown = |(name, value): &(String, String)| match name.to_lowercase().as_str() {
        "host" => Some(format!("host: {}", value.split(':').next().unwrap_or_default())),
        name => name.starts_with("x-").then(|| format!("{name}: {value}")),
    };
    let mut fields: Vec<String> = request.headers.0.iter().filter_map(shown).collect();
    fields.sort_unstable();
    let body = format!("{origin}: {} {} {fields:?}", request.method, request.target);
    format!("HTTP/1.1 200 OK\r\nx-origin: {origin}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}
