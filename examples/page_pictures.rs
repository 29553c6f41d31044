//! Pictures of the page for people, of a gateway under load: those in `docs/`.
//!
//! ```text
//! cargo build && cargo run --example page_pictures
//! ```
#![allow(clippy::print_stdout, reason = "its results are its output")]
#![allow(clippy::unwrap_used, reason = "a broken expectation of an example is a panic")]

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use support::{Browser, Client, Gateway, within};
use tokio::task::JoinSet;

/// Takes pictures of the page.
#[derive(Parser)]
struct Arguments {
    /// The program to show
    #[arg(long, default_value = "target/debug/gateway")]
    gateway: PathBuf,
    /// The folder to write to
    #[arg(long, default_value = "docs")]
    folder: PathBuf,
    /// Seconds under load before the pictures
    #[arg(long, default_value_t = 90)]
    seconds: u64,
}

const CONFIG: &str = "
admin: { address: 127.0.0.1:0 }
telemetry: { access_log: off }
listeners:
  - { name: web, address: 127.0.0.1:0 }
  - { name: partners, address: 127.0.0.1:0, limits: { connections: 500 } }
filters: { redact: { wasm: {plugin}, config: { fields: [iban] } } }
upstreams:
  orders: { endpoints: ['{origin}', '{nothing}'], health: { active: { path: /healthz, interval: 1s } } }
  reports: { url: '{origin}' }
routes:
  - { name: spike, match: { path: /spike }, upstream: { url: '{origin}' }, pool: { max_connections: 16 } }
  - { name: orders, match: { template: '/orders/{id}', methods: [GET, POST] }, upstream: orders }
  - { name: reports, match: { prefix: /reports, host: '*.example.com' }, upstream: reports, pool: { max_connections: 4 } }
  - { name: customers, match: { prefix: /customers }, upstream: orders, filters: [redact] }
  - { name: search, match: { path: /search }, upstream: { url: '{nothing}' } }
  - { name: status, match: { path: /status }, respond: { body: fine } }
";

/// The upstreams: one gateway, which responds itself.
const ORIGIN: &str = "
telemetry: { access_log: off }
listeners: [{ name: origin, address: 127.0.0.1:0 }]
routes:
  - { match: { prefix: /reports }, respond: { delay: 35ms, body: ok } }
  - { match: { prefix: / }, respond: { delay: 2ms, body: ok } }
";

/// The traffic: a path, the number of clients, and the pause of each between two requests, in milliseconds.
const TRAFFIC: [(&str, usize, u64); 6] = [
    ("/spike", 6, 12),
    ("/orders/17", 4, 25),
    ("/reports/2026", 9, 5),
    ("/customers/3", 2, 40),
    ("/search", 1, 300),
    ("/status", 1, 80),
];

/// A picture: its name, the section, the width and theme of the window, and a script that prepares it.
const PICTURES: [(&str, &str, u32, &str, &str); 4] = [
    ("page-overview", "overview", 1280, "light", "true"),
    ("page-pools", "pools", 1280, "light", OPEN_REPORTS),
    ("page-pools-dark", "pools", 1280, "dark", OPEN_REPORTS),
    ("page-routes-narrow", "routes", 430, "dark", "true"),
];

const OPEN_REPORTS: &str = "[...document.querySelectorAll('button.row')].find((button) => button.textContent.startsWith('reports ('))?.click() ?? true";

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let origin = Gateway::builder(&arguments.gateway, ORIGIN).start().await;
    let url = format!("http://{}", origin.addr("origin"));
    let plugin = std::env::current_dir().unwrap().join("plugins/prebuilt/redact.wasm");
    let gateway = Gateway::builder(&arguments.gateway, CONFIG)
        .set("plugin", plugin.display())
        .set("origin", url)
        .set("nothing", "http://127.0.0.1:9")
        .start()
        .await;
    // They end before the gateway does, whose end would be a failure to them.
    let mut traffic = JoinSet::new();
    for (path, clients, pause) in TRAFFIC {
        for _ in 0..clients {
            let address = gateway.addr("web");
            traffic.spawn(async move {
                let mut client = Client::connect(address).await;
                loop {
                    client.request("GET", path, &[("host", "a.example.com")], b"").await;
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            });
        }
    }
    tokio::time::sleep(Duration::from_secs(arguments.seconds)).await;
    let mut browser = Browser::start().await;
    for (name, section, width, theme, script) in PICTURES {
        browser.look(width, theme).await;
        browser.open("about:blank").await;
        browser.open(&format!("http://{}/#{section}", gateway.admin_addr())).await;
        browser
            .wait_for("numbers", "document.querySelector('#freshness')?.textContent.startsWith('as of')")
            .await;
        browser.evaluate(script).await;
        within("some updates", tokio::time::sleep(Duration::from_secs(7))).await;
        let file = arguments.folder.join(name).with_extension("png");
        browser.screenshot(&file).await;
        println!("{}", file.display());
    }
    println!("{:?}", browser.complaints());
    traffic.shutdown().await;
}
