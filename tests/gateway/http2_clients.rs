//! Programs that others have written as clients of HTTP/2. `scripts/clients.sh` installs those that are missing.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{Certificates, Connection, Gateway, Origin, Pid, Signal, browser_program};
use tempfile::TempDir;

use crate::gateway;
use crate::programs::{build_go, program, python, run, script};
use crate::websocket_http2::shake;

/// The request bodies and the files that programs upload: more than any window.
const UPLOAD_BYTES: usize = 3_000_000;

/// A page that fetches, posts and opens a WebSocket, and reports the results.
const PAGE: &str = r#"
<!doctype html><title>page</title><script type="module">
const local = await (await fetch("/local")).text();
const posted = await (await fetch("/echo", { method: "POST", body: "p".repeat(1000000) })).text();
const socket = new WebSocket("wss://" + location.host + "/messages", ["chat"]);
const message = await new Promise((resolve) => {
  socket.onopen = () => socket.send("message");
  socket.onmessage = (event) => resolve(event.data);
  socket.onclose = (event) => resolve("closed with " + event.code);
});
const closed = new Promise((resolve) => (socket.onclose = resolve));
socket.close(1000);
await closed;
await fetch("/result?" + [local, posted.length, message]);
</script>"#;

/// A gateway with a plain listener and one with TLS, which offer HTTP/1.1, too.
struct Site {
    gateway: Gateway,
    certificates: Certificates,
    folder: TempDir,
    _origin: Origin,
}

impl Site {
    async fn start() -> Self {
        let certificates = Certificates::new();
        let identity = certificates.server(&["localhost"]);
        let origin = Origin::script(serve);
        let gateway = gateway(
            "
listeners:
  - { name: web, address: 127.0.0.1:0 }
  - { name: secure, address: 127.0.0.1:0, tls: { certificates: [{ cert: '{cert}', key: '{key}' }] } }
admin: { address: 127.0.0.1:0 }
routes:
  - { name: local, match: { path: /local }, respond: { body: hello } }
  - { name: page, match: { path: /page }, respond: { headers: { content-type: text/html }, body: '{page}' } }
  - { name: result, match: { path: /result }, respond: { body: thanks } }
  - { name: up, match: { prefix: / }, upstream: { url: '{origin}' } }",
        )
        .set("page", PAGE.replace('\n', " "))
        .set("cert", identity.cert.display())
        .set("key", identity.key.display())
        .set("origin", origin.url())
        .start()
        .await;
        Self { gateway, certificates, folder: TempDir::new().unwrap(), _origin: origin }
    }

    fn plain(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.addr("web"))
    }

    fn secure(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.gateway.addr("secure").port())
    }

    fn ca(&self) -> String {
        self.certificates.ca().display().to_string()
    }

    /// Writes a file to upload, and returns its path.
    fn upload(&self) -> String {
        let path = self.folder.path().join("upload");
        std::fs::write(&path, vec![b'u'; UPLOAD_BYTES]).unwrap();
        path.display().to_string()
    }
}

/// An upstream that echoes bodies and WebSockets, sends trailers, or never responds.
async fn serve(mut connection: Connection) {
    loop {
        let Some(head) = connection.read_head().await else { return };
        if head.headers.has("upgrade") {
            return match shake(&mut connection, &head).await {
                true if head.first_line.contains("/messages") => echo_messages(&mut connection).await,
                true => connection.echo().await,
                false => {}
            };
        }
        let Some(request) = connection.read_body(&head).await else { return };
        match request.target.as_str() {
            "/stalled" => return drop(connection.wait_closed().await),
            "/trailers" => {
                let response = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n\
                                4\r\nbody\r\n0\r\nx-end: 1\r\n\r\n";
                connection.write(response).await;
            }
            _ => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.len());
                connection.write([head.as_bytes(), &request.body].concat()).await;
            }
        }
    }
}

/// Sends back WebSocket messages of fewer than 126 bytes, without the mask that a client's have (RFC 6455 §5.3).
async fn echo_messages(connection: &mut Connection) {
    while let Some(head) = connection.read_exact(6).await {
        let length = usize::from(head[1] & 0x7f);
        let masked = connection.read_exact(length).await.unwrap();
        let message: Vec<u8> =
            masked.iter().zip(head[2..].iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        connection.write([&head[..1], &[head[1] & 0x7f], &message].concat()).await;
    }
}

#[tokio::test]
async fn curl_speaks_http_2_with_and_without_tls() {
    let site = Site::start().await;
    let curl = program("curl");
    let (ca, upload) = (site.ca(), site.upload());
    let received = site.folder.path().join("received").display().to_string();
    let prior = ["--http2-prior-knowledge"];
    let tls = ["--http2", "--cacert", &ca];
    for (options, url) in [(&prior[..], site.plain("/echo")), (&tls, site.secure("/echo"))] {
        let common =
            ["-sS", "--fail", "--max-time", "60", "-w", "%{http_version} %{response_code}", "-o", &received];
        let run = async |more: &[&str]| run(&curl, &[options, &common, more].concat()).await;
        assert_eq!(run(&[&url.replace("/echo", "/local")]).await, "2 200");
        assert_eq!(std::fs::read(&received).unwrap(), b"hello");
        let file = format!("@{upload}");
        assert_eq!(run(&["--data-binary", &file, &url]).await, "2 200");
        assert_eq!(std::fs::read(&received).unwrap(), vec![b'u'; UPLOAD_BYTES]);
        assert_eq!(run(&["-H", "Expect: 100-continue", "--data-binary", &file, &url]).await, "2 200");
        // Without a length.
        assert_eq!(run(&["-T", &upload, "-X", "POST", "-H", "Content-Length:", &url]).await, "2 200");
        assert_eq!(run(&["-I", &url]).await, "2 200");
    }
    // Several at once over one connection. With prior knowledge, curl 7.88 breaks them by itself, whatever the server.
    let url = site.secure("/local");
    let many: Vec<&str> = std::iter::repeat_n(url.as_str(), 50).collect();
    let all =
        run(&curl, &[&tls[..], &["-sS", "-Z", "-w", "%{http_version} %{response_code} "], &many].concat())
            .await;
    assert_eq!(all.matches("2 200").count(), 50, "{all}");
    // An offer of h2c in a request is not taken.
    let answer = run(&curl, &["-sS", "--http2", "-w", " %{http_version}", &site.plain("/local")]).await;
    assert_eq!(answer, "hello 1.1");
}

#[tokio::test]
async fn nghttp_sends_priorities_and_trailers_and_pads() {
    let site = Site::start().await;
    let nghttp = program("nghttp");
    let upload = site.upload();
    for url in [site.plain(""), site.secure("")] {
        let local = format!("{url}/local");
        let output = run(&nghttp, &["-v", "-m", "50", "-t", "60", &local]).await;
        assert_eq!(output.matches(":status: 200").count(), 50, "{output}");
        let echo = format!("{url}/echo");
        let arguments = ["-v", "-n", "-t", "60", "-b", "200", "-d", &upload, "--trailer", "x-end: 1", &echo];
        let output = run(&nghttp, &arguments).await;
        assert!(output.contains(":status: 200"), "{output}");
        let output = run(&nghttp, &["-v", "-t", "60", &format!("{url}/trailers")]).await;
        assert!(output.contains("x-end: 1"), "{output}");
    }
}

#[tokio::test]
async fn h2load_has_all_of_its_requests_served() {
    let site = Site::start().await;
    let h2load = program("h2load");
    for (url, more) in [
        (site.plain("/local"), &["-n", "5000", "-c", "10", "-m", "50"][..]),
        (site.secure("/local"), &["-n", "5000", "-c", "10", "-m", "50"]),
        (site.secure("/echo"), &["-n", "1000", "-c", "5", "-m", "20"]),
        // More streams than the gateway has announced to take.
        (site.plain("/local"), &["-n", "2000", "-c", "2", "-m", "500"]),
    ] {
        let output = run(&h2load, &[more, &[&url]].concat()).await;
        let count = more[1];
        let expected =
            format!("{count} total, {count} started, {count} done, {count} succeeded, 0 failed, 0 errored");
        assert!(output.contains(&expected), "{more:?} {url}: {output}");
        assert!(output.contains(&format!("status codes: {count} 2xx")), "{output}");
    }
    let upload = site.upload();
    let output = run(&h2load, &["-n", "40", "-c", "2", "-m", "4", "-d", &upload, &site.plain("/echo")]).await;
    assert!(output.contains("40 succeeded, 0 failed"), "{output}");
}

#[tokio::test]
async fn python_h2_opens_websockets() {
    let site = Site::start().await;
    let port = site.gateway.addr("secure").port().to_string();
    let output = run(&python(), &[&script("http2_clients/client.py"), "localhost", &port, &site.ca()]).await;
    assert_eq!(output, "done\n");
}

#[tokio::test]
async fn node_opens_websockets() {
    let site = Site::start().await;
    let output =
        run(&program("node"), &[&script("http2_clients/client.mjs"), &site.secure(""), &site.ca()]).await;
    assert_eq!(output, "done\n");
}

#[tokio::test]
async fn go_keeps_one_connection() {
    let site = Site::start().await;
    let client = site.folder.path().join("client").display().to_string();
    build_go("http2_clients/client.go", &client).await;
    let output = run(Path::new(&client), &[&site.secure(""), &site.ca()]).await;
    assert_eq!(output, "done\n");
}

/// A running Chromium. Dropped, it is killed with the processes that it has started.
struct Browser(Child);

impl Browser {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(browser_program());
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _killed = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _waited = self.0.wait();
    }
}

#[tokio::test]
async fn a_browser_opens_websockets() {
    let site = Site::start().await;
    let profile = format!("--user-data-dir={}", site.folder.path().display());
    // The authority of the certificate is known to this test only.
    let options = ["--headless", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors", &profile];
    // It stays until it is killed; the requests of the page tell how it fares.
    let page = site.secure("/page");
    let _browser = Browser::start(&[&options[..], &["--remote-debugging-port=0", &page]].concat());
    let line = site.gateway.wait_for_stdout("/result?").await;
    assert!(line.contains("/result?hello,1000000,message"), "{line}");
    let socket = site.gateway.wait_for_stdout("/messages").await;
    assert!(socket.contains(r#""version":"HTTP/2.0""#) && socket.contains(r#""status":101"#), "{socket}");
    assert!(!socket.contains(r#""error""#), "{socket}");
}
