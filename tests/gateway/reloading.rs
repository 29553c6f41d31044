//! Gateways whose configuration changes while they run, and what they say of it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use support::serde_json::{Value, from_slice};
use support::{Client, Gateway, PATIENCE, Response, Signal, run_to_exit, wait_until};

use crate::PROGRAM;

/// A listener `web`, the admin listener, and no access log, before the routes that a test has.
pub(crate) const BASE: &str = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
telemetry: { access_log: off }
";

/// A configuration that answers everything with `body`.
pub(crate) fn answering(body: &str) -> String {
    format!("{BASE}routes: [{{ name: all, match: {{ prefix: / }}, respond: {{ body: '{body}' }} }}]\n")
}

/// A gateway with that configuration.
pub(crate) async fn start(config: impl Into<String>) -> Gateway {
    crate::gateway(config).start().await
}

/// The file that the gateway reads.
pub(crate) fn file(gateway: &Gateway) -> PathBuf {
    gateway.folder().join("gateway.yaml")
}

/// Returns the response to `path` on a new connection.
pub(crate) async fn get(gateway: &Gateway, path: &str) -> String {
    gateway.client("web").await.get(path).await.text()
}

/// Waits until requests are answered with `body`.
pub(crate) async fn serves(gateway: &Gateway, body: &str) {
    wait_until(&format!("`{body}` to be served"), async || get(gateway, "/").await == body).await;
}

/// Waits until this generation is counted, a moment after it serves; no later one may be there by then.
pub(crate) async fn is_generation(gateway: &Gateway, number: u64) {
    wait_until(&format!("generation {number}"), async || gateway.generation().await >= number).await;
    assert_eq!(gateway.generation().await, number, "{}", gateway.output());
}

/// Returns the response to `POST /reload` with further fields.
pub(crate) async fn post_with(gateway: &Gateway, fields: &[(&str, &str)]) -> Response {
    let mut client = Client::connect(gateway.admin_addr()).await;
    client.request("POST", "/reload", &[&[("host", "localhost")], fields].concat(), b"").await
}

/// Returns the response to `POST /reload`.
pub(crate) async fn post(gateway: &Gateway) -> Response {
    post_with(gateway, &[]).await
}

/// Returns the report of `GET /reload`.
pub(crate) async fn report(gateway: &Gateway) -> Value {
    from_slice(&gateway.admin("/reload").await.body).unwrap()
}

/// Reloads that were refused so far.
pub(crate) async fn refused(gateway: &Gateway) -> u64 {
    gateway.metric("gateway_config_reloads_refused_total").await.expect("the metric is there") as u64
}

/// Returns true if the metric says that the active configuration is that of the files.
pub(crate) async fn in_sync(gateway: &Gateway) -> bool {
    gateway.metric("gateway_config_in_sync").await.expect("the metric is there") == 1.0
}

/// Waits until so many reloads have been refused.
pub(crate) async fn refused_times(gateway: &Gateway, times: u64) {
    wait_until(&format!("{times} refused reloads"), async || refused(gateway).await >= times).await;
    assert_eq!(refused(gateway).await, times, "{}", gateway.output());
}

/// `gateway check` of a file, with further arguments.
pub(crate) async fn check(file: &Path, arguments: &[&str]) -> Output {
    let arguments = [&["check", "--config", file.to_str().unwrap()], arguments].concat();
    let output = run_to_exit(PROGRAM, &arguments).await;
    assert_eq!(output.status.signal(), None, "{output:?}");
    output
}

/// The errors that `gateway check` prints for the file of the gateway.
pub(crate) async fn check_errors(gateway: &Gateway) -> String {
    let output = check(&file(gateway), &[]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Writes into the file as it is there: the same inode, first emptied.
pub(crate) fn write_in_place(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path, content).unwrap();
}

/// Writes a file and leaves it open: as long as it is, only those who ask for a reload bring one about.
pub(crate) fn write_open(path: &Path, content: impl AsRef<[u8]>) -> File {
    let mut open = File::create(path).unwrap();
    open.write_all(content.as_ref()).unwrap();
    open
}

/// Puts another file in its place.
pub(crate) fn replace(path: &Path, content: impl AsRef<[u8]>) {
    let written = path.with_extension("being-written");
    fs::write(&written, content).unwrap();
    fs::rename(written, path).unwrap();
}

/// Another gateway, to tell how time passes: what it does after something was written elsewhere takes at least as long as any
/// gateway needs to notice that.
pub(crate) struct Clock {
    gateway: Gateway,
    ticks: u32,
}

impl Clock {
    pub(crate) async fn start() -> Self {
        Self { gateway: start(answering("0")).await, ticks: 0 }
    }

    /// Waits for as long as a file that is saved now takes to be live.
    pub(crate) async fn tick(&mut self) {
        self.ticks += 1;
        replace(&file(&self.gateway), answering(&self.ticks.to_string()));
        serves(&self.gateway, &self.ticks.to_string()).await;
    }

    /// Waits for as long as a program takes to end.
    pub(crate) async fn stop(mut self) {
        self.gateway.signal(Signal::TERM);
        assert!(self.gateway.wait_exit(PATIENCE).await.success());
    }
}
