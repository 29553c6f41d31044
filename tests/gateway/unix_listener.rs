//! Listeners on Unix sockets: they serve as those of TCP do, and their files come and go with them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use support::serde_json::{Value, from_str};
use support::{
    Certificates, Client, Gate, Gateway, GatewayBuilder, Http2Client, Origin, Signal, run_to_exit, wait_until,
};
use tempfile::TempDir;

use crate::pooled::OK;
use crate::scripted::scripted;

const ADMIN: &str = "admin: { address: 127.0.0.1:0 }\n";

/// A folder with the socket `web.sock`.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn web(&self) -> PathBuf {
        self.path("web.sock")
    }

    /// Returns a listener of this name, on a socket of this name, with further keys.
    fn listener(&self, name: &str, keys: &str) -> String {
        format!(
            "{{ name: {name}, address: 'unix:{}', {keys} }}",
            self.path(&format!("{name}.sock")).display()
        )
    }

    /// Returns a configuration with the listener `web`, which answers with `ok`.
    fn config(&self, keys: &str) -> String {
        config(&[&self.listener("web", keys)], "{ name: all, respond: { body: ok } }")
    }

    async fn start(&self, keys: &str) -> Gateway {
        crate::gateway(self.config(keys)).start().await
    }
}

fn config(listeners: &[&str], route: &str) -> String {
    format!("{ADMIN}workers: 2\nlisteners: [{}]\nroutes: [{route}]\n", listeners.join(", "))
}

fn forwarding(site: &Site, keys: &str, origin: &Origin) -> GatewayBuilder {
    let route = format!("{{ name: all, upstream: {{ url: '{}' }} }}", origin.url());
    crate::gateway(config(&[&site.listener("web", keys)], &route))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

async fn stop(gateway: &mut Gateway) {
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(Duration::from_secs(20)).await.success());
}

async fn text_at(path: &Path) -> String {
    Client::connect_unix(path).await.get("/").await.text()
}

fn errors(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the lines of the access log.
fn access_log(gateway: &Gateway) -> Vec<Value> {
    let lines = gateway.stdout_lines();
    lines
        .iter()
        .filter_map(|line| from_str(line).ok())
        .filter(|line: &Value| line["client"].is_string())
        .collect()
}

#[tokio::test]
async fn listener_on_a_unix_socket_keeps_connections_and_is_announced() {
    let site = Site::new();
    let gateway = site.start("").await;
    let mut client = Client::connect_unix(site.web()).await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.text(), "ok");
    }
    assert_eq!(gateway.metric("gateway_listener_accepted_total").await, Some(1.0));
    let mut http2 = Http2Client::connect_unix(site.web()).await;
    assert_eq!(http2.get("http://localhost/").await.body, b"ok");
    let path = site.web().display().to_string();
    let lines = gateway.stdout_lines();
    for line in [
        format!("listening on unix:{path} (web)"),
        format!("curl -i --unix-socket {path} http://localhost/  # all: fixed response"),
    ] {
        assert!(lines.contains(&line), "{lines:#?}");
    }
    wait_until("four lines", async || access_log(&gateway).len() == 4).await;
    for line in access_log(&gateway) {
        assert_eq!((&line["client"], &line["listener"]), (&"unix:".into(), &"web".into()), "{line}");
    }
}

#[tokio::test]
async fn listener_on_a_unix_socket_speaks_tls() {
    let site = Site::new();
    let certificates = Certificates::new();
    let server = certificates.server(&["localhost"]);
    let keys = format!(
        "tls: {{ certificates: [{{ cert: '{}', key: '{}' }}] }}",
        server.cert.display(),
        server.key.display()
    );
    let gateway = site.start(&keys).await;
    let trust = certificates.client_config(&[]);
    let mut client = Client::connect_unix_tls(site.web(), &trust, "localhost").await;
    assert_eq!(client.get("/").await.text(), "ok");
    let line = format!("listening on unix:{} with TLS (web)", site.web().display());
    assert!(gateway.stdout_lines().contains(&line));
}

#[tokio::test]
async fn abstract_socket_serves_and_is_taken_by_the_first() {
    let site = Site::new();
    let name = format!("gateway-listener-{}", std::process::id());
    let listener = format!("{{ name: web, address: 'unix:@{name}' }}");
    let file = config(&[&listener], "{ respond: { body: ok } }");
    let mut gateway = crate::gateway(file.clone()).start().await;
    assert_eq!(text_at(Path::new(&format!("\0{name}"))).await, "ok");
    let output = errors(&crate::gateway(file.clone()).run_to_exit().await);
    assert!(
        output.contains("Address already in use") && output.contains("another program listens"),
        "{output}"
    );
    stop(&mut gateway).await;
    let _again = crate::gateway(file).start().await;
    assert_eq!(fs::read_dir(site.0.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn each_worker_accepts_connections_of_a_unix_socket() {
    let site = Site::new();
    let origin = Origin::answer(OK);
    let _gateway = forwarding(&site, "", &origin).start().await;
    // One after the other, so that a worker needs one connection to the origin, and both need two.
    wait_until("connections of both workers", async || {
        assert_eq!(text_at(&site.web()).await, "ok");
        origin.accepted() == 2
    })
    .await;
}

#[tokio::test]
async fn file_of_a_unix_socket_has_the_mode_and_a_reload_changes_it_in_place() {
    let site = Site::new();
    let gateway = site.start("").await;
    let (before, mut client) = (inode(&site.web()), Client::connect_unix(site.web()).await);
    assert_eq!((mode(&site.web()), client.get("/").await.status), (0o660, 200));
    for (keys, expected) in [("mode: '0600'", 0o600), ("mode: '0666'", 0o666), ("", 0o660)] {
        gateway.reload(&site.config(keys)).await;
        assert_eq!((mode(&site.web()), inode(&site.web())), (expected, before), "{keys}");
    }
    assert_eq!(client.get("/").await.status, 200, "the connection is kept");
    assert_eq!(text_at(&site.web()).await, "ok");
    drop(gateway);
    let _again = site.start("mode: '0622'").await;
    assert_eq!(mode(&site.web()), 0o622, "whatever the umask is");
}

#[tokio::test]
async fn socket_of_a_dead_process_is_replaced() {
    let site = Site::new();
    let gateway = site.start("").await;
    drop(gateway); // It is killed, and leaves the file behind.
    assert!(site.web().exists());
    let mut gateway = site.start("").await;
    assert_eq!(text_at(&site.web()).await, "ok");
    stop(&mut gateway).await;
    assert!(!site.web().exists());
}

#[tokio::test]
async fn live_socket_is_an_error_and_goes_on_serving() {
    let site = Site::new();
    let mut gateway = site.start("").await;
    let before = inode(&site.web());
    let output = errors(&crate::gateway(site.config("")).run_to_exit().await);
    assert!(output.contains("cannot listen on this address: another program listens there"), "{output}");
    assert!(output.contains("ss -lxp"), "{output}");
    assert_eq!((inode(&site.web()), text_at(&site.web()).await.as_str()), (before, "ok"));
    stop(&mut gateway).await;
}

#[tokio::test]
async fn file_that_is_no_socket_and_a_missing_folder_are_errors() {
    let site = Site::new();
    fs::write(site.web(), "text").unwrap();
    let output = errors(&crate::gateway(site.config("")).run_to_exit().await);
    assert!(output.contains("there is a file that is not a socket"), "{output}");
    assert_eq!(fs::read_to_string(site.web()).unwrap(), "text");
    let listener = site.listener("missing/web", "");
    let listener = listener.replace("name: missing/web", "name: web");
    let output = errors(&crate::gateway(config(&[&listener], "{ respond: {} }")).run_to_exit().await);
    assert!(output.contains("its folder does not exist: create it"), "{output}");
}

#[tokio::test]
async fn start_that_fails_leaves_no_socket_behind() {
    let site = Site::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = format!("{{ name: tcp, address: '{}' }}", taken.local_addr().unwrap());
    let file = config(&[&site.listener("web", ""), &tcp], "{ respond: {} }");
    errors(&crate::gateway(file).run_to_exit().await);
    assert!(!site.web().exists());
}

#[tokio::test]
async fn file_is_removed_when_draining_begins_and_requests_in_flight_end() {
    let site = Site::new();
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            while connection.read_request().await.is_some() {
                gate.pass().await;
                connection.write(OK).await;
            }
        }
    });
    let mut gateway = forwarding(&site, "", &origin).start().await;
    let mut idle = Client::connect_unix(site.web()).await;
    let mut busy = Client::connect_unix(site.web()).await;
    busy.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.arrivals(1).await;
    gateway.signal(Signal::TERM);
    wait_until("the file to go", async || !site.web().exists()).await;
    assert!(Client::try_connect_unix(site.web()).await.is_err());
    idle.expect_closed().await;
    gate.release();
    assert_eq!(busy.read_response().await.text(), "ok");
    busy.expect_closed().await;
    assert!(gateway.wait_exit(Duration::from_secs(20)).await.success());
}

#[tokio::test]
async fn socket_of_another_process_in_the_same_place_outlives_the_gateway() {
    let site = Site::new();
    let mut gateway = site.start("").await;
    fs::remove_file(site.web()).unwrap();
    let mut next = site.start("").await;
    stop(&mut gateway).await;
    assert_eq!(text_at(&site.web()).await, "ok");
    fs::remove_file(site.web()).unwrap();
    let _other = UnixListener::bind(site.web()).unwrap();
    stop(&mut next).await;
    assert!(site.web().exists());
}

#[tokio::test]
async fn reload_adds_and_removes_unix_sockets_and_keeps_the_others() {
    let site = Site::new();
    let (web, other) = (site.listener("web", ""), site.listener("other", ""));
    let route = "{ name: all, respond: { body: ok } }";
    let gateway = crate::gateway(config(&[&web], route)).start().await;
    let (before, mut kept) = (inode(&site.web()), Client::connect_unix(site.web()).await);
    assert_eq!(kept.get("/").await.text(), "ok");

    gateway.reload(&config(&[&web, &other], route)).await;
    assert_eq!(text_at(&site.path("other.sock")).await, "ok");
    let mut idle = Client::connect_unix(site.path("other.sock")).await;
    assert_eq!(idle.get("/").await.text(), "ok");
    gateway.wait_for_stdout("other.sock (other)").await;

    gateway.reload(&config(&[&web], route)).await;
    assert!(!site.path("other.sock").exists());
    idle.expect_closed().await;
    assert_eq!((inode(&site.web()), kept.get("/").await.text().as_str()), (before, "ok"));

    gateway.reload(&config(&[&web, &other], route)).await;
    assert_eq!(text_at(&site.path("other.sock")).await, "ok");
    fs::write(site.path("file.sock"), "").unwrap();
    gateway.rewrite_config(&config(&[&web, &site.listener("file", "")], route));
    gateway.wait_for_log("there is a file that is not a socket").await;
    assert_eq!(text_at(&site.path("other.sock")).await, "ok", "a refused reload changes nothing");
}

/// Connects and asks, again and again until no connection is taken, and returns the number of visits.
async fn visit(path: PathBuf) -> usize {
    let mut visits = 0;
    // A client that gets a connection gets a response.
    while let Ok(mut client) = Client::try_connect_unix(&path).await {
        let fields = [("connection", "close")];
        assert_eq!(client.request("GET", "/", &fields, b"").await.text(), "ok");
        visits += 1;
    }
    visits
}

#[tokio::test]
async fn no_client_of_a_removed_unix_socket_is_cut_off() {
    let site = Site::new();
    let name = format!("gateway-removed-{}", std::process::id());
    let web = site.listener("web", "");
    let others = [site.listener("other", ""), format!("{{ name: abstract, address: 'unix:@{name}' }}")];
    let route = "{ name: all, respond: { body: ok } }";
    let gateway = crate::gateway(config(&[&web, &others[0], &others[1]], route)).start().await;
    let paths = [site.path("other.sock"), PathBuf::from(format!("\0{name}"))];
    let visitors: Vec<_> = (0..24).map(|number| tokio::spawn(visit(paths[number % 2].clone()))).collect();
    gateway.reload(&config(&[&web], route)).await;
    for visitor in visitors {
        assert!(visitor.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn client_on_a_unix_socket_adds_no_address_and_is_believed_only_as_unix() {
    let site = Site::new();
    let origin = Origin::answer(OK);
    let fields = [("x-forwarded-for", "198.51.100.1, 10.0.0.1"), ("x-forwarded-proto", "https")];
    for (trusted, forwarded, proto, client) in [
        ("[]", None, "http", "unix:"),
        ("[0.0.0.0/0]", None, "http", "unix:"),
        ("[unix]", Some("198.51.100.1, 10.0.0.1"), "https", "10.0.0.1"),
        ("[unix, 10.0.0.0/8]", Some("198.51.100.1, 10.0.0.1"), "https", "198.51.100.1"),
    ] {
        let route = format!("{{ name: all, upstream: {{ url: '{}' }} }}", origin.url());
        let file = config(&[&site.listener("web", "")], &route);
        let mut gateway = crate::gateway(format!("{file}trusted_proxies: {trusted}")).start().await;
        let mut asking = Client::connect_unix(site.web()).await;
        assert_eq!(asking.request("GET", "/", &fields, b"").await.status, 200);
        let headers = origin.requests().pop().unwrap().headers;
        assert_eq!(
            (headers.get("x-forwarded-for"), headers.get("x-forwarded-proto")),
            (forwarded, Some(proto))
        );
        wait_until("a line", async || access_log(&gateway).len() == 1).await;
        assert_eq!(access_log(&gateway)[0]["client"], client, "{trusted}");
        stop(&mut gateway).await;
    }
}

#[tokio::test]
async fn proxy_header_on_a_unix_socket_names_the_client() {
    let site = Site::new();
    let origin = Origin::answer(OK);
    let route = format!("{{ name: all, upstream: {{ url: '{}' }} }}", origin.url());
    let file = config(&[&site.listener("web", "proxy_protocol: accept")], &route);
    let gateway = crate::gateway(format!("{file}trusted_proxies: [unix]")).start().await;
    let mut client = Client::connect_unix(site.web()).await;
    client.send_raw("PROXY TCP4 198.51.100.1 127.0.0.1 4711 80\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.read_response().await.status, 200);
    let headers = origin.requests().pop().unwrap().headers;
    assert_eq!(headers.get("x-forwarded-for"), Some("198.51.100.1"));
    wait_until("a line", async || access_log(&gateway).len() == 1).await;
    assert_eq!(access_log(&gateway)[0]["client"], "198.51.100.1");
}

#[tokio::test]
async fn properties_of_filters_show_unix_sockets_on_both_sides() {
    let site = Site::new();
    let origin = Origin::builder().unix(site.path("app.sock")).answer(OK);
    let paths = ["source\\0address", "destination\\0address", "upstream\\0address", "source\\0port"];
    let script: String = paths.iter().map(|path| format!("get_property '{path}' -> bytes\n")).collect();
    let module = scripted(&[("proxy_on_response_headers", &format!("{script}say"))]);
    let route = format!("{{ name: all, upstream: {{ url: '{}' }}, filters: [test] }}", origin.url());
    let file = config(&[&site.listener("web", "")], &route);
    let builder =
        crate::gateway(format!("{file}wasm: {{ cache: off }}\nfilters: {{ test: {{ wasm: test.wasm }} }}"));
    let gateway = builder.file("test.wasm", module).start().await;
    assert_eq!(text_at(&site.web()).await, "ok");
    // Status 1 is that there is none.
    let (web, app) = (site.web(), site.path("app.sock"));
    gateway.wait_for_log(&format!("0 unix:|0 unix:{}|0 unix:{}|1", web.display(), app.display())).await;
}

#[tokio::test]
async fn check_says_what_is_wrong_with_a_listener_on_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let check = async |listeners: &str| {
        fs::write(&file, format!("listeners: [{listeners}]\nroutes: [{{ respond: {{}} }}]")).unwrap();
        let output = run_to_exit(env!("CARGO_BIN_EXE_gateway"), &["check", file.to_str().unwrap()]).await;
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (is_good, output) = check("{ address: unix:/run/a.sock, mode: '0600' }, { address: unix:@a }").await;
    assert!(is_good, "{output}");
    for (listeners, said) in [
        ("{ address: unix:a.sock }", "has a relative path"),
        ("{ address: 127.0.0.1:80, mode: '0600' }", "`mode` has no effect: the address is not a Unix socket"),
        ("{ address: unix:@a, mode: '0600' }", "`mode` has no effect: an abstract socket has no file"),
        ("{ address: unix:/run/a.sock, mode: 'rw' }", "is not the mode of a file"),
        ("{ address: unix:/run/a.sock, mode: 0660 }", "quotes"),
        ("{ address: unix:/run/a.sock }, { address: unix:/run/a.sock }", "appears twice"),
        ("{ address: unix:/run/a.sock, proxy_protocol: accept }", "without `unix` in `trusted_proxies`"),
        (
            "{ address: unix:/run/a.sock, limits: { connections_per_client: 2 } }",
            "clients on a Unix socket have no address",
        ),
    ] {
        let (is_good, output) = check(listeners).await;
        assert!(!is_good && output.contains(said), "{listeners}: {output}");
    }
}
