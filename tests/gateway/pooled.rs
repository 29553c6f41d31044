//! Gateways whose one route, `pooled`, goes through a pool, and what their pools say.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;

use support::serde_json::Value;
use support::{
    Certificates, Connection, Gate, Gateway, GatewayBuilder, Origin, Response, Signal, wait_until,
};
use tokio::task::{JoinHandle, JoinSet};

/// The name of the route.
pub(crate) const ROUTE: &str = "pooled";

/// A small answer that keeps its connection.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A gateway with this configuration beside its listener `web` and the admin listener.
pub(crate) fn gateway(config: &str) -> GatewayBuilder {
    Gateway::builder(env!("CARGO_BIN_EXE_gateway"), whole(config))
}

/// The file of such a gateway, for a reload.
pub(crate) fn whole(config: &str) -> String {
    let listeners = "listeners: [{ name: web, address: 127.0.0.1:0 }]\nadmin: { address: 127.0.0.1:0 }\n";
    let access_log = "telemetry: { access_log: off }\n";
    format!("{listeners}{access_log}{config}")
}

/// A gateway with so many workers, the route's `upstream`, and further keys of the route, one a line.
pub(crate) fn builder(workers: usize, upstream: &str, keys: &str) -> GatewayBuilder {
    gateway(&to_upstream(workers, upstream, keys))
}

/// The configuration of such a gateway.
pub(crate) fn to_upstream(workers: usize, upstream: &str, keys: &str) -> String {
    let keys: String = keys.lines().map(|line| format!("    {}\n", line.trim())).collect();
    format!(
        "workers: {workers}\nroutes:\n  - name: {ROUTE}\n    match: {{ prefix: / }}\n    upstream: {upstream}\n{keys}"
    )
}

/// The statuses of so many requests, one after the other.
pub(crate) async fn statuses(gateway: &Gateway, requests: usize) -> Vec<u16> {
    let mut client = gateway.client("web").await;
    let mut statuses = Vec::new();
    for _ in 0..requests {
        statuses.push(client.get("/").await.status);
    }
    statuses
}

/// One worker, and one endpoint without TLS.
pub(crate) async fn to(address: SocketAddr, keys: &str) -> Gateway {
    with_workers(1, address, keys).await
}

/// So many workers, and one endpoint without TLS.
pub(crate) async fn with_workers(workers: usize, address: SocketAddr, keys: &str) -> Gateway {
    builder(workers, &format!("{{ url: 'http://{address}' }}"), keys).start().await
}

/// The YAML of an upstream with one endpoint, whose authority is trusted if it speaks TLS.
pub(crate) fn upstream(origin: &Origin, certificates: &Certificates) -> String {
    let url = origin.url();
    let ca = certificates.ca();
    if url.starts_with("https") {
        format!("{{ url: '{url}', tls: {{ ca: {} }} }}", ca.display())
    } else {
        format!("{{ url: '{url}' }}")
    }
}

/// An origin that holds each request at the gate before it answers [`OK`].
pub(crate) fn gated(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::script(move |connection| serve_gated(connection, gate.clone()))
}

/// Holds each request at the gate before it answers [`OK`].
pub(crate) async fn serve_gated(mut connection: Connection, gate: Gate) {
    while connection.read_request().await.is_some() {
        gate.pass().await;
        connection.write(OK).await;
    }
}

/// Asks for a path on a connection of its own, in the background. The connection is open when this returns.
pub(crate) async fn ask(gateway: &Gateway, path: &str) -> JoinHandle<Response> {
    let mut client = gateway.client("web").await;
    let path = path.to_owned();
    tokio::spawn(async move { client.get(&path).await })
}

/// Runs cases that mostly wait, all at the same time.
pub(crate) async fn all<F: Future<Output = ()> + Send + 'static>(cases: impl IntoIterator<Item = F>) {
    let mut running: JoinSet<()> = cases.into_iter().collect();
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

/// The status of an answer and the limit or failure that it names.
pub(crate) fn refusal(response: &Response) -> (u16, &str) {
    (response.status, response.header("x-gateway-error").unwrap_or("-"))
}

/// One of a pool's numbers.
pub(crate) fn number(pool: &Value, key: &str) -> u64 {
    pool[key].as_u64().unwrap_or_else(|| panic!("no number `{key}` in {pool}"))
}

/// Returns the number of a pool's connections that were closed for a reason.
pub(crate) fn closed(pool: &Value, reason: &str) -> u64 {
    pool["closed"][reason].as_u64().unwrap_or(0)
}

/// Returns the number of requests that a limit of the pool has refused.
pub(crate) fn refused(pool: &Value, limit: &str) -> u64 {
    pool["refused"][limit].as_u64().unwrap_or(0)
}

/// The pool of the route once nothing uses it or waits for it, and all its numbers agree.
///
/// They are read one after the other: a request whose client has left may begin in between, and then they do not agree yet.
pub(crate) async fn settled(gateway: &Gateway) -> Value {
    let at_rest = |pool: &Value| {
        let closed: u64 =
            pool["closed"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        ["active", "pending", "connecting"].iter().all(|key| number(pool, key) == 0)
            && number(pool, "opened") == closed + number(pool, "idle")
    };
    gateway.wait_for_pool(ROUTE, "nothing under way, opened = closed + idle", at_rest).await
}

/// Stops the program, and waits until none of its threads runs; `Signal::CONT` lets it go on.
pub(crate) async fn freeze(gateway: &Gateway) {
    gateway.signal(Signal::STOP);
    wait_for_threads(gateway, "all threads to stop", 'T').await;
}

/// Waits until all threads of the program sleep.
pub(crate) async fn asleep(gateway: &Gateway) {
    wait_for_threads(gateway, "all threads to sleep", 'S').await;
}

/// Waits until all threads of the program are in this state.
async fn wait_for_threads(gateway: &Gateway, what: &str, state: char) {
    wait_until(what, async || {
        let threads = fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
        threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).unwrap()).all(|stat| {
            // The state comes after the name, which may have spaces and is in parentheses (proc(5)).
            stat.rsplit_once(") ").unwrap().1.starts_with(state)
        })
    })
    .await;
}

/// Returns the number of connections to `address` that are open or being opened at one moment, for which the program is
/// stopped. The kernel's table may omit one while others come and go, so only too many is a proof.
pub(crate) async fn sockets(gateway: &Gateway, address: SocketAddr) -> usize {
    freeze(gateway).await;
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    gateway.signal(Signal::CONT);
    let remote = format!("0100007F:{:04X}", address.port());
    let open = table.lines().filter_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, peer, state) = (columns.next()?, columns.next()?, columns.next()?);
        // ESTABLISHED, SYN_SENT, CLOSE_WAIT: all that the gateway has not closed (include/net/tcp_states.h).
        (peer == remote && matches!(state, "01" | "02" | "08")).then_some(local)
    });
    open.collect::<BTreeSet<_>>().len()
}
