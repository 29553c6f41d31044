//! Signals to a gateway that starts, serves, and stops.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Client, Gate, Gateway, Origin, PATIENCE, Signal, wait_for, wait_until};

use crate::filter_script::script;
use crate::gateway;
use crate::pooled::gated;

/// A listener `web` with a route `/local` of its own and all others to `{origin}`.
const CONFIG: &str = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
telemetry: { access_log: { output: {log} } }
shutdown: { delay: {delay} }
routes:
  - { name: local, match: { path: /local }, respond: { body: hello } }
  - { name: up, match: { prefix: / }, upstream: { url: '{origin}' } }";

async fn start(delay: &str, log: &str, origin: &Origin) -> Gateway {
    gateway(CONFIG).set("delay", delay).set("log", log).set("origin", origin.url()).start().await
}

/// A gateway with a request under way, which the gate holds at the origin.
struct Busy {
    gateway: Gateway,
    client: Client,
    gate: Gate,
    _origin: Origin,
}

impl Busy {
    async fn start(delay: &str) -> Self {
        let gate = Gate::new();
        let origin = gated(&gate);
        let gateway = start(delay, "access.log", &origin).await;
        let mut client = gateway.client("web").await;
        client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        gate.arrivals(1).await;
        Self { gateway, client, gate, _origin: origin }
    }
}

async fn get(gateway: &Gateway, path: &str) -> String {
    gateway.client("web").await.get(path).await.text()
}

fn lines(file: &Path) -> usize {
    fs::read_to_string(file).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn sigquit_drains_as_sigterm_does() {
    let mut busy = Busy::start("off").await;
    let address = busy.gateway.addr("web");
    busy.gateway.signal(Signal::QUIT);
    wait_until("no new connection", async || Client::try_connect(address).await.is_err()).await;
    busy.gate.release_all();
    let response = busy.client.read_response().await;
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    assert!(busy.gateway.wait_exit(PATIENCE).await.success());
}

#[tokio::test]
async fn second_signal_of_any_kind_ends_the_drain() {
    for second in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let mut busy = Busy::start("off").await;
        busy.gateway.signal(Signal::QUIT);
        busy.gateway.wait_for_log("stopping: no new connections").await;
        busy.gateway.signal(second);
        busy.client.expect_closed().await;
        assert!(busy.gateway.wait_exit(PATIENCE).await.success());
    }
}

#[tokio::test]
async fn sigusr1_reopens_the_access_log_and_loses_no_line() {
    let origin = Origin::echo();
    let gateway = start("off", "access.log", &origin).await;
    let log = gateway.folder().join("access.log");
    let rotated = gateway.folder().join("access.log.1");
    get(&gateway, "/local").await;
    wait_until("the first line", async || lines(&log) == 1).await;
    // A file that was not moved stays open.
    gateway.signal(Signal::USR1);
    gateway.wait_for_log("file was not moved").await;
    get(&gateway, "/local").await;
    wait_until("the second line", async || lines(&log) == 2).await;
    fs::rename(&log, &rotated).unwrap();
    get(&gateway, "/local").await;
    wait_until("a line in the moved file", async || lines(&rotated) == 3).await;
    gateway.signal(Signal::USR1);
    gateway.wait_for_log("the access log is reopened").await;
    get(&gateway, "/local").await;
    wait_until("a line in the new file", async || lines(&log) == 1).await;
    assert_eq!(lines(&rotated), 3);
    assert_eq!(gateway.generation().await, 1);
}

#[tokio::test]
async fn sigusr1_says_that_stdout_cannot_be_reopened() {
    let origin = Origin::echo();
    let gateway = start("off", "stdout", &origin).await;
    gateway.signal(Signal::USR1);
    gateway.wait_for_log("the access log goes to stdout; there is nothing to reopen").await;
    assert_eq!(get(&gateway, "/local").await, "hello");
}

#[tokio::test]
async fn sigusr1_without_an_access_log_changes_nothing() {
    let config = CONFIG.replace("{ output: {log} }", "off");
    let gateway = gateway(config).set("delay", "off").set("origin", "http://127.0.0.1:9").start().await;
    gateway.signal(Signal::USR1);
    gateway.wait_for_log("there is no access log to reopen").await;
    assert_eq!(get(&gateway, "/local").await, "hello");
}

#[tokio::test]
async fn sigusr1_reports_a_log_file_that_cannot_be_reopened() {
    let origin = Origin::echo();
    let config =
        gateway(CONFIG).set("delay", "off").set("log", "logs/access.log").set("origin", origin.url());
    let gateway = config.file("logs/.keep", "").start().await;
    let folder = gateway.folder().join("logs");
    let moved = gateway.folder().join("moved");
    fs::rename(&folder, &moved).unwrap();
    gateway.signal(Signal::USR1);
    gateway.wait_for_log("cannot be reopened and stays in its old file").await;
    get(&gateway, "/local").await;
    wait_until("a line in the old file", async || lines(&moved.join("access.log")) == 1).await;
}

#[tokio::test]
async fn sigusr2_is_logged_and_does_nothing() {
    let origin = Origin::echo();
    let gateway = start("off", "access.log", &origin).await;
    gateway.signal(Signal::USR2);
    gateway.wait_for_log("SIGUSR2 is reserved").await;
    assert_eq!(get(&gateway, "/local").await, "hello");
}

#[tokio::test]
async fn operator_signals_during_a_drain_do_not_end_it() {
    let mut busy = Busy::start("off").await;
    let log = busy.gateway.folder().join("access.log");
    busy.gateway.signal(Signal::TERM);
    busy.gateway.wait_for_log("stopping: no new connections").await;
    fs::rename(&log, busy.gateway.folder().join("access.log.1")).unwrap();
    for (signal, said) in [
        (Signal::USR1, "the access log is reopened"),
        (Signal::USR2, "SIGUSR2 is reserved"),
        (Signal::HUP, "not read again, because the gateway is stopping"),
    ] {
        busy.gateway.signal(signal);
        busy.gateway.wait_for_log(said).await;
    }
    busy.gate.release_all();
    assert_eq!(busy.client.read_response().await.status, 200);
    assert!(busy.gateway.wait_exit(PATIENCE).await.success());
    assert_eq!(lines(&log), 1);
}

#[tokio::test]
async fn shutdown_delay_keeps_accepting_while_ready_says_503() {
    let origin = Origin::echo();
    let mut gateway = start("1h", "access.log", &origin).await;
    let mut kept = gateway.client("web").await;
    kept.get("/local").await;
    gateway.signal(Signal::TERM);
    wait_until("/ready answers 503", async || gateway.admin("/ready").await.status == 503).await;
    assert_eq!(gateway.admin("/live").await.status, 200);
    // New connections, kept ones and requests to upstreams are served as before.
    let new = gateway.client("web").await.get("/").await;
    assert_eq!((new.status, new.header("connection")), (200, None));
    assert_eq!(kept.get("/local").await.header("connection"), None);
    gateway.signal(Signal::INT);
    kept.expect_closed().await;
    assert!(gateway.wait_exit(PATIENCE).await.success());
}

#[tokio::test]
async fn drain_begins_when_the_delay_is_over() {
    let origin = Origin::echo();
    let mut gateway = start("300ms", "access.log", &origin).await;
    let mut kept = gateway.client("web").await;
    kept.get("/local").await;
    let began = Instant::now();
    gateway.signal(Signal::TERM);
    kept.expect_closed().await;
    assert!(gateway.wait_exit(PATIENCE).await.success());
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
}

#[tokio::test]
async fn second_signal_ends_the_delay_and_a_third_the_drain() {
    let mut busy = Busy::start("1h").await;
    busy.gateway.signal(Signal::TERM);
    busy.gateway.wait_for_log("draining begins after the delay").await;
    busy.gateway.signal(Signal::INT);
    busy.gateway.wait_for_log("draining begins now").await;
    let address = busy.gateway.addr("web");
    wait_until("no new connection", async || Client::try_connect(address).await.is_err()).await;
    busy.gateway.signal(Signal::QUIT);
    busy.client.expect_closed().await;
    assert!(busy.gateway.wait_exit(PATIENCE).await.success());
}

#[tokio::test]
async fn configuration_can_be_reloaded_during_the_delay() {
    let origin = Origin::echo();
    let mut gateway = start("1h", "access.log", &origin).await;
    gateway.signal(Signal::TERM);
    gateway.wait_for_log("draining begins after the delay").await;
    gateway.reload(&CONFIG.replace("hello", "changed")).await;
    assert_eq!(get(&gateway, "/local").await, "changed");
    assert_eq!(gateway.admin("/ready").await.status, 503);
    gateway.rewrite_config(&CONFIG.replace("hello", "again"));
    gateway.signal(Signal::HUP);
    wait_until("the second reload", async || get(&gateway, "/local").await == "again").await;
    gateway.signal(Signal::QUIT);
    assert!(gateway.wait_exit(PATIENCE).await.success());
}

/// A gateway whose start hangs.
struct Hanging {
    child: std::process::Child,
    folder: tempfile::TempDir,
}

impl Hanging {
    /// Starts a gateway whose access log is a pipe without a reader.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = CONFIG
            .replace("{log}", "pipe")
            .replace("{delay}", "off")
            .replace("{origin}", "http://127.0.0.1:9");
        assert!(Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
        Self::start_in(folder, &config)
    }

    fn start_in(folder: tempfile::TempDir, config: &str) -> Self {
        fs::write(folder.path().join("gateway.yaml"), config).unwrap();
        let mut command = Command::new(crate::PROGRAM);
        command.arg("--config").arg(folder.path().join("gateway.yaml"));
        command.stdout(File::create(folder.path().join("stdout")).unwrap());
        command.stderr(File::create(folder.path().join("stderr")).unwrap());
        Self { child: command.spawn().unwrap(), folder }
    }

    fn signal(&self, signal: Signal) {
        let id = support::Pid::from_child(&self.child);
        support::kill_process(id, signal).unwrap();
    }

    /// Waits until the process catches SIGTERM (proc(5)): from then on it has all of its handlers.
    async fn catches_signals(&self) {
        let status = format!("/proc/{}/status", self.child.id());
        wait_until("the handlers are installed", async || {
            let status = fs::read_to_string(&status).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            // SIGUSR2, installed last.
            u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (12 - 1)) != 0
        })
        .await;
    }

    async fn exit(&mut self) -> std::process::ExitStatus {
        wait_for("the exit", || std::future::ready(self.child.try_wait().unwrap())).await
    }

    fn printed(&self, stream: &str) -> String {
        fs::read_to_string(self.folder.path().join(stream)).unwrap()
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn stop_signal_during_the_start_ends_it_in_order() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let mut hanging = Hanging::start();
        hanging.catches_signals().await;
        hanging.signal(signal);
        let status = hanging.exit().await;
        assert!(status.success(), "{signal:?}: {status}");
        assert!(hanging.printed("stderr").contains("stopped before the start was complete"));
    }
}

#[tokio::test]
async fn stop_signal_ends_the_start_of_filters_before_listeners_open() {
    let folder = tempfile::tempdir().unwrap();
    // Each worker's instance writes the mark and reads its version. The instance that finds a second version never ends
    // its start. Reading before writing would not do: both instances can read before either writes. The trial during the
    // check shares no data with them.
    let endless = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $set_shared 'mark' 'here' (i32.const 0)))
        (drop (call $get_shared 'mark' (i32.const 1024) (i32.const 1028) (i32.const 1032)))
        (if (i32.gt_u (i32.load (i32.const 1032)) (i32.const 1))
            (then (call $note 'endless' (i32.const 0) (i32.const 0)) (loop $ever (br $ever))))
        (i32.const 1))"#;
    fs::write(folder.path().join("slow.wasm"), script(endless)).unwrap();
    // Port 0 would not be known before the gateway listens.
    let [web, admin] = [support::unused_address(), support::unused_address()];
    let config = format!(
        "
listeners: [{{ name: web, address: '{web}' }}]
admin: {{ address: '{admin}' }}
workers: 2
wasm: {{ cache: off }}
filters: {{ slow: {{ wasm: slow.wasm, limits: {{ start: 1m }} }} }}
routes: [{{ respond: {{ body: hello }}, filters: [slow] }}]"
    );
    let mut hanging = Hanging::start_in(folder, &config);
    wait_until("the filter starts", async || hanging.printed("stderr").contains("note: endless")).await;
    for address in [web, admin] {
        let refused = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    hanging.signal(Signal::TERM);
    let status = hanging.exit().await;
    assert!(status.success(), "{status}: {}", hanging.printed("stderr"));
    assert!(hanging.printed("stderr").contains("stopped before the start was complete"));
}

#[tokio::test]
async fn operator_signals_during_the_start_wait_for_its_end() {
    let mut hanging = Hanging::start();
    hanging.catches_signals().await;
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2] {
        hanging.signal(signal);
    }
    let pipe = hanging.folder.path().join("pipe");
    let _reader = tokio::task::spawn_blocking(move || File::open(pipe)).await.unwrap().unwrap();
    for said in ["SIGHUP: reading the configuration again", "SIGUSR1: ", "SIGUSR2 is reserved"] {
        wait_until(said, async || hanging.printed("stderr").contains(said)).await;
    }
    assert!(hanging.printed("stdout").contains("ready\n"));
    hanging.signal(Signal::TERM);
    assert!(hanging.exit().await.success());
}

#[tokio::test]
async fn limit_of_open_files_is_raised_and_warned_of_in_numbers() {
    let config = |connections: u32| {
        format!(
            "
workers: 1
listeners:
  - {{ name: web, address: 127.0.0.1:0, limits: {{ connections: {connections} }} }}
  - {{ name: more, address: 127.0.0.1:0, limits: {{ connections: 100 }} }}
  - {{ name: unlimited, address: 127.0.0.1:0, limits: {{ connections: off }} }}
admin: {{ address: 127.0.0.1:0 }}
routes:
  - name: up
    upstream: {{ endpoints: [{{ url: 'http://127.0.0.1:9' }}, {{ url: 'http://a.invalid' }}] }}
    pool: {{ max_connections: 10, max_idle: 10 }}
"
        )
    };
    let gateway = gateway(config(300)).soft_open_files(64).open_files_max(700).start().await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).unwrap();
    let limits = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let limits: Vec<_> = limits.split_whitespace().take(2).collect();
    assert_eq!(limits, ["700", "700"]);
    let warnings = || gateway.logs().iter().filter(|line| line.contains("limit of open files")).count();
    assert_eq!(warnings(), 0, "{}", gateway.output());
    gateway.reload(&config(600)).await;
    // 600 + 100 client connections, 2 endpoints of 10, and 128 + 4 + 3 of its own.
    let said =
        gateway.wait_for_log("the limit of open files is 700, but the configuration allows for 855").await;
    assert!(said.contains("700 client connections") && said.contains("20 upstream connections"), "{said}");
    // A reload that changes nothing about it repeats nothing.
    gateway.reload(&config(600).replace("name: up", "name: upstream")).await;
    assert_eq!(warnings(), 1, "{}", gateway.output());
}

#[tokio::test]
async fn limit_of_open_files_is_compared_with_the_need_at_the_start() {
    let config = "
workers: 1
listeners: [{ address: 127.0.0.1:0, limits: { connections: 1000 } }]
routes: [{ respond: {} }]";
    let gateway = gateway(config).open_files_max(500).start().await;
    gateway.wait_for_log("the limit of open files is 500, but the configuration allows for 1133").await;
}

#[tokio::test]
async fn access_log_at_its_limit_of_size_does_not_end_the_process() {
    let origin = Origin::echo();
    let gateway = gateway(CONFIG)
        .set("delay", "off")
        .set("log", "access.log")
        .set("origin", origin.url())
        .file_size_max(1)
        .start()
        .await;
    // A block is 512 bytes or 1 KiB, and a line some 300.
    for _ in 0..20 {
        get(&gateway, "/local").await;
    }
    gateway.wait_for_log("access log lines were dropped").await;
    assert_eq!(get(&gateway, "/local").await, "hello");
}
