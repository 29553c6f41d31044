//! Programs that others have written: how tests find, run and stop them. `scripts/clients.sh` installs those that are missing.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use support::{Pid, Signal, kill_process, run_to_exit, wait_for, within};

/// Returns the path of a program.
pub(crate) fn program(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("{name} is not installed: bash scripts/clients.sh"))
}

/// Returns the path of a program, if it is installed.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.exists())
}

/// Returns the path of a program that `scripts/clients.sh` has put in `target/peers`.
pub(crate) fn peer(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers").join(path);
    assert!(path.exists(), "{} is missing: bash scripts/clients.sh", path.display());
    path
}

/// Returns the Python whose environment has the packages of `scripts/clients.sh`.
pub(crate) fn python() -> PathBuf {
    peer("python/bin/python")
}

/// Returns the path of a file in `tests/gateway`.
pub(crate) fn script(path: &str) -> String {
    format!("{}/tests/gateway/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// Compiles a Go program in `tests/gateway`, without modules, to a file.
pub(crate) async fn build_go(source: &str, program_path: &str) {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/go").display().to_string();
    let cache = format!("GOCACHE={cache}");
    let go = program("go").display().to_string();
    // Without C: a compiler for it need not be there, and names are resolved by Go itself.
    let build = [&cache, "CGO_ENABLED=0", "GO111MODULE=off", &go, "build", "-o", program_path];
    run(Path::new("env"), &[&build[..], &[&script(source)]].concat()).await;
}

/// Runs a program, which must succeed, and returns its output.
pub(crate) async fn run(name: &Path, arguments: &[&str]) -> String {
    let output = run_to_exit(name, arguments).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name:?} {arguments:?}: {}\n{text}\n{errors}", output.status);
    text
}

/// A running server. Dropped, it is killed with the processes that it has started.
pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts a server that prints its port as its first line, and waits for that.
    pub(crate) async fn start(name: &Path, arguments: &[&str]) -> Self {
        // Made before the wait, so that a server that prints nothing is killed, too.
        let mut server = Self::spawn(name, arguments, 0);
        let mut lines = BufReader::new(server.child.stdout.take().unwrap());
        let first = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            line
        });
        let line = within("the port of a server", first).await.unwrap();
        server.port = line.trim().parse().unwrap_or_else(|_| panic!("{name:?} prints {line:?} and no port"));
        server
    }

    /// Starts a server that has been told its port.
    pub(crate) fn spawn(name: &Path, arguments: &[&str], port: u16) -> Self {
        let mut command = Command::new(name);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        Self { child: command.spawn().unwrap(), port }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), self.port)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the server ends by itself.
    pub(crate) async fn wait_exit(&mut self) -> ExitStatus {
        wait_for("the end of a server", || {
            let status = self.child.try_wait().unwrap();
            async move { status }
        })
        .await
    }

    /// Kills the server, and returns when its sockets are closed.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _killed = rustix::process::kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _waited = self.child.wait();
    }
}
