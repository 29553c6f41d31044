//! The messages that the gateway sends to the service manager that started it (sd_notify(3)).

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use support::{Gateway, GatewayBuilder, PATIENCE, Signal, within};
use tempfile::TempDir;

use crate::filtering::plugin;
use crate::gateway;

const CONFIG: &str = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
workers: 1
shutdown: { delay: {delay}, drain: {drain} }
routes: [{ name: hello, match: { path: /hello }, respond: { body: {body} } }]";

fn configured(delay: &str, drain: &str) -> GatewayBuilder {
    gateway(CONFIG).set("delay", delay).set("drain", drain).set("body", "hello")
}

/// The socket of a service manager.
struct Manager {
    socket: tokio::net::UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = tokio::net::UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self { socket, folder }
    }

    fn address(&self) -> String {
        self.folder.path().join("notify").display().to_string()
    }

    async fn start(&self, gateway: GatewayBuilder) -> Gateway {
        gateway.env("NOTIFY_SOCKET", self.address()).start().await
    }

    async fn next(&self) -> Message {
        within("a message to the service manager", message(&self.socket)).await
    }

    /// Returns the next message that assigns `variable`.
    async fn next_with(&self, variable: &str) -> Message {
        loop {
            let message = self.next().await;
            if message.get(variable).is_some() {
                return message;
            }
        }
    }

    /// Returns the messages that wait to be read.
    fn arrived(&self) -> Vec<Message> {
        let mut buffer = [0; 4096];
        let received = std::iter::from_fn(|| {
            let length = self.socket.try_recv(&mut buffer).ok()?;
            Some(Message(String::from_utf8(buffer[..length].to_vec()).unwrap()))
        });
        received.collect()
    }
}

async fn message(socket: &tokio::net::UnixDatagram) -> Message {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).await.unwrap();
    Message(String::from_utf8(buffer[..length].to_vec()).unwrap())
}

/// Assignments of variables, one a line.
#[derive(Debug)]
struct Message(String);

impl Message {
    fn get(&self, variable: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix('='))
    }

    fn number(&self, variable: &str) -> u64 {
        self.get(variable).unwrap_or_else(|| panic!("no {variable} in {self:?}")).parse().unwrap()
    }

    fn status(&self) -> &str {
        self.get("STATUS").unwrap_or_else(|| panic!("no STATUS in {self:?}"))
    }
}

/// Returns the microseconds of CLOCK_MONOTONIC.
fn monotonic_now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000 + u64::try_from(now.tv_nsec).unwrap() / 1_000
}

#[tokio::test]
async fn ready_is_sent_when_listeners_accept() {
    let manager = Manager::new();
    let mut command = tokio::process::Command::new(crate::PROGRAM);
    let config = CONFIG.replace("{delay}", "off").replace("{drain}", "1s").replace("{body}", "hello");
    let address = support::unused_address();
    let config = config.replacen("127.0.0.1:0", &address.to_string(), 1);
    let file = manager.folder.path().join("gateway.yaml");
    std::fs::write(&file, config).unwrap();
    command.arg("-c").arg(file).env("NOTIFY_SOCKET", manager.address()).kill_on_drop(true);
    let _gateway = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn();
    let first = manager.next().await;
    assert_eq!((first.status(), first.get("READY")), ("reading the configuration", None));
    let ready = manager.next_with("READY").await;
    assert_eq!((ready.get("READY"), ready.status()), (Some("1"), "configuration generation 1 serves"));
    // Nothing else is waited for: the message says that this works.
    let response = support::Client::connect(address).await.get("/hello").await;
    assert_eq!(response.text(), "hello");
}

#[tokio::test]
async fn abstract_notify_socket_is_notified() {
    let name = format!("gateway-service-test-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::UnixDatagram::from_std(socket).unwrap();
    let _gateway = configured("off", "1s").env("NOTIFY_SOCKET", format!("@{name}")).start().await;
    within("READY", async { while message(&socket).await.get("READY").is_none() {} }).await;
}

#[tokio::test]
async fn wrong_notify_socket_is_a_warning_and_the_gateway_serves() {
    for wrong in ["relative", "/nonexistent/notify"] {
        let gateway = configured("off", "1s").env("NOTIFY_SOCKET", wrong).start().await;
        gateway.wait_for_log("the service manager cannot be notified (NOTIFY_SOCKET)").await;
        assert_eq!(gateway.client("web").await.get("/hello").await.status, 200);
    }
}

#[tokio::test]
async fn reload_is_reported_from_its_begin_to_its_end() {
    let manager = Manager::new();
    let gateway = manager.start(configured("off", "1s")).await;
    manager.next_with("READY").await;
    let before = monotonic_now();
    gateway.rewrite_config(&CONFIG.replace("{body}", "changed"));
    let reloading = manager.next().await;
    assert_eq!(reloading.get("RELOADING"), Some("1"), "{reloading:?}");
    let at = reloading.number("MONOTONIC_USEC");
    assert!((before..=monotonic_now()).contains(&at), "{before} {at}");
    let ready = manager.next().await;
    assert_eq!((ready.get("READY"), ready.status()), (Some("1"), "configuration generation 2 serves"));
    // One that is asked for and changes nothing has a begin and an end, too: a manager that asks waits for both.
    gateway.signal(Signal::HUP);
    assert_eq!(manager.next().await.get("RELOADING"), Some("1"));
    let ready = manager.next().await;
    assert_eq!((ready.get("READY"), ready.status()), (Some("1"), "configuration generation 2 serves"));
}

#[tokio::test]
async fn refused_reload_ends_with_ready_and_a_status_that_says_why() {
    let manager = Manager::new();
    let gateway = manager.start(configured("off", "1s")).await;
    manager.next_with("READY").await;
    gateway.rewrite_config(&CONFIG.replace("workers", "wrokers"));
    assert_eq!(manager.next().await.get("RELOADING"), Some("1"));
    let ready = manager.next().await;
    let said = "configuration generation 1 serves; the one on disk is refused: unknown key `wrokers`";
    assert_eq!((ready.get("READY"), ready.status()), (Some("1"), said));
    gateway.rewrite_config(CONFIG);
    let ready = manager.next_with("READY").await;
    assert_eq!(ready.status(), "configuration generation 1 serves");
}

#[tokio::test]
async fn stopping_is_sent_at_the_signal_and_extends_the_timeout_over_delay_and_drain() {
    let manager = Manager::new();
    let mut gateway = manager.start(configured("1h", "2h")).await;
    manager.next_with("READY").await;
    gateway.signal(Signal::TERM);
    let stopping = manager.next().await;
    assert_eq!(stopping.get("STOPPING"), Some("1"), "{stopping:?}");
    let extension = Duration::from_micros(stopping.number("EXTEND_TIMEOUT_USEC"));
    assert!(extension > Duration::from_secs(3 * 3600), "{extension:?}");
    assert!(extension < Duration::from_secs(3 * 3600 + 60), "{extension:?}");
    assert_eq!(stopping.status(), "stopping: still accepting until `shutdown.delay` is over");
    // A reload during the delay is done, and is no new state of a service that stops.
    gateway.signal(Signal::HUP);
    gateway.wait_for_log("the configuration has not changed").await;
    gateway.signal(Signal::TERM);
    let draining = manager.next_with("STOPPING").await;
    assert!(draining.status().starts_with("draining"), "{draining:?}");
    let extension = Duration::from_micros(draining.number("EXTEND_TIMEOUT_USEC"));
    assert!(extension > Duration::from_secs(2 * 3600), "{extension:?}");
    assert!(gateway.wait_exit(PATIENCE).await.success());
    assert!(manager.arrived().is_empty());
}

#[tokio::test]
async fn reload_during_the_shutdown_delay_is_not_reported() {
    let manager = Manager::new();
    let gateway = manager.start(configured("1h", "off")).await;
    manager.next_with("READY").await;
    gateway.signal(Signal::TERM);
    let stopping = manager.next_with("STOPPING").await;
    // Without an end of the drain, the manager's own timeout holds.
    assert_eq!(stopping.get("EXTEND_TIMEOUT_USEC"), None);
    gateway.reload(&CONFIG.replace("{body}", "changed")).await;
    gateway.signal(Signal::TERM);
    let next = manager.next().await;
    assert_eq!(next.status(), "draining: requests in flight end, new connections are refused");
    assert_eq!(next.get("STOPPING"), Some("1"));
}

#[tokio::test]
async fn watchdog_is_fed_only_while_the_workers_turn() {
    let (manager, gateway) = with_busy_filter("1h").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET /hello HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gateway.wait_for_log("busy").await;
    manager.arrived();
    // The worker may have turned once more since the sign before.
    let mut signs = 0;
    // Ten intervals of silence are what this is about.
    while tokio::time::timeout(Duration::from_millis(500), manager.next()).await.is_ok() {
        signs += 1;
        assert!(signs < 3, "{signs} signs of life of a worker that does not turn");
    }
}

#[tokio::test]
async fn watchdog_is_fed_again_when_the_worker_turns_again() {
    let (manager, gateway) = with_busy_filter("200ms").await;
    assert_eq!(gateway.client("web").await.get("/hello").await.status, 500);
    manager.arrived();
    manager.next_with("WATCHDOG").await;
}

/// A gateway that is expected to feed the watchdog of the manager, and has begun to. The one worker runs a filter that works
/// for as long as `limits.time` permits and serves nothing else meanwhile.
async fn with_busy_filter(time: &str) -> (Manager, Gateway) {
    let manager = Manager::new();
    let busy = plugin(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $log (i32.const 2) (i32.const 0) (i32.const 4)))
            (loop $again (br $again)) (i32.const 0))
          (data (i32.const 0) "busy")"#,
    );
    let config = CONFIG.replace(
        "respond: { body: {body} } }",
        "respond: { body: {body} }, filters: [{ wasm: busy.wasm, limits: { time: {time} } }] }",
    );
    let gateway =
        gateway(config).set("delay", "off").set("drain", "1s").set("body", "hello").set("time", time);
    let gateway = gateway.file("busy.wasm", busy).env("WATCHDOG_USEC", "100000");
    let gateway = manager.start(gateway).await;
    for _ in 0..3 {
        manager.next_with("WATCHDOG").await;
    }
    (manager, gateway)
}

#[tokio::test]
async fn watchdog_of_another_process_is_not_fed() {
    let manager = Manager::new();
    let gateway = configured("off", "1s").env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let mut gateway = manager.start(gateway).await;
    manager.next_with("READY").await;
    gateway.reload(&CONFIG.replace("{body}", "changed")).await;
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(PATIENCE).await.success());
    let messages = manager.arrived();
    assert!(messages.iter().all(|message| message.get("WATCHDOG").is_none()), "{messages:?}");
}
