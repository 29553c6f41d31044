//! The program under test, as a process.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::captured::Captured;
use crate::{Client, PATIENCE, Response, private_folder, wait_for, wait_until, within};

/// A running gateway with its own folder for the configuration. It is killed when dropped.
///
/// At its start the program prints to stdout: a line `listening on http://127.0.0.1:34567 (web)` (or `https://`) for
/// each listener, `admin on http://127.0.0.1:40001` if there is an admin listener, then `ready`.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    folder: TempDir,
    stdout: Captured,
    stderr: Captured,
    values: Vec<(String, String)>,
}

/// The settings for starting a gateway, from [`Gateway::builder`].
#[derive(Debug, Clone)]
pub struct GatewayBuilder {
    program: PathBuf,
    config: String,
    values: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>)>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    open_files_max: Option<u32>,
    soft_open_files: Option<u32>,
    file_size_max: Option<u32>,
    data_max: Option<u32>,
}

impl Gateway {
    /// Returns a builder that starts `program`, usually `env!("CARGO_BIN_EXE_gateway")`, with `config` as its
    /// gateway.yaml.
    #[must_use]
    pub fn builder(program: impl Into<PathBuf>, config: impl Into<String>) -> GatewayBuilder {
        GatewayBuilder {
            program: program.into(),
            config: config.into(),
            values: Vec::new(),
            files: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            open_files_max: None,
            soft_open_files: None,
            file_size_max: None,
            data_max: None,
        }
    }

    /// Returns the bound address of the listener `name`.
    ///
    /// # Panics
    /// Panics if the program printed none of that name.
    #[must_use]
    pub fn addr(&self, name: &str) -> SocketAddr {
        let suffix = format!(" ({name})");
        self.printed_address(|line| line.strip_prefix("listening on ")?.strip_suffix(suffix.as_str()))
            .unwrap_or_else(|| panic!("no listener `{name}`\n{}", self.output()))
    }

    /// Returns the bound address of the admin listener.
    ///
    /// # Panics
    /// Panics if the program printed none.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.printed_address(|line| line.strip_prefix("admin on "))
            .unwrap_or_else(|| panic!("no admin listener\n{}", self.output()))
    }

    fn printed_address(&self, url_of: impl Fn(&str) -> Option<&str>) -> Option<SocketAddr> {
        let lines = self.stdout.lines();
        // The latest one, because a reload may have moved it.
        let url = lines.iter().rev().find_map(|line| url_of(&message(line)).map(str::to_owned))?;
        let (_, address) = url.split_once("://")?;
        address.parse().ok()
    }

    /// Opens a connection to the listener `name`, without TLS.
    pub async fn client(&self, name: &str) -> Client {
        Client::connect(self.addr(name)).await
    }

    /// Returns the admin listener's response to `GET path`.
    pub async fn admin(&self, path: &str) -> Response {
        // On loopback it responds only to a name of this machine.
        let mut client = Client::connect(self.admin_addr()).await;
        client.request("GET", path, &[("host", "localhost")], b"").await
    }

    /// Returns the pools, one JSON object for each pool and endpoint.
    pub async fn pools(&self) -> Vec<Value> {
        let response = self.admin("/pools").await;
        assert_eq!(response.status, 200, "/pools: {response:?}");
        let body: Value = serde_json::from_slice(&response.body).expect("/pools answers JSON");
        body["pools"].as_array().expect("/pools has an array `pools`").clone()
    }

    /// Returns the only pool that `route` uses, or that has this name.
    ///
    /// # Panics
    /// Panics if there is none or more than one, for instance because the route has several endpoints.
    pub async fn pool(&self, route: &str) -> Value {
        self.one_pool(route, "").await
    }

    /// Returns the pool of `route` at the endpoint whose name or socket address contains `endpoint`.
    ///
    /// # Panics
    /// Panics if there is none or more than one.
    pub async fn pool_at(&self, route: &str, endpoint: &str) -> Value {
        self.one_pool(route, endpoint).await
    }

    async fn one_pool(&self, route: &str, endpoint: &str) -> Value {
        let pools = self.pools().await;
        let mut matching = pools.iter().filter(|pool| {
            let serves = pool["pool"] == route
                || pool["routes"].as_array().is_some_and(|routes| routes.iter().any(|name| name == route));
            serves
                && ["endpoint", "address"]
                    .iter()
                    .any(|key| pool[key].as_str().is_some_and(|value| value.contains(endpoint)))
        });
        match (matching.next(), matching.next()) {
            (Some(pool), None) => pool.clone(),
            _ => panic!("not exactly one pool of `{route}` at `{endpoint}` in {pools:#?}"),
        }
    }

    /// Waits until the pool of `route` satisfies `predicate`.
    ///
    /// # Panics
    /// Panics if it does not within [`PATIENCE`].
    pub async fn wait_for_pool(&self, route: &str, what: &str, predicate: impl Fn(&Value) -> bool) -> Value {
        let what = format!("pool of `{route}`: {what}");
        wait_for(&what, async || Some(self.pool(route).await).filter(|pool| predicate(pool))).await
    }

    /// Returns the text of `/metrics`.
    pub async fn metrics(&self) -> String {
        self.admin("/metrics").await.text()
    }

    /// Returns the value of the only sample of `/metrics` that begins with `series`, which may include labels:
    /// `gateway_requests_total{route="spike"`. Returns `None` if there is no such sample.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let metrics = self.metrics().await;
        let mut samples = metrics.lines().filter(|line| line.starts_with(series));
        let sample = samples.next()?;
        assert_eq!(samples.next(), None, "`{series}` is not one sample; the first is {sample}");
        sample.rsplit(' ').next()?.parse().ok()
    }

    /// Returns the lines of stderr so far, which are the program's log.
    #[must_use]
    pub fn logs(&self) -> Vec<String> {
        self.stderr.lines()
    }

    /// Returns the lines of stdout so far: the addresses, `ready`, then the access log if it goes there.
    #[must_use]
    pub fn stdout_lines(&self) -> Vec<String> {
        self.stdout.lines()
    }

    /// Waits for the first log line that contains `text`.
    ///
    /// # Panics
    /// Panics if none appears within [`PATIENCE`], or the program ends.
    pub async fn wait_for_log(&self, text: &str) -> String {
        self.wait_for_line(&self.stderr, text).await
    }

    /// Waits for the first line of stdout that contains `text`.
    ///
    /// # Panics
    /// Panics if none appears within [`PATIENCE`], or the program ends.
    pub async fn wait_for_stdout(&self, text: &str) -> String {
        self.wait_for_line(&self.stdout, text).await
    }

    async fn wait_for_line(&self, stream: &Captured, text: &str) -> String {
        match tokio::time::timeout(PATIENCE, stream.find(0, |line| line.contains(text))).await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("the program ended without printing `{text}`\n{}", self.output()),
            Err(_) => panic!("waited {PATIENCE:?} for the line `{text}`\n{}", self.output()),
        }
    }

    /// Returns the folder of gateway.yaml, which its relative paths start from.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces gateway.yaml by rename, as editors do, with the placeholders of the start filled in.
    pub fn rewrite_config(&self, config: &str) {
        let written = self.folder().join(".gateway.yaml.new");
        fs::write(&written, filled(config, &self.values)).unwrap();
        fs::rename(written, self.folder().join("gateway.yaml")).unwrap();
    }

    /// Replaces gateway.yaml as [`Self::rewrite_config`] does, and waits until the new one serves.
    ///
    /// # Panics
    /// Panics if it does not within [`PATIENCE`], or is rejected.
    pub async fn reload(&self, config: &str) {
        let reloads = self.metric("gateway_config_reloads_total").await;
        let refused = self.metric("gateway_config_reloads_refused_total").await;
        self.rewrite_config(config);
        wait_until("the reload", async || {
            let now = self.metric("gateway_config_reloads_refused_total").await;
            assert_eq!(now, refused, "the reload was refused\n{}", self.output());
            self.metric("gateway_config_reloads_total").await > reloads
        })
        .await;
    }

    /// Returns the number of the active configuration, which is 1 at the start.
    pub async fn generation(&self) -> u64 {
        self.metric("gateway_config_generation").await.expect("the metric is there") as u64
    }

    /// Returns the process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns bytes of the process's memory: a field of proc_pid_status(5), such as `VmRSS`, or `VmHWM` for the peak.
    ///
    /// # Panics
    /// Panics if the process has ended, or there is no such field.
    #[must_use]
    pub fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kilobytes << 10
    }

    /// Sends a signal, such as `Signal::TERM`.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the program is running");
    }

    /// Waits for the exit status, with all output captured.
    ///
    /// # Panics
    /// Panics if the program is still running after `timeout`.
    pub async fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                within("the end of stdout", self.stdout.ended()).await;
                within("the end of stderr", self.stderr.ended()).await;
                return status;
            }
            let now = tokio::time::Instant::now();
            assert!(now < deadline, "still running after {timeout:?}\n{}", self.output());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Returns all output of the program, for a panic's message.
    #[must_use]
    pub fn output(&self) -> String {
        format!("--- stdout\n{}\n--- stderr\n{}\n---", self.stdout_lines().join("\n"), self.logs().join("\n"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("gateway {} at the time of the panic:\n{}", self.pid(), self.output());
        }
        // Errors mean that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl GatewayBuilder {
    /// Replaces `{name}` in the configuration by `value`.
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "callers read better without a borrow")]
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.values.push((name.to_owned(), value.to_string()));
        self
    }

    /// Writes a file beside gateway.yaml before the start.
    #[must_use]
    pub fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.push((path.to_owned(), content.as_ref().to_vec()));
        self
    }

    /// Adds a command line argument after `--config FILE`.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a variable in the program's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Limits the open files of the program to this number, sockets included.
    #[must_use]
    pub fn open_files_max(mut self, count: u32) -> Self {
        self.open_files_max = Some(count);
        self
    }

    /// Starts the program with this soft limit of open files, below the hard one.
    #[must_use]
    pub fn soft_open_files(mut self, count: u32) -> Self {
        self.soft_open_files = Some(count);
        self
    }

    /// Limits the files that the program writes to this many blocks, as `ulimit -f` does.
    #[must_use]
    pub fn file_size_max(mut self, blocks: u32) -> Self {
        self.file_size_max = Some(blocks);
        self
    }

    /// Limits the data memory of the program and its child processes to this many kibibytes, as `ulimit -d` does.
    #[must_use]
    pub fn data_max(mut self, kibibytes: u32) -> Self {
        self.data_max = Some(kibibytes);
        self
    }

    /// Starts the program and waits until it is ready.
    ///
    /// # Panics
    /// Panics with all that the program printed if it does not print `ready` within [`PATIENCE`].
    pub async fn start(self) -> Gateway {
        let folder = self.folder();
        let mut child = self.command(&folder).spawn().expect("the program starts");
        let stdout = Captured::read(child.stdout.take().unwrap());
        let stderr = Captured::read(child.stderr.take().unwrap());
        let gateway = Gateway { child, folder, stdout, stderr, values: self.values };
        let ready =
            tokio::time::timeout(PATIENCE, gateway.stdout.find(0, |line| message(line) == "ready")).await;
        if !matches!(ready, Ok(Some(_))) {
            // The last lines may still be on their way.
            drop(tokio::time::timeout(Duration::from_secs(1), gateway.stderr.ended()).await);
            panic!("the program did not become ready\n{}", gateway.output());
        }
        gateway
    }

    /// Runs the program to its end, for starts that must fail.
    ///
    /// # Panics
    /// Panics if it is still running after [`PATIENCE`].
    pub async fn run_to_exit(self) -> Output {
        let folder = self.folder();
        finish(self.command(&folder)).await
    }

    fn folder(&self) -> TempDir {
        let folder = private_folder();
        fs::write(folder.path().join("gateway.yaml"), filled(&self.config, &self.values)).unwrap();
        for (path, content) in &self.files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    fn command(&self, folder: &TempDir) -> Command {
        let limits = [
            ("-n", self.open_files_max),
            ("-Sn", self.soft_open_files),
            ("-f", self.file_size_max),
            ("-d", self.data_max),
        ];
        let limits =
            limits.iter().filter_map(|(option, value)| Some(format!("ulimit {option} {}; ", (*value)?)));
        let limits: String = limits.collect();
        let mut command = if limits.is_empty() {
            Command::new(&self.program)
        } else {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{limits}exec \"$0\" \"$@\"")]).arg(&self.program);
            shell
        };
        command.arg("--config").arg(folder.path().join("gateway.yaml")).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Runs `program` with `arguments` to its end, for subcommands such as `check` and `schema`.
///
/// # Panics
/// Panics if it is still running after [`PATIENCE`].
pub async fn run_to_exit(program: impl AsRef<Path>, arguments: &[&str]) -> Output {
    let mut command = Command::new(program.as_ref());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command).await
}

async fn finish(command: Command) -> Output {
    let shown = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    let running = command.kill_on_drop(true).output();
    match tokio::time::timeout(PATIENCE, running).await {
        Ok(output) => output.expect("the program starts"),
        Err(_) => panic!("still running after {PATIENCE:?}: {shown}"),
    }
}

/// Returns the message of a line of JSON, or any other line as it is.
fn message(line: &str) -> String {
    let message =
        serde_json::from_str(line).ok().and_then(|line: Value| Some(line["message"].as_str()?.to_owned()));
    message.unwrap_or_else(|| line.to_owned())
}

fn filled(config: &str, values: &[(String, String)]) -> String {
    values
        .iter()
        .fold(config.to_owned(), |config, (name, value)| config.replace(&format!("{{{name}}}"), value))
}
