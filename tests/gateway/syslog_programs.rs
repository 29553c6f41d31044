//! rsyslog as the receiver of the access log. `scripts/clients.sh` unpacks it.

use std::fs;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};

use support::serde_json::{Value, from_str};
use support::{Gateway, unused_address, wait_until};

use crate::gateway;
use crate::programs::{self, Server};

/// A running rsyslogd, which writes the parts of each message to a file, with tabs between them.
struct Rsyslog {
    server: Server,
    folder: tempfile::TempDir,
    tcp: SocketAddr,
    udp: SocketAddr,
}

impl Rsyslog {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let tcp = unused_address();
        let parts =
            ["pri", "timereported", "hostname", "app-name", "procid", "msgid", "structured-data", "msg"];
        let format = |name: &&str| if *name == "timereported" { " dateFormat=\"rfc3339\"" } else { "" };
        let parts = parts.iter().map(|name| format!("property(name=\"{name}\"{})", format(name)));
        let config = format!(
            "
global(workDirectory=\"{folder}\" maxMessageSize=\"64k\")
module(load=\"imudp\")
module(load=\"imtcp\")
module(load=\"imuxsock\" SysSock.Use=\"off\")
template(name=\"parts\" type=\"list\") {{ {} constant(value=\"\\n\") }}
input(type=\"imudp\" address=\"127.0.0.1\" port=\"{}\")
input(type=\"imtcp\" address=\"{}\" port=\"{}\")
input(type=\"imuxsock\" Socket=\"{folder}/log\" UseSpecialParser=\"off\" UsePIDFromSystem=\"off\" IgnoreTimestamp=\"off\")
action(type=\"omfile\" file=\"{folder}/messages\" template=\"parts\")
",
            parts.collect::<Vec<_>>().join(" constant(value=\"\\t\") "),
            udp.port(),
            tcp.ip(),
            tcp.port(),
            folder = folder.path().display(),
        );
        fs::write(folder.path().join("rsyslog.conf"), config).unwrap();
        let this = Self { server: Self::spawn(folder.path(), tcp), folder, tcp, udp };
        this.is_ready().await;
        this
    }

    fn spawn(folder: &Path, tcp: SocketAddr) -> Server {
        let path = |name: &str| folder.join(name).display().to_string();
        let (config, pid) = (path("rsyslog.conf"), path("pid"));
        let (program, environment, modules) = rsyslogd();
        let mut arguments = vec![&*environment, &*program, "-n", "-f", &config, "-i", &pid];
        if let Some(modules) = &modules {
            arguments.extend(["-M", modules]);
        }
        Server::spawn(Path::new("env"), &arguments, tcp.port())
    }

    async fn is_ready(&self) {
        let ready = async || TcpStream::connect(self.tcp).is_ok() && self.folder.path().join("log").exists();
        wait_until("rsyslogd", ready).await;
    }

    /// Ends the program and starts it again.
    async fn restart(&mut self, between: impl AsyncFnOnce()) {
        self.server.kill();
        fs::remove_file(self.folder.path().join("pid")).unwrap();
        between().await;
        self.server = Self::spawn(self.folder.path(), self.tcp);
        self.is_ready().await;
    }

    /// Waits for so many messages whose lines contain a text, and returns their parts.
    async fn messages(&self, text: &str, count: usize) -> Vec<Vec<String>> {
        let found = || {
            let written = fs::read_to_string(self.folder.path().join("messages")).unwrap_or_default();
            let lines = written.lines().filter(|line| line.contains(text));
            lines.map(|line| line.split('\t').map(str::to_owned).collect()).collect::<Vec<Vec<String>>>()
        };
        wait_until(&format!("{count} messages with {text}"), async || found().len() >= count).await;
        found()
    }
}

/// Returns the program, the setting of its environment, and the folder of its modules if that is not the usual one.
fn rsyslogd() -> (String, String, Option<String>) {
    let installed = [programs::find("rsyslogd"), Some(PathBuf::from("/usr/sbin/rsyslogd"))];
    if let Some(program) = installed.into_iter().flatten().find(|path| path.exists()) {
        return (program.display().to_string(), "LC_ALL=C".to_owned(), None);
    }
    let program = programs::peer("rsyslog/usr/sbin/rsyslogd");
    let folders = fs::read_dir(programs::peer("rsyslog/usr/lib")).unwrap().map(|entry| entry.unwrap().path());
    let libraries = folders.into_iter().find(|folder| folder.join("rsyslog").exists()).unwrap();
    let modules = libraries.join("rsyslog").display().to_string();
    (program.display().to_string(), format!("LD_LIBRARY_PATH={}", libraries.display()), Some(modules))
}

async fn start(output: &str, format: &str) -> Gateway {
    gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
telemetry:
  access_log: { output: '{output}', {format}, syslog: { facility: local3, severity: notice, app_name: edge } }
routes: [{ match: { prefix: / }, respond: { body: hello } }]",
    )
    .set("output", output)
    .set("format", format)
    .start()
    .await
}

const HOSTILE: [(&str, &str); 1] = [("user-agent", "<11>1 - - %s \"\\ { \u{fe}")];

#[tokio::test]
async fn rsyslog_gets_each_line_whole_by_every_transport() {
    let rsyslog = Rsyslog::start().await;
    let folder = rsyslog.folder.path().display();
    for (name, output) in [
        ("udp", format!("syslog+udp://{}", rsyslog.udp)),
        ("tcp", format!("syslog+tcp://{}", rsyslog.tcp)),
        ("unix", format!("syslog+unix://{folder}/log")),
    ] {
        let gateway = start(&output, "fields: [time, target, user_agent, status]").await;
        let mut client = gateway.client("web").await;
        for number in 0..20 {
            client.request("GET", &format!("/{name}?{number}"), &HOSTILE, b"").await;
        }
        let messages = rsyslog.messages(&format!("/{name}?"), 20).await;
        for (number, message) in messages.iter().enumerate() {
            let [priority, time, host, app, process, id, data, line] = message.as_slice() else {
                panic!("{message:?}")
            };
            // local3.notice
            assert_eq!(
                (priority.as_str(), app.as_str(), id.as_str(), data.as_str()),
                ("157", "edge", "access", "-")
            );
            assert_eq!(
                (*process == gateway.pid().to_string(), host.is_empty()),
                (true, false),
                "{message:?}"
            );
            let line: Value = from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_eq!(line["time"], time.as_str());
            assert_eq!(line["target"], format!("/{name}?{number}"));
            assert_eq!((&line["user_agent"], &line["status"]), (&HOSTILE[0].1.into(), &200.into()));
        }
    }
}

#[tokio::test]
async fn rsyslog_that_starts_again_gets_the_lines_of_the_time_between() {
    let mut rsyslog = Rsyslog::start().await;
    let gateway = start(&format!("syslog+tcp://{}", rsyslog.tcp), "format: combined").await;
    let mut client = gateway.client("web").await;
    client.get("/before").await;
    rsyslog.messages("GET /before ", 1).await;
    let between = async || {
        for number in 0..50 {
            client.get(&format!("/between?{number}")).await;
        }
        gateway.wait_for_log("the receiver of the access log takes no lines").await;
    };
    rsyslog.restart(between).await;
    let messages = rsyslog.messages("GET /between?", 50).await;
    for (number, message) in messages.iter().enumerate() {
        assert!(
            message[7].contains(&format!("\"GET /between?{number} HTTP/1.1\" 200 5 \"-\" ")),
            "{message:?}"
        );
    }
    for reason in ["buffer", "output", "closed", "too_long"] {
        let series = format!("gateway_access_log_dropped_lines_total{{reason=\"{reason}\"}}");
        assert_eq!(gateway.metric(&series).await, Some(0.0), "{reason}");
    }
}
