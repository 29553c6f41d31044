//! The CPU that an open page costs the gateway: milliseconds a second with no page and with each section, for few routes and for many.
//!
//! ```text
//! cargo build --profile dist && cargo run --example page_cost -- --gateway target/dist/gateway
//! ```
//!
//! Each route has a pool of its own with a connection that has been used. The browser runs beside the gateway and is not counted.
#![allow(clippy::print_stdout, reason = "its results are its output")]
#![allow(clippy::unwrap_used, reason = "a broken expectation of an example is a panic")]

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use support::{Browser, Gateway, Origin};

/// Measures the CPU that an open page costs the gateway.
#[derive(Parser)]
struct Arguments {
    /// The program to measure
    #[arg(long, default_value = "target/dist/gateway")]
    gateway: PathBuf,
    /// Seconds that each page is open
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// The numbers of routes
    #[arg(long, value_delimiter = ',', default_value = "10,1000")]
    routes: Vec<usize>,
}

const SECTIONS: [&str; 6] = ["overview", "routes", "pools", "upstreams", "filters", "configuration"];

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    for routes in &arguments.routes {
        let gateway = Gateway::builder(&arguments.gateway, config(*routes, &origin.url())).start().await;
        let mut client = gateway.client("web").await;
        for number in 0..*routes {
            assert_eq!(client.get(&format!("/{number}/")).await.status, 200);
        }
        let closed = cpu_per_second(&gateway, arguments.seconds).await;
        println!("{routes} routes");
        println!("  no page        {closed:6.2} ms/s");
        for section in SECTIONS {
            let mut browser = Browser::start().await;
            browser.open(&format!("http://{}/#{section}", gateway.admin_addr())).await;
            browser
                .wait_for("numbers", "document.querySelector('#freshness')?.textContent.startsWith('as of')")
                .await;
            let open = cpu_per_second(&gateway, arguments.seconds).await;
            println!("  {section:<14} {open:6.2} ms/s, {:+.2}", open - closed);
        }
        let (took, size) = asked(&gateway, "/api/kernel").await;
        println!("  /api/kernel    {:6.2} ms of CPU, {size} bytes", took.as_secs_f64() * 1e3);
    }
}

fn config(routes: usize, origin: &str) -> String {
    let mut config = "
admin: { address: 127.0.0.1:0 }
telemetry: { access_log: off }
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes:
"
    .to_owned();
    for number in 0..routes {
        config += &format!(
            "  - {{ name: route-{number}, match: {{ prefix: /{number}/ }}, upstream: {{ url: '{origin}' }}, \
             pool: {{ idle_timeout: 10m, max_connections: 8 }} }}\n"
        );
    }
    config
}

/// Returns the CPU of a gateway in milliseconds a second, over so many seconds.
async fn cpu_per_second(gateway: &Gateway, seconds: u32) -> f64 {
    let (began, before) = (Instant::now(), cpu(gateway));
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    (cpu(gateway) - before).as_secs_f64() * 1e3 / began.elapsed().as_secs_f64()
}

/// Returns the CPU of a report, the mean of some, and its length.
async fn asked(gateway: &Gateway, path: &str) -> (Duration, usize) {
    const TIMES: u32 = 100;
    let (before, mut size) = (cpu(gateway), 0);
    for _ in 0..TIMES {
        let response = gateway.admin(path).await;
        assert_eq!(response.status, 200);
        size = response.body.len();
    }
    ((cpu(gateway) - before) / TIMES, size)
}

/// Returns the CPU time of a gateway, in ticks of 10 ms: threads that have ended count, too.
fn cpu(gateway: &Gateway) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
    // The name of the program is in parentheses, and may have spaces.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
    Duration::from_millis(10 * ticks.sum::<u64>())
}
