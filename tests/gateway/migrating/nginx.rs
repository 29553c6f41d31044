//! nginx as a process: `scripts/peers.sh` unpacks it where it is not installed.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use support::{run_to_exit, unused_address, wait_until};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::page::Block;

/// Directives that belong into `http`; a block with none of them is the inside of a `server`.
const OF_HTTP: [&str; 3] = ["server", "upstream", "limit_conn_zone"];

/// A running nginx. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Nginx {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Nginx {
    /// Starts nginx with this block in a folder with these files, once `edit` has put the test's addresses in.
    pub(super) async fn start(block: &Block, folder: TempDir, edit: impl Fn(&str) -> String) -> Self {
        // Nothing else listens on this loopback address, so the port stays free until nginx has it.
        let address = unused_address();
        let edited = Block { text: edit(&block.text), ..block.clone() };
        let text = listening(&configuration(&edited, folder.path()), |_| address.to_string());
        fs::write(folder.path().join("nginx.conf"), format!("daemon off;\nmaster_process off;\n{text}"))
            .unwrap();
        let error_log = fs::File::create(folder.path().join("stderr")).unwrap();
        let child = command(folder.path()).stdin(Stdio::null()).stderr(error_log).spawn().unwrap();
        let mut nginx = Self { child, address, folder };
        wait_until("nginx to accept", || {
            let ended = nginx.child.try_wait().unwrap();
            assert!(ended.is_none(), "nginx ended: {}", nginx.log());
            async move { TcpStream::connect(address).await.is_ok() }
        })
        .await;
        nginx
    }

    /// The address of its listener.
    pub(super) fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The error log so far.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A process that has ended by itself shows in the test.
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// Runs `nginx -t` on a block, in a folder with the files that it names.
pub(super) async fn check(block: &Block, folder: &Path) -> Output {
    // A check binds the addresses that it finds; no other test has the sockets in this folder.
    let text = listening(&configuration(block, folder), |port| {
        format!("unix:{}/{}-{port}.sock", folder.display(), block.line)
    });
    fs::write(folder.join("nginx.conf"), text).unwrap();
    let prefix = folder.to_str().unwrap();
    let file = folder.join("nginx.conf");
    let arguments = ["-t", "-p", prefix, "-c", file.to_str().unwrap(), "-e", "stderr"];
    run_to_exit(program(), &arguments).await
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(program());
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf")).args(["-e", "stderr"]);
    command
}

/// Returns the path of nginx.
pub(crate) fn program() -> PathBuf {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/nginx/usr/sbin/nginx");
    // The places in which scripts/peers.sh looks for it, too.
    let installed = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx", "/opt/homebrew/bin/nginx"];
    let found = [unpacked].into_iter().chain(installed.map(PathBuf::from)).find(|path| path.exists());
    found.expect("nginx is not installed: bash scripts/peers.sh")
}

/// A whole configuration around a block, which keeps all of its files in this folder.
fn configuration(block: &Block, folder: &Path) -> String {
    let text = &block.text;
    let directives: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with([' ', '}']))
        .filter_map(|line| line.split([' ', ';']).next())
        .collect();
    let folder = folder.display();
    let mut http = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .concat();
    if !directives.contains(&"access_log") {
        http += "access_log off;\n";
    }
    let body = if directives.contains(&"http") {
        text.replace("http {", &format!("http {{\n{http}"))
    } else if directives.iter().any(|name| OF_HTTP.contains(name)) {
        format!("events {{}}\nhttp {{\n{http}{text}}}\n")
    } else {
        format!("events {{}}\nhttp {{\n{http}server {{\nlisten 8080;\n{text}}}\n}}\n")
    };
    format!("pid {folder}/nginx.pid;\nerror_log stderr;\n{body}")
}

/// The text with another address, made from the port, in each `listen`.
fn listening(text: &str, address: impl Fn(&str) -> String) -> String {
    let mut listening = String::new();
    for line in text.lines() {
        match line.trim().strip_prefix("listen ") {
            Some(rest) => {
                let at = rest.find([' ', ';']).expect("an address ends");
                let (written, parameters) = rest.split_at(at);
                let port = written.rsplit(':').next().unwrap_or(written);
                listening += &format!("listen {}{parameters}\n", address(port));
            }
            None => listening += &format!("{line}\n"),
        }
    }
    listening
}
