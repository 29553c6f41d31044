//! Servers of Redis for tests: alone, as a cluster of one, and with a sentinel.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use support::{Signal, run_to_exit, wait_until};
use tempfile::TempDir;

use crate::programs::{Server, program, run};

/// A Redis on a port of its own. Commands of tests come by a Unix socket, so that all clients by TCP are gateways.
pub(super) struct Redis {
    server: Server,
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
    password: Option<String>,
}

impl Redis {
    /// Starts a server without persistence.
    pub(super) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server with further arguments.
    pub(super) async fn start_with(arguments: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), arguments, None).await
    }

    /// Starts a server whose default user has a password.
    pub(super) async fn start_with_password(password: &str, arguments: &[&str]) -> Self {
        let arguments = [&["--requirepass", password], arguments].concat();
        Self::start_in(tempfile::tempdir().unwrap(), &arguments, Some(password)).await
    }

    async fn start_in(folder: TempDir, arguments: &[&str], password: Option<&str>) -> Self {
        let port = free_port();
        let mut all =
            vec!["--port".to_owned(), port.to_string(), "--bind".to_owned(), "127.0.0.1".to_owned()];
        all.extend(["--save", "", "--appendonly", "no"].map(str::to_owned));
        for (key, name) in [("--unixsocket", "redis.sock"), ("--logfile", "log"), ("--dir", "")] {
            all.extend([key.to_owned(), path(folder.path(), name)]);
        }
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let server = spawn("redis-server", &all);
        let password = password.map(str::to_owned);
        let redis = Self { server, folder, port, arguments: all, password };
        redis.wait().await;
        redis
    }

    async fn wait(&self) {
        wait_until("Redis responds", async || {
            self.try_command("PING").await.is_some_and(|text| text == "PONG")
        })
        .await;
    }

    /// Returns its place for `url`.
    pub(super) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn url(&self) -> String {
        format!("redis://{}", self.host())
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn socket(&self) -> String {
        path(self.folder.path(), "redis.sock")
    }

    /// Runs a command, and returns its result.
    pub(super) async fn command(&self, command: &str) -> String {
        self.try_command(command).await.unwrap_or_else(|| panic!("Redis does not run {command}"))
    }

    async fn try_command(&self, command: &str) -> Option<String> {
        let socket = self.socket();
        let password: Vec<&str> =
            self.password.iter().flat_map(|password| ["--no-auth-warning", "-a", password]).collect();
        let words: Vec<&str> = command.split(' ').collect();
        let arguments = [&["-s", &socket][..], &password, &words].concat();
        let output = run_to_exit(program("redis-cli"), &arguments).await;
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    /// Returns the number of calls of a command.
    pub(super) async fn calls(&self, command: &str) -> u64 {
        let stats = self.command("INFO commandstats").await;
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|line| line.split(',').next()).map_or(0, |count| count.parse().unwrap())
    }

    /// Returns the identifiers of the connections of gateways.
    pub(super) async fn connections(&self) -> Vec<String> {
        let list = self.command("CLIENT LIST").await;
        let clients = list.lines().filter(|line| line.contains(" addr=127.0.0.1:"));
        clients.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    }

    pub(super) fn signal(&self, signal: Signal) {
        self.server.signal(signal);
    }

    pub(super) fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again at the same place, empty.
    pub(super) async fn restart(&mut self) {
        self.server = spawn("redis-server", &self.arguments);
        self.wait().await;
    }
}

/// A sentinel that knows one master as `main`.
pub(super) struct Sentinel {
    _server: Server,
    _folder: TempDir,
    port: u16,
}

impl Sentinel {
    pub(super) async fn start(master: &Redis) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let config = path(folder.path(), "sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nlogfile {}\nsentinel monitor main 127.0.0.1 {} 1\n",
            folder.path().display(),
            path(folder.path(), "log"),
            master.port()
        );
        fs::write(&config, text).unwrap();
        let server = spawn("redis-sentinel", &[config]);
        let port_text = port.to_string();
        wait_until("the sentinel responds", async || {
            let output = run_to_exit(program("redis-cli"), &["-p", &port_text, "PING"]).await;
            output.stdout.starts_with(b"PONG")
        })
        .await;
        Self { _server: server, _folder: folder, port }
    }

    pub(super) fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/main", self.port)
    }
}

/// Starts a cluster of one server.
pub(super) async fn start_cluster() -> Redis {
    let redis = Redis::start_with(&["--cluster-enabled", "yes"]).await;
    let port = redis.port().to_string();
    run(&program("redis-cli"), &["-p", &port, "CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    wait_until("the cluster is complete", async || {
        redis.command("CLUSTER INFO").await.contains("cluster_state:ok")
    })
    .await;
    redis
}

fn spawn(name: &str, arguments: &[String]) -> Server {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Server::spawn(&program(name), &arguments, 0)
}

fn path(folder: &Path, name: &str) -> String {
    let path: PathBuf = if name.is_empty() { folder.to_owned() } else { folder.join(name) };
    path.display().to_string()
}

/// Returns a port that is free, and that no connection gets by itself.
pub(super) fn free_port() -> u16 {
    loop {
        let random = RandomState::new().build_hasher().finish() % 10_000;
        let port = 20_000 + u16::try_from(random).unwrap();
        // A cluster's own connections come to the port above by 10,000, which is then below those of clients as well.
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
